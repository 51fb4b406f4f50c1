"""The answer to one request, as it comes in from the provider: first held back, then handed on span by span.

An answer is *held* until it is known to be one: its head and first body bytes, or for an event stream its first data
event. Whoever waits in `ready` may then still drop it and try elsewhere. After `attach` each further span goes to the
sink in the event-loop turn in which it arrived: no queue, no task in between.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from proxy.errors import FuseboxError
from proxy.wire.headers import ResponseHeaders
from proxy.wire.sse import Watch

Lines = list[tuple[bytes, bytes]]

HELD_MAX = 256 * 1024
"""Bytes of a held answer after which it counts as ready whatever it is: a stream of comments must not fill memory.
And the bytes after which one that nobody looks at is read no further."""

_STOPPED = -1
"""In place of how much of what is held somebody has looked at: reading has stopped until somebody does."""


class Sink(Protocol):
    """Where an answer's body goes once it is attached. None of these may raise."""

    def feed(self, span: bytes) -> None:
        """The next bytes of the body; never empty."""

    def end(self, trailers: Lines) -> None:
        """The body is complete."""

    def broken(self, fault: FuseboxError) -> None:
        """The body will not be completed."""


class Source(Protocol):
    """The connection an answer comes from, as far as the answer's user needs it."""

    def pause(self) -> None:
        """Read no more until `resume`: the client is slow."""

    def resume(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Give the exchange up and close the connection at once."""

    def future(self) -> asyncio.Future[None]:
        """A future of the loop it runs on. To ask for the loop is a system call before Python 3.12."""


class Answer(msgspec.Struct, eq=False):
    """One response. Written by its connection (`on_*`), read by the attempt and the relay.

    Times are of the loop's clock, in seconds, 0.0 before they came: `asked_s` (the request had gone out), `head_s`,
    `first_event_s`. `block`: the header lines that go on, as they go on the wire.

    A Struct, as several are made for every request and its fields cost nothing to fill (see ``exchange``).
    """

    source: Source
    _interim: Interim | None = None
    status: int = 0
    reason: bytes = b""
    lines: Lines = []
    block: bytes = b""
    content_type: bytes = b""
    coding: bytes = b""
    content_length: int | None = None
    trailers: Lines = []
    complete: bool = False
    fault: FuseboxError | None = None
    watch: Watch | None = None
    held: list[bytes] = []
    held_bytes: int = 0
    asked_s: float = 0.0
    head_s: float = 0.0
    first_event_s: float = 0.0
    _looked: int = 0
    _any: bool = False
    _sink: Sink | None = None
    _waiter: asyncio.Future[None] | None = None

    def arrival(self) -> asyncio.Future[None] | None:
        """What to wait for until the answer may be handed on, or has failed; None: nothing, it is so already."""
        if self.fault is not None or self.complete or self.first_event_s:
            return None
        self._waiter = waiter = self.source.future()
        return waiter

    async def ready(self) -> None:
        """Return when the answer may be handed on. Raises the fault that came instead."""
        arriving = self.arrival()
        if arriving is not None:
            await arriving
        if self.fault is not None:
            raise self.fault

    async def more(self) -> None:
        """Wait for further bytes of an answer that is held back, or for its end. Raises the fault that came instead."""
        if self.fault is None and not self.complete:
            self._any = True
            self._waiter = waiter = self.source.future()
            self._look()
            try:
                await waiter
            finally:
                self._any = False
        if self.fault is not None:
            raise self.fault

    def attach(self, sink: Sink) -> None:
        """Hand what comes from now on to `sink`. What was held until now is the caller's to send first, from `held`."""
        self._sink = sink
        if self.fault is not None:
            sink.broken(self.fault)  # it broke while nobody waited, and will not say so again
        else:
            self._look()

    def _look(self) -> None:
        """Somebody has what is held until now in view: more may come."""
        stopped, self._looked = self._looked == _STOPPED, self.held_bytes
        if stopped:
            self.resume()

    def _hold_up(self) -> None:
        """Much has come that nobody looked at (the walk waits elsewhere, say): read no more until somebody does."""
        if self._looked != _STOPPED and (self._waiter is None or self._waiter.done()):
            self._looked = _STOPPED
            self.source.pause()

    # What its user asks of the connection. An answer that is over has given it back: it may serve another's exchange by now.

    def drop(self) -> None:
        """Nobody wants the answer: close the connection, unless it is over."""
        if not self.complete and self.fault is None:
            self.source.abort()

    def pause(self) -> None:
        """Read no more of it until `resume`: the client is slow."""
        if not self.complete and self.fault is None:
            self.source.pause()

    def resume(self) -> None:
        """Read on."""
        if not self.complete and self.fault is None:
            self.source.resume()

    # What the connection reports.

    def on_interim(self, status: int, reason: bytes, lines: Lines) -> None:
        """A 1xx response other than 101, which the final one will follow (RFC 9110 section 15.2)."""
        if self._interim is not None and self._sink is None:
            self._interim(status, reason, lines)

    def on_head(self, status: int, reason: bytes, lines: Lines, headers: ResponseHeaders, now_s: float) -> None:
        """The head of the final response; `headers`: what `lines` mean."""
        self.status = status
        self.reason = reason
        self.lines = lines
        self.block = headers.block
        self.content_type = headers.content_type
        self.coding = headers.coding
        self.content_length = None if headers.chunked else headers.length
        if headers.events:
            self.watch = Watch()
        self.head_s = now_s

    def on_body(self, span: bytes, now_s: float) -> bool:
        """Bytes of the body. Says whether they carry an event: what the idle timeout waits for."""
        event = self.watch is None or self.watch.feed(span)
        sink = self._sink
        if sink is not None:
            sink.feed(span)
            return event
        self.held.append(span)
        self.held_bytes += len(span)
        if not self.first_event_s and (event or self.held_bytes >= HELD_MAX):
            self.first_event_s = now_s
            self._wake()
        elif self._any:
            self._wake()
        if self.held_bytes - self._looked >= HELD_MAX:
            self._hold_up()
        return event

    def on_end(self, trailers: Lines) -> None:
        """The body is complete."""
        self.complete = True
        self.trailers = trailers
        if self._sink is not None:
            self._sink.end(trailers)
        self._wake()

    def on_fault(self, fault: FuseboxError) -> None:
        """The exchange failed."""
        self.fault = fault
        if self._sink is not None:
            self._sink.broken(fault)
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Interim(Protocol):
    """Takes a 1xx response to the client."""

    def __call__(self, status: int, reason: bytes, lines: Lines, /) -> None: ...
