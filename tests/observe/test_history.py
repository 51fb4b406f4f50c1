"""The last ten minutes of each provider, from differences of sums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange import Plan, Target, Tried
from proxy.observe.history import POINTS, History, Point, quantile
from proxy.observe.meter import ANSWER_S, Histogram, Meter
from proxy.observe.record import Record

A = Target("a", "m")


def answered(meter: Meter, first_s: float = 0.2, verdict: str = "success") -> None:
    """One request of provider a."""
    record = Record("POST", "/", started_at=10.0, ended_at=20.0, attempts=1, status=200)
    record.decided(Plan("r", (A,)), "m")
    record.ready_at = 10.0 + first_s
    if verdict != "success":
        record.tried = [Tried(A, "a/m", "x", "TRANSPORT", verdict, 0.0, 1.0)]
        record.ready_at = 0.0
    meter.add(record, {})


def counted(history: History, provider: str) -> list[tuple[int, int]]:
    """Attempts and failures of each step."""
    return [(point.attempts, point.failures) for point in history.points([provider])[provider]]


def test_each_look_ends_a_step() -> None:
    """Attempts and failures; what the client broke off says nothing of the provider."""
    meter = Meter()
    history = History(meter)
    answered(meter)
    history.look(["a", "b"])
    for verdict in ("success", "failure", "ignore"):
        answered(meter, verdict=verdict)
    history.look(["a", "b"])
    history.look(["a", "b"])
    assert counted(history, "a") == [(1, 0), (2, 1), (0, 0), (0, 0)]
    assert counted(history, "b") == [(0, 0)] * 4
    assert history.points(["a"])["a"][2] == Point(0, 0, None, None)


def test_the_step_under_way_is_told_as_it_stands() -> None:
    """The page's figures must not wait for the next look: its headline does not. Asking ends no step."""
    meter = Meter()
    history = History(meter)
    answered(meter, verdict="failure")
    assert counted(history, "a") == [(1, 1)]
    history.look(["a"])
    answered(meter, 0.2)
    for attempts in (1, 2):
        last = history.points(["a"])["a"][-1]
        assert (last.attempts, last.failures) == (attempts, attempts - 1) and 0.1 < (last.p95_s or 0) <= 0.25
        answered(meter, verdict="failure")
    history.look(["a"])
    assert counted(history, "a") == [(1, 1), (3, 2), (0, 0)]


def test_the_time_to_the_first_event_is_that_of_the_step() -> None:
    """Not of all time: what was slow before does not stay."""
    meter = Meter()
    history = History(meter)
    answered(meter, 8.0)
    history.look(["a"])
    answered(meter, 0.2)
    history.look(["a"])
    slow, fast, _ = history.points(["a"])["a"]
    assert 7.5 < (slow.p50_s or 0) <= 10 and 0.1 < (fast.p95_s or 0) <= 0.25


def test_it_forgets() -> None:
    """Steps beyond ten minutes, and those of providers that are no more."""
    history = History(Meter())
    for _ in range(POINTS + 3):
        history.look(["a", "gone"])
    assert len(history.points(["a"])["a"]) == POINTS
    history.look(["a"])
    assert counted(history, "gone") == [(0, 0)]


def test_a_provider_that_comes_back_begins_anew() -> None:
    """What it did before a reload took it out is not counted a second time, as if it were of this step."""
    meter = Meter()
    history = History(meter)
    answered(meter)
    history.look(["a"])
    history.look(["b"])
    assert counted(history, "a") == [(0, 0)]
    history.look(["a"])
    assert counted(history, "a") == [(0, 0), (0, 0)]


@given(st.lists(st.floats(0.001, 599), min_size=1, max_size=80), st.sampled_from([0.5, 0.95]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    """No nearer can be told by a histogram."""
    histogram = Histogram(ANSWER_S)
    for value in values:
        histogram.add(value)
    found = quantile(histogram.counts, share)
    rank = max(1, -(-int(share * len(values) * 100) // 100))
    true = sorted(values)[min(rank, len(values)) - 1]
    bounds = (0.0, *ANSWER_S)
    number = next(index for index, bound in enumerate(ANSWER_S) if true <= bound)
    assert found is not None and found == pytest.approx(found)
    near = {number - 1, number, number + 1}
    assert any(bounds[one] <= found <= bounds[one + 1] for one in near if 0 <= one < len(ANSWER_S))


def test_a_quantile_of_nothing_and_of_too_much() -> None:
    """None, and the largest bound."""
    assert quantile([0] * (len(ANSWER_S) + 1), 0.5) is None
    assert quantile([0] * len(ANSWER_S) + [3], 0.5) == ANSWER_S[-1]
