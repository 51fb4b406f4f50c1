"""The upstream for streams and for large bodies: one process, precomputed bytes, one timer for all streams.

Run as ``python -m bench.upstream_server --port N --mode MODE``; it ends when its standard input closes, so it never
outlives the run that started it. Modes: `answer` reads the whole body and sends one JSON answer; `first` sends a short
complete stream at once; `stream` sends events until the client leaves.

A stream belongs to one of `slots` slots, which take turns within the interval: independent streams do not speak in the
same millisecond, and a proxy that got all of them in one wake-up would look cheaper than it is.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import ssl
import sys
import time
from typing import cast

import httptools
import uvloop

from bench import payloads

STALLED_BYTES = 1 << 20
"""Unsent bytes after which a stream is dropped: a proxy that is this far behind no longer keeps up with the load."""


class Timer:
    """Sends an event (or a burst of them) to each open stream once per interval."""

    def __init__(self, interval_s: float, burst: int, slots: int) -> None:
        self._burst = burst
        self._slots: list[dict[asyncio.Transport, None]] = [{} for _ in range(slots)]
        self._step_s = interval_s / slots
        self._opened = 0
        self._due_s = 0.0
        self._next_slot = 0

    def start(self) -> None:
        """Begins to tick in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._due_s = self._loop.time() + self._step_s
        self._loop.call_later(self._step_s, self._tick)

    def add(self, transport: asyncio.Transport) -> int:
        """Takes a stream in, in turn over the slots; the number is for `remove`."""
        slot = self._opened % len(self._slots)
        self._opened += 1
        self._slots[slot][transport] = None
        return slot

    def remove(self, transport: asyncio.Transport, slot: int) -> None:
        """Forgets a stream that has ended."""
        self._slots[slot].pop(transport, None)

    def _tick(self) -> None:
        # A timer fires on whole milliseconds and a little late: all slots that have become due get their turn.
        now_s = self._loop.time()
        while self._due_s <= now_s:
            slot = self._slots[self._next_slot]
            self._next_slot = (self._next_slot + 1) % len(self._slots)
            self._due_s += self._step_s
            if slot:
                data = payloads.stamped_event(time.monotonic_ns()) * self._burst
                for transport in list(slot):
                    transport.write(data)
        # Never less than a millisecond: uvloop rounds a shorter wait to none, and the loop would spin until the slot is
        # due, taking a core from the proxy that is measured.
        self._loop.call_later(max(0.001, self._due_s - self._loop.time()), self._tick)


class Answerer(asyncio.Protocol):
    """One client connection: requests are answered as the mode says, one after another."""

    def __init__(self, mode: str, timer: Timer) -> None:
        self._mode = mode
        self._timer = timer
        self._slot = -1
        self._answer = payloads.answer_response()
        # No on_body here: the parser then skips the body without handing out copies of it.
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class, not a subclass of it
        self._transport.set_write_buffer_limits(high=STALLED_BYTES)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_complete(self) -> None:
        """Called by the parser when the request has been read to its end."""
        if self._mode == "answer":
            self._transport.write(self._answer)
            return
        first = payloads.STREAM_HEAD + payloads.stamped_event(time.monotonic_ns())
        if self._mode == "first":
            self._transport.write(first + payloads.STREAM_END)
        elif self._slot < 0:
            self._transport.write(first)
            self._slot = self._timer.add(self._transport)

    def pause_writing(self) -> None:
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._slot >= 0:
            self._timer.remove(self._transport, self._slot)


async def serve(arguments: argparse.Namespace) -> None:
    """Serves until standard input closes."""
    loop = asyncio.get_running_loop()
    context = None
    if arguments.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.certificate, arguments.key)
    timer = Timer(arguments.interval_ms / 1000, arguments.burst, arguments.slots)
    if arguments.mode == "stream":
        timer.start()
    parent_gone = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), parent_gone.set)
    server = await loop.create_server(
        lambda: Answerer(arguments.mode, timer), "127.0.0.1", arguments.port, backlog=4096, ssl=context
    )
    await parent_gone.wait()
    server.close()


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="python -m bench.upstream_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=("answer", "first", "stream"), required=True)
    parser.add_argument("--interval-ms", type=float, default=10.0)
    parser.add_argument("--burst", type=int, default=1, help="events per write")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--certificate", help="PEM file; TLS when given")
    parser.add_argument("--key", help="PEM file")
    arguments = parser.parse_args()
    gc.freeze()
    gc.disable()  # a collection over thousands of streams would show up as latency of the proxies
    uvloop.run(serve(arguments))


if __name__ == "__main__":
    main()
