"""The client's connection: aiohttp's low-level protocol, with what a relay needs of it made visible.

aiohttp parses the request and schedules the handler; answers are written to the transport by us, so that a span of an
event stream costs one write. The places where this leans on aiohttp's inside are all in this file, and its tests pin them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.errors import BadRequest, FuseboxError, TooLarge
from proxy.exchange import Format
from proxy.serve.reply import error_body, error_head


class Flow(Protocol):
    """What must know when the client stops reading, and when it reads again."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Tunnel(Protocol):
    """Takes the client's bytes as they are, once the connection is no longer HTTP."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]: ...

    def feed_eof(self) -> None: ...


class Answered:
    """What the handler returns to aiohttp: the answer is on the wire already."""

    __slots__ = ("keep_alive",)

    status = 200

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing left to do."""

    async def write_eof(self) -> None:
        """Nothing left to do."""


def answered(keep_alive: bool) -> web.StreamResponse:
    """The value that tells aiohttp's protocol that the response has been written."""
    return cast(web.StreamResponse, Answered(keep_alive))


class ClientConnection(web.RequestHandler):
    """One client's connection. `flow` is told of the client's pace; `busy` is set while a request is being answered."""

    __slots__ = ("busy", "flow", "on_refused")

    def __init__(self, manager: web.Server, *, on_refused: Callable[[FuseboxError], None], **options: Any) -> None:
        super().__init__(manager, **options)
        self.flow: Flow | None = None
        self.busy = False
        self.on_refused = on_refused

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.flow is not None:
            self.flow.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.flow is not None:
            self.flow.resume()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp calls this after every read of a body, and parses an empty read each time. Only a pause needs an end.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what aiohttp's parser refused, in our own shape, and end the connection: what follows cannot be trusted."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        refused = _refused(exc, message)
        self.on_refused(refused)
        transport = self.transport
        if transport is not None:
            body = error_body(refused, Format.OPENAI, "-")
            transport.write(error_head(refused, length=len(body), request_id="-", close=True) + body)
        return answered(keep_alive=False)

    def take_over(self, tunnel: Tunnel) -> None:
        """From here on the client's bytes go to `tunnel`; those that came early go to it first."""
        self.set_parser(cast(Any, tunnel))


def _refused(exc: BaseException | None, message: str | None) -> FuseboxError:
    detail = (message or str(exc) or "not HTTP/1.1").partition("\n")[0].strip().rstrip(":")
    if isinstance(exc, HttpProcessingError) and type(exc).__name__ == "LineTooLong":
        return TooLarge("the request line or a header line is longer than this proxy takes (limits.headers)")
    return BadRequest(f"the request cannot be read: {detail}")


class ClientServer(web.Server):
    """aiohttp's low-level server, making our connections."""

    def __init__(self, handler: Any, *, on_refused: Callable[[FuseboxError], None], **options: Any) -> None:
        super().__init__(handler, handler_cancellation=True, loop=asyncio.get_running_loop())
        self._options = options
        self._on_refused = on_refused

    def __call__(self) -> ClientConnection:
        return ClientConnection(self, loop=self._loop, on_refused=self._on_refused, **self._options)

    def close_idle(self) -> None:
        """Close the connections that have no request under way. The others end by themselves, after their answer."""
        for connection in self.connections:
            if isinstance(connection, ClientConnection) and not connection.busy:
                connection.close()
