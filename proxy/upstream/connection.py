"""One HTTP/1.1 connection to a provider, one exchange at a time (RFC 9112), over httptools and an asyncio transport.

The strategy: the parser's callbacks run inside ``data_received``, and what they find goes to the exchange's `Answer`
before that returns. Which timeout holds is a phase and a time, which move as the exchange goes on (`Deadline`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools
import msgspec

from proxy.config.schema import Timeouts
from proxy.errors import AnswerCut, AnswerTimeout, BadAnswer, ConnectionLost, FuseboxError, UpstreamFault
from proxy.upstream.answer import Answer, Interim, Lines
from proxy.upstream.deadline import Deadline
from proxy.wire.headers import read_response

HEAD_MAX = 256 * 1024
"""Bytes in a row that bring no body (a head, chunk framing, trailers): far above any provider's, and a bound on what a
broken one can make us hold. A read that ends the head or brings a span is taken whole."""

Piece = bytes | bytearray | memoryview

Switch = Callable[[asyncio.Transport, bytes], asyncio.Protocol]
"""Gets the transport and the bytes that came behind the head; returns the transport's new protocol."""


class Limits(msgspec.Struct, frozen=True):
    """The deadlines of one exchange: `timeouts` per phase; `streamed`: whether the head timeout holds; `total_at`: the end
    of all, on the loop's clock.
    """

    timeouts: Timeouts
    streamed: bool
    total_at: float


