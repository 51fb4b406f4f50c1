"""The client's connection: aiohttp's low-level protocol, with what a relay needs of it made visible.

aiohttp parses the request and schedules the handler; answers are written to the transport by us, so that a span of an
event stream costs one write. The places where this leans on aiohttp's inside are all in this file, and its tests pin them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from proxy.errors import BadRequest, FuseboxError, HeadersTooLarge
from proxy.exchange import Format
from proxy.serve.reply import error_body, error_head


class Flow(Protocol):
    """What must know when the client stops reading, when it reads again, and when it has gone."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def gone(self) -> None: ...


class Tunnel(Protocol):
    """Takes the client's bytes as they are, once the connection is no longer HTTP."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]: ...

    def feed_eof(self) -> None: ...


Handle = Callable[["ClientConnection", asyncio.Transport, RawRequestMessage, StreamReader], Awaitable[bool]]
"""Answers one request on the transport; says whether the connection may be kept. Raises only CancelledError."""

LINGER_S = 10.0
"""How long a client that was answered early may go on sending: closing at once would reset the connection and could
destroy the answer before it is read (RFC 9112 section 9.6)."""


FIRST_HEAD_S = 60.0
"""How long a new connection may take to send its first request head. SDKs connect when they have a request to send."""


class ClientConnection(web.RequestHandler):
    """One client's connection. `flow` is told of the client's pace; `busy` is set while a request is being answered.

    `start` takes the place of aiohttp's: the same loop over the requests of a connection, without the task, the request,
    writer and response objects that aiohttp makes for each and that a proxy has no use for. A third of aiohttp's cost per
    request goes with them (docs/decisions/0002-client-connection.md).
    """

    __slots__ = ("_content", "_handle", "busy", "flow", "on_refused")

    def __init__(
        self, manager: web.Server, handle: Handle, *, on_refused: Callable[[FuseboxError], None], **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._handle = handle
        self._content: StreamReader | None = None
        self.flow: Flow | None = None
        self.busy = False
        self.on_refused = on_refused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.keep_alive(True)  # until then aiohttp's timer for idle connections does nothing
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
        self._next_keepalive_close_time = self._loop.time() + FIRST_HEAD_S
        self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    async def start(self) -> None:
        """Answer the connection's requests one after the other. Cancelled by aiohttp when the client hangs up."""
        messages = self._messages
        try:
            if bool(
                self._close
            ):  # by `close_idle`, before this task's first step (bool: mypy must not take it as fixed)
                return
            while not self._force_close:
                if not messages:
                    self._waiter = self._loop.create_future()
                    try:
                        await self._waiter
                    finally:
                        self._waiter = None
                message, payload = messages.popleft()
                transport, parser = self.transport, self._parser
                if transport is None or parser is None:
                    return
                parser.message_consumed()
                if self._buffer_paused and len(messages) <= self._msg_queue_resume_size:
                    self._resume_reading_if_drained()
                if not isinstance(message, RawRequestMessage):
                    self._refuse(message.exc, message.message)
                    break
                self.busy, self._content = True, payload
                keep = await self._handle(self, transport, message, payload)
                self.busy = False
                self.flow = None
                if not payload.is_eof():
                    await self._linger(payload)
                    break
                if not keep or self._close or self._upgraded:
                    break
                self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
                if self._keepalive_handle is None:
                    self._keepalive_handle = self._loop.call_at(
                        self._next_keepalive_close_time, self._process_keepalive
                    )
        finally:
            self.busy = False
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _linger(self, payload: StreamReader) -> None:
        """Read and forget what the client still sends of a body that nobody wants."""
        try:
            async with asyncio.timeout(LINGER_S):
                while not payload.at_eof():
                    await payload.readany()
        except (TimeoutError, web.RequestPayloadError, RuntimeError):
            pass  # it sends on, or wrongly, or has gone: then the answer may be lost, as the standard warns

    def _refuse(self, exc: BaseException | None, message: str | None) -> None:
        """Answer what aiohttp's parser refused, and end the connection: what follows cannot be trusted."""
        refused = _refused(exc, message, self.max_field_size)
        self.on_refused(refused)
        if self.transport is not None:
            body = error_body(refused, Format.OPENAI, "-")
            self.transport.write(error_head(refused, length=len(body), request_id="-", close=True) + body)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages and self.busy:
            self._break_body()

    def _break_body(self) -> None:
        """End a body in the middle of which aiohttp's parser met something else: it queues the fault as the next message,
        and whoever waits for the rest of the body would wait until every timeout had passed.
        """
        message, content = self._messages[-1][0], self._content
        if not isinstance(message, RawRequestMessage) and content is not None and not content.is_eof():
            detail = (message.message or "not HTTP/1.1").partition("\n")[0].strip().rstrip(":")
            content.set_exception(web.RequestPayloadError(detail))

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.flow is not None:
            self.flow.gone()  # at once: the coroutine that is cancelled below runs a turn later
        super().connection_lost(exc)

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

    def take_over(self, tunnel: Tunnel) -> None:
        """From here on the client's bytes go to `tunnel`; those that came early go to it first."""
        self.set_parser(cast(Any, tunnel))


def _refused(exc: BaseException | None, message: str | None, header_bound: int) -> FuseboxError:
    """What aiohttp's parser found, as an error of ours. Its text may quote the line at fault, so only its kind goes on."""
    if isinstance(exc, LineTooLong):
        return HeadersTooLarge(header_bound)
    detail = (message or str(exc) or "not HTTP/1.1").partition("\n")[0].strip().rstrip(":")
    return BadRequest(f"the request cannot be read: {detail}")


def take_whole(content: StreamReader) -> bytes | None:
    """A body that came in one piece and is complete, taken out; None: read it. Five calls of aiohttp's own are saved so."""
    buffer = content._buffer
    if len(buffer) != 1 or content._buffer_offset:
        return None
    content._size = 0
    return buffer.popleft()


class ClientServer(web.Server):
    """aiohttp's low-level server, making our connections."""

    def __init__(self, handle: Handle, *, on_refused: Callable[[FuseboxError], None], **options: Any) -> None:
        super().__init__(_unused, handler_cancellation=True, loop=asyncio.get_running_loop())
        self._handle = handle
        self._options = options
        self._on_refused = on_refused
        self._emptied: asyncio.Event | None = None

    def __call__(self) -> ClientConnection:
        return ClientConnection(self, self._handle, loop=self._loop, on_refused=self._on_refused, **self._options)

    def close_idle(self) -> None:
        """Close the connections that have no request under way. The others end by themselves, after their answer."""
        for connection in self.connections:
            if isinstance(connection, ClientConnection) and not connection.busy:
                connection.close()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        task = handler._task_handler
        super().connection_lost(handler, exc)
        if task is None:
            self._one_left()
        else:
            task.add_done_callback(self._one_left)  # aiohttp forgets the connection with its task, and not before

    def _one_left(self, _: object = None) -> None:
        if self._emptied is not None and not self.connections:
            self._emptied.set()

    async def emptied(self) -> None:
        """Wait until no connection is left: each client has taken the last byte that was written to it."""
        self._emptied = asyncio.Event()
        if self.connections:
            await self._emptied.wait()


async def _unused(request: web.BaseRequest) -> web.StreamResponse:
    """aiohttp's server wants a handler; `ClientConnection.start` calls another, so reaching this one is a fault."""
    raise RuntimeError("aiohttp's own loop ran in place of ClientConnection.start")
