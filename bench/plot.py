"""The picture of a run: cost per request, cost per event and memory, a bar per subject."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cases import Figures
from bench.results import Pick, Results
from bench.subjects import FUSEBOX, Subject

PANELS: tuple[tuple[str, str, Pick], ...] = (
    ("CPU per JSON request, µs\n(32 connections)", "json-32", lambda f: f.cpu_us),
    ("CPU per SSE event, µs\n(100 streams, every 10 ms)", "sse", lambda f: f.cpu_us),
    ("CPU per SSE event, µs\n(TLS to the upstream)", "sse-tls", lambda f: f.cpu_us),
    ("RSS idle, MB", "start", lambda f: f.rss_mib),
    ("RSS, MB\n(8,000 open streams)", "idle-8000", lambda f: f.rss_mib),
)
WIDE = 30
"""Ratio of the longest bar to the shortest above which a panel is drawn on a log scale."""
COLOUR, OWN_COLOUR = "#9aa5b1", "#d9480f"


def draw(figures: Sequence[Figures], subjects: Sequence[Subject], path: Path) -> str | None:
    """Writes the picture as PNG to `path`; the reason why not, when it cannot be drawn.

    matplotlib is imported here and not above: the benchmark runs without it.
    """
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        return "matplotlib is not installed: no plot"
    results = Results(figures)
    panels = [
        (title, case, pick) for title, case, pick in PANELS if any(results.value(case, s.name, pick) for s in subjects)
    ]
    if not panels:
        return "no case of the plot was measured: no plot"
    canvas, axes = pyplot.subplots(
        1, len(panels), figsize=(3.6 * len(panels), 3.2), squeeze=False, layout="constrained"
    )
    for axis, (title, case, pick) in zip(axes[0], panels, strict=True):
        shown = [(s, value.median) for s in reversed(subjects) if (value := results.value(case, s.name, pick))]
        widths = [value for _, value in shown]
        colours = [OWN_COLOUR if s.name == FUSEBOX else COLOUR for s, _ in shown]
        bars = axis.barh([s.title for s, _ in shown], widths, color=colours)
        axis.bar_label(bars, [f"{value:.3g}" for value in widths], padding=3)
        if logarithmic := max(widths) > WIDE * min(widths) > 0:
            axis.set_xscale("log")
        axis.set_xlim(min(widths) / 3 if logarithmic else 0, max(widths) * (4 if logarithmic else 1.3))
        axis.set_title(title + (", log scale" if logarithmic else ""), fontsize=10)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_xticks([], minor=False)  # each bar carries its number
        axis.set_xticks([], minor=True)
    canvas.savefig(path, dpi=150)
    pyplot.close(canvas)
    return None
