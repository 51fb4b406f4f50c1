"""Medians, ratios, added latency and the verdict on the targets."""

from __future__ import annotations

import os

import pytest

from bench.__main__ import choose_cases, parse, selected
from bench.cases import CASES, Figures
from bench.measure import cpu_s, memory, process_tree
from bench.processes import BenchError
from bench.report import headline, markdown, number
from bench.results import Results, Spread
from bench.subjects import SUBJECTS


def json_32(subject: str, turn: int, cpu_us: float | None, p50_us: float) -> Figures:
    """A measurement of the case json-32."""
    return Figures("json-32", subject, turn, cpu_us=cpu_us, p50_us=p50_us)


ROUNDS = [
    json_32("direct", 0, None, 100),
    json_32("nginx", 0, 10, 300),
    json_32("fusebox", 0, 40, 700),
    json_32("direct", 1, None, 200),
    json_32("nginx", 1, 20, 400),
    json_32("fusebox", 1, 60, 1200),
]


def test_ratios_are_taken_within_a_round() -> None:
    """40/10 and 60/20 make a median of 3.5, not the ratio of the medians."""
    assert Results(ROUNDS).ratio("json-32", "fusebox", lambda f: f.cpu_us) == Spread(3.5, 3.0, 4.0)


def test_added_latency_is_the_difference_to_direct_in_the_same_round() -> None:
    """700 - 100 and 1200 - 200; its ratio to what nginx added: 600/200 and 1000/200."""
    results = Results(ROUNDS)
    added = results.added(lambda f: f.p50_us)
    assert results.value("json-32", "fusebox", added) == Spread(800, 600, 1000)
    assert results.ratio("json-32", "fusebox", added) == Spread(4.0, 3.0, 5.0)


def test_a_ratio_without_nginx_is_unknown() -> None:
    """A round in which nginx was not measured gives no ratio, rather than one to another round."""
    alone = [f for f in ROUNDS if f.subject != "nginx"]
    assert Results(alone).ratio("json-32", "fusebox", lambda f: f.cpu_us) is None


@pytest.mark.parametrize(("mine", "nginx", "expected"), [(-1, 10, None), (10, -1, None), (10, 0, None), (0, 10, 0.0)])
def test_a_negative_difference_has_no_ratio(mine: float, nginx: float, expected: float | None) -> None:
    """Noise may make an added latency negative; zero of something is still a ratio."""
    found = Results([json_32("nginx", 0, nginx, 0), json_32("fusebox", 0, mine, 0)])
    ratio = found.ratio("json-32", "fusebox", lambda f: f.cpu_us)
    assert (ratio.median if ratio else None) == expected


@pytest.mark.parametrize(("cpu_us", "expected"), [(50.0, "| yes |"), (50.1, "| **no** |")])
def test_a_target_is_met_up_to_its_limit(cpu_us: float, expected: str) -> None:
    """5 x nginx is the limit for JSON: 50 µs meet it beside nginx's 10, more do not."""
    lines = headline(Results([json_32("nginx", 0, 10, 0), json_32("fusebox", 0, cpu_us, 0)])).splitlines()
    assert lines[2].endswith(expected)
    assert all(line.endswith("| – |") for line in lines[3:])


def test_the_report_names_every_failure() -> None:
    """A measurement that failed leaves dashes in its table and its reason below it."""
    figures = [*ROUNDS, Figures("json-32", "haproxy", 0, note="failed: no port")]
    text = markdown(figures, [CASES[1]], SUBJECTS, {"date": "today"}, plot=False)
    assert "- haproxy: failed: no port" in text
    assert "| HAProxy, one thread | – |" in text
    assert "- date: today" in text


def test_numbers_keep_three_digits() -> None:
    """Small numbers keep decimals, large ones get separators."""
    assert [number(value) for value in (0.123, 7.26, 36.4, 1300.2)] == ["0.12", "7.3", "36", "1,300"]


def test_selections() -> None:
    """Names select in the order of the table, --quick takes the quick cases, an unknown name is an error that helps."""
    assert [case.name for case in choose_cases("sse,json-1", quick=True)] == ["json-1", "sse"]
    assert choose_cases(None, quick=True) == [case for case in CASES if case.quick]
    assert choose_cases(None, quick=False) == list(CASES)
    with pytest.raises(BenchError, match="unknown case nope; there are: a, b"):
        selected("nope,a", ["a", "b"], "case")


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--rounds", "21"], ["--window", "0"], ["--window", "61"]])
def test_a_run_is_bounded(arguments: list[str]) -> None:
    """Rounds and windows outside their bounds are refused as wrong usage."""
    with pytest.raises(SystemExit) as refused:
        parse(arguments)
    assert refused.value.code == 2


def test_a_process_tree_holds_children_of_children() -> None:
    """Parents first, strangers left out."""
    assert process_tree(10, {1: 0, 10: 1, 11: 10, 12: 11, 13: 1}) == [10, 11, 12]


def test_cpu_and_memory_of_this_process() -> None:
    """The CPU clock of a process grows with its work and agrees with what the process sees itself; memory adds up."""
    before = cpu_s([os.getpid()])
    sum(range(100_000))
    spent = sum(os.times()[:2])
    assert before < cpu_s([os.getpid()])
    assert abs(cpu_s([os.getpid()]) - spent) < 1.0
    used = memory([os.getpid()])
    assert 0 < used.pss_mib <= used.rss_mib <= used.peak_rss_mib * 1.01


def test_cpu_of_an_ended_process_is_an_error() -> None:
    """A sum that misses a process would look like a cheap proxy."""
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    with pytest.raises(ProcessLookupError, match="has ended"):
        cpu_s([child])
