"""Traces: which requests are recorded, under which ids, and the queue on which they wait for their export.

On a request's way only ids are drawn and times noted; at its end it is put on a bounded queue. A thread of its own makes
spans of what waits there (``observe/trace_spans``) and sends them (``observe/trace_otlp``). A receiver that is down, slow or
silent costs spans, which are counted, and nothing else.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from proxy.observe.logs import Logger
from proxy.observe.record import Record
from proxy.observe.trace import Trace, new_id
from proxy.wire.traceparent import SAMPLED, Parent

QUEUE_MAX = 2048
"""Requests that wait for their export, some KB each; one more is dropped, and counted."""

BATCH_MAX = 256
"""Requests whose spans are sent together: a few hundred KB."""

EVERY_S = 5.0
"""How long a request waits at the most until its spans are sent; as long as OpenTelemetry's own processors take."""

STOP_S = 2.0
"""How long the end of the process waits for what is still to be sent."""

SAY_EVERY_S = 60.0
"""Least time between two log lines about spans that could not be sent."""

PAUSE_S = 0.0001
"""After the spans of each request: long enough for whoever waits to come first, short enough for thousands a second."""


class Export(Protocol):
    """Where spans go. Both methods are called in a thread."""

    def send(self, records: Sequence[Record], pause: Callable[[], None]) -> str | None:
        """Send the spans of `records`; None, or in words why it could not be done. `pause` is called after each record's."""

    def close(self) -> None:
        """Give up what is being sent; nothing more will come."""


class Tracer:
    """Begins traces, and has `export` send the spans of those requests that have ended. Needs a running event loop.

    `dropped`: requests whose spans were not sent, because the queue was full or because sending failed. `sample`: the
    share of recorded traces, of those that begin here. `every_s`: how long a request waits at the most.
    """

    def __init__(self, export: Export, sample: float, logger: Logger, every_s: float = EVERY_S) -> None:
        self._export = export
        self._logger = logger
        self._every_s = every_s
        # As OpenTelemetry's TraceIdRatioBased decides, so that others who sample by the same share agree.
        self._below = round(sample * 2**64)
        self._queue: deque[Record] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._sending = 0
        self._said_at = -SAY_EVERY_S
        self._said = 0
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    # On a request's way.

    def begin(self, parent: Parent | None) -> Trace | None:
        """The trace of a request; None: its client does not record it, so all of it stays as it came."""
        at = time.perf_counter()
        if parent is not None:
            if not parent.sampled:
                return None
            return Trace(parent.trace_id, new_id(64), parent.span_id, parent.flags, time.time_ns(), at)
        trace_id = new_id(128)
        flags = SAMPLED if int(trace_id[16:], 16) < self._below else 0
        return Trace(trace_id, new_id(64), None, flags, time.time_ns(), at)

    def ended(self, record: Record, ended_at_s: float) -> None:
        """A request has ended, as ``recorder.Ended``."""
        trace = record.trace
        if trace is None or not trace.recorded:
            return
        queue = self._queue
        if len(queue) >= QUEUE_MAX:
            self._drop(1, "more requests end than can be sent")
            return
        queue.append(record)
        if len(queue) == BATCH_MAX:
            self._wake.set()

    async def stop(self) -> None:
        """Send what waits, as far as `STOP_S` allows."""
        self._stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, STOP_S)
        self._export.close()
        left = len(self._queue) + self._sending
        if left:
            self._drop(left, "the process ended first")

    def _drop(self, count: int, why: str) -> None:
        """Count what is not sent, and say so now and then. Called in the loop's thread."""
        self.dropped += count
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY_S or self._stopping:
            self._logger.warning("traces_dropped", why=why, requests=self.dropped - self._said, all=self.dropped)
            self._said_at, self._said = now, self.dropped

    # In the thread.

    def _run(self) -> None:
        queue, failed = self._queue, False
        while True:
            # After a failure the whole time passes, so that nobody is stormed; only the end of the process is sooner.
            while not self._stopping and (failed or len(queue) < BATCH_MAX):
                woken = self._wake.wait(self._every_s)
                self._wake.clear()
                failed = failed and woken
                if not woken:
                    break
            if queue:
                failed = not self._send([queue.popleft() for _ in range(min(len(queue), BATCH_MAX))])
            if self._stopping and (failed or not queue):
                return

    def _send(self, records: list[Record]) -> bool:
        """Send them; whether that went well."""
        self._sending = len(records)
        try:
            why = self._export.send(records, self._pause)
        except Exception as error:
            why = f"an error of its own ({type(error).__name__})"
        self._sending = 0
        if why is not None:
            self._tell(len(records), why)
        return why is None

    def _pause(self) -> None:
        """Let requests go on: making a span is all Python, and the event loop waits for it each time it comes back."""
        if not self._stopping:
            time.sleep(PAUSE_S)

    def _tell(self, count: int, why: str) -> None:
        try:
            self._loop.call_soon_threadsafe(self._drop, count, why)
        except RuntimeError:  # the loop has been closed: the process ends, and nobody listens
            self.dropped += count
