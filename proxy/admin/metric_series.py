"""The numbers of requests as families of metrics: from ``observe/meter`` to Prometheus' types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from proxy.observe.meter import Histogram, Meter

if TYPE_CHECKING:
    from prometheus_client import Metric

_WAY = ["route", "provider", "model"]


def of_requests(meter: Meter) -> Iterator[Metric]:
    """Everything that is counted of requests."""
    from prometheus_client.core import CounterMetricFamily

    requests = CounterMetricFamily(
        "fusebox_requests", "Requests that have ended.", labels=["route", "endpoint", "status"]
    )
    for (route, endpoint, status), count in meter.requests.items():
        requests.add_metric([route, endpoint, str(status)], count)
    yield requests
    attempts = CounterMetricFamily(
        "fusebox_attempts", "Attempts at a target, as they ended.", labels=["provider", "model", "verdict", "class"]
    )
    for attempt, count in meter.attempts.items():
        attempts.add_metric(list(attempt), count)
    yield attempts
    skipped = CounterMetricFamily(
        "fusebox_skipped", "Targets of a plan that were left out.", labels=["provider", "reason"]
    )
    for (provider, reason), count in meter.skipped.items():
        skipped.add_metric([provider, reason], count)
    yield skipped
    errors = CounterMetricFamily(
        "fusebox_errors", "Answers that were errors of Fusebox's own.", labels=["route", "code"]
    )
    for (route, code), count in meter.errors.items():
        errors.add_metric([route, code], count)
    yield errors
    yield from _times(meter)
    yield from _amounts(meter)


def _times(meter: Meter) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    duration = HistogramMetricFamily(
        "fusebox_request_duration_seconds", "From a request's arrival to the end of its answer.", labels=_WAY
    )
    first_event = HistogramMetricFamily(
        "fusebox_time_to_first_event_seconds",
        "From a request's arrival to the first event or bytes of its answer.",
        labels=_WAY,
    )
    for way, one in meter.series.items():
        duration.add_metric(list(way), _buckets(one.duration), one.duration.sum)
        if one.first_event.count:
            first_event.add_metric(list(way), _buckets(one.first_event), one.first_event.sum)
    yield duration
    yield first_event
    overhead = HistogramMetricFamily("fusebox_overhead_seconds", "Fusebox's own part of a request's time.")
    overhead.add_metric([], _buckets(meter.overhead), meter.overhead.sum)
    yield overhead


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """As the library wants them: each upper bound with how many values were not above it."""
    return [("+Inf" if bound == float("inf") else str(bound), count) for bound, count in histogram.cumulative()]


def _amounts(meter: Meter) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    tokens = CounterMetricFamily(
        "fusebox_tokens", "Tokens, as the providers told; input and output are wholes.", labels=[*_WAY, "kind"]
    )
    plain = {
        "cost_usd": CounterMetricFamily("fusebox_cost_usd", "What answers cost, in US dollars.", labels=_WAY),
        "unmetered": CounterMetricFamily(
            "fusebox_unmetered", "Answers of which the provider did not tell the tokens.", labels=_WAY
        ),
        "unpriced": CounterMetricFamily("fusebox_unpriced", "Answers whose tokens have no price.", labels=_WAY),
        "fallbacks": CounterMetricFamily(
            "fusebox_fallbacks", "Answers by another target than the plan's first.", labels=_WAY
        ),
        "incomplete": CounterMetricFamily(
            "fusebox_stream_incomplete", "Answers that broke off after their first byte.", labels=_WAY
        ),
        "bytes_in": CounterMetricFamily("fusebox_request_bytes", "Bytes of requests' bodies.", labels=_WAY),
        "bytes_out": CounterMetricFamily("fusebox_response_bytes", "Bytes of answers' bodies.", labels=_WAY),
    }
    for way, one in meter.series.items():
        for kind, count in one.tokens.items():
            if count:
                tokens.add_metric([*way, kind], count)
        for name, family in plain.items():
            family.add_metric(list(way), getattr(one, name))
    yield tokens
    yield from plain.values()
