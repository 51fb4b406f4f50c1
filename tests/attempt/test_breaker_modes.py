"""The breaker in other hands: shadow and disabled, forced open, early permits, listeners, snapshots."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from proxy.attempt.breaker import Breaker, BreakerOpen
from proxy.attempt.circuit import Counts, State
from proxy.config.schema import Breaker as Settings
from tests.attempt.fakes import Bench, FakeClock

# Modes and hands.


def test_shadow_judges_and_reports_but_refuses_nothing() -> None:
    """State and changes are those of enforcing; what it would have refused is counted, and not judged."""
    bench = Bench(mode="shadow")
    bench.trip()
    for _ in range(7):
        bench.succeed()
    assert bench.state == "open" and bench.breaker.peek() == 0.0
    assert bench.breaker.snapshot().refused == 7
    bench.clock.tick(5)
    probes = [bench.breaker.acquire() for _ in range(5)]
    for permit in probes[3:]:
        permit.failure("not a probe: would have been refused")
    for permit in probes[:3]:
        permit.success()
    assert bench.heard.whys() == ["streak", "time_passed", "probes_succeeded"]
    assert bench.breaker.snapshot().refused == 9


def test_disabled_judges_nothing() -> None:
    """And counts nothing."""
    bench = Bench(mode="disabled")
    bench.fail(100)
    permit = bench.breaker.acquire()
    permit.success()
    permit.amend("stream_cut")
    assert bench.state == "closed" and bench.heard.changes == []
    assert bench.breaker.snapshot().counts == Counts() and bench.breaker.peek() == 0.0


@pytest.mark.parametrize("mode", ["enforce", "shadow", "disabled"])
def test_held_open_it_refuses_in_every_mode_until_it_is_released(mode: str) -> None:
    """Time does not end it; release leaves it to the probes (or, disabled, to nobody)."""
    bench = Bench(mode=mode)
    bench.breaker.force_open()
    bench.clock.tick(1e6)
    with pytest.raises(BreakerOpen) as refused:
        bench.breaker.acquire()
    assert (refused.value.reason, refused.value.retry_in_s) == ("forced", math.inf)
    assert "until it is released" in str(refused.value)
    seen = bench.breaker.snapshot()
    assert (seen.state, seen.held, seen.retry_in_s, seen.why) == ("open", True, None, "forced")
    assert bench.breaker.peek() == math.inf
    assert bench.breaker.release() is True
    assert bench.breaker.release() is False
    assert bench.breaker.peek() == 0.0
    bench.breaker.acquire().ignore()
    assert bench.state == ("closed" if mode == "disabled" else "half-open")


@pytest.mark.parametrize("mode", ["enforce", "shadow", "disabled"])
def test_held_open_for_a_time_it_ends_by_itself(mode: str) -> None:
    """Probes decide afterwards; a forced opening does not make later open times grow."""
    bench = Bench(mode=mode)
    bench.breaker.force_open(60.0)
    assert bench.heard.open_for_s == [60.0]
    bench.clock.tick(59.75)
    with pytest.raises(BreakerOpen) as refused:
        bench.breaker.acquire()
    assert refused.value.retry_in_s == 0.25
    bench.clock.tick(0.25)
    assert bench.breaker.peek() == 0.0 and bench.breaker.snapshot().held is False
    bench.fail()
    if mode != "disabled":
        assert bench.heard.whys() == ["forced", "time_passed", "probe_failed"]
        assert bench.heard.open_for_s[-1] == 5.0
    else:
        assert bench.heard.changes == [("closed", "open", "forced"), ("open", "closed", "disabled")]
    assert bench.breaker.release() is False


def test_an_open_circuit_can_be_held_and_a_held_one_given_another_time() -> None:
    """The last word counts; there is no second change to report."""
    bench = Bench()
    bench.trip()
    bench.breaker.force_open(100.0)
    bench.breaker.force_open(7.0)
    assert bench.breaker.peek() == 7.0
    assert len(bench.heard.changes) == 1
    bench.breaker.open()
    assert bench.breaker.peek() == 7.0


@pytest.mark.parametrize("for_s", [0.0, -1.0, math.nan])
def test_a_time_that_is_none_is_not_accepted(for_s: float) -> None:
    """Nothing changes."""
    bench = Bench()
    with pytest.raises(ValueError, match="above zero"):
        bench.breaker.force_open(for_s)
    assert bench.state == "closed" and bench.breaker.snapshot().held is False


def test_reset_closes_from_anywhere_and_forgets_everything() -> None:
    """Requests under way included."""
    for prepare in (lambda one: None, Bench.trip, Bench.half_open, lambda one: one.breaker.force_open()):
        bench = Bench()
        late = bench.breaker.acquire()
        prepare(bench)
        before = bench.state
        bench.breaker.reset()
        late.failure("reset")
        seen = bench.breaker.snapshot()
        assert (seen.state, seen.held, seen.counts, seen.trips) == ("closed", False, Counts(), 0)
        assert (bench.heard.whys()[-1:] == ["reset"]) is (before != "closed")


def test_disabling_closes_and_enabling_begins_on_a_clean_sheet() -> None:
    """Back in the configured mode; what was under way meanwhile is not judged."""
    bench = Bench(mode="shadow")
    bench.trip()
    bench.breaker.disable()
    assert bench.heard.changes[-1] == ("open", "closed", "disabled")
    assert bench.breaker.snapshot().mode == "disabled"
    late = bench.breaker.acquire()
    bench.breaker.enable()
    bench.breaker.enable()
    late.failure("reset")
    assert bench.breaker.snapshot().mode == "shadow"
    assert bench.breaker.snapshot().counts == Counts()
    bench = Bench(mode="disabled")
    bench.breaker.enable()
    bench.trip()
    assert bench.breaker.snapshot().mode == "enforce"


def test_enabling_a_breaker_that_is_held_open_leaves_it_held() -> None:
    """Only release and reset end that."""
    bench = Bench(mode="disabled")
    bench.breaker.force_open()
    bench.breaker.enable()
    assert bench.breaker.peek() == math.inf
    bench.breaker.disable()
    assert bench.breaker.peek() == 0.0 and bench.state == "closed"


# Early permits.


def test_when_every_target_is_out_one_request_a_second_goes_early() -> None:
    """A failure changes nothing: not the open time, and not the reason."""
    bench = Bench()
    bench.trip()
    until_s = bench.breaker.open_until_s
    for _ in range(4):
        permit = bench.breaker.acquire_early()
        with pytest.raises(BreakerOpen) as refused:
            bench.breaker.acquire_early()
        assert refused.value.retry_in_s == 1.0
        permit.failure("http_503", floor_s=200.0)
        bench.clock.tick(1.0)
    assert bench.state == "open" and bench.breaker.open_until_s == until_s
    assert bench.breaker.snapshot().trips == 1


def test_an_early_success_is_the_first_of_the_probes() -> None:
    """It half-opens before the time; two more close."""
    bench = Bench()
    bench.trip()
    bench.breaker.acquire_early().success()
    assert bench.heard.changes[-1] == ("open", "half-open", "early_probe")
    bench.succeed(2)
    assert bench.state == "closed"


def test_early_permits_obey_the_hand_and_otherwise_are_usual_ones() -> None:
    """Held open: refused. Closed, half-open or due: as acquire()."""
    bench = Bench()
    for _ in range(4):
        bench.breaker.acquire_early().success()
    assert bench.breaker.snapshot().counts.ok == 4
    bench.trip()
    bench.clock.tick(5)
    probes = [bench.breaker.acquire_early() for _ in range(3)]
    with pytest.raises(BreakerOpen):
        bench.breaker.acquire_early()
    bench.breaker.force_open()
    with pytest.raises(BreakerOpen) as refused:
        bench.breaker.acquire_early()
    assert refused.value.reason == "forced"
    probes[0].success()
    assert bench.state == "open"


# What others see.


def test_a_listener_that_raises_takes_nothing_from_the_verdict_nor_from_the_others() -> None:
    """The circuit opens, and the next listener hears of it, with the change made."""

    class Broken:
        def on_change(self, *args: Any) -> None:
            raise RuntimeError("a metric is broken")

    class Looking:
        seen: State | None = None

        def on_change(self, *args: Any) -> None:
            self.seen = breaker.snapshot().state

    looking = Looking()
    breaker = Breaker("acme", Settings(), clock=FakeClock(), rng=lambda: 0.5, listeners=[Broken(), looking])
    for _ in range(5):
        breaker.acquire().failure("http_500")
    assert looking.seen == "open"


def test_a_snapshot_tells_what_why_and_until_when() -> None:
    """As it stands, in words fit for JSON."""
    bench = Bench()
    bench.trip()
    bench.clock.tick(2.0)
    assert msgspec.json.decode(msgspec.json.encode(bench.breaker.snapshot())) == {
        "name": "acme",
        "mode": "enforce",
        "state": "open",
        "held": False,
        "why": "streak",
        "since_s": 2.0,
        "last_failure": "http_500",
        "counts": [0, 5, 0, 0, 5, 5],
        "trips": 1,
        "probes_out": 0,
        "probes_ok": 0,
        "retry_in_s": 3.0,
        "refused": 0,
    }
