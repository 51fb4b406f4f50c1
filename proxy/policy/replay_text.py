"""A replay's report as text for people: what moves, what it costs, and what could not be told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from proxy.policy.replay import Report, Side
from proxy.policy.replay_cost import Costs, Money
from proxy.policy.replay_log import Tally

ROWS_MAX = 20
"""Rows of a table; the others are counted together. JSON has them all."""


def as_text(report: Report, tally: Tally, *, old_given: bool) -> str:
    """All of it. `old_given`: prices of what was are those of the policy that was in force."""
    parts = [*_lines(report, tally)]
    if report.replayed:
        parts += ["", *_routes(report), "", *_targets(report), "", *_moves(report), *_refusals(report)]
        parts += ["", *_costs(report.costs, old_given=old_given), "", *_notes(report)]
    return "\n".join(parts) + "\n"


def _lines(report: Report, tally: Tally) -> Iterator[str]:
    yield f"{_n(tally.requests)} requests in the log; {_n(report.replayed)} decided again."
    if report.outside:
        yield f"{_n(report.outside)} were not in the time asked for."
    if report.undecided:
        yield f"{_n(report.undecided)} ended before a route was asked for, or went past the routes (/p/)."
    if tally.others:
        yield f"{_n(tally.others)} lines are about something else."
    if tally.broken:
        yield f"{_n(tally.broken)} lines cannot be read:"
        yield from (f"  {example}" for example in tally.examples)


def _routes(report: Report) -> Iterator[str]:
    yield from _table("route", report.before.routes, report.after.routes, _without(report))


def _targets(report: Report) -> Iterator[str]:
    yield from _table("target", report.before.targets, report.after.targets, _without(report, targets=True))


def _without(report: Report, *, targets: bool = False) -> list[tuple[str, int, int]]:
    """Rows of requests that are in no row of a route or target."""
    before: Side = report.before
    rows = [
        ("(no route)", 0 if targets else before.no_route, report.after.no_route),
        ("(cannot be told)", 0, report.untold),
    ]
    return [row for row in rows if row[1] or row[2]]


def _table(
    head: str, before: Mapping[str, int], after: Mapping[str, int], further: list[tuple[str, int, int]]
) -> Iterator[str]:
    names = sorted({*before, *after}, key=lambda name: (-max(before.get(name, 0), after.get(name, 0)), name))
    rows = [(name, before.get(name, 0), after.get(name, 0)) for name in names[:ROWS_MAX]]
    rest = names[ROWS_MAX:]
    if rest:
        rows.append(
            (
                f"({len(rest)} more)",
                sum(before.get(name, 0) for name in rest),
                sum(after.get(name, 0) for name in rest),
            )
        )
    rows += further
    width = max([len(head), *(len(name) for name, _, _ in rows)])
    yield f"{head:{width}}  {'before':>11}  {'after':>11}"
    for name, was, would in rows:
        yield f"{name:{width}}  {_n(was):>11}  {_n(would):>11}"


def _moves(report: Report) -> Iterator[str]:
    yield f"{_n(report.route_moved)} requests change their route, {_n(report.target_moved)} their target."
    moves = sorted(report.moves.items(), key=lambda move: (-move[1], move[0]))
    yield from (f"  {_n(requests):>11}  {move}" for move, requests in moves[:ROWS_MAX])
    if report.never_hit:
        yield f"Routes that no request took: {', '.join(report.never_hit)}."


def _refusals(report: Report) -> Iterator[str]:
    if not report.refusals:
        return
    yield ""
    yield f"{_n(report.after.no_route)} requests would get an error:"
    for reason, refused in sorted(report.refusals.items(), key=lambda one: -one[1].requests)[:ROWS_MAX]:
        yield f"  {_n(refused.requests):>11}  {reason}"
        yield f"               as {', '.join(refused.examples)}"


def _costs(costs: Costs, *, old_given: bool) -> Iterator[str]:
    asked = costs.metered + costs.estimated + costs.unmetered
    if not asked:
        yield "No request was answered by a model, so there is no cost."
        return
    yield (
        f"Cost, of {_n(asked)} answered requests: tokens of {_n(costs.metered)} as metered, of {_n(costs.estimated)}"
        " estimated from the prompt alone (no answer, no cache)"
        + (f", of {_n(costs.unmetered)} not known." if costs.unmetered else ".")
    )
    yield f"  before: {_money(costs.before)}" + (
        "" if old_given else "; by the new file's prices, as --from was not given"
    )
    yield f"  after:  {_money(costs.after)}"
    if costs.both and costs.ratio is not None:
        yield (
            f"  the {_n(costs.both)} requests with a price on both sides: {usd(costs.both_before_usd)} before,"
            f" {usd(costs.both_after_usd)} after, {costs.ratio:.1%} of before"
        )
    for name, side in (("before", costs.before), ("after", costs.after)):
        if side.unpriced_targets:
            most = sorted(side.unpriced_targets, key=lambda target: -side.unpriced_targets[target])[:ROWS_MAX]
            yield f"  without a price {name}: {', '.join(most)}"
    copies = costs.copies
    if copies.priced or copies.unpriced:
        yield f"  copies sent aside cost on top: {_money(copies)}"


def _money(side: Money) -> str:
    if not side.priced:
        return f"not known, {_n(side.unpriced)} requests unpriced"
    unpriced = f", {_n(side.unpriced)} unpriced" if side.unpriced else ""
    return f"{usd(side.usd)} for {_n(side.priced)} requests{unpriced}"


def _notes(report: Report) -> Iterator[str]:
    if report.fell_back:
        yield (
            f"{_n(report.fell_back)} requests fell back to another target than the first; `before` counts the one that"
            " was asked last. `after` counts the first target, as if every provider were well."
        )
    else:
        yield "`after` counts the first target of each plan, as if every provider were well."
    for fact, requests in sorted(report.lacking.items(), key=lambda one: -one[1]):
        yield f"{_n(requests)} requests cannot be told: the log lacks their {fact}, which the policy asks for."
    if report.drawn:
        yield f"{_n(report.drawn)} requests were drawn by chance in a weighted step; a hash of the request's id drew."
    if report.unstuck:
        yield f"{_n(report.unstuck)} of these would stick to a choice, by something that the log does not hold."
    if report.copies:
        copies = ", ".join(f"{_n(requests)} to {target}" for target, requests in report.copies.items())
        yield f"Copies would be sent aside: {copies}."
    if report.by_latency:
        yield "Routes with `order: latency` were taken as written: the log does not hold what their targets took."
    if report.differs:
        yield (
            f"{_n(report.differs)} requests were not routed as the policy given with --from routes them: it is not the"
            " one that was in force for them."
        )


def usd(amount: float) -> str:
    """Dollars, with as many places as a small sum needs."""
    return f"${amount:,.2f}" if amount >= 100 else f"${amount:.4f}"


def _n(number: int) -> str:
    return f"{number:,}"
