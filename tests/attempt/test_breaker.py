"""The circuit breaker, situation by situation, on a fake clock. Random histories: test_breaker_model.py."""

from __future__ import annotations

import math

import pybreaker
import pytest

from proxy.attempt.breaker import BreakerOpen
from proxy.attempt.circuit import Counts, State, Why
from proxy.attempt.permit import Permit
from tests.attempt.fakes import Bench

# Opening.


def test_closed_lets_everything_through() -> None:
    """However much is under way."""
    bench = Bench()
    permits = [bench.breaker.acquire() for _ in range(1000)]
    for permit in permits:
        permit.success()
    assert bench.state == "closed" and bench.heard.changes == []


def test_the_failure_rate_opens() -> None:
    """Half of ten requests; not half of nine, and not four of ten."""
    bench = Bench()
    bench.succeed(5)
    bench.fail(4)
    assert bench.state == "closed"
    bench.fail()
    assert bench.state == "open"
    assert bench.heard.changes == [("closed", "open", "failure_rate")]
    assert bench.heard.counts == [Counts(ok=5, failed=5, recent_ok=5, recent_failed=5, streak=5)]
    assert bench.heard.open_for_s == [5.0]


def test_no_judgement_before_enough_requests() -> None:
    """Nine failures spread so that no streak is confirmed would be a rate of 9/9."""
    bench = Bench()
    for _ in range(4):
        bench.fail()
        bench.succeed()
    bench.fail()
    assert bench.state == "closed"


def test_a_streak_opens_before_there_are_enough_requests() -> None:
    """Five in a row, the fifth included."""
    bench = Bench()
    bench.fail(4)
    assert bench.state == "closed"
    bench.fail()
    assert bench.heard.whys() == ["streak"]


def test_a_streak_among_many_successes_is_noise() -> None:
    """Five in a row do not open when most of the last three seconds was good."""
    bench = Bench()
    bench.succeed(6)
    bench.fail(5)
    assert bench.state == "closed"


def test_a_streak_is_confirmed_by_the_last_seconds_only() -> None:
    """Successes older than three seconds do not speak against it."""
    bench = Bench()
    bench.succeed(100)
    bench.clock.tick(3.5)
    bench.fail(5)
    assert bench.heard.whys() == ["streak"]


def test_a_success_ends_a_streak() -> None:
    """Four, one good, four: nothing in a row (and fewer than ten requests)."""
    bench = Bench()
    bench.fail(4)
    bench.succeed()
    bench.fail(4)
    assert bench.state == "closed"


def test_failures_leave_the_window() -> None:
    """What is older than thirty seconds does not count."""
    bench = Bench()
    for _ in range(4):
        bench.fail()
        bench.succeed()
    bench.clock.tick(33)
    bench.fail()
    bench.succeed()
    bench.fail()
    assert bench.state == "closed"
    assert bench.breaker.snapshot().counts == Counts(ok=1, failed=2, recent_ok=1, recent_failed=2, streak=1)


def test_slow_answers_open_when_all_are_slow() -> None:
    """`slow_rate: 1.0` of at least ten answers."""
    bench = Bench(slow_first_event=2.0)
    assert bench.breaker.slow_after_s == 2.0
    bench.succeed(9, slow=True)
    assert bench.state == "closed"
    bench.succeed(slow=True)
    assert bench.heard.whys() == ["slow_rate"]
    assert bench.heard.counts[0].slow == 10


def test_one_fast_answer_in_the_window_keeps_it_closed_at_a_slow_rate_of_one() -> None:
    """And a share that is configured opens at that share."""
    bench = Bench(slow_first_event=2.0)
    bench.succeed()
    bench.succeed(100, slow=True)
    assert bench.state == "closed"
    bench = Bench(slow_first_event=2.0, slow_rate=0.5)
    bench.succeed(5)
    bench.succeed(4, slow=True)
    assert bench.state == "closed"
    bench.succeed(slow=True)
    assert bench.state == "open"


# Open.


