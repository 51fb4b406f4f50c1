"""The client of the streaming cases: opens streams, counts events, notes how long each was on its way.

Run as ``python -m bench.sse_client --port N --streams N --settle S --window S [--sequential] [--ca FILE]``. It prints
lines of JSON: ``{"phase": "open"}`` when all streams flow, ``begin`` when the window of measurement starts (after
`settle` seconds), ``stop`` when it is over and ``end`` with its figures; or ``failed`` with the problem. It closes its
streams when its standard input closes. With `--sequential` a connection sends its next request when the last stream has
ended, as fast as it goes, and what is noted is the time to the first event.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import ssl
import sys
import time
from array import array
from typing import cast

import httptools
import uvloop

from bench import payloads

OPENING_AT_ONCE = 64
OPEN_WITHIN_S = 30.0


class Tally:
    """Counts of one window, shared by all streams."""

    def __init__(self) -> None:
        self.reset()
        self.broken = 0
        self.problem = ""

    def reset(self) -> None:
        """Starts a new window."""
        self.events = 0
        self.waits_ns = array("q")
        self.first_ns = array("q")

    def fail(self, problem: str) -> None:
        """Notes a stream that did not go as it should; the first problem is kept in words."""
        self.broken += 1
        self.problem = self.problem or problem


class EventScanner:
    """Finds the events in the bytes of a body that may be cut anywhere."""

    def __init__(self) -> None:
        self._carry = b""

    def stamps(self, body: bytes) -> list[bytes]:
        """The time stamps of the events that `body` completes."""
        if self._carry:
            body = self._carry + body
        if body.endswith(b"\n"):  # a stamp never holds a line's end, so none is cut here
            self._carry = b""
        else:
            whole, newline, self._carry = body.rpartition(b"\n")
            body = whole + newline
        return payloads.STAMPED.findall(body)


class Stream(asyncio.Protocol):
    """One connection to the subject."""

    def __init__(self, tally: Tally, request: bytes, sequential: bool) -> None:
        self._tally = tally
        self._request = request
        self._sequential = sequential
        self.flowing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class, not a subclass of it
        self._send()

    def _send(self) -> None:
        self._scanner = EventScanner()
        self._parser = httptools.HttpResponseParser(self)
        self._waiting = True
        self._sent_ns = time.monotonic_ns()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._now_ns = time.monotonic_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._tally.fail(f"unreadable response: {error}")
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if (status := self._parser.get_status_code()) != 200:
            self._tally.fail(f"status {status}")
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """Called by the parser for each span of body bytes."""
        tally, now_ns = self._tally, self._now_ns
        for stamp in self._scanner.stamps(body):
            tally.events += 1
            tally.waits_ns.append(now_ns - int(stamp))
        if self._waiting:
            self._waiting = False
            tally.first_ns.append(now_ns - self._sent_ns)
            if not self.flowing.done():
                self.flowing.set_result(None)

    def on_message_complete(self) -> None:
        """Called by the parser at the end of a response."""
        if self._sequential:
            # the parser is still in use by the caller: the next request starts in the loop's next turn
            asyncio.get_running_loop().call_soon(self._send)
        else:
            self._tally.fail("a stream ended that should not")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closing:
            self._tally.fail(f"connection lost: {exc or 'closed by the other side'}")
        if not self.flowing.done():
            self.flowing.set_exception(ConnectionError("closed before the first event"))
            self.flowing.exception()  # looked at here, because the opener may have given up already


def quantile_us(values_ns: array[int], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie, in microseconds; 0 when there are none."""
    ordered = sorted(values_ns)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000 if ordered else 0.0


def say(**facts: object) -> None:
    """One line of JSON to the run that started this client."""
    print(json.dumps(facts), flush=True)


async def open_streams(arguments: argparse.Namespace, tally: Tally) -> list[Stream]:
    """All streams, each with its first bytes received; a bounded number is being opened at a time."""
    loop = asyncio.get_running_loop()
    request = payloads.stream_request(arguments.port)
    context = ssl.create_default_context(cafile=arguments.ca) if arguments.ca else None
    gate = asyncio.Semaphore(OPENING_AT_ONCE)

    async def open_one() -> Stream:
        async with gate:
            _, stream = await loop.create_connection(
                lambda: Stream(tally, request, arguments.sequential), "127.0.0.1", arguments.port, ssl=context
            )
            await stream.flowing
            return stream

    async with asyncio.timeout(OPEN_WITHIN_S), asyncio.TaskGroup() as group:
        tasks = [group.create_task(open_one()) for _ in range(arguments.streams)]
    return [task.result() for task in tasks]


async def run(arguments: argparse.Namespace) -> int:
    """Opens, settles, measures, closes. The exit code is 1 when not all streams could be opened."""
    tally = Tally()
    began_s = time.monotonic()
    try:
        streams = await open_streams(arguments, tally)
    except (ExceptionGroup, TimeoutError) as error:
        reason = error.exceptions[0] if isinstance(error, ExceptionGroup) else f"not all open in {OPEN_WITHIN_S:.0f} s"
        say(phase="failed", problem=f"opening {arguments.streams} streams: {tally.problem or reason}")
        return 1
    say(phase="open", open_s=time.monotonic() - began_s)
    await asyncio.sleep(arguments.settle)
    tally.reset()
    began_s = time.monotonic()
    say(phase="begin")
    await asyncio.sleep(arguments.window)
    window_s = time.monotonic() - began_s
    say(phase="stop")  # before the sorting below, so that the CPU clocks are read at the window's end
    events, waits, firsts = tally.events, tally.waits_ns, tally.first_ns
    say(
        phase="end",
        window_s=window_s,
        units=len(firsts) if arguments.sequential else events,
        p50_us=quantile_us(firsts if arguments.sequential else waits, 0.5),
        p99_us=quantile_us(firsts if arguments.sequential else waits, 0.99),
        broken=tally.broken,
        problem=tally.problem,
    )
    sys.stdin.read()  # until it closes: memory is read while the streams are open
    for stream in streams:
        stream.closing = True
        stream.transport.abort()
    return 0


def main() -> None:
    """Reads the command line and runs the load."""
    parser = argparse.ArgumentParser(prog="python -m bench.sse_client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--settle", type=float, default=1.0, help="seconds")
    parser.add_argument("--window", type=float, default=3.0, help="seconds")
    parser.add_argument("--sequential", action="store_true")
    parser.add_argument("--ca", help="PEM file with the authority to trust; TLS when given")
    arguments = parser.parse_args()
    gc.freeze()
    gc.disable()  # a collection over thousands of streams would show up as latency of the proxies
    sys.exit(uvloop.run(run(arguments)))


if __name__ == "__main__":
    main()
