"""A provider at run time: where each format is reached, through which pool, with whose credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from proxy.config import schema
from proxy.config.secrets import Key, KeyRing, describe
from proxy.errors import NoKey, Where
from proxy.exchange import Format
from proxy.upstream.dial import Origin
from proxy.upstream.pool import Pool
from proxy.wire import headers as wire_headers
from proxy.wire.endpoints import inference

Auth = Literal["bearer", "x-api-key", "api-key"]

PoolOf = Callable[[Origin, str | None], Pool]
"""The shared pool for an origin and a CA file."""


@dataclass(frozen=True, slots=True)
class Root:
    """Where one format of a provider is reached. `prefix`: the root's path, without a slash at its end."""

    pool: Pool
    prefix: str
    host_line: bytes
    auth: Auth
    where: Where
    strip: str
    """What of the client's path the root replaces: ``/v1`` for OpenAI format, whose roots name their own version."""
    known: dict[str, bytes] = field(default_factory=dict)
    """The first lines of a POST, Host among them, for the paths of inference calls that have been asked for."""

    def opening(self, method: str, path: str, query: str | None) -> bytes:
        """The request line and the Host line for the client's `path` and `query`."""
        if query is not None or method != "POST":
            return self._opening(method, path, query)
        opening = self.known.get(path)
        if opening is None:
            opening = self._opening(method, path, None)
            if inference(path) is not None:  # a few in number, so nothing that clients send can grow this
                self.known[path] = opening
        return opening

    def _opening(self, method: str, path: str, query: str | None) -> bytes:
        return f"{method} {self.target(path, query)} HTTP/1.1\r\n".encode("ascii") + self.host_line

    def target(self, path: str, query: str | None) -> str:
        """The request target at the provider for the client's `path` and `query`."""
        address = self.prefix + path.removeprefix(self.strip)
        if query is not None:
            address += "?" + query
        if self.pool.proxy is not None and self.pool.origin.scheme == "http":
            return f"{self.pool.origin}{address}"  # absolute form, for a proxy that forwards (RFC 9112 section 3.2.2)
        return address


class Provider:
    """One provider of the policy, ready to be asked."""

    def __init__(self, name: str, config: schema.Provider, ring: KeyRing | None, pool_of: PoolOf) -> None:
        self.name = name
        self.config = config
        self.ring = ring
        self._passes_credentials = config.keys.mode == "client"
        assert config.auth is not None and config.anthropic_auth is not None, "the reader has resolved them"
        self._roots: dict[Format, Root] = {}
        if config.base_url is not None:
            self._roots[Format.OPENAI] = _root(name, config.base_url, config.ca, config.auth, "/v1", pool_of)
        if config.anthropic_url is not None:
            self._roots[Format.ANTHROPIC] = _root(
                name, config.anthropic_url, config.ca, config.anthropic_auth, "", pool_of
            )

    def __repr__(self) -> str:
        return f"<Provider {self.name}: {', '.join(str(root.pool.origin) for root in self._roots.values())}>"

    def root(self, wanted: Format) -> Root:
        """The root for a format that the provider offers (the plan has no others)."""
        return self._roots[wanted]

    def origin_root(self) -> Root:
        """The provider's origin itself, for ``/p/{provider}/...``: any path, nothing replaced."""
        root = self._roots.get(Format.OPENAI) or self._roots[Format.ANTHROPIC]
        return Root(root.pool, "", root.host_line, root.auth, root.where, "")

    @property
    def where(self) -> Where:
        """Its name and, of its origins, the first."""
        return next(iter(self._roots.values())).where

    @property
    def offers(self) -> frozenset[Format]:
        """The formats it can be asked in."""
        return frozenset(self._roots)

    def no_key(self) -> NoKey:
        """What to say when keys are declared but none can be read."""
        missing = self.ring.missing if self.ring is not None else ()
        return NoKey(self.name, "; ".join(missing) or "; ".join(map(describe, self.config.keys.sources)))

    def credential(self, auth: Auth, key: Key | None = None) -> bytes:
        """The header line that carries `key`, or the next of the provider's own; empty when it has none of its own.

        Raises NoKey when keys are declared but none can be read.
        """
        if self.ring is None:
            return b""
        key = key or self.ring.take()
        if key is None:
            raise self.no_key()
        if auth == "bearer":
            return b"Authorization: Bearer %b\r\n" % key.secret
        return b"%b: %b\r\n" % (auth.encode(), key.secret)

    def request_head(
        self,
        root: Root,
        opening: bytes,
        headers: wire_headers.RequestHeaders,
        framing: bytes,
        key: Key | None = None,
    ) -> bytes:
        """A request head up to and with its empty line; `opening`: its first lines, of `root`. Raises NoKey.

        `framing`: the lines that say how the body is delimited, or that ask for an upgrade. `key`: see `credential`.
        """
        own = self.credential(root.auth, key)
        proxy = root.pool.proxy
        if proxy is not None and proxy.authorization is not None and root.pool.origin.scheme == "http":
            own += b"Proxy-Authorization: %b\r\n" % proxy.authorization
        lines = headers.block(credentials=True) if self._passes_credentials else headers.plain
        return b"".join((opening, lines, own, framing, b"\r\n"))


def _root(name: str, url: str, ca: str | None, auth: Auth, strip: str, pool_of: PoolOf) -> Root:
    origin, prefix = parse_root(url)
    return Root(
        pool_of(origin, ca),
        prefix,
        b"Host: " + origin.authority.encode("ascii") + b"\r\n",
        auth,
        Where(name, str(origin)),
        strip,
    )


def parse_root(url: str) -> tuple[Origin, str]:
    """Origin and path prefix of a base URL that the configuration has accepted."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode("ascii")
    return Origin(parts.scheme, host, parts.port or {"http": 80, "https": 443}[parts.scheme]), parts.path.rstrip("/")


Providers = Mapping[str, Provider]
