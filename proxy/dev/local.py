"""Servers on this machine that answer in OpenAI format: all asked at once for their models, within one short bound."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import orjson

from proxy.config.syntax import origin

BOUND_S = 0.15
"""How long all of them may take together. A server on loopback lists its models in a few milliseconds."""

ANSWER_MAX = 256 * 1024
"""Bytes of one answer: room for thousands of models. Anybody may listen on these ports."""


NAME_MAX = 200
"""Characters of a model's name."""


class _Asking:
    """One server being asked."""

    def __init__(self, url: str) -> None:
        host, port = origin(url)
        path = urlsplit(url).path
        self._request = (
            f"GET {path}/models HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: application/json\r\n\r\n".encode()
        )
        self._answer = bytearray()
        self.models: tuple[str, ...] | None = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        with suppress(BlockingIOError):
            self.socket.connect((host, port))

    def write(self) -> None:
        """The connection stands, or was refused: then OSError. A request this short is written at once."""
        refused = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if refused:
            raise OSError(refused, "no server")
        self.socket.sendall(self._request)

    def read(self) -> bool:
        """Take what has come; whether that was all."""
        got = self.socket.recv(65536)
        self._answer += got
        head, _, body = self._answer.partition(b"\r\n\r\n")
        self.models = models_of(bytes(body)) if head[:13].endswith(b" 200 ") else None
        return not got or self.models is not None or len(self._answer) > ANSWER_MAX


def models_of(body: bytes) -> tuple[str, ...] | None:
    """The models that an answer to ``GET /v1/models`` names; None: it is none, or not all of it.

    Left out are names that a policy cannot hold: too long, or with what cannot be printed, or with a glob's signs.
    """
    try:
        listed = orjson.loads(body[body.find(b"{") : body.rfind(b"}") + 1])["data"]
        names = [one["id"] for one in listed or ()]
    except (ValueError, TypeError, KeyError):
        return None
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and _fits(name)))


def _fits(name: str) -> bool:
    return 0 < len(name) <= NAME_MAX and name.isprintable() and not {"*", "?"} & set(name)


def servers(
    urls: Mapping[str, str], bound_s: float = BOUND_S, clock: Callable[[], float] = time.monotonic
) -> dict[str, tuple[str, ...]]:
    """The models of each server that answered in time, by the names of `urls` (OpenAI-format roots with an IPv4 host)."""
    found: dict[str, tuple[str, ...]] = {}
    until = clock() + bound_s
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        waiting = {}
        for name, url in urls.items():
            with suppress(OSError):
                asking = _Asking(url)
                waiting[name] = stack.enter_context(asking.socket)
                selector.register(asking.socket, selectors.EVENT_WRITE, (name, asking))
        while selector.get_map() and (left_s := until - clock()) > 0:
            for key, ready in selector.select(left_s):
                name, asking = key.data
                try:
                    if ready & selectors.EVENT_WRITE:
                        asking.write()
                        selector.modify(asking.socket, selectors.EVENT_READ, key.data)
                        continue
                    ended = asking.read()
                except OSError:
                    selector.unregister(asking.socket)
                    continue
                if ended:
                    selector.unregister(asking.socket)
                    if asking.models is not None:
                        found[name] = asking.models
    return {name: found[name] for name in urls if name in found}
