"""A deadline that moves often and passes seldom, for the price of a comparison.

A timer of the event loop is set only when none is set that fires early enough. When it fires before the present deadline,
because that has moved on meanwhile, it is set again. So a connection whose deadline moves with every event, and that goes
from exchange to exchange, costs a timer once per timeout, not once per event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

CLOCK_RESOLUTION_S = 0.001
"""uvloop's clock counts milliseconds, and a timer may fire within the last one."""


class Deadline:
    """Calls `passed` once the time last given to `move` has come."""

    __slots__ = ("_at", "_fires_at", "_loop", "_passed", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self._loop = loop
        self._passed = passed
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0

    def move(self, at: float) -> None:
        """The deadline is now `at`, on the loop's clock."""
        self._at = at
        if self._timer is None:
            self._set()
        elif self._fires_at > at:
            self._timer.cancel()
            self._set()

    def stop(self) -> None:
        """There is no deadline any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        self._fires_at = self._at
        self._timer = self._loop.call_at(self._at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._loop.time() < self._at - CLOCK_RESOLUTION_S:
            self._set()
        else:
            self._passed()