class Connection(asyncio.BaseProtocol):
    """A connection that is idle, or busy with one exchange, or closed. How it reads: ``upstream/reading``."""

    __slots__ = (
        "_answer",
        "_chunked",
        "_closed",
        "_complete",
        "_deadline",
        "_drained",
        "_fed",
        "_head_done",
        "_head_only",
        "_held_up",
        "_keep_alive",
        "_length",
        "_limits",
        "_lines",
        "_loop",
        "_on_idle",
        "_on_upgrade",
        "_parser",
        "_paused",
        "_phase",
        "_reason",
        "_sent",
        "_sent_at",
        "_spans",
        "_transport",
        "born_at",
        "exchanges",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, on_idle: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._on_idle = on_idle
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._limits: Limits | None = None
        self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._sent = True
        self._sent_at = 0.0
        self._held_up = False
        self._deadline = Deadline(loop, self._too_late)
        self._phase = ""
        self.born_at = loop.time()
        self.exchanges = 0
        self._spans: list[bytes] = []
        self._begin_message()

    def _begin_message(self) -> None:
        """Nothing of an answer has come."""
        self._lines: Lines = []
        self._reason = b""
        self._head_done = False
        self._head_only = False
        self._complete = False
        self._keep_alive = False
        self._chunked = False
        self._length: int | None = None
        self._fed = 0
        self._on_upgrade: Switch | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if self._answer is None else f"busy ({self._phase})"
        return f"<Connection {state}, {self.exchanges} exchanges>"

    @property
    def usable(self) -> bool:
        """Whether a new exchange may begin: open, idle, and not being closed by the other side."""
        return (
            not self._closed
            and self._answer is None
            and self._transport is not None
            and not self._transport.is_closing()
        )

    # The request goes out.

    def begin(self, limits: Limits, *, head_only: bool, interim: Interim | None) -> Answer:
        """Begin an exchange; `head_only`: the request is HEAD. `write` follows, then `sent`."""
        assert self._answer is None and not self._closed
        self.exchanges += 1
        self._limits = limits
        self._head_only = head_only
        self._sent = False
        answer = self._answer = Answer(self, interim)
        self._phase = "total"
        self._deadline.move(limits.total_at)
        return answer

    def write(self, piece: Piece) -> None:
        """Send bytes of the request. `flush` says when more may follow."""
        if self._transport is not None and not self._closed:
            self._transport.write(piece)

    async def flush(self) -> bool:
        """Wait until the transport takes more; False when no more is wanted: the exchange is over.

        An answer that begins early does not end the upload: both may go on side by side.
        """
        while self._paused and not self._closed:
            self._drained = self._loop.create_future()
            await self._drained
        return not self._closed

    def sent(self) -> None:
        """The request has gone out whole: from here the provider's time counts."""
        self._sent = True
        now = self._sent_at = self._loop.time()
        if self._answer is not None:
            self._answer.asked_s = now
        limits = self._limits
        if limits is None or self._answer is None or self._head_done:
            return
        timeouts = limits.timeouts
        if limits.streamed:
            wait, self._phase = min((timeouts.head, "head"), (timeouts.first_event, "first_event"))
            self._watch_until(now + wait)

    # The answer comes in: callbacks of asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are of no class of asyncio's

    def data_received(self, data: bytes | memoryview) -> None:
        """Bytes have come; a memoryview's are overwritten by the next read."""
        if self._answer is None:
            # Nothing was asked: a farewell such as an unsolicited 408, or an answer split in two. Never reuse this connection.
            self._close()
            return
        trouble: Exception | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switch(bytes(data[upgrade.args[0] :]))
            return
        except httptools.HttpParserError as error:
            trouble = error
        if self._spans:
            self._deliver()
        else:
            self._fed += len(data)
            if self._fed > HEAD_MAX and not self._complete:
                self._fail(self._flooded())
                return
        # A body that was complete before bytes that do not parse stays complete; the connection does not.
        if self._complete:
            if self._answer is not None:
                reusable = trouble is None and self._sent and self._keep_alive
                self._finish(reusable=reusable)
        elif trouble is not None:
            self._fail(self._unreadable(trouble))

    def _deliver(self) -> None:
        """Hand on what this read held: one span, however many chunks it came in."""
        spans, self._spans = self._spans, []
        answer = self._answer
        if answer is None:
            return
        now = self._loop.time()
        self._fed = 0
        event = answer.on_body(spans[0] if len(spans) == 1 else b"".join(spans), now)
        # While the client holds us up, which this very span may have begun, the provider's silence is of our making.
        limits = self._limits
        if event and answer.watch is not None and limits is not None and not self._held_up:
            self._phase = "idle"
            self._watch_until(now + limits.timeouts.idle)

    def _flooded(self) -> UpstreamFault:
        if self._head_done:
            return AnswerCut(f"its answer went on for {HEAD_MAX // 1024} KiB without a byte of the body")
        return BadAnswer(f"its response head is larger than {HEAD_MAX // 1024} KiB")

    def _unreadable(self, error: Exception) -> UpstreamFault:
        reason = error.__context__ or error
        if self._head_done:
            return AnswerCut(f"its answer broke off with bytes that are not HTTP/1.1 ({reason})")
        return BadAnswer(f"it did not answer in HTTP/1.1 ({reason})")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake_writer()

    def eof_received(self) -> bool:
        # Acted upon now: `connection_lost` would wait until what is still to be sent has gone, or has failed to.
        self.connection_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        answer = self._answer
        if answer is None:
            self._close()
            return
        cause = "closed the connection" if exc is None else f"broke the connection ({exc})"
        if not self._head_done:
            self._fail(ConnectionLost(f"it {cause} before it answered", reused=self.exchanges > 1 and self._fed == 0))
        elif self._chunked or self._length is not None:
            self._fail(AnswerCut(f"it {cause} before its answer was complete"))
        elif exc is not None or (answer.watch is not None and not answer.watch.complete()):
            # A body delimited by the close says nothing of its end; an event stream does by its last events.
            self._fail(AnswerCut(f"it {cause} before its stream was complete"))
        else:
            self._finish(reusable=False)

    # Callbacks of the parser, inside data_received.

    def on_message_begin(self) -> None:
        """A status line is coming: the first, one after a 1xx, or one too many."""
        if self._complete:
            raise httptools.HttpParserError("an answer nobody asked for")

    def on_status(self, reason: bytes) -> None:
        """The reason phrase; may come in parts."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line, or a trailer line once the head is done."""
        self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: interim, a switch of protocols, or the final one."""
        status = self._parser.get_status_code()
        answer = self._answer
        assert answer is not None and self._limits is not None
        lines, self._lines = self._lines, []
        reason, self._reason = self._reason, b""
        if status < 100:
            raise httptools.HttpParserError(f"status {status}")
        if status == 101:
            # No final head: the parser stops here, and `_switch` takes over when that was asked for.
            if self._on_upgrade is None:
                raise httptools.HttpParserError("it switched protocols (101) though it was not asked to")
            answer.on_head(status, reason, lines, read_response(lines), self._loop.time())
            return
        if status < 200:
            answer.on_interim(status, reason, lines)
            return
        try:
            headers = read_response(lines)
        except ValueError as error:
            raise httptools.HttpParserError(str(error)) from None
        self._length, self._chunked = headers.length, headers.chunked
        self._head_done = True
        now = self._loop.time()
        answer.on_head(status, reason, lines, headers, now)
        limits = self._limits
        if answer.watch is not None:
            # From the head on only the first event is waited for; its time runs since the request was sent.
            self._phase = "first_event"
            self._watch_until((self._sent_at if self._sent else now) + limits.timeouts.first_event)
        elif self._phase != "total":
            self._phase = "total"
            self._deadline.move(limits.total_at)
        if self._head_only:
            self._complete = True

    def on_body(self, span: bytes) -> None:
        """Decoded bytes of the body."""
        if not self._complete:
            self._spans.append(span)

    def on_message_complete(self) -> None:
        """The end of a message; that of an interim response comes before any final head."""
        if self._head_done:
            self._complete = True
            # Asked here, where the parser still knows: afterwards its flags are those of the next message.
            self._keep_alive = not self._head_only and self._parser.should_keep_alive()

    # Source: what the relay asks for.

    def pause(self) -> None:
        """Read no more. The provider is not to blame for what the client's slowness costs, so only `total` runs on."""
        if self._transport is not None and not self._transport.is_closing():
            self._held_up = True
            self._transport.pause_reading()
            if self._limits is not None:
                self._phase = "total"
                self._deadline.move(self._limits.total_at)

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._held_up = False
            self._transport.resume_reading()
            answer = self._answer
            if answer is not None and answer.watch is not None and self._limits is not None:
                self._phase = "idle"
                self._watch_until(self._loop.time() + self._limits.timeouts.idle)

    def abort(self) -> None:
        """Give up the exchange, if any, and close at once. Its answer hears no more."""
        self._answer = None
        self._close()

    def future(self) -> asyncio.Future[None]:
        """A future of the connection's loop."""
        return self._loop.create_future()

    def fail(self, fault: FuseboxError) -> None:
        """End the exchange for a reason of our own side: its answer hears `fault`."""
        self._fail(fault)

    def on_upgrade(self, switch: Switch) -> None:
        """Another protocol is asked for: on 101 `switch` takes the transport over."""
        self._on_upgrade = switch

    # Ends.

    def _finish(self, *, reusable: bool) -> None:
        answer = self._answer
        assert answer is not None
        trailers = self._lines
        self._answer = self._limits = None
        transport = self._transport
        if reusable and not self._closed and transport is not None and not transport.is_closing():
            self._begin_message()
            if self._held_up:
                # The last span was more than the client took; the next exchange is not to wait for that one.
                self._held_up = False
                transport.resume_reading()
            answer.on_end(trailers)
            self._on_idle(self)
        else:
            answer.on_end(trailers)
            self._close()

    def _fail(self, fault: FuseboxError) -> None:
        answer, self._answer = self._answer, None
        self._close()
        if answer is not None:
            answer.on_fault(fault)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._limits = None
        self._deadline.stop()
        self._wake_writer()
        if self._transport is not None:
            # abort, not close: unsent bytes of a request that is given up must not keep the socket open.
            self._transport.abort()

    def _wake_writer(self) -> None:
        waiter, self._drained = self._drained, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _switch(self, behind: bytes) -> None:
        answer, transport, switch = self._answer, self._transport, self._on_upgrade
        assert answer is not None and transport is not None and switch is not None
        self._answer = self._transport = None
        self._close()
        transport.set_protocol(switch(transport, behind))
        answer.on_end([])

    # Deadlines.

    def expire_idle_at(self, when: float) -> None:
        """Close at `when` (loop time) unless an exchange begins before."""
        self._deadline.move(when)

    def _watch_until(self, when: float) -> None:
        """The present phase ends at `when`, or the whole exchange before that."""
        assert self._limits is not None
        if when > self._limits.total_at:
            self._phase, when = "total", self._limits.total_at
        self._deadline.move(when)

    def _too_late(self) -> None:
        if self._answer is None:
            self._close()
            return
        assert self._limits is not None
        self._fail(AnswerTimeout(self._phase, getattr(self._limits.timeouts, self._phase)))
