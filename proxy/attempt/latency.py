"""How long the first events of each target took of late: what ``order: latency`` sorts by."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

WEIGHT = 0.2
"""Of the newest value in the moving average: half of it comes from the last three answers."""

FORGOTTEN_AFTER_S = 300.0
"""A target that nobody has asked for so long is as good as unknown, so that it is asked again."""

TARGETS_MAX = 512
"""Targets remembered. Clients name models, so the one unused for longest makes room."""


class Latencies:
    """Exponentially weighted moving averages of the time to the first event, in seconds, by ``provider/model``."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def add(self, target: str, seconds: float) -> None:
        """An answer's first event came after `seconds`."""
        before = self.of(target)
        average = seconds if before is None else before + WEIGHT * (seconds - before)
        self._known[target] = (average, self._clock())
        self._known.move_to_end(target)
        if len(self._known) > TARGETS_MAX:
            self._known.popitem(last=False)

    def of(self, target: str) -> float | None:
        """The average, or None when there is none, or none that is still true."""
        known = self._known.get(target)
        if known is None or self._clock() - known[1] > FORGOTTEN_AFTER_S:
            return None
        return known[0]
