"""What a run says of each outage: from what clients saw, what Fusebox logged and what was scripted. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from drill.client import Seen
from drill.log import Change, Log
from drill.outages import PRIMARY, Lived, Span

SUCCESS_MIN = 0.999
"""Of the requests for which a healthy target existed and of whose answer nothing had been sent."""

PROBES = 3
"""Permits of a half-open circuit (docs/breaker.md)."""

EDGE_S = 0.004
"""Times of the log are rounded to milliseconds, and an attempt's begin is computed from three of them."""

BACK_SLACK_S = 0.5
"""Between the end of an open time and the first answer after it lie the next arrival and the answer's own time."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests by how they ended, and the times to their first events in seconds."""

    requests: int
    ok: int
    cut: int
    errors: int
    p50_s: float | None
    p99_s: float | None

    @property
    def success(self) -> float | None:
        """The share of those not cut after their first event; None without any."""
        return self.ok / (self.ok + self.errors) if self.ok + self.errors else None


@dataclass(frozen=True, slots=True)
class Recovery:
    """How one phase began and ended for its sick provider, the first of the chain. Seconds; None: it did not happen.

    `opened_s`: from its begin until the circuit opened; `cooled_s`: until its key cooled. `back_s`: from its end until
    its first good answer to a request sent after that; `closed_s`: until the circuit was closed, 0.0 if it was all the
    time; `period_s`: the open time in force when it ended.
    """

    opened_s: float | None
    cooled_s: float | None
    back_s: float | None
    closed_s: float | None
    period_s: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One outage. `answered_s`: from its end until the first event of an answer, whoever gave it."""

    span: Span
    counts: Counts
    attempts: int
    recoveries: tuple[Recovery, ...]
    probes_max: int
    unanswered: tuple[Seen, ...]
    answered_s: float | None


def count(seen: Sequence[Seen]) -> Counts:
    """How these requests went."""
    waits = sorted(one.first_s - one.at_s for one in seen if one.first_s is not None)
    results = [one.result for one in seen]
    return Counts(
        len(seen),
        results.count("ok"),
        results.count("cut"),
        results.count("error"),
        quantile(waits, 0.50),
        quantile(waits, 0.99),
    )


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value below or at which `share` of them lie (nearest rank); None of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def split(seen: Sequence[Seen], spans: Sequence[Span], log: Log) -> tuple[dict[str, list[Seen]], list[Seen]]:
    """The requests of each outage by its name, and those of the calm.

    A request belongs to an outage if it was under way in any part of it: the calm must have none of its harm. One that
    took the whole chain lasts until the first circuit has closed: until then it is for probes to find a way.
    """
    ends = {span.outage.name: _until(span, log) for span in spans}
    parts: dict[str, list[Seen]] = {span.outage.name: [] for span in spans}
    calm: list[Seen] = []
    for one in seen:
        met = [span.outage.name for span in spans if one.at_s < ends[span.outage.name] and one.end_s >= span.begin_s]
        (parts[met[0]] if met else calm).append(one)
    return parts, calm


def _until(span: Span, log: Log) -> float:
    if span.outage.spares_one:
        return span.end_s
    closed = (change.at_s for change in log.changes if change.now == "closed" and change.at_s > span.end_s)
    return min(closed, default=span.end_s)


def row(span: Span, part: Sequence[Seen], seen: Sequence[Seen], log: Log) -> Row:
    """An outage's figures. `part`: its requests; `seen`: all of the drill."""
    attempts = sum(
        phase.begin_s <= one.at_s < phase.end_s and one.provider in phase.sick
        for phase in span.phases
        for one in log.attempts
    )
    recoveries = tuple(recovery(one, seen, log) for one in span.phases)
    until_s = span.end_s + (recoveries[-1].closed_s or 0.0)
    probes = probes_per_opening(log, PRIMARY, span.begin_s, until_s)
    return Row(
        span,
        count(part),
        attempts,
        recoveries,
        max(probes, default=0),
        tuple(one for one in part if one.result == "error"),
        min(
            (one.first_s - span.end_s for one in seen if one.first_s is not None and one.at_s >= span.end_s),
            default=None,
        ),
    )


