"""Cool-downs of keys and models, on a fake clock."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.attempt.cooldown import Cooldowns, Cooling, Reason
from proxy.config.secrets import key_id
from tests.attempt.fakes import FakeClock

KEY, OTHER = key_id("acme", b"sk-one"), key_id("acme", b"sk-two")


def fresh() -> tuple[Cooldowns, FakeClock]:
    """A table at 1000 s with nothing in it."""
    clock = FakeClock(1000.0)
    return Cooldowns(clock), clock


def test_a_key_is_named_without_being_told() -> None:
    """By provider and digest; another credential or provider has another name."""
    assert KEY.startswith("acme:") and "sk-one" not in KEY and len(KEY) == len("acme:") + 12
    assert len({KEY, OTHER, key_id("other", b"sk-one")}) == 3 and key_id("acme", b"sk-one") == KEY


def test_nothing_cools_at_first() -> None:
    """And asking leaves nothing behind."""
    cooldowns, _ = fresh()
    assert cooldowns.until(KEY, "m") == 0.0 and cooldowns.admit(KEY, "m") == 0.0
    cooldowns.clear(KEY, "m", 1000.0)
    cooldowns.release(KEY)
    assert len(cooldowns) == 0 and cooldowns.snapshot() == ()


@pytest.mark.parametrize(
    ("reason", "same_key_other_model"), [("rate", False), ("model", False), ("money", True), ("auth", True)]
)
def test_what_cools_is_the_key_with_one_model_or_with_all(reason: str, same_key_other_model: bool) -> None:
    """Money and a refused key concern the key; rates and models one model of it. Another key never."""
    cooldowns, _ = fresh()
    cooldowns.cool(KEY, "m", Reason(reason))
    assert cooldowns.until(KEY, "m") > 1000.0
    assert (cooldowns.until(KEY, "n") > 0.0) is same_key_other_model
    assert (cooldowns.until(KEY, None) > 0.0) is same_key_other_model
    assert cooldowns.until(OTHER, "m") == 0.0


@pytest.mark.parametrize(
    ("stated_s", "wait_s"),
    [(None, 5.0), (0.02, 0.02), (1.0, 1.0), (300.0, 300.0), (301.0, 300.0), (1e12, 300.0), (0.0, 5.0), (-3.0, 5.0)],
)
def test_a_rate_limit_cools_as_long_as_stated(stated_s: float | None, wait_s: float) -> None:
    """Up to five minutes; without a time five seconds, and zero or less is no time."""
    cooldowns, _ = fresh()
    assert cooldowns.cool(KEY, "m", Reason.RATE, stated_s) == 1000.0 + wait_s
    assert cooldowns.until(KEY, "m") == 1000.0 + wait_s


def test_it_is_over_to_the_moment() -> None:
    """Just before it cools, at its end it does not."""
    cooldowns, clock = fresh()
    cooldowns.cool(KEY, "m", Reason.RATE, 2.0)
    clock.tick(1.75)
    assert cooldowns.until(KEY, "m") == 1002.0
    clock.tick(0.25)
    assert cooldowns.until(KEY, "m") == 0.0 and cooldowns.snapshot() == ()


@pytest.mark.parametrize(
    ("reason", "waits_s"),
    [
        ("rate", [5, 10, 20, 40, 60, 60]),
        ("money", [300, 600, 900, 900]),
        ("auth", [60, 60, 60]),
        ("model", [300, 300, 300]),
    ],
)
def test_waits_without_a_stated_time_grow_while_it_goes_on(reason: str, waits_s: list[int]) -> None:
    """Each time that the request after a cool-down fails in the same way."""
    cooldowns, clock = fresh()
    for wait_s in waits_s:
        assert cooldowns.cool(KEY, "m", Reason(reason)) == clock() + wait_s
        clock.tick(wait_s)


def test_a_burst_of_refusals_is_one_trouble() -> None:
    """Ten requests under way get ten 429s: the wait does not double ten times."""
    cooldowns, clock = fresh()
    for _ in range(10):
        cooldowns.cool(KEY, "m", Reason.RATE)
    assert cooldowns.until(KEY, "m") == 1005.0
    clock.tick(5)
    assert cooldowns.cool(KEY, "m", Reason.RATE) == 1005.0 + 10.0


def test_a_shorter_wait_never_shortens() -> None:
    """Neither of the same reason nor of another one."""
    cooldowns, _ = fresh()
    cooldowns.cool(KEY, "m", Reason.RATE, 100.0)
    assert cooldowns.cool(KEY, "m", Reason.RATE, 1.0) == 1100.0
    cooldowns.cool(KEY, "m", Reason.MONEY)
    assert cooldowns.cool(KEY, "m", Reason.AUTH) == 1300.0
    assert cooldowns.cool(KEY, "m", Reason.MODEL) == 1300.0


def test_long_after_its_end_it_begins_anew() -> None:
    """A quarter of an hour without trouble is forgotten."""
    for quiet_s, wait_s in ((900.0, 10.0), (900.25, 5.0)):
        cooldowns, clock = fresh()
        cooldowns.cool(KEY, "m", Reason.RATE)
        clock.tick(5.0 + quiet_s)
        assert cooldowns.cool(KEY, "m", Reason.RATE) == clock() + wait_s


def test_a_success_ends_it() -> None:
    """Of the model and of the key; waits start small again."""
    cooldowns, clock = fresh()
    cooldowns.cool(KEY, "m", Reason.RATE, 100.0)
    cooldowns.cool(KEY, "m", Reason.AUTH)
    cooldowns.cool(KEY, "n", Reason.RATE)
    clock.tick(1)
    cooldowns.clear(KEY, "m", clock())
    assert cooldowns.until(KEY, "m") == 0.0 and cooldowns.until(KEY, "n") == 1005.0
    assert cooldowns.cool(KEY, "m", Reason.AUTH) == 1061.0


def test_a_success_sent_before_it_began_does_not_end_it() -> None:
    """Its answer was on the way when the limit was reached."""
    cooldowns, clock = fresh()
    clock.tick(1)
    cooldowns.cool(KEY, "m", Reason.RATE, 100.0)
    clock.tick(1)
    cooldowns.clear(KEY, "m", 1000.75)
    assert cooldowns.until(KEY, "m") == 1101.0
    cooldowns.clear(KEY, "m", 1001.0)
    assert cooldowns.until(KEY, "m") == 0.0


def test_after_money_one_request_finds_out() -> None:
    """The others go on waiting for it; then it is over, or goes on twice as long."""
    cooldowns, clock = fresh()
    cooldowns.cool(KEY, "m", Reason.MONEY)
    clock.tick(300)
    assert cooldowns.until(KEY, "m") == 0.0  # asking reserves nothing
    assert cooldowns.admit(KEY, "m") == 0.0
    assert cooldowns.admit(KEY, "n") == 1330.0 and cooldowns.until(KEY, "m") == 1330.0
    assert cooldowns.snapshot() == (Cooling(KEY, None, Reason.MONEY, 0.0, 1),)
    assert cooldowns.cool(KEY, "m", Reason.MONEY) == 1900.0
    clock.tick(600)
    sent_at_s = clock()
    assert cooldowns.admit(KEY, "m") == 0.0
    clock.tick(1)
    cooldowns.clear(KEY, "m", sent_at_s)
    assert cooldowns.admit(KEY, "n") == 0.0 and len(cooldowns) == 0


def test_a_request_that_found_nothing_out_lets_another_one_go() -> None:
    """By `release`, or after half a minute of silence."""
    cooldowns, clock = fresh()
    cooldowns.cool(KEY, "m", Reason.MONEY)
    clock.tick(300)
    assert cooldowns.admit(KEY, "m") == 0.0
    cooldowns.release(KEY)
    assert cooldowns.admit(KEY, "m") == 0.0
    assert cooldowns.admit(KEY, "m") == 1330.0
    clock.tick(30)
    assert cooldowns.admit(KEY, "m") == 0.0


@pytest.mark.parametrize("reason", ["rate", "auth", "model"])
def test_after_other_reasons_everybody_goes(reason: str) -> None:
    """Only money has one request find out."""
    cooldowns, clock = fresh()
    cooldowns.cool(KEY, "m", Reason(reason))
    clock.tick(300)
    assert [cooldowns.admit(KEY, "m") for _ in range(3)] == [0.0, 0.0, 0.0]


def test_the_snapshot_shows_what_cools_the_longest_first() -> None:
    """With the digest only."""
    cooldowns, clock = fresh()
    cooldowns.cool(KEY, "m", Reason.RATE)
    cooldowns.cool(OTHER, None, Reason.AUTH)
    clock.tick(2)
    assert cooldowns.snapshot() == (
        Cooling(OTHER, None, Reason.AUTH, 58.0, 1),
        Cooling(KEY, "m", Reason.RATE, 3.0, 1),
    )


def test_entries_are_bounded() -> None:
    """What is over goes first, then what ends soonest; clients' keys cannot fill the memory."""
    clock = FakeClock(1000.0)
    cooldowns = Cooldowns(clock, entries_max=3)
    for number in range(3):
        cooldowns.cool(f"k{number}", "m", Reason.RATE, 100.0 + number)
    cooldowns.cool("new", "m", Reason.RATE, 50.0)
    assert len(cooldowns) == 3
    assert [bool(cooldowns.until(key, "m")) for key in ("k0", "k1", "k2", "new")] == [False, True, True, True]
    clock.tick(60)
    cooldowns.cool("newer", "m", Reason.RATE)
    assert [bool(cooldowns.until(key, "m")) for key in ("k1", "k2", "new", "newer")] == [True, True, False, True]
    assert len(cooldowns) == 3


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.sampled_from([None, "m", "n"]),
            st.sampled_from([*Reason, None]),
            st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
            st.integers(0, 400),
        ),
        max_size=40,
    )
)
def test_any_history_stays_within_bounds(
    history: list[tuple[str, str | None, Reason | None, float | None, int]],
) -> None:
    """Whatever is stated: never longer than a quarter of an hour from now, and with time everything is over."""
    clock = FakeClock(1000.0)
    cooldowns = Cooldowns(clock, entries_max=4)
    for key, model, reason, stated_s, seconds in history:
        if reason is None:
            cooldowns.clear(key, model, clock())
            assert cooldowns.until(key, model) == 0.0
        else:
            ends_s = cooldowns.cool(key, model, reason, stated_s)
            assert clock() <= ends_s <= clock() + 900.0
            assert cooldowns.until(key, model) >= ends_s or ends_s == clock()  # a stated wait of no length at all
        assert len(cooldowns) <= 4
        assert all(0.0 <= cooling.left_s <= 900.0 for cooling in cooldowns.snapshot())
        clock.tick(seconds)
    clock.tick(901)
    assert cooldowns.snapshot() == ()
