"""The picture of a drill: who answered, how the breakers stood, what failed, and how long the first event took."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drill.client import Seen
from drill.figures import bands, quantile
from drill.log import Log
from drill.outages import PROVIDERS, Span

BIN_S = 0.5
COLOURS = {"a": "#1971c2", "b": "#2f9e44", "c": "#f08c00"}
STATES = {"closed": "#d3f9d8", "open": "#e03131", "half-open": "#ffd43b"}
COOLING, LOST, SICK = "#9775fa", "#868e96", "#f1f3f5"


def shares(seen: Sequence[Seen], end_s: float) -> tuple[list[float], dict[str, list[float]]]:
    """For each bin of time its middle, and the share of the requests begun in it that each provider answered.

    The name "" stands for those that nobody answered. A bin without requests has shares of 0.
    """
    bins = max(1, round(end_s / BIN_S))
    counts = {name: [0.0] * bins for name in (*PROVIDERS, "")}
    for one in seen:
        name = one.provider if one.provider in COLOURS and one.first_s is not None else ""
        counts[name or ""][min(int(one.at_s / BIN_S), bins - 1)] += 1
    totals = [sum(counts[name][place] for name in counts) or 1.0 for place in range(bins)]
    middles = [(place + 0.5) * BIN_S for place in range(bins)]
    return middles, {
        name: [value / total for value, total in zip(values, totals, strict=True)] for name, values in counts.items()
    }


def draw(seen: Sequence[Seen], spans: Sequence[Span], log: Log, end_s: float, path: Path) -> str | None:
    """Writes the picture as PNG; the reason why not, when it cannot be drawn: the drill runs without matplotlib."""
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        return "matplotlib is not installed: no plot"
    canvas, (share, states, marks, first) = pyplot.subplots(
        4, 1, figsize=(15, 9.5), sharex=True, layout="constrained", height_ratios=(3, 1.6, 1, 2)
    )
    _draw_shares(share, seen, end_s)
    _draw_states(states, log, end_s, pyplot)
    _draw_marks(marks, seen)
    _draw_first(first, seen, end_s)
    for axis in (share, states, marks, first):
        axis.spines[["top", "right"]].set_visible(False)
        for span in spans:
            for phase in span.phases:
                axis.axvspan(phase.begin_s, phase.end_s, color=SICK, zorder=0)
                for edge in (phase.begin_s, phase.end_s):
                    axis.axvline(edge, color="black", linewidth=0.5, linestyle=":", zorder=3)
    for span in spans:
        title = span.outage.title.replace(" (", "\n(")
        share.text((span.begin_s + span.end_s) / 2, 1.03, title, ha="center", va="bottom", fontsize=8)
    first.set_xlim(0, end_s)
    first.set_xlabel("seconds of the drill")
    canvas.savefig(path, dpi=110)
    pyplot.close(canvas)
    return None


def _draw_shares(axis: Any, seen: Sequence[Seen], end_s: float) -> None:
    middles, parts = shares(seen, end_s)
    labels = [f"answered by {name}" if name else "nobody" for name in parts]
    colours = [COLOURS.get(name, LOST) for name in parts]
    axis.stackplot(middles, *parts.values(), labels=labels, colors=colours, step="mid", zorder=2)
    axis.set_ylim(0, 1)
    axis.set_ylabel("share of the requests\nbegun in half a second")
    axis.legend(loc="lower left", ncols=4, fontsize=8, framealpha=0.9)


def _draw_states(axis: Any, log: Log, end_s: float, pyplot: Any) -> None:
    for place, name in enumerate(reversed(PROVIDERS)):
        for begin_s, until_s, state in bands(log.changes, name, end_s):
            axis.broken_barh([(begin_s, until_s - begin_s)], (place - 0.4, 0.8), color=STATES[state], zorder=2)
        cooled = [(one.at_s, one.for_s) for one in log.coolings if one.provider == name]
        axis.broken_barh(cooled, (place - 0.4, 0.8), color=COOLING, zorder=2)
    axis.set_yticks(range(len(PROVIDERS)), [f"breaker of {name}" for name in reversed(PROVIDERS)])
    patches = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in (*STATES.values(), COOLING)]
    axis.legend(patches, [*STATES, "its key cools"], loc="lower left", ncols=4, fontsize=8, framealpha=0.9)


def _draw_marks(axis: Any, seen: Sequence[Seen]) -> None:
    kinds = (("error", "not answered", "#c92a2a"), ("cut", "cut after\nthe first byte", "#e8590c"))
    labels = []
    for place, (result, label, colour) in enumerate(kinds):
        times = [one.end_s for one in seen if one.result == result]
        axis.plot(times, [place] * len(times), "|", color=colour, markersize=14)
        labels.append(f"{label}: {len(times):,}")
    axis.set_ylim(-0.6, 1.6)
    axis.set_yticks(range(len(kinds)), labels)


def _draw_first(axis: Any, seen: Sequence[Seen], end_s: float) -> None:
    bins: list[list[float]] = [[] for _ in range(max(1, round(end_s / BIN_S)))]
    for one in seen:
        if one.first_s is not None:
            bins[min(int(one.at_s / BIN_S), len(bins) - 1)].append(one.first_s - one.at_s)
    middles = [(place + 0.5) * BIN_S for place in range(len(bins))]
    for quota, label, colour in ((0.5, "p50", "#495057"), (0.99, "p99", "#e64980")):
        values = [quantile(sorted(one), quota) for one in bins]
        axis.plot(middles, [float("nan") if one is None else one * 1000 for one in values], color=colour, label=label)
    axis.set_yscale("log")
    axis.set_ylabel("time to the\nfirst event, ms")
    axis.legend(loc="upper left", ncols=2, fontsize=8, framealpha=0.9)