def test_open_refuses_until_its_time_is_over() -> None:
    """To the moment: refused just before, a probe at it."""
    bench = Bench()
    bench.trip()
    assert bench.breaker.peek() == 5.0
    bench.clock.tick(4.75)
    with pytest.raises(BreakerOpen) as refused:
        bench.breaker.acquire()
    assert (refused.value.name, refused.value.reason, refused.value.retry_in_s) == ("acme", "open", 0.25)
    assert str(refused.value) == "the breaker of acme is open: try again in 0.2 s"
    assert isinstance(refused.value, pybreaker.CircuitBreakerError)
    bench.clock.tick(0.25)
    assert bench.breaker.peek() == 0.0
    assert bench.state == "half-open"  # as people see it, though nobody has asked yet
    bench.breaker.acquire().ignore()
    assert bench.heard.whys() == ["streak", "time_passed"]
    assert bench.breaker.snapshot().refused == 1


def test_stragglers_never_extend_the_open_time() -> None:
    """Requests that were under way when it opened fail later: nothing moves, nobody is told twice."""
    bench = Bench()
    late = [bench.breaker.acquire() for _ in range(12)]
    bench.trip()
    until_s = bench.breaker.open_until_s
    for permit in late:
        bench.clock.tick(0.25)
        permit.failure("reset", floor_s=100.0)
    assert bench.breaker.open_until_s == until_s
    assert len(bench.heard.changes) == 1
    assert bench.breaker.open() is False
    assert bench.breaker.open_until_s == until_s


def test_the_open_time_grows_while_probes_fail_and_starts_anew_after_a_recovery() -> None:
    """5, 10, 20, 40, 60, 60; after closing 5 again."""
    bench = Bench()
    bench.trip()
    for _ in range(5):
        bench.clock.tick(bench.breaker.peek())
        bench.fail()
    assert [time_s for time_s in bench.heard.open_for_s if time_s is not None] == [5, 10, 20, 40, 60, 60]
    assert bench.breaker.snapshot().trips == 6
    bench.clock.tick(60)
    bench.succeed(3)
    assert bench.state == "closed" and bench.breaker.snapshot().trips == 0
    bench.trip()
    assert bench.heard.open_for_s[-1] == 5


@pytest.mark.parametrize(("chance", "open_for_s"), [(0.0, 4.5), (0.5, 5.0), (0.999999, 5.499999)])
def test_chance_varies_the_open_time_by_a_tenth(chance: float, open_for_s: float) -> None:
    """The chance is an argument."""
    bench = Bench()
    bench.chance = chance
    bench.trip()
    assert bench.heard.open_for_s[0] == pytest.approx(open_for_s)


def test_an_open_time_that_is_configured_above_a_minute_stays() -> None:
    """The cap is on growth, never below what was asked for."""
    bench = Bench(open_for=120.0)
    bench.trip()
    assert bench.breaker.peek() == 120.0


def test_the_providers_retry_after_is_a_floor() -> None:
    """Of any failure since it was last closed, up to five minutes; a shorter one changes nothing."""
    bench = Bench()
    bench.fail(1, floor_s=30.0)
    bench.clock.tick(0.5)
    bench.fail(4, floor_s=1.0)
    assert bench.breaker.peek() == 29.5
    bench.clock.tick(29.5)
    bench.fail(1, floor_s=1e9)
    assert bench.breaker.peek() == 300.0
    bench.clock.tick(300.0)
    bench.succeed(3)
    bench.trip()
    assert bench.breaker.peek() == 5.0


@pytest.mark.parametrize("floor_s", [None, 0.0, -5.0, math.nan])
def test_a_floor_that_says_nothing_changes_nothing(floor_s: float | None) -> None:
    """No number, no wait, a past one, nonsense."""
    bench = Bench()
    bench.fail(5, floor_s)
    assert bench.breaker.peek() == 5.0


def test_told_to_open_it_opens_for_its_usual_time() -> None:
    """Another process knows; here it is an opening like any other."""
    bench = Bench()
    assert bench.breaker.open() is True
    assert bench.heard.changes == [("closed", "open", "told")]
    assert bench.breaker.peek() == 5.0


# Half-open.


def test_five_hundred_at_a_half_open_circuit_send_three_probes() -> None:
    """The rest is refused, and told to come back soon."""
    bench = Bench()
    bench.trip()
    bench.clock.tick(5)
    probes, refused = [], 0
    for _ in range(500):
        try:
            probes.append(bench.breaker.acquire())
        except BreakerOpen as error:
            assert (error.reason, error.retry_in_s) == ("half-open", 1.0)
            refused += 1
    assert (len(probes), refused) == (3, 497)
    assert bench.breaker.peek() == 1.0
    for permit in probes:
        permit.success()
    assert bench.heard.changes[-1] == ("half-open", "closed", "probes_succeeded")
    assert bench.breaker.snapshot().counts == Counts()  # a clean sheet


