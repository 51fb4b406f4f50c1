"""The proxies of the network: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, in either case (as curl reads them)."""

from __future__ import annotations

import base64
import ipaddress
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """An HTTP proxy on the way out. `authorization` is the Proxy-Authorization value, never to be printed."""

    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Egress:
    """Which proxy leads to a host. Built once from the environment; raises ValueError for one that cannot be used."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        def read(name: str) -> str:
            # The upper-case HTTP_PROXY can be set by a client of a CGI script; no such thing here, so both count.
            return environment.get(name.lower()) or environment.get(name) or ""

        everything = read("ALL_PROXY")
        self._proxies = {
            scheme: _parse(variable, value)
            for scheme, variable in (("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY"))
            if (value := read(variable) or everything)
        }
        self._exempt = {"no": read("NO_PROXY")}

    def proxy_for(self, scheme: str, host: str, port: int) -> EgressProxy | None:
        """The proxy to take, or None for the direct way. Loopback is never sent through a proxy: it is another there."""
        found = self._proxies.get(scheme)
        if found is None or _is_loopback(host):
            return None
        if urllib.request.proxy_bypass_environment(f"{host}:{port}", self._exempt):  # type: ignore[attr-defined]
            return None
        return found


def _parse(variable: str, value: str) -> EgressProxy:
    parts = urllib.parse.urlsplit(value if "://" in value else f"http://{value}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(
            f"{variable} must be an http:// proxy, as in http://proxy.example:3128 (its scheme is {parts.scheme!r})"
        )
    authorization = None
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        authorization = b"Basic " + base64.b64encode(pair.encode())
    return EgressProxy(parts.hostname, parts.port or 3128, authorization)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
