"""How the last ten minutes went, provider by provider: differences of the numbers, taken every few seconds and on demand.

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
"""Steps that are shown, the one under way included: ten minutes."""


class Point(msgspec.Struct, frozen=True, array_like=True):
    """One step of `EVERY_S`, or its part so far. `attempts`, `failures`: of the requests that ended in it; `p50_s`, `p95_s`:
    the time to the first event of its answers, estimated from the histogram's buckets; None without any.
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
        self._ended: dict[str, deque[Point]] = {}

    def look(self, providers: Iterable[str]) -> None:
        """The step under way ends, and one more begins: a point for each of `providers`; others are forgotten."""
        names, now = list(providers), self._sums()
        # One place is left for the step under way.
        self._ended = {name: self._ended.get(name, deque(maxlen=POINTS - 1)) for name in names}
        for name, points in self._ended.items():
            points.append(self._step(name, now))
        self._before = now

    def points(self, providers: Iterable[str]) -> dict[str, list[Point]]:
        """Those of each of `providers`, the oldest first; the last is of the step under way, up to this moment.

        Without that one the page's figures would be silent for up to `EVERY_S` about what its headline and its requests tell.
        """
        now = self._sums()
        return {name: [*self._ended.get(name, ()), self._step(name, now)] for name in providers}

    def _sums(self) -> dict[str, _Sums]:
        """Those of every provider that was ever asked, of the policy or not: one that comes back goes on from its own."""
        sums: dict[str, _Sums] = {}
        for (provider, _, verdict, _), count in self._meter.attempts.items():
            if verdict != "ignore":
                of_provider = sums.setdefault(provider, _nothing())
                of_provider.attempts += count
                of_provider.failures += count if verdict == "failure" else 0
        for (_, provider, _), series in self._meter.series.items():
            buckets = sums.setdefault(provider, _nothing()).buckets
            for number, count in enumerate(series.first_event.counts):
                buckets[number] += count
        return sums

    def _step(self, name: str, sums: dict[str, _Sums]) -> Point:
        now, before = sums.get(name) or _nothing(), self._before.get(name) or _nothing()
        step = [count - earlier for count, earlier in zip(now.buckets, before.buckets, strict=True)]
        return Point(
            now.attempts - before.attempts, now.failures - before.failures, quantile(step, 0.5), quantile(step, 0.95)
        )


def _nothing() -> _Sums:
    return _Sums(buckets=[0] * (len(ANSWER_S) + 1))


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
