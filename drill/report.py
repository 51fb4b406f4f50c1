"""The report of a drill as Markdown. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from bench.report import NONE, table
from drill.client import Seen
from drill.figures import Counts, Promise, Recovery, Row
from drill.outages import Mode
from drill.policy import SLOW_RATE, Setting

INTRODUCTION = """# Outage drill

`make drill` plays an hour of a real service's arrivals and sizes in a few minutes: streaming clients, Fusebox as it is
installed, and a chain of three providers of which the first (in the last outage: each) fails as scripted. This page is
its report, as written; [drill/README.md](../drill/README.md) says how it is made.

- **success**: whole answers among the requests for which a healthy target existed and of whose answer nothing had been
  sent when it failed. What broke after its first byte stands apart: there is no second answer then.
- **sent to the sick**: attempts at the failing provider while it failed, by Fusebox's log; in brackets those that
  reached it.
- **back on the primary**: from its recovery to its first good answer to a request sent after that; **circuit closed**:
  until everything goes there again; **open period in force**: how long the circuit's current opening lasted. A probe
  that is still waiting when the provider recovers (slow, silent) fails only then, and opens the circuit once more.
- A stream that breaks was a success at its first event, for probes as well: a provider that answers and then cuts is let
  in again after each open time, until the window has seen enough of its cuts.
"""

HEADS = (
    "Outage",
    "requests",
    "success",
    "not answered",
    "cut after the first byte",
    "sent to the sick (seen by it)",
    "time to open",
    "back on the primary",
    "circuit closed",
    "open period in force",
    "first event p50",
    "p99",
)


def markdown(
    rows: Sequence[Row],
    calm: Counts,
    found: Sequence[Promise],
    settings: Sequence[Setting],
    facts: Mapping[str, str],
    seen: Sequence[Seen],
    *,
    plot: str | None,
) -> str:
    """Everything: the table, what was promised, what the SDK's part saw, and what it depends on. `plot`: its file."""
    lines = [_row(one) for one in rows] + [_calm(calm)]
    parts = [INTRODUCTION, table(HEADS, lines)]
    parts.append("\n".join(f"- {'yes' if one.held else '**no**'}: {one.text}" for one in found) + "\n")
    if plot:
        parts.append(f"![The drill over its time]({plot})\n")
    parts.append("## When nobody is left\n\n" + _all_lost(rows))
    parts.append("## The clients\n\n" + _clients(seen))
    parts.append("## Times\n\n" + _times(settings))
    parts.append("## The run\n\n" + "\n".join(f"- {name}: {value}" for name, value in facts.items()) + "\n")
    return "\n".join(parts)


def _row(one: Row) -> list[str]:
    counts, outage = one.counts, one.span.outage
    limited = one.span.phases[0].mode is Mode.LIMITING
    opened = _spread(one.recoveries, lambda r: r.opened_s)
    if limited and opened == NONE:
        opened = "cools after " + _spread(one.recoveries, lambda r: r.cooled_s)
    return [
        outage.title,
        f"{counts.requests:,}",
        percent(counts.success) if outage.spares_one else "no healthy target",
        f"{counts.errors:,}",
        f"{counts.cut:,}",
        f"{one.attempts:,} ({sum(phase.seen for phase in one.span.phases):,})",
        opened,
        _spread(one.recoveries, lambda r: r.back_s),
        _spread(one.recoveries, lambda r: r.closed_s),
        _spread(one.recoveries, lambda r: r.period_s),
        seconds(counts.p50_s),
        seconds(counts.p99_s),
    ]


def _calm(calm: Counts) -> list[str]:
    counted = [f"{calm.requests:,}", percent(calm.success), f"{calm.errors:,}", f"{calm.cut:,}"]
    return ["the calm between", *counted, *[NONE] * 5, seconds(calm.p50_s), seconds(calm.p99_s)]


def percent(share: float | None) -> str:
    """A share, never rounded up to 100 %."""
    if share is None:
        return NONE
    return "100 %" if share == 1 else f"{min(share * 100, 99.999):.3f} %"


def seconds(value: float | None) -> str:
    """A time of the drill."""
    return NONE if value is None else f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _spread(recoveries: Sequence[Recovery], pick: Callable[[Recovery], float | None]) -> str:
    """One time, or the least and the greatest of several phases."""
    values = [value for one in recoveries if (value := pick(one)) is not None]
    if not values:
        return NONE
    low, high = seconds(min(values)), seconds(max(values))
    return low if low == high else f"{low} – {high}"


def _all_lost(rows: Sequence[Row]) -> str:
    text = []
    for one in rows:
        if one.span.outage.spares_one:
            continue
        back, first = seconds(one.recoveries[0].back_s), seconds(one.answered_s)
        text.append(
            f"While the whole chain was down, until the first circuit had closed again: {one.counts.errors:,} of"
            f" {one.counts.requests:,} requests went unanswered, {one.counts.ok:,} were answered. The first answer of a"
            f" recovered provider began {first} after the recovery, the first of the primary after {back}. What the"
            " clients were told:\n"
        )
        text.append(table(("Answer", "requests"), _told(one.unanswered)))
    return "\n".join(text)


def _told(unanswered: Sequence[Seen]) -> list[list[str]]:
    kinds = Counter(
        f"{one.status} `{one.own or one.why}`" + (f", Retry-After {one.retry_after}" if one.retry_after else "")
        for one in unanswered
    )
    return [[kind, f"{number:,}"] for kind, number in kinds.most_common()]


def _clients(seen: Sequence[Seen]) -> str:
    lines = []
    for name, part in (
        ("plain streaming client, no retries", [one for one in seen if not one.sdk]),
        ("OpenAI SDK, its own retries as by default", [one for one in seen if one.sdk]),
    ):
        results = Counter(one.result for one in part)
        lines.append([name, f"{len(part):,}", *(f"{results[kind]:,}" for kind in ("ok", "error", "cut"))])
    return table(("Client", "requests", "whole", "not answered", "cut after the first byte"), lines)


def _times(settings: Sequence[Setting]) -> str:
    lines = [[f"`{one.path}`", plain(one.real_s), plain(one.drill_s)] for one in settings]
    return (
        table(("Setting", "in real time", "in the drill"), lines)
        + f"\nAll times in the tables are of the drill. Beside these: `breaker.slow_rate` {SLOW_RATE:g}. Times that are"
        " no settings are not compressed: 3 s of the window that confirms a streak, one early probe a second when every"
        " target is out, 60 s as the"
        " longest open time: here it is as long as a quarter of an hour, so the way back from a long outage takes longer"
        " than a real minute would.\n"
    )


def plain(value_s: float) -> str:
    """A setting, without zeros that say nothing."""
    text = f"{value_s:.3f}" if value_s < 10 else f"{value_s:.1f}"
    return re.sub(r"\.?0+$", "", text) + " s"
