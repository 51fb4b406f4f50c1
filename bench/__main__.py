"""``python -m bench``: runs every case for every subject, round by round, and writes the report."""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import environment, plot, report
from bench.cases import CASES, FAILED, Case, Figures, measure
from bench.processes import BenchError
from bench.subjects import DIRECT, SUBJECTS, Subject
from bench.tls import Certificates, make_certificates
from bench.upstream import find_nginx

OUT = Path(__file__).resolve().parent / "out"
REPORT_NAME = "results.md"
FULL_ROUNDS, FULL_WINDOW_S = 3, 3
QUICK_ROUNDS, QUICK_WINDOW_S = 1, 2


def selected(text: str | None, known: Sequence[str], what: str) -> set[str]:
    """The names in a comma-separated `text`, all when it is None. Raises BenchError for a name that is not known."""
    names = set(text.split(",")) if text else set(known)
    if unknown := names - set(known):
        raise BenchError(f"unknown {what} {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return names


def choose_cases(names: str | None, quick: bool) -> list[Case]:
    """The cases asked for; without names, all of them or the quick ones."""
    chosen = selected(names, [case.name for case in CASES], "case")
    return [case for case in CASES if case.name in chosen and (names or not quick or case.quick)]


def choose_subjects(names: str | None) -> tuple[list[Subject], dict[str, str]]:
    """The subjects asked for that can run here, and for the others the reason why not."""
    chosen = selected(names, [subject.name for subject in SUBJECTS], "subject")
    asked = [subject for subject in SUBJECTS if subject.name in chosen]
    absent = {subject.name: reason for subject in asked if (reason := subject.missing())}
    return [subject for subject in asked if subject.name not in absent], absent


def check_tools(cases: Sequence[Case]) -> None:
    """Raises BenchError, naming the Debian package, when a tool that the load itself needs is absent."""
    if any(case.load == "wrk" for case in cases) and shutil.which("wrk") is None:
        raise BenchError("the wrk command is absent: install Debian's package wrk")
    if any(case.upstream.mode == "nginx" for case in cases):
        find_nginx()


def run(
    cases: Sequence[Case], subjects: Sequence[Subject], rounds: int, window_s: int, certificates: Certificates | None
) -> list[Figures]:
    """Measures everything; the subjects take turns within a round, so a change of the machine's mood meets them all."""
    figures: list[Figures] = []
    for case in cases:
        failed: set[str] = set()  # what cannot carry a case in one round is spared the others: it costs a minute each
        for turn in range(min(rounds, case.rounds)):
            # each round begins with another subject: no one always runs after the same neighbour
            shift = turn % len(subjects)
            for subject in (*subjects[shift:], *subjects[:shift]):
                if subject.name in failed or (subject.name == DIRECT and case.load == "none"):
                    continue
                began_s = time.monotonic()
                figures.append(measured := measure(case, subject, turn, window_s, certificates))
                tell(measured, time.monotonic() - began_s)
                if measured.note.startswith(FAILED):
                    failed.add(subject.name)
    return figures


def tell(figures: Figures, took_s: float) -> None:
    """One line of progress on stderr."""
    parts = [f"{figures.case:10} {figures.subject:8} round {figures.round + 1}"]
    if figures.cpu_us is not None:
        parts.append(f"CPU {figures.cpu_us:8.2f} µs")
    if figures.rate is not None and figures.p50_us is not None and figures.p99_us is not None:
        parts.append(f"{figures.rate:9,.0f}/s  p50 {figures.p50_us:7,.0f} µs  p99 {figures.p99_us:7,.0f} µs")
    if figures.rss_mib is not None:
        parts.append(f"RSS {figures.rss_mib:5.1f} MB")
    if figures.ready_s is not None:
        parts.append(f"ready {figures.ready_s:.2f} s")
    parts.append(f"[{took_s:.1f} s]")
    print("  ".join([*parts, figures.note]), file=sys.stderr, flush=True)


def write(figures: Sequence[Figures], text: str, copy_to: Path | None) -> None:
    """Writes report and raw figures below bench/out/, and a copy of report and plot to `copy_to`."""
    (OUT / REPORT_NAME).write_text(text)
    (OUT / "results.json").write_text(json.dumps([dataclasses.asdict(f) for f in figures], indent=1) + "\n")
    print(f"written: {OUT / REPORT_NAME}", file=sys.stderr)
    if copy_to:
        copy_to.mkdir(parents=True, exist_ok=True)
        for name in (REPORT_NAME, report.PLOT_NAME):
            if (OUT / name).exists():
                shutil.copy(OUT / name, copy_to / name)
                print(f"written: {copy_to / name}", file=sys.stderr)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line as values."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="The cost of Fusebox beside other proxies.")
    parser.add_argument("--quick", action="store_true", help="a few cases, one short round: a minute or two")
    parser.add_argument("--cases", metavar="A,B", help=f"of: {', '.join(case.name for case in CASES)}")
    parser.add_argument("--subjects", metavar="A,B", help=f"of: {', '.join(subject.name for subject in SUBJECTS)}")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds per case (default {FULL_ROUNDS}; 1 to 20)")
    parser.add_argument("--window", type=int, metavar="S", help=f"seconds of load (default {FULL_WINDOW_S}; 1 to 60)")
    parser.add_argument("--write", type=Path, metavar="DIR", help="copy report and plot there as well")
    parsed = parser.parse_args(arguments)
    rounds = parsed.rounds if parsed.rounds is not None else QUICK_ROUNDS if parsed.quick else FULL_ROUNDS
    window_s = parsed.window if parsed.window is not None else QUICK_WINDOW_S if parsed.quick else FULL_WINDOW_S
    if not 1 <= rounds <= 20 or not 1 <= window_s <= 60:
        parser.error("--rounds is 1 to 20 and --window 1 to 60 seconds")
    parsed.rounds, parsed.window = rounds, window_s
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 the run could not be made (a tool is absent, a name is unknown)."""
    # SIGTERM becomes an exception, so that everything started is ended on the way out
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        cases = choose_cases(options.cases, options.quick)
        subjects, absent = choose_subjects(options.subjects)
        check_tools(cases)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for name, reason in absent.items():
        print(f"skipped {name}: {reason}", file=sys.stderr)
    if not cases or not subjects:
        print("bench: nothing is left to measure", file=sys.stderr)
        return 1
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # inherited by all that is started
    facts = environment.describe()
    facts["command"] = f"`{shlex.join(['python', '-m', 'bench', *(sys.argv[1:] if arguments is None else arguments)])}`"
    facts["rounds and window"] = f"{options.rounds} (fewer where a case caps them), {options.window} s"
    facts["descriptors per process"] = str(hard)
    facts |= {f"skipped {name}": reason for name, reason in absent.items()}
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-tls-") as folder:
        try:
            certificates = make_certificates(Path(folder)) if any(case.tls for case in cases) else None
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        figures = run(cases, subjects, options.rounds, options.window, certificates)
    facts["duration"] = f"{time.monotonic() - began_s:.0f} s"
    OUT.mkdir(exist_ok=True)
    (OUT / report.PLOT_NAME).unlink(missing_ok=True)
    no_plot = plot.draw(figures, subjects, OUT / report.PLOT_NAME)
    if no_plot:
        print(f"bench: {no_plot}", file=sys.stderr)
    text = report.markdown(figures, cases, subjects, facts, plot=no_plot is None)
    write(figures, text, options.write)
    print(text.partition("## All cases")[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