def test_three_successes_close_and_two_do_not() -> None:
    """One after the other as well; permits and successes together are never more than three."""
    bench = Bench()
    bench.half_open()
    bench.succeed(2)
    last = bench.breaker.acquire()
    with pytest.raises(BreakerOpen):
        bench.breaker.acquire()
    assert bench.state == "half-open"
    last.success()
    assert bench.state == "closed"


def test_one_failing_probe_opens_again() -> None:
    """And the verdicts of the other probes, still under way, no longer count."""
    bench = Bench()
    bench.half_open()
    first, second, third = (bench.breaker.acquire() for _ in range(3))
    first.success()
    second.failure("http_503")
    assert bench.heard.changes[-1] == ("half-open", "open", "probe_failed")
    assert bench.breaker.peek() == 10.0
    third.success()
    assert bench.state == "open" and bench.breaker.snapshot().probes_ok == 0
    bench.clock.tick(10)
    bench.succeed(2)
    third.success()
    first.failure("late")
    assert bench.state == "half-open"


def test_a_straggler_from_before_decides_nothing_in_half_open() -> None:
    """Neither its failure nor its success is a probe's."""
    bench = Bench()
    good, bad = bench.breaker.acquire(), bench.breaker.acquire()
    bench.half_open()
    bench.succeed(2)
    good.success()
    bad.failure("reset")
    assert bench.state == "half-open" and bench.breaker.snapshot().probes_ok == 2


def test_a_hang_up_during_a_probe_neither_opens_nor_closes_and_frees_its_permit_at_once() -> None:
    """A client that leaves says nothing about the provider."""
    bench = Bench()
    bench.half_open()
    permits = [bench.breaker.acquire() for _ in range(3)]
    for _ in range(20):
        with pytest.raises(BreakerOpen):
            bench.breaker.acquire()
        permits.pop().ignore()
        assert bench.state == "half-open"
        permits.append(bench.breaker.acquire())


def test_permits_that_were_lost_come_back_after_their_lease() -> None:
    """Half a minute; nobody is stuck half-open for ever."""
    bench = Bench()
    bench.half_open()
    for _ in range(3):
        bench.breaker.acquire()
    bench.clock.tick(29.75)
    with pytest.raises(BreakerOpen):
        bench.breaker.acquire()
    bench.clock.tick(0.25)
    assert bench.breaker.snapshot().probes_out == 0
    bench.succeed(3)
    assert bench.state == "closed"


def test_a_lease_is_each_permits_own() -> None:
    """One taken later keeps its place when an earlier one is given up."""
    bench = Bench()
    bench.half_open()
    bench.breaker.acquire()
    bench.clock.tick(20)
    bench.breaker.acquire(), bench.breaker.acquire()
    bench.clock.tick(10)
    assert bench.breaker.snapshot().probes_out == 2
    bench.breaker.acquire()
    with pytest.raises(BreakerOpen):
        bench.breaker.acquire()


def test_a_probe_longer_than_its_lease_is_still_heard() -> None:
    """Where each takes forty seconds, the circuit closes all the same; a late failure opens it."""
    for last in ("success", "failure"):
        bench = Bench()
        bench.half_open()
        probes = [bench.breaker.acquire() for _ in range(3)]
        bench.clock.tick(40)
        probes[0].success()
        probes[1].success()
        if last == "success":
            probes[2].success()
        else:
            probes[2].failure("first_event_timeout")
        assert bench.state == {"success": "closed", "failure": "open"}[last]


@pytest.mark.parametrize(
    ("rate", "slow", "why"),
    [
        (1.0, 3, "probe_slow"),
        (1.0, 2, "probes_succeeded"),
        (0.5, 2, "probe_slow"),
        (0.5, 1, "probes_succeeded"),
        (0.5, 0, "probes_succeeded"),
    ],
)
def test_slow_probes_do_not_close_a_circuit_when_that_share_would_open_it(rate: float, slow: int, why: Why) -> None:
    """The same share that opens a closed circuit."""
    bench = Bench(slow_first_event=2.0, slow_rate=rate)
    bench.half_open()
    bench.succeed(slow, slow=True)
    bench.succeed(3 - slow)
    assert bench.heard.whys()[-1] == why


