"""How the last ten minutes went, provider by provider: differences of the numbers, taken every few seconds.

Requests pay nothing for it: it reads the sums that are there (`observe/meter`). Pure, but for what it remembers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from proxy.observe.meter import ANSWER_S, Meter

EVERY_S = 5.0
"""Seconds between two looks."""

POINTS = 120
"""Looks that are remembered: ten minutes."""


class Point(msgspec.Struct, frozen=True, array_like=True):
    """One step of `EVERY_S`. `attempts`, `failures`: those that ended in it; `p50_s`, `p95_s`: the time to the first event
    of its answers, estimated from the histogram's buckets; None without any.
    """

    attempts: int
    failures: int
    p50_s: float | None
    p95_s: float | None


class _Sums(msgspec.Struct):
    attempts: int = 0
    failures: int = 0
    buckets: list[int] = []


class History:
    """The points of each provider."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._before: dict[str, _Sums] = {}
        self._points: dict[str, deque[Point]] = {}

    def look(self, providers: Iterable[str]) -> None:
        """One more point for each of `providers`; others are forgotten."""
        names = list(providers)
        sums = {name: _Sums(buckets=[0] * (len(ANSWER_S) + 1)) for name in names}
        for (provider, _, verdict, _), count in self._meter.attempts.items():
            if provider in sums and verdict != "ignore":
                sums[provider].attempts += count
                sums[provider].failures += count if verdict == "failure" else 0
        for (_, provider, _), series in self._meter.series.items():
            if provider in sums:
                buckets = sums[provider].buckets
                for number, count in enumerate(series.first_event.counts):
                    buckets[number] += count
        for name in names:
            now, before = sums[name], self._before.get(name)
            points = self._points.setdefault(name, deque(maxlen=POINTS))
            if before is None:
                before = _Sums(buckets=[0] * len(now.buckets))
            step = [count - earlier for count, earlier in zip(now.buckets, before.buckets, strict=True)]
            points.append(
                Point(
                    now.attempts - before.attempts,
                    now.failures - before.failures,
                    quantile(step, 0.5),
                    quantile(step, 0.95),
                )
            )
        self._before = sums
        for gone in self._points.keys() - sums.keys():
            del self._points[gone]

    def points(self, provider: str) -> list[Point]:
        """Those of one provider, the oldest first."""
        return list(self._points.get(provider, ()))


def quantile(counts: list[int], share: float) -> float | None:
    """The value below which `share` of what was counted lies, in seconds; None: nothing was.

    As Prometheus' `histogram_quantile`: even within a bucket, and the largest bound for what is above it.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, below, lower = share * total, 0, 0.0
    for bound, count in zip(ANSWER_S, counts, strict=False):
        if count and below + count >= wanted:
            return lower + (bound - lower) * (wanted - below) / count
        below, lower = below + count, bound
    return ANSWER_S[-1]
