"""The sliding windows and the rules that look at them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.attempt.circuit import RECENT_S, Counts, Rules, open_time_s
from proxy.attempt.window import Ring, Window

RULES = Rules(failure_rate=0.5, min_requests=10, slow_rate=1.0)


def test_a_new_window_holds_nothing() -> None:
    """Whatever the clock says at the start."""
    for now_s in (0.0, 0.1, 1e6):
        assert Window(30.0, now_s).counts(now_s) == Counts()


def test_verdicts_count_in_both_windows() -> None:
    """A success ends the streak and takes nothing else away."""
    window = Window(30.0, 0.0)
    window.add_failure(1.0)
    window.add_failure(1.0)
    assert window.counts(1.0) == Counts(failed=2, recent_failed=2, streak=2)
    window.add_success(1.0)
    window.add_slow(1.0)
    assert window.counts(1.0) == Counts(ok=1, failed=2, slow=1, recent_ok=1, recent_failed=2)
    window.add_failure(1.2)
    assert window.counts(1.2).streak == 1


@pytest.mark.parametrize(
    ("age_s", "long", "recent"),
    [
        (0.0, 1, 1),
        (2.499, 1, 1),
        (2.5, 1, 1),
        (2.999, 1, 1),
        (3.0, 1, 0),
        (27.0, 1, 0),
        (29.999, 1, 0),
        (30.0, 0, 0),
        (31.0, 0, 0),
        (60.0, 0, 0),
        (90.0, 0, 0),
    ],
)
def test_what_is_older_than_the_window_is_left_out(age_s: float, long: int, recent: int) -> None:
    """A verdict at the beginning of its slot counts for as long as the window is, and not longer."""
    window = Window(30.0, 0.0)
    window.add_failure(90.0)
    counts = window.counts(90.0 + age_s)
    assert (counts.failed, counts.recent_failed) == (long, recent)


def test_the_place_of_an_old_slot_is_emptied_before_it_is_used_again() -> None:
    """One turn of the ring later the same place counts from zero, and others stay as they are."""
    window = Window(30.0, 0.0)
    window.add_success(1.0)
    window.add_success(4.0)
    window.add_failure(31.0)
    assert window.counts(31.0) == Counts(ok=1, failed=1, recent_failed=1, streak=1)


def test_clearing_forgets_the_streak_too() -> None:
    """Nothing of before is left."""
    window = Window(30.0, 0.0)
    window.add_failure(5.0)
    window.clear(5.0)
    assert window.counts(5.0) == Counts()
    window.add_success(5.0)
    assert window.counts(5.0) == Counts(ok=1, recent_ok=1)


@pytest.mark.parametrize(
    "later_s",
    [
        0.0,  # from both windows
        3.0,  # from the long one; the short one had forgotten it by itself
        30.0,  # from none
    ],
)
def test_a_success_is_taken_back_only_where_it_still_counts(later_s: float) -> None:
    """Of two, the later one stays, whichever window still held the first."""
    window = Window(30.0, 0.0)
    window.add_success(90.0)
    window.add_success(90.0 + later_s)
    window.take_back(90.0, 90.0 + later_s, slow=False)
    assert window.counts(90.0 + later_s) == Counts(ok=1, recent_ok=1)


def test_a_slow_success_is_taken_back_as_a_slow_one() -> None:
    """Nothing of it is left."""
    window = Window(30.0, 0.0)
    window.add_success(90.0)
    window.add_slow(90.0)
    window.take_back(90.0, 91.0, slow=True)
    assert window.counts(91.0) == Counts()


def test_a_success_is_not_taken_from_a_slot_that_stands_for_another_time() -> None:
    """The place in the ring is the same, the stretch of time is not."""
    ring = Ring(30.0, 10)
    ring.slot(1.0).ok = 1
    assert ring.at(1.0, 29.0) is ring.slot(1.0)
    ring.slot(31.0).ok = 1
    assert ring.at(1.0, 31.0) is None


@dataclass
class Listed:
    """The window as a list of moments, cut by its definition."""

    at_s: float
    kind: str


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([0.5, 2.0, 30.0, 120.0]),
    st.lists(st.tuples(st.sampled_from("sfdt"), st.integers(0, 200)), max_size=60),
)
def test_any_history_counts_as_a_list_would(span_s: float, history: list[tuple[str, int]]) -> None:
    """Successes (s, slow: d), failures (f) and taking back (t) at any moments, against the plain definition."""
    now_s = 64.0
    window = Window(span_s, now_s)
    seen: list[Listed] = []
    streak = 0
    for kind, quarters in history:
        now_s += quarters / 4 if quarters % 3 == 0 else 0.0
        if kind == "f":
            window.add_failure(now_s)
            streak += 1
            seen.append(Listed(now_s, kind))
        elif kind in "sd":
            window.add_success(now_s)
            streak = 0
            if kind == "d":
                window.add_slow(now_s)
            seen.append(Listed(now_s, kind))
        elif successes := [one for one in seen if one.kind in "sd"]:
            back = successes[quarters % len(successes)]
            window.take_back(back.at_s, now_s, slow=back.kind == "d")
            seen.remove(back)

        def count(kinds: str, width_s: float, slots: int, now_s: float = now_s) -> int:
            first = math.floor(now_s / width_s) - slots + 1
            return sum(one.kind in kinds and math.floor(one.at_s / width_s) >= first for one in seen)

        assert window.counts(now_s) == Counts(
            ok=count("sd", span_s / 10, 10),
            failed=count("f", span_s / 10, 10),
            slow=count("d", span_s / 10, 10),
            recent_ok=count("sd", RECENT_S / 6, 6),
            recent_failed=count("f", RECENT_S / 6, 6),
            streak=streak,
        )


@pytest.mark.parametrize(
    ("counts", "trip"),
    [
        (Counts(ok=5, failed=5), "failure_rate"),
        (Counts(ok=6, failed=5), None),
        (Counts(ok=4, failed=5), None),  # nine requests are too few
        (Counts(ok=0, failed=9, recent_failed=4, streak=4), None),
        (Counts(ok=0, failed=5, recent_failed=5, streak=5), "streak"),
        (Counts(ok=50, failed=5, recent_ok=5, recent_failed=5, streak=5), "streak"),
        (Counts(ok=50, failed=5, recent_ok=6, recent_failed=5, streak=5), None),
        (Counts(ok=50, failed=4, recent_ok=0, recent_failed=4, streak=4), None),
        (Counts(ok=1000, failed=1000, streak=1), "failure_rate"),
    ],
)
def test_failures_break_a_rule_at_its_boundary(counts: Counts, trip: str | None) -> None:
    """The share that is configured opens; with one request less it does not."""
    assert counts.failing(RULES) == trip


def test_a_share_is_met_exactly_even_where_its_product_is_not() -> None:
    """7 of 100 are 7 %, though 0.07 * 100 is more than 7."""
    rules = Rules(failure_rate=0.07, min_requests=1, slow_rate=0.07)
    assert Counts(ok=93, failed=7).failing(rules) == "failure_rate"
    assert Counts(ok=94, failed=7).failing(rules) is None
    assert Counts(ok=100, slow=7).dragging(rules) == "slow_rate"


@pytest.mark.parametrize(
    ("counts", "trip"),
    [
        (Counts(ok=10, slow=10), "slow_rate"),
        (Counts(ok=10, slow=9), None),
        (Counts(ok=9, slow=9), None),
        (Counts(ok=9, failed=90, slow=9), None),  # failures have a rule of their own
    ],
)
def test_slow_answers_break_a_rule_at_its_boundary(counts: Counts, trip: str | None) -> None:
    """The share is of the answers that came."""
    assert counts.dragging(RULES) == trip


def test_open_times_double_up_to_a_minute() -> None:
    """5, 10, 20, 40, 60, 60 s; never below what is configured, and no overflow however long it goes on."""
    assert [open_time_s(5.0, trips, 0.5) for trips in (1, 2, 3, 4, 5, 6, 10**9)] == [5, 10, 20, 40, 60, 60, 60]
    assert [open_time_s(120.0, trips, 0.5) for trips in (1, 2, 50)] == [120, 120, 120]
    assert open_time_s(0.001, 10**9, 0.5) == 60.0


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_an_open_time_varies_by_a_tenth(trips: int, chance: float) -> None:
    """Whatever chance says."""
    middle_s = open_time_s(5.0, trips, 0.5)
    assert 0.9 * middle_s <= open_time_s(5.0, trips, chance) <= 1.1 * middle_s