def recovery(phase: Lived, seen: Sequence[Seen], log: Log) -> Recovery:
    """How a phase began and ended for the first of its sick providers."""
    sick = phase.sick[0]
    changes = [change for change in log.changes if change.provider == sick]
    opened = next((c.at_s for c in changes if c.now == "open" and phase.begin_s <= c.at_s < phase.end_s), None)
    cooled = next((c.at_s for c in log.coolings if c.provider == sick and phase.begin_s <= c.at_s < phase.end_s), None)
    # A probe sent while it was still sick may fail just after; what it leads to is the period in force.
    period, state = None, "closed"
    for change in changes:
        if change.at_s < phase.end_s + EDGE_S:
            state = change.now
            period = change.open_for_s if change.now == "open" else None if change.now == "closed" else period
    closed = next((c.at_s - phase.end_s for c in changes if c.now == "closed" and c.at_s >= phase.end_s), None)
    back = min(
        (
            one.first_s - phase.end_s
            for one in seen
            if one.provider == sick and one.first_s is not None and one.at_s >= phase.end_s and one.result == "ok"
        ),
        default=None,
    )
    return Recovery(
        None if opened is None else opened - phase.begin_s,
        None if cooled is None else cooled - phase.begin_s,
        back,
        0.0 if state == "closed" else closed,
        period,
    )


def probes_per_opening(log: Log, provider: str, begin_s: float, end_s: float) -> list[int]:
    """Attempts at a provider from each opening of its circuit in this time until it opens again or closes.

    All of them are probes. One that fails opens the circuit in the millisecond in which it began, so the edge after a
    new opening belongs to the old one: nobody else is let in then. After a closing everybody is.
    """
    changes = [one for one in log.changes if one.provider == provider and one.now != "half-open"]
    stretches = [
        (one.at_s + EDGE_S, following.at_s + (EDGE_S if following.now == "open" else -EDGE_S))
        for one, following in pairwise(changes)
        if one.now == "open" and begin_s <= one.at_s <= end_s
    ]
    return [
        sum(first <= one.at_s < last and one.provider == provider for one in log.attempts) for first, last in stretches
    ]


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that must hold, and whether it did."""

    text: str
    held: bool


def promises(rows: Sequence[Row], calm: Counts, log: Log) -> list[Promise]:
    """What the drill is for."""
    low = [name for name, counts in _judged(rows, calm) if counts.success is not None and counts.success < SUCCESS_MIN]
    found = [
        Promise(
            "success of at least 99.9 % wherever a healthy target existed and nothing had been sent"
            + (f" (not so: {', '.join(low)})" if low else ""),
            not low,
        )
    ]
    for one in rows:
        if one.span.outage.name == "flapping":
            found.append(
                Promise("flapping: back on the primary within one open period of each recovery", _in_time(one))
            )
            found.append(
                Promise(f"flapping: no more than the {PROBES} permitted probes meanwhile", one.probes_max <= PROBES)
            )
    found.append(Promise("no error of Fusebox's own making in its log", log.internal_errors == 0))
    return found


def _judged(rows: Sequence[Row], calm: Counts) -> list[tuple[str, Counts]]:
    return [(one.span.outage.name, one.counts) for one in rows if one.span.outage.spares_one] + [("calm", calm)]


def _in_time(one: Row) -> bool:
    return all(
        recovery.back_s is not None and recovery.back_s <= (recovery.period_s or 0.0) + BACK_SLACK_S
        for recovery in one.recoveries
    )


def bands(changes: Sequence[Change], provider: str, end_s: float) -> list[tuple[float, float, str]]:
    """A breaker's states over the whole drill: from, until, state."""
    found: list[tuple[float, float, str]] = []
    since_s, state = 0.0, "closed"
    for change in changes:
        if change.provider == provider:
            found.append((since_s, change.at_s, state))
            since_s, state = change.at_s, change.now
    return [*found, (since_s, end_s, state)]
