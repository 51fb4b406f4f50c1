"""The API servers' connections, on aiohttp's low-level server: how many there are, how long each may be silent.

Whoever can reach a pod can connect to it, and a connection over TLS takes a quarter of a megabyte. So their number is
bounded, and when it is reached the one that has kept us waiting for longest makes room: an API server sends its question
at once and whole, a flood does not. The places where this leans on aiohttp's inside are all in this file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from proxy.kube.webhook_metrics import Numbers

CONNECTIONS_MAX = 256
"""At once. Three API servers that ask about fifty pods each have 150."""

FIRST_HEAD_S = 5.0
"""How long a new connection may take to send the head of its first request."""

IDLE_S = 120.0
"""How long it may idle after that: longer than the 90 s after which an API server closes it, so that it is never us who
close it under a request that is on its way."""

READ_AHEAD = 64 * 1024
"""Bytes of a body that are read before somebody wants them."""

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SILENT = logging.getLogger("fusebox.webhook.silent")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
"""aiohttp writes a traceback for each request that it cannot parse; whoever sends garbage would write our log."""


class _Connection(web.RequestHandler):
    """One connection. `busy`: a request is under way; `answering`: it has been read; `waits_since_s`: since when it is the
    client that we wait for, on the loop's clock.
    """

    __slots__ = ("_numbers", "answering", "busy", "waits_since_s")

    def __init__(self, manager: Connections, numbers: Numbers, **options: Any) -> None:
        super().__init__(manager, **options)
        self._numbers = numbers
        self.busy = self.answering = False
        self.waits_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.waits_since_s = self._loop.time()
        # aiohttp's timer for idle connections looks away until a request has come; here it begins at once.
        self.keep_alive(True)
        self._next_keepalive_close_time = self._loop.time() + FIRST_HEAD_S
        self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp answers to a request that cannot be parsed. It may quote the request, so only its kind goes out.

        A client that left in the middle of its question comes here, too: nobody hears that answer, and nobody refused.
        """
        if not isinstance(exc, ConnectionError):
            self._numbers.refused[status] += 1
        answer = web.Response(status=status, text=f"{HTTPStatus(status).phrase}\n")
        answer.force_close()
        return answer


class Connections(web.Server):
    """The server's protocol factory. `handle` answers a request; it raises nothing but CancelledError and ConnectionError."""

    def __init__(self, handle: Handle, numbers: Numbers) -> None:
        super().__init__(self._answer, loop=asyncio.get_running_loop())
        self._handle = handle
        self._numbers = numbers
        numbers.connections = lambda: len(self._connections)
        self._changed = asyncio.Event()
        self._draining = False

    def __call__(self) -> _Connection:
        return _Connection(
            self,
            self._numbers,
            loop=self._loop,
            access_log=None,
            logger=SILENT,
            keepalive_timeout=IDLE_S,
            read_bufsize=READ_AHEAD,
            # Nobody sends admissions compressed; what is small on the way could be huge unpacked.
            auto_decompress=False,
            lingering_time=1.0,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._numbers.connections_closed += 1
            waiting = (one for one in self._all() if not one.answering and one is not handler)
            old: web.RequestHandler = min(waiting, key=lambda one: one.waits_since_s, default=handler)
            # At once, without TLS's farewell, which the other side may leave unanswered. Not from inside this callback: the
            # newcomer is not complete before it ends.
            self._loop.call_soon(self._connections[old].abort)

    def drain(self) -> None:
        """Have each connection end: an idle one now, the others after their answer."""
        self._draining = True
        for one in self._all():
            if not one.busy:
                one.force_close()  # `close` alone would leave its transport open

    def finish_after_answers(self) -> None:
        """Have connections end after their next answer, so that their clients go elsewhere."""
        self._draining = True

    def has_read(self, request: web.BaseRequest) -> None:
        """From here on it is us whom the client waits for."""
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.answering = True

    async def answered(self) -> None:
        """Wait until no request is under way."""
        while any(one.busy for one in self._all()):
            self._changed.clear()
            await self._changed.wait()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.busy, connection.waits_since_s = True, self._loop.time()
        try:
            answer = await self._handle(request)
            if self._draining:
                answer.force_close()
            return answer
        finally:
            connection.busy = connection.answering = False
            connection.waits_since_s = self._loop.time()
            self._changed.set()

    def _all(self) -> list[_Connection]:
        return [one for one in self.connections if isinstance(one, _Connection)]
