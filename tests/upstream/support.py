"""What the tests of connections share: a wire and a clock that the test moves by hand, a sink that keeps what it gets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from proxy.config.schema import Seconds, Timeouts
from proxy.errors import FuseboxError
from proxy.upstream.answer import Answer, Lines
from proxy.upstream.connection import Connection, Limits
from proxy.upstream.dial import Origin, dial
from proxy.upstream.egress import EgressProxy
from tests.scripted import turns, within

TIMEOUTS = Timeouts(
    connect=Seconds(3), head=Seconds(30), first_event=Seconds(60), idle=Seconds(120), total=Seconds(600)
)

EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: list[bytes] = []
        self.trailers: Lines | None = None
        self.fault: FuseboxError | None = None
        self.over = asyncio.Event()

    def feed(self, span: bytes) -> None:
        assert span, "a span is never empty"
        self.spans.append(span)

    def end(self, trailers: Lines) -> None:
        assert not self.over.is_set(), "an answer ends once"
        self.trailers = trailers
        self.over.set()

    def broken(self, fault: FuseboxError) -> None:
        assert not self.over.is_set(), "an answer ends once"
        self.fault = fault
        self.over.set()

    @property
    def body(self) -> bytes:
        return b"".join(self.spans)


async def whole(answer: Answer) -> bytes:
    """The body of an answer, to its end. Raises the fault that came instead."""
    await within(answer.ready())
    kept = Kept()
    kept.spans += answer.held
    if not answer.complete:
        answer.attach(kept)
        await within(kept.over.wait())
    if kept.fault is not None:
        raise kept.fault
    return kept.body


def limits(*, streamed: bool = False, timeouts: Timeouts = TIMEOUTS, now: float | None = None) -> Limits:
    """Limits whose total begins now, on the running loop's clock or at `now`."""
    begun = asyncio.get_running_loop().time() if now is None else now
    return Limits(timeouts, streamed, begun + timeouts.total)


class Dialled:
    """Makes connections by `dial`; `idle` are those that came back after an exchange."""

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self._made: list[Connection] = []

    async def __call__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        proxy: EgressProxy | None = None,
        timeout_s: float = 20.0,
    ) -> Connection:
        """A new connection. `timeout_s` is generous: only tests about it make it short."""
        origin = Origin("http" if tls is None else "https", host, port)
        connection = await within(dial(origin, tls=tls, proxy=proxy, timeout_s=timeout_s, on_idle=self.idle.append))
        self._made.append(connection)
        return connection

    async def close(self) -> None:
        for connection in self._made:
            connection.abort()
        await turns()


def ask(connection: Connection, request: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", **options: Any) -> Answer:
    """Send a whole request; its answer."""
    answer = connection.begin(limits(**options), head_only=request.startswith(b"HEAD "), interim=None)
    connection.write(request)
    connection.sent()
    return answer


class Timer:
    """A timer of `HandLoop`."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class HandLoop:
    """What a connection uses of an event loop, with a clock that only `advance` moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> Timer:
        timer = Timer(at, call)
        self.timers.append(timer)
        return timer

    @property
    def pending(self) -> list[Timer]:
        """The timers that are still to fire."""
        return [timer for timer in self.timers if not timer.cancelled]

    def advance(self, seconds: float) -> None:
        """Move the clock on, and fire every timer that has come meanwhile, in order."""
        end = self.now + seconds
        while due := [timer for timer in self.pending if timer.at <= end]:
            first = min(due, key=lambda timer: timer.at)
            first.cancelled = True
            self.now = max(self.now, first.at)
            first.call()
        self.now = end


class Wire(asyncio.Transport):
    """A transport that goes nowhere and remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.reading = True
        self.aborted = False
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


@dataclass
class Bench:
    """A connection on a `Wire` with a `HandLoop`: each `feed` is one read, and time stands still."""

    loop: HandLoop = field(default_factory=HandLoop)
    wire: Wire = field(default_factory=Wire)
    idle: list[Connection] = field(default_factory=list)
    interim: list[tuple[int, bytes, Lines]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connection = Connection(cast(asyncio.AbstractEventLoop, self.loop), self.idle.append)
        self.connection.connection_made(self.wire)

    def begin(
        self, *, head_only: bool = False, streamed: bool = False, sent: bool = True, timeouts: Timeouts = TIMEOUTS
    ) -> Answer:
        """Begin an exchange; `sent` False: its request is still going out."""
        answer = self.connection.begin(
            limits(streamed=streamed, timeouts=timeouts, now=self.loop.now),
            head_only=head_only,
            interim=lambda status, reason, lines: self.interim.append((status, reason, lines)),
        )
        if sent:
            self.connection.sent()
        return answer

    def feed(self, *reads: bytes) -> None:
        """Reads, one after the other, as long as the connection is open."""
        for read in reads:
            if read and not self.wire.aborted:
                self.connection.data_received(read)
