"""The report of a run as Markdown: the targets first, then every case, then what the numbers depend on. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.cases import Case, Figures
from bench.results import TARGETS, Pick, Results, Spread, Target
from bench.subjects import DIRECT, FUSEBOX, Subject

NONE = "–"
PLOT_NAME = "results.png"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers and set to the right."""
    rules = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rules, *rows)) + "\n"


def number(value: float) -> str:
    """Three digits that count: 0.62, 7.3, 36, 1,300."""
    size = abs(value)
    return f"{value:.2f}" if size < 5 else f"{value:.1f}" if size < 20 else f"{value:,.0f}"


def with_range(found: Spread | None) -> str:
    """Median, with the lowest and highest round where there is more than one."""
    if found is None:
        return NONE
    alone = found.low == found.high
    return number(found.median) if alone else f"{number(found.median)} ({number(found.low)}–{number(found.high)})"


def plain(found: Spread | None) -> str:
    """The median alone."""
    return number(found.median) if found else NONE


def times(found: Spread | None) -> str:
    """A ratio."""
    return f"{number(found.median)} ×" if found else NONE


def headline(results: Results) -> str:
    """The targets: what Fusebox measured, and whether that is within the limit."""
    rows = []
    for target in TARGETS:
        measured = results.value(target.case, FUSEBOX, target.pick)
        ratio = results.ratio(target.case, FUSEBOX, target.pick)
        limit = f"≤ {target.limit:g} × nginx" if target.relative else f"≤ {target.limit:g} {target.unit}"
        shown = f"{number(measured.median)} {target.unit}" if measured else "not measured"
        rows.append([target.title, limit, shown, times(ratio), verdict(target, measured, ratio)])
    return table(["Target", "limit", "Fusebox", "ratio to nginx", "met"], rows)


def verdict(target: Target, measured: Spread | None, ratio: Spread | None) -> str:
    """yes or no, by the median; a dash where it was not measured."""
    decides = ratio if target.relative else measured
    if decides is None:
        return NONE
    return "yes" if decides.median <= target.limit else "**no**"


def case_table(case: Case, subjects: Sequence[Subject], results: Results) -> str:
    """One case, a row per subject; the columns depend on what the case can show."""
    p50, p99 = results.added(lambda f: f.p50_us), results.added(lambda f: f.p99_us)
    columns: list[tuple[str, Pick]] = []
    if case.load != "none":
        columns = [(f"CPU µs per {case.unit}", lambda f: f.cpu_us), ("added p50 µs", p50), ("added p99 µs", p99)]
    columns += [("RSS MB", lambda f: f.rss_mib), ("Pss MB", lambda f: f.pss_mib)]
    if case.body_bytes >= 1_000_000:
        columns.append(("peak RSS MB", lambda f: f.peak_rss_mib))
    if case.load == "none":
        columns.append(("ready s", lambda f: f.ready_s))
    heads = ["subject"] + [head for name, _ in columns for head in (name, "× nginx")]
    if case.load != "none":
        heads += [f"{case.unit}s per s", "busy"]
    rows = []
    for subject in subjects:
        if subject.name == DIRECT and case.load == "none":
            continue
        row = [subject.title]
        for index, (_, pick) in enumerate(columns):
            value = results.value(case.name, subject.name, pick)
            row.append(with_range(value) if index == 0 else plain(value))
            row.append(times(results.ratio(case.name, subject.name, pick)))
        if case.load != "none":
            rate = results.value(case.name, subject.name, lambda f: f.rate)
            busy = results.value(case.name, subject.name, lambda f: f.busy)
            row += [plain(rate), f"{busy.median:.0%}" if busy else NONE]
        if subject.name == DIRECT:  # its "added" is zero by definition
            row = [row[0], *([NONE] * (len(row) - 3)), *row[-2:]]
        rows.append(row)
    notes = "".join(f"- {name}: {' '.join(note.split())[:400]}\n" for name, note in results.notes(case.name))
    return f"### {case.title} (`{case.name}`)\n\n{table(heads, rows)}" + (f"\n{notes}" if notes else "")


def load_table(cases: Sequence[Case], results: Results) -> str:
    """What the load itself costs, from the direct runs: neither client nor upstream may cap the numbers."""
    rows = []
    for case in cases:
        if case.load != "none":
            picks: tuple[Pick, ...] = (
                lambda f: f.upstream_cpu_us,
                lambda f: f.client_cpu_us,
                lambda f: f.p50_us,
                lambda f: f.p99_us,
                lambda f: f.rate,
            )
            rows.append(
                [f"{case.name} ({case.unit})", *(plain(results.value(case.name, DIRECT, pick)) for pick in picks)]
            )
    return table(["case (unit)", "upstream CPU µs", "client CPU µs", "p50 µs", "p99 µs", "units per s"], rows)


def markdown(
    figures: Sequence[Figures], cases: Sequence[Case], subjects: Sequence[Subject], facts: dict[str, str], plot: bool
) -> str:
    """The whole report; `facts` are listed as they are."""
    results = Results(figures)
    parts = [
        "# Cost, measured side by side\n",
        "CPU is that of the proxy's processes. Ratios are to nginx in the same round. Numbers are medians of the "
        "rounds, the first figure with its lowest and highest round in brackets. MB are 2^20 bytes. How each figure "
        "is measured, and what limits it: bench/README.md.\n",
        "## Targets\n",
        headline(results),
        *([f"![Cost per request, per event and memory]({PLOT_NAME})\n"] if plot else []),
        "## All cases\n",
        *(case_table(case, subjects, results) for case in cases),
        "## What the load itself costs (direct, without a proxy)\n",
        load_table(cases, results),
        "## Machine, versions, command\n",
        "".join(f"- {name}: {fact}\n" for name, fact in facts.items()),
    ]
    return "\n".join(parts)
