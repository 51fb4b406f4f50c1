"""Log lines: structlog, JSON by orjson, written to stdout by a thread, so that a reader that stalls stalls nobody.

Lines gather in memory and go out a few times a second. When nobody reads, the oldest beyond a bound are dropped and
counted: a log that cannot be written never holds up a request (promise "Live") nor fills the memory ("Bounded").
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, BinaryIO

import orjson
import structlog

FLUSH_EVERY_S = 0.1
"""How late a line may be. Short enough for eyes, long enough that a busy proxy writes hundreds at a time."""

LINES_MAX = 20_000
"""Lines that wait for a stalled reader, some 10 MB; then the oldest are dropped."""


class LineWriter:
    """Takes lines without ever blocking; a daemon thread writes them."""

    def __init__(self, stream: BinaryIO, *, lines_max: int = LINES_MAX) -> None:
        self._stream = stream
        self._lines: deque[bytes] = deque()
        self._lines_max = lines_max
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Have `line` written soon; its line end is added."""
        lines = self._lines
        if len(lines) >= self._lines_max:
            self.dropped += 1
            lines.popleft()
        lines.append(line)

    def flush(self) -> None:
        """Write what is waiting now, in the caller's thread."""
        with self._writing:
            lines = self._lines
            batch = [lines.popleft() for _ in range(len(lines))]
            if self.dropped:
                batch.append(orjson.dumps({"event": "log_lines_dropped", "level": "warning", "count": self.dropped}))
                self.dropped = 0
            if not batch:
                return
            try:
                self._stream.write(b"\n".join(batch) + b"\n")
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
    """structlog's innermost logger: every level is one more line."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = put


def _render(logger: object, method: str, event: Any) -> bytes:
    return orjson.dumps(event, default=repr)


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(put: Callable[[bytes], None], level: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of the process; its lines go to `put` as JSON without a line end."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: _Output(put),
        cache_logger_on_first_use=True,
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger.bind()
