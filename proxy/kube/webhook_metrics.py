"""The injector's numbers, as Prometheus reads them: admissions by result and reason, how long they took, the certificate.

Plain numbers, put together when they are asked for, as on the sidecar's admin port. Labels are words of this program: a
reason is a code from a table, never a text that came in.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from proxy import __version__

if TYPE_CHECKING:
    from prometheus_client import Metric

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram's buckets. An admission takes a millisecond or two; an API server waits for five seconds."""

SERIES_MAX = 200
"""Different (review, result, reason); what is beyond counts as ``other``. There are about thirty."""

_CODE = re.compile(r"[a-z][a-z0-9_-]{0,39}")


class Numbers:
    """What the injector has done. `connections` is asked for when the numbers are."""

    def __init__(self) -> None:
        self.admissions = Counter[tuple[str, str, str]]()
        self.refused = Counter[int]()
        self.connections: Callable[[], int] = lambda: 0
        self.connections_closed = 0
        self.certificate_not_after_s: float | None = None
        self.certificate_loads = 0
        self.certificate_failures = 0
        self._taken = dict[str, list[int]]()
        self._taken_sum_s = dict[str, float]()

    def admitted(self, review: str, result: str, reason: str, took_s: float) -> None:
        """One admission was answered."""
        series = review, result, reason if _CODE.fullmatch(reason) else "other"
        if series not in self.admissions and len(self.admissions) >= SERIES_MAX:
            series = review, result, "other"
        self.admissions[series] += 1
        buckets = self._taken.setdefault(review, [0] * (len(BOUNDS_S) + 1))
        buckets[bisect_left(BOUNDS_S, took_s)] += 1
        self._taken_sum_s[review] = self._taken_sum_s.get(review, 0.0) + took_s

    def collect(self) -> Iterator[Metric]:
        """Every metric of the injector, as it is now."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        build = GaugeMetricFamily("fusebox_build_info", "The version that runs.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        admissions = CounterMetricFamily(
            "fusebox_admissions", "Admissions answered.", labels=["review", "result", "reason"]
        )
        for series, count in sorted(self.admissions.items()):
            admissions.add_metric(series, count)
        yield admissions
        yield self._latency()
        refused = CounterMetricFamily(
            "fusebox_admission_requests_refused", "Requests that were no admissions, by status.", labels=["status"]
        )
        for status, count in sorted(self.refused.items()):
            refused.add_metric([str(status)], count)
        yield refused
        yield GaugeMetricFamily(
            "fusebox_webhook_connections", "TLS connections that are open.", value=self.connections()
        )
        yield CounterMetricFamily(
            "fusebox_webhook_connections_closed",
            "Connections closed to make room for others, or for want of room.",
            value=self.connections_closed,
        )
        yield from self._certificate()

    def _certificate(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        if self.certificate_not_after_s is not None:
            yield GaugeMetricFamily(
                "fusebox_certificate_not_after_seconds",
                "When the certificate in use ends, in seconds since 1970.",
                value=self.certificate_not_after_s,
            )
        yield CounterMetricFamily(
            "fusebox_certificate_loads", "Certificates taken into use since the start.", value=self.certificate_loads
        )
        yield CounterMetricFamily(
            "fusebox_certificate_failures",
            "Looks that found new files which cannot serve: the last good certificate stayed.",
            value=self.certificate_failures,
        )

    def _latency(self) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        latency = HistogramMetricFamily(
            "fusebox_admission_seconds", "From the whole request to the answer.", labels=["review"]
        )
        for review, buckets in sorted(self._taken.items()):
            sums, below = [], 0
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), buckets, strict=True):
                below += count
                sums.append((bound, float(below)))
            latency.add_metric([review], sums, self._taken_sum_s[review])
        return latency
