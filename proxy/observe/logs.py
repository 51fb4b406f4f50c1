"""Log lines: structlog, JSON by orjson, written to stdout by a thread, so that a reader that stalls stalls nobody.

Lines gather in memory and go out a few times a second. When nobody reads, the oldest beyond a bound are dropped and
counted: a log that cannot be written never holds up a request (promise "Live") nor fills the memory ("Bounded").
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, BinaryIO

import orjson
import structlog

FLUSH_EVERY_S = 0.1
"""How late a line may be. Short enough for eyes, long enough that a busy proxy writes hundreds at a time."""

BLOCK = 64 * 1024
"""Bytes of lines that gather in one piece of memory. As objects of their own, the lines of a tenth of a second would be
spread over a megabyte, and each request would touch memory that is in no cache."""

BLOCKS_MAX = 160
"""Blocks that wait for a stalled reader, 10 MB; then the oldest are dropped."""


class LineWriter:
    """Takes lines without ever blocking; a daemon thread writes them."""

    def __init__(self, stream: BinaryIO, *, block: int = BLOCK, blocks_max: int = BLOCKS_MAX) -> None:
        self._stream = stream
        self._block = block
        self._blocks_max = blocks_max
        self._full: deque[tuple[bytearray, int]] = deque()
        self._filling = bytearray()
        self._lines = 0
        # Held for as long as it takes to append a line, or to take all blocks away; never while anything is written.
        self._filled = threading.Lock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self.dropped = 0
        self._told = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Have `line` written soon; its line end is added."""
        with self._filled:
            filling = self._filling
            filling += line
            filling += b"\n"
            self._lines += 1
            if len(filling) >= self._block:
                self._set_aside()
                if len(self._full) > self._blocks_max:
                    self.dropped += self._full.popleft()[1]

    def _set_aside(self) -> None:
        self._full.append((self._filling, self._lines))
        self._filling, self._lines = bytearray(), 0

    def flush(self) -> None:
        """Write what is waiting now, in the caller's thread."""
        with self._writing:
            with self._filled:
                if self._lines:
                    self._set_aside()
                full, self._full = self._full, deque()
                dropped, self._told = self.dropped - self._told, self.dropped
            if dropped:
                told = orjson.dumps({"event": "log_lines_dropped", "level": "warning", "count": dropped})
                full.append((bytearray(told + b"\n"), 0))
            try:
                for block, _ in full:
                    self._stream.write(block)
                if full:
                    self._stream.flush()
            except (OSError, ValueError):
                pass  # stdout is gone (closed pipe): there is nobody left to tell

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is waiting and end the thread; a reader that stalls gets `timeout_s`."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_EVERY_S):
            self.flush()
        self.flush()


class _Output:
    """structlog's innermost logger."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self.msg = put


class _Finish:
    """The one processor: level and time added, rendered. One call per line instead of one per step, as lines are many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = self._moment = -1
        self._prefix = self._text = ""

    def __call__(self, logger: object, method: str, event: Any) -> bytes:
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, method, event)
        at_s = event.pop("time", None)  # of what happened before it is told
        moment = int((self._clock() if at_s is None else at_s) * 1000)
        if moment != self._moment:
            self._moment, self._text = moment, self._written(moment)
        event["level"] = method
        event["time"] = self._text
        try:
            return orjson.dumps(event, default=repr)
        except TypeError:
            # A lone surrogate (a path of stray bytes), or an integer beyond 64 bits: no line is lost for that.
            return json.dumps(event, default=repr, ensure_ascii=False).encode("utf-8", "replace")

    def _written(self, moment: int) -> str:
        """RFC 3339 with milliseconds; made anew only when they change, as many lines share one."""
        second, millisecond = divmod(moment, 1000)
        if second != self._second:
            self._second, self._prefix = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{millisecond:03d}Z"


class Logger(structlog.BoundLoggerBase):
    """The process's logger: structlog's pipeline, with a short way for the one line that every request writes.

    `level` and above is written. structlog's own bound loggers copy the fields twice and look the method up by name, which
    is most of the cost of a line (see docs/performance.md); here a line is one call of the processors.
    """

    level = 20

    def debug(self, event: str, **fields: Any) -> None:
        """What only somebody who looks for a fault wants to read."""
        if self.level <= 10:
            self.line("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """What happens in the ordinary course of things."""
        if self.level <= 20:
            self.line("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """What somebody should look at, though it works."""
        if self.level <= 30:
            self.line("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """What does not work."""
        self.line("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error of our own, with the traceback of the exception being handled."""
        self.line("error", event, {**fields, "exc_info": True})

    def line(self, level: str, event: str, fields: dict[str, Any], at_s: float | None = None) -> None:
        """Write one line whatever its level; `fields` is used up. `at_s`: when it happened, if not now."""
        fields["event"] = event
        if at_s is not None:
            fields["time"] = at_s
        rendered: Any = fields
        for processor in self._processors:
            rendered = processor(self._logger, level, rendered)
        self._logger.msg(rendered)


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def set_level(logger: Logger, level: str) -> None:
    """Have the process's logger write `level` and above from now on."""
    type(logger).level = _LEVELS[level]


def configure(put: Callable[[bytes], None], level: str, clock: Callable[[], float] = time.time) -> Logger:
    """The logger of the process; its lines go to `put` as JSON without a line end."""
    wrapper = type("Logger", (Logger,), {"level": _LEVELS[level]})
    structlog.configure(
        processors=[_Finish(clock)],
        wrapper_class=wrapper,
        logger_factory=lambda *_: _Output(put),
        cache_logger_on_first_use=True,
    )
    logger: Logger = structlog.get_logger().bind()
    return logger
