"""Moving averages of the time to the first event: their values, what is forgotten, and their bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.attempt.latency import FORGOTTEN_AFTER_S, TARGETS_MAX, WEIGHT, Latencies


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """The tests' clock."""
    return Clock()


@pytest.fixture
def latencies(clock: Clock) -> Latencies:
    """Latencies of which nothing is known yet."""
    return Latencies(clock)


def test_values(latencies: Latencies) -> None:
    """The first is the average; each further one moves it by a fifth of the way; targets have their own."""
    assert latencies.of("a/m") is None
    found = []
    for seconds in (1.0, 2.0, 2.0, 0.0):
        latencies.add("a/m", seconds)
        found.append(latencies.of("a/m"))
    assert found == pytest.approx([1.0, 1.2, 1.36, 1.088])
    latencies.add("b/m", 0.5)
    assert latencies.of("b/m") == 0.5
    assert latencies.of("a/m") == pytest.approx(1.088)


@pytest.mark.parametrize(("age_s", "known"), [(0.0, True), (FORGOTTEN_AFTER_S, True), (FORGOTTEN_AFTER_S + 0.5, False)])
def test_what_is_old_is_forgotten(latencies: Latencies, clock: Clock, age_s: float, known: bool) -> None:
    """Then the next answer begins a new average, in which the old one has no part."""
    latencies.add("a/m", 9.0)
    clock.now_s += age_s
    assert (latencies.of("a/m") is not None) is known
    latencies.add("a/m", 1.0)
    assert latencies.of("a/m") == pytest.approx(9.0 + WEIGHT * (1.0 - 9.0) if known else 1.0)


def test_each_answer_keeps_the_average_for_another_while(latencies: Latencies, clock: Clock) -> None:
    """The age is that of the last answer, not of the first."""
    for _ in range(5):
        latencies.add("a/m", 2.0)
        clock.now_s += FORGOTTEN_AFTER_S
    assert latencies.of("a/m") == pytest.approx(2.0)


def test_no_more_targets_than_the_bound(latencies: Latencies) -> None:
    """Clients name models: the one without an answer for longest makes room, one that is answered stays."""
    for number in range(TARGETS_MAX):
        latencies.add(f"a/{number}", 1.0)
    latencies.add("a/0", 1.0)
    latencies.add("a/one more", 1.0)
    assert latencies.of("a/0") == 1.0 and latencies.of("a/one more") == 1.0
    assert latencies.of("a/1") is None and latencies.of("a/2") == 1.0
    for number in range(10 * TARGETS_MAX):
        latencies.add(f"b/{number}", 1.0)
    known = [number for number in range(10 * TARGETS_MAX) if latencies.of(f"b/{number}") is not None]
    assert known == list(range(9 * TARGETS_MAX, 10 * TARGETS_MAX))


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=20))
def test_an_average_lies_among_its_values(values: list[float]) -> None:
    """Never below the least or above the greatest, but for the last digit."""
    latencies = Latencies(Clock())
    for seconds in values:
        latencies.add("a/m", seconds)
    found = latencies.of("a/m")
    assert found is not None and min(values) - 1e-9 <= found <= max(values) + 1e-9
