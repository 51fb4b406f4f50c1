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

ANSWER_S = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.0,
    3.0,
    5.0,
    7.5,
    10.0,
    15.0,
    20.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
"""Upper bounds of the buckets for answers and their first events: a server on this machine to a long chain of reasoning."""

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


class _Way:
    """Requests of one route, target, endpoint and status. `series`: None where each has to be looked up."""

    __slots__ = ("count", "series")

    def __init__(self, series: Series | None) -> None:
        self.count = 0
        self.series = series


class Series:
    """The numbers of one route at one target. `fine`: requests that ended with 200, `statuses`: the others. `succeeded`:
    first attempts that were the answer; the others are in `Meter.attempts`. `tokens`: by kind.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "cost_usd",
        "duration",
        "fallbacks",
        "fine",
        "first_event",
        "incomplete",
        "statuses",
        "succeeded",
        "tokens",
        "unmetered",
        "unpriced",
    )

    def __init__(self) -> None:
        self.fine = 0
        self.statuses: dict[int, int] = {}
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

    @property
    def requests(self) -> dict[int, int]:
        """By status."""
        return {200: self.fine, **self.statuses} if self.fine else dict(self.statuses)


class Meter:
    """The numbers of the process.

    `series`: by route, provider and model. `skipped`: by provider and reason. `errors`: own ones by route and code.
    `transitions`: by breaker and the state entered. A model is empty where the policy keeps the client's and ``models``
    does not know it.
    """

    def __init__(self) -> None:
        self.series: dict[tuple[str, str, str], Series] = {}
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[tuple[str, str]] = Counter()
        self.transitions: Counter[tuple[str, str]] = Counter()
        self.overhead = Histogram(OVERHEAD_S)
        self._further: Counter[tuple[str, str, str, str]] = Counter()
        self._ways: dict[tuple[str | None, Target | None, str, int], _Way] = {}

    @property
    def requests(self) -> dict[tuple[str, str, int], int]:
        """By route, endpoint and status."""
        total: Counter[tuple[str, str, int]] = Counter()
        for (route, _, endpoint, status), way in self._ways.items():
            total[route or "", endpoint, status] += way.count
        return dict(total)

    @property
    def attempts(self) -> dict[tuple[str, str, str, str], int]:
        """By provider, model, verdict and class."""
        total = Counter(self._further)
        for (_, provider, model), one in self.series.items():
            if one.succeeded:
                total[provider, model, "success", "OK"] += one.succeeded
        return dict(total)

    def add(self, record: Record, models: Mapping[str, Model]) -> None:
        """A request has ended. `models`: those that the policy knows."""
        by = record.by
        way = self._ways.get((record.route, by, record.endpoint, record.status))
        if way is None:
            way = self._new_way(record)
        one = way.series
        if one is None:  # the client's model was kept, and may be one that the policy knows
            one = self._series(record, models)
        way.count += 1
        # Two steps of `Histogram.add`, without the calls: this is done for every request.
        began, ready, duration = record.started_at, record.ready_at, one.duration
        took = record.ended_at - began
        duration.counts[bisect_left(ANSWER_S, took)] += 1
        duration.sum += took
        one.bytes_in += record.body_in
        one.bytes_out += record.body_out
        if ready:
            first_event, overhead = one.first_event, self.overhead
            took = ready - began
            first_event.counts[bisect_left(ANSWER_S, took)] += 1
            first_event.sum += took
            took = record.overhead_s()
            overhead.counts[bisect_left(OVERHEAD_S, took)] += 1
            overhead.sum += took
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
        if record.status != 200:
            one.statuses[record.status] = one.statuses.get(record.status, 0) + 1
        else:
            one.fine += 1
        if record.error_code is not None:
            self.errors[record.route or "", record.error_code] += 1
        if record.left_out is not None:
            for provider, reason in record.left_out:
                self.skipped[provider, reason] += 1

    def breaker_changed(self, name: str, state: str) -> None:
        """A breaker has entered `state`. With ``scope: target`` clients name models, so there is an end to those kept."""
        if len(self.transitions) >= BREAKERS_MAX and (name, state) not in self.transitions:
            name = name.partition("/")[0]
        self.transitions[name, state] += 1

    def _new_way(self, record: Record) -> _Way:
        by = record.by
        one = None if by is not None and by.model is None else self._series(record, {})
        way = self._ways[record.route, by, record.endpoint, record.status] = _Way(one)
        return way

    def _series(self, record: Record, models: Mapping[str, Model]) -> Series:
        provider, model = labels(record.by, record.target, models)
        key = (record.route or "", provider, model)
        one = self.series.get(key)
        if one is None:
            one = self.series[key] = Series()
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


def labels(by: Target | None, target: str | None, models: Mapping[str, Model]) -> tuple[str, str]:
    """Provider and model of a target as a metric may name them; `target`: with the client's model, if that was kept."""
    if by is None:
        return "", ""
    if by.model is not None:
        return by.provider, by.model
    # A client's own word is a label only if the policy knows it, too: clients could name as many as they like.
    return by.provider, target[len(by.provider) + 1 :] if target is not None and target in models else ""
