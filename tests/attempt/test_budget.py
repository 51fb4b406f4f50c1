"""Retry budgets and places, on a fake clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.attempt.budget import Places, RetryBudget
from tests.attempt.fakes import FakeClock


def spent(budget: RetryBudget, times: int) -> int:
    """How many of `times` retries are granted at once."""
    return sum(budget.spend() for _ in range(times))


def test_a_quiet_target_may_be_retried_once_a_second() -> None:
    """Ten at once, and then one each time that an old one has been forgotten."""
    clock = FakeClock()
    budget = RetryBudget(0.2, clock=clock)
    assert spent(budget, 50) == 10
    clock.tick(9.0)
    assert budget.spend() is False
    clock.tick(1.0)
    assert spent(budget, 50) == 10
    steady = RetryBudget(0.2, clock=clock)
    granted = 0
    for _ in range(100):
        granted += spent(steady, 5)
        clock.tick(1.0)
    assert granted == pytest.approx(100, abs=10)


@pytest.mark.parametrize(("requests", "granted"), [(0, 0), (4, 0), (5, 1), (9, 1), (10, 2), (1000, 200)])
def test_requests_pay_for_a_fifth_of_their_number(requests: int, granted: int) -> None:
    """Five buy one, exactly."""
    budget = RetryBudget(0.2, clock=FakeClock(), floor_per_s=0.0)
    for _ in range(requests):
        budget.pay_in()
    assert budget.balance() == pytest.approx(0.2 * requests)
    assert spent(budget, 500) == granted


def test_what_is_not_used_is_not_saved_up() -> None:
    """After ten seconds a request pays for nothing any more."""
    clock = FakeClock()
    budget = RetryBudget(0.2, clock=clock, floor_per_s=0.0)
    for _ in range(100):
        budget.pay_in()
    clock.tick(9.0)
    assert budget.balance() == pytest.approx(20.0)
    clock.tick(1.0)
    assert budget.balance() == 0.0 and budget.spend() is False


def test_a_share_of_zero_grants_nothing() -> None:
    """Not even the floor: `budget: 0` switches retries off."""
    budget = RetryBudget(0.0, clock=FakeClock())
    budget.pay_in()
    assert budget.spend() is False


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([0.02, 0.2, 1.0]),
    st.sampled_from([0.0, 1.0]),
    st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=80),
)
def test_any_history_grants_what_a_list_would(share: float, floor: float, history: list[tuple[bool, int]]) -> None:
    """Requests and retries at any moments, against the plain definition."""
    clock = FakeClock(64.0)
    budget = RetryBudget(share, clock=clock, floor_per_s=floor)
    paid: list[float] = []
    granted: list[float] = []

    def live(moments: list[float]) -> int:
        return sum(math.floor(at_s) > math.floor(clock()) - 10 for at_s in moments)

    for request, quarters in history:
        clock.tick(quarters / 4)
        if request:
            budget.pay_in()
            paid.append(clock())
        else:
            expected = 10 * floor + share * live(paid) - live(granted) >= 1 - 1e-9
            assert budget.spend() is expected
            if expected:
                granted.append(clock())


@pytest.mark.parametrize("limit", [1, 2, 64])
def test_places_are_refused_at_once_when_all_are_taken(limit: int) -> None:
    """And given again as soon as one is left."""
    places = Places(limit)
    assert [places.take() for _ in range(limit + 1)] == [True] * limit + [False]
    assert places.taken == limit
    places.leave()
    assert places.take() is True and places.take() is False


def test_without_a_limit_there_is_always_a_place() -> None:
    """They are counted all the same."""
    places = Places(None)
    assert all(places.take() for _ in range(1000)) and places.taken == 1000


def test_a_limit_that_is_lowered_refuses_until_enough_have_left() -> None:
    """As by a reload; nobody is thrown out."""
    places = Places(3)
    for _ in range(3):
        places.take()
    places.limit = 1
    places.leave()
    places.leave()
    assert places.take() is False
    places.leave()
    assert places.take() is True


def test_a_place_cannot_be_given_back_twice() -> None:
    """It would let one more through for ever."""
    places = Places(2)
    places.take()
    places.leave()
    with pytest.raises(RuntimeError, match="nobody had taken"):
        places.leave()
    assert places.taken == 0
