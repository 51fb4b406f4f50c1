"""The requests that ended last, kept for those who look, and told to those who watch. Metadata only, as in the log.

A request costs one append. Its line is made when somebody asks for it; so nobody pays for a page that nobody has open.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Any

from proxy.observe.record import Record

KEPT = 200
"""Requests that are kept."""

WAITING_MAX = 256
"""Requests that wait for one who watches and is slow; then the oldest are dropped, and counted."""

WATCHED_MAX = 16
"""Watchers at once: pages that are open, and ``fusebox tail``."""


class TooMany(Exception):
    """There are `WATCHED_MAX` watchers already."""


class Ended:
    """One request that has ended. `seq`: which one since the start, from 1; `at_s`: when, in seconds since 1970."""

    __slots__ = ("_line", "_record", "at_s", "seq")

    def __init__(self, seq: int, record: Record, at_s: float) -> None:
        self.seq = seq
        self.at_s = at_s
        self._record = record
        self._line: dict[str, Any] | None = None

    @property
    def line(self) -> dict[str, Any]:
        """Its log line (docs/logging.md), with `seq`, and the `time` of its end."""
        if self._line is None:
            time = datetime.fromtimestamp(self.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self._line = {"seq": self.seq, "time": time, **self._record.line()}
        return self._line


class Recent:
    """The last requests."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: deque[Ended] = deque(maxlen=kept)
        self._watchers: set[Watcher] = set()
        self.seq = 0

    def add(self, record: Record, at_s: float) -> None:
        """A request has ended. `record` must have its `ended_at`."""
        self.seq += 1
        ended = Ended(self.seq, record, at_s)
        self._kept.append(ended)
        for watcher in self._watchers:
            watcher.put(ended)

    def all(self) -> list[Ended]:
        """Those that are kept, the oldest first."""
        return list(self._kept)

    def watch(self) -> Watcher:
        """Be told of each request that ends from now on. Raises TooMany. The watcher must be closed."""
        if len(self._watchers) >= WATCHED_MAX:
            raise TooMany(f"{WATCHED_MAX} are watching already: close a page, or a `fusebox tail`")
        watcher = Watcher(self)
        self._watchers.add(watcher)
        return watcher

    def forget(self, watcher: Watcher) -> None:
        """It is told no more."""
        self._watchers.discard(watcher)


class Watcher:
    """One who is told. `dropped`: how many requests it was too slow for."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self._waiting: deque[Ended] = deque()
        self._some = asyncio.Event()
        self.dropped = 0

    def put(self, ended: Ended) -> None:
        """A request has ended."""
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(ended)
        self._some.set()

    async def next(self, within_s: float) -> list[Ended]:
        """Those that have ended since; waits `within_s` seconds for the first of them."""
        if not self._waiting:
            self._some.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._some.wait()
            except TimeoutError:
                return []
        ended = list(self._waiting)
        self._waiting.clear()
        return ended

    def close(self) -> None:
        """Be told no more."""
        self._recent.forget(self)