# Verdicts.


@pytest.mark.parametrize("first", ["success", "failure", "ignore"])
@pytest.mark.parametrize("state", ["closed", "half-open"])
def test_only_the_first_verdict_counts(first: str, state: State) -> None:
    """Whatever comes second, and third."""
    bench = Bench()
    if state == "half-open":
        bench.half_open()
    permit = bench.breaker.acquire()
    _say(permit, first)
    before = bench.breaker.snapshot()
    for second in ("failure", "success", "ignore"):
        _say(permit, second)
    assert bench.breaker.snapshot() == before


def _say(permit: Permit, verdict: str) -> None:
    {"success": permit.success, "failure": lambda: permit.failure("again"), "ignore": permit.ignore}[verdict]()


def test_ignored_attempts_neither_count_nor_end_a_streak() -> None:
    """Clients that leave in between do not keep a dead provider's circuit closed."""
    bench = Bench()
    for _ in range(5):
        bench.fail()
        if bench.state == "closed":
            bench.breaker.acquire().ignore()
    assert bench.heard.whys() == ["streak"]
    assert bench.heard.counts[0] == Counts(failed=5, recent_failed=5, streak=5)


def test_a_stream_that_breaks_late_takes_its_success_back() -> None:
    """One success less and one failure more; only once."""
    bench = Bench(slow_first_event=1.0)
    slow, fast = bench.breaker.acquire(), bench.breaker.acquire()
    slow.success(slow=True)
    fast.success()
    assert bench.breaker.snapshot().counts == Counts(ok=2, slow=1, recent_ok=2)
    slow.amend("stream_cut")
    slow.amend("stream_cut")
    assert bench.breaker.snapshot().counts == Counts(ok=1, failed=1, recent_ok=1, recent_failed=1, streak=1)
    assert bench.breaker.snapshot().last_failure == "stream_cut"


def test_streams_that_all_break_late_open_the_circuit() -> None:
    """By the rate: each success has become a failure."""
    bench = Bench()
    for _ in range(9):
        permit = bench.breaker.acquire()
        permit.success()
        permit.amend("stream_cut")
    assert bench.state == "closed"
    permit = bench.breaker.acquire()
    permit.success()
    permit.amend("stream_cut", floor_s=20.0)
    assert bench.heard.whys() == ["failure_rate"]
    assert bench.heard.counts[0].ok == 0
    assert bench.breaker.peek() == 20.0


def test_a_success_too_old_to_take_back_still_becomes_a_failure() -> None:
    """A stream of a minute: its success has left the window by itself."""
    bench = Bench()
    permit = bench.breaker.acquire()
    permit.success()
    bench.clock.tick(60)
    bench.succeed()
    permit.amend("stream_cut")
    assert bench.breaker.snapshot().counts == Counts(ok=1, failed=1, recent_ok=1, recent_failed=1, streak=1)


@pytest.mark.parametrize("verdict", ["none", "failure", "ignore"])
def test_only_a_success_can_be_amended(verdict: str) -> None:
    """Anything else was said already, or still has to be."""
    bench = Bench()
    permit = bench.breaker.acquire()
    if verdict != "none":
        _say(permit, verdict)
    before = bench.breaker.snapshot()
    permit.amend("stream_cut")
    assert bench.breaker.snapshot() == before


def test_a_success_of_another_time_is_not_amended() -> None:
    """Of a closed state that ended since, even where it is closed again; nor a probe's."""
    bench = Bench()
    old = bench.breaker.acquire()
    old.success()
    bench.half_open()
    probes = [bench.breaker.acquire() for _ in range(3)]
    for permit in probes:
        permit.success()
    assert bench.state == "closed"
    for permit in (old, *probes):
        permit.amend("stream_cut")
    assert bench.breaker.snapshot().counts == Counts()
    bench.half_open()
    probe = bench.breaker.acquire()
    probe.success()
    probe.amend("stream_cut")
    assert bench.state == "half-open" and bench.breaker.snapshot().probes_ok == 1
