"""What all requests together came to: plain numbers, added to once per request and read when somebody asks.

A metrics library's own counters cost a lock and a look-up for each label; here a request costs one look-up for all of its
numbers, and ``admin/metrics`` makes Prometheus' families of them when it is scraped. Keys are names of the policy: what
clients choose stands in no key.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

from proxy.config.schema import Model
from proxy.exchange import Target, Usage
from proxy.observe.record import Record

ANSWER_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the buckets for answers and their first events: a short embedding to a long chain of reasoning."""

OVERHEAD_S = (25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 0.01, 0.05, 0.25)
"""The same for Fusebox's own part."""

KINDS = ("input", "cached_input", "cache_write", "output", "reasoning", "audio_input", "audio_output")
"""Tokens by kind, as in ``exchange.Usage``: the first and the fourth are wholes, the others parts of them."""

BREAKERS_MAX = 1024
"""Breakers and states of which changes are counted by model; those of further models count as their provider's."""


class Histogram:
    """How often values fell between bounds. `counts` has one more than `bounds`: what is above them all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """One value; one that equals a bound is below it, as Prometheus has it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Each bound with how many values were not above it; infinity comes last."""
        total = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            yield bound, total


class Series:
    """The numbers of one route at one target. `succeeded`: first attempts that were the answer; the others are in
    `Meter.attempts`. `tokens`: by kind.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "cost_usd",
        "duration",
        "fallbacks",
        "first_event",
        "incomplete",
        "requests",
        "succeeded",
        "tokens",
        "unmetered",
        "unpriced",
    )

    def __init__(self) -> None:
        self.requests: dict[int, int] = {}
        self.succeeded = 0
        self.first_event = Histogram(ANSWER_S)
        self.duration = Histogram(ANSWER_S)
        self.tokens = dict.fromkeys(KINDS, 0)
        self.cost_usd = 0.0
        self.unmetered = 0
        self.unpriced = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.incomplete = 0
        self.fallbacks = 0


class Meter:
    """The numbers of the process.

    `series`: by route, provider and model. `requests`: by route, endpoint and status. `attempts`: by provider, model,
    verdict and class; `series` has those that succeeded at once beside. `skipped`: by provider and reason. `errors`: own
    ones by code. `transitions`: by breaker and the state entered. A model is empty where the policy keeps the client's and
    ``models`` does not know it.
    """

    def __init__(self) -> None:
        self.series: dict[tuple[str, str, str], Series] = {}
        self.requests: dict[tuple[str, str, int], int] = {}
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.transitions: Counter[tuple[str, str]] = Counter()
        self.overhead = Histogram(OVERHEAD_S)
        self._further: Counter[tuple[str, str, str, str]] = Counter()
        self._known: dict[tuple[str | None, Target | None], Series] = {}

    @property
    def attempts(self) -> dict[tuple[str, str, str, str], int]:
        """By provider, model, verdict and class."""
        total = Counter(self._further)
        for (_, provider, model), one in self.series.items():
            if one.succeeded:
                total[provider, model, "success", "OK"] += one.succeeded
        return dict(total)

    def add(self, record: Record, models: Mapping[str, Model], now: float) -> None:
        """A request has ended at `now`, of `time.perf_counter`. `models`: those that the policy knows."""
        status, by = record.status, record.by
        way = (record.route or "", record.endpoint, status)
        requests = self.requests
        requests[way] = requests.get(way, 0) + 1
        named = by is None or by.model is not None or not models
        one = self._known.get((record.route, by)) if named else None
        if one is None:
            one = self._series(record, models)
        by_status = one.requests
        by_status[status] = by_status.get(status, 0) + 1
        began = record.started_at
        one.duration.add(now - began)
        one.bytes_in += record.body_in
        one.bytes_out += record.body_out
        ready = record.ready_at
        if ready:
            one.first_event.add(ready - began)
            self.overhead.add(record.overhead_s())
            if by is not record.first:
                one.fallbacks += 1
        if record.tried is not None or record.broke is not None:
            self._tried(record, models, one)
        elif record.attempts:
            one.succeeded += 1
        usage = record.usage
        if usage is not None:
            self._used(one, usage, record.cost_usd)
        elif record.bills:
            one.unmetered += 1
        if record.error_code is not None or record.left_out is not None:
            self._amiss(record)

    def breaker_changed(self, name: str, state: str) -> None:
        """A breaker has entered `state`. With ``scope: target`` clients name models, so there is an end to those kept."""
        if len(self.transitions) >= BREAKERS_MAX and (name, state) not in self.transitions:
            name = name.partition("/")[0]
        self.transitions[name, state] += 1

    def _series(self, record: Record, models: Mapping[str, Model]) -> Series:
        provider, model = labels(record.by, record.target, models)
        key = (record.route or "", provider, model)
        one = self.series.get(key)
        if one is None:
            one = self.series[key] = Series()
        if record.by is None or record.by.model is not None or not models:
            self._known[record.route, record.by] = one
        return one

    def _used(self, one: Series, usage: Usage, cost_usd: float | None) -> None:
        tokens = one.tokens
        tokens["input"] += usage.input
        tokens["output"] += usage.output
        if usage.cached_input or usage.cache_write or usage.reasoning or usage.audio_input or usage.audio_output:
            for kind in ("cached_input", "cache_write", "reasoning", "audio_input", "audio_output"):
                tokens[kind] += getattr(usage, kind)
        if cost_usd is None:
            one.unpriced += 1
        else:
            one.cost_usd += cost_usd

    def _tried(self, record: Record, models: Mapping[str, Model], one: Series) -> None:
        """More than one attempt that succeeded at once."""
        for tried in record.tries():
            provider, model = labels(tried.by, tried.target, models)
            self._further[provider, model, tried.verdict, tried.category] += 1
        if record.broke is not None:
            one.incomplete += 1

    def _amiss(self, record: Record) -> None:
        if record.error_code is not None:
            self.errors[record.error_code] += 1
        for provider, reason in record.left_out or ():
            self.skipped[provider, reason] += 1


def labels(by: Target | None, target: str | None, models: Mapping[str, Model]) -> tuple[str, str]:
    """Provider and model of a target as a metric may name them; `target`: with the client's model, if that was kept."""
    if by is None:
        return "", ""
    if by.model is not None:
        return by.provider, by.model
    # A client's own word is a label only if the policy knows it, too: clients could name as many as they like.
    return by.provider, target[len(by.provider) + 1 :] if target is not None and target in models else ""
