"""Random histories of a breaker on a fake clock: against a model made of lists, and for life after anything.

`FUSEBOX_TEST_PROFILE=deep` looks much longer. The profile `mutants` is for `python -m tests.mutants`: always the same
histories, and no time spent on making a failing one shorter.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.attempt.breaker import BreakerOpen
from proxy.attempt.circuit import Counts
from proxy.attempt.permit import Permit
from tests.attempt.fakes import MIDDLE, Bench

LEGAL = {("closed", "open"), ("open", "half-open"), ("half-open", "open"), ("half-open", "closed")}
PROBES = 3
LEASE_S = 30.0

PROFILE = os.environ.get("FUSEBOX_TEST_PROFILE", "quick")
EXAMPLES = {"quick": 100, "mutants": 150, "deep": 5000}[PROFILE]
SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    derandomize=PROFILE == "mutants",
    database=None,
    phases=[Phase.generate] if PROFILE == "mutants" else [Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)

moments = st.one_of(st.integers(0, 8), st.sampled_from([12, 20, 40, 120, 240, 300])).map(lambda quarters: quarters / 4)
"""Steps of time in quarters of a second, which a float holds exactly: slots and model then agree to the moment."""

verdicts = st.sampled_from(["success", "success", "failure", "failure", "ignore"])


def say(permit: Permit, verdict: str) -> None:
    """Give a verdict by its name."""
    if verdict == "failure":
        permit.failure("http_500")
    elif verdict == "success":
        permit.success()
    else:
        permit.ignore()


@dataclass
class Listed:
    """What a breaker is by its definition: lists and no rings, sums made anew each time."""

    rate: float
    least: int
    open_for_s: float
    state: str = "closed"
    era: int = 0  # counts states: a permit of another era decides nothing
    seen: list[tuple[float, bool]] = field(default_factory=list)
    streak: int = 0
    trips: int = 0
    until_s: float = 0.0
    good_probes: int = 0
    probes: dict[int, float] = field(default_factory=dict)  # number of the permit, when its lease ends

    def of(self, ok: bool, now_s: float, width_s: float, slots: int) -> int:
        """Verdicts in the window of `slots` slots."""
        first = math.floor(now_s / width_s) - slots + 1
        return sum(one == ok and math.floor(at_s / width_s) >= first for at_s, one in self.seen)

    def counts(self, now_s: float) -> Counts:
        """As the breaker should count."""
        return Counts(
            self.of(True, now_s, 3.0, 10),
            self.of(False, now_s, 3.0, 10),
            0,
            self.of(True, now_s, 0.5, 6),
            self.of(False, now_s, 0.5, 6),
            self.streak,
        )

    def turn(self, state: str) -> None:
        self.state, self.era, self.good_probes, self.probes = state, self.era + 1, 0, {}

    def open(self, now_s: float, chance: float) -> None:
        if self.state == "open":
            return
        self.trips = self.trips + 1 if self.state == "half-open" else 1
        for_s = self.open_for_s
        for _ in range(self.trips - 1):
            for_s = min(for_s * 2, max(60.0, self.open_for_s))
        # The same operations in the same order as the breaker: the moments must be equal to the last bit.
        self.until_s = now_s + for_s * (1.0 + 0.1 * (2.0 * chance - 1.0))
        self.turn("open")

    def admits(self, number: int, now_s: float) -> bool:
        """Whether a request goes now; a probe is noted under its `number`."""
        if self.state == "open":
            if now_s < self.until_s:
                return False
            self.turn("half-open")
        if self.state == "half-open":
            self.probes = {one: ends_s for one, ends_s in self.probes.items() if ends_s > now_s}
            if len(self.probes) + self.good_probes >= PROBES:
                return False
            self.probes[number] = now_s + LEASE_S
        return True

    def hear(self, number: int, era: int, verdict: str, now_s: float, chance: float) -> None:
        """A verdict on the permit `number` of `era`."""
        if era != self.era:
            return
        self.probes.pop(number, None)
        if verdict == "ignore" or self.state == "open":
            return
        if self.state == "half-open":
            if verdict == "failure":
                self.seen.append((now_s, False))
                self.streak += 1
                self.open(now_s, chance)
                return
            self.good_probes += 1
            if self.good_probes == PROBES:
                self.seen, self.streak, self.trips = [], 0, 0
                self.turn("closed")
        else:
            self.count(verdict == "success", now_s, chance)

    def count(self, ok: bool, now_s: float, chance: float) -> None:
        self.seen.append((now_s, ok))
        self.streak = 0 if ok else self.streak + 1
        counts = self.counts(now_s)
        many = counts.ok + counts.failed >= self.least and counts.failed >= self.rate * (counts.ok + counts.failed)
        recent = counts.recent_failed >= self.rate * (counts.recent_ok + counts.recent_failed)
        if not ok and (many or (self.streak >= 5 and recent)):
            self.open(now_s, chance)


class AgainstAModel(RuleBasedStateMachine):
    """Any requests, verdicts (late, twice, on old permits) and times: the breaker is what the lists say it is."""

    @initialize(
        rate=st.sampled_from([0.25, 0.5, 1.0]), least=st.sampled_from([1, 4, 10]), open_for_s=st.sampled_from([5, 90])
    )
    def begin(self, rate: float, least: int, open_for_s: int) -> None:
        self.bench = Bench(failure_rate=rate, min_requests=least, open_for=float(open_for_s))
        self.model = Listed(rate, least, float(open_for_s))
        self.given: list[tuple[Permit, int]] = []

    @property
    def now_s(self) -> float:
        return self.bench.clock.now_s

    @rule()
    def acquire(self) -> None:
        number = len(self.given)
        expected = self.model.admits(number, self.now_s)
        try:
            permit = self.bench.breaker.acquire()
        except BreakerOpen as refused:
            assert not expected
            assert refused.retry_in_s > 0
        else:
            assert expected
            self.given.append((permit, self.model.era))

    @rule(times=st.integers(1, 6), verdict=verdicts)
    def many(self, times: int, verdict: str) -> None:
        """Requests one after the other, each with its verdict at once."""
        for _ in range(times):
            before = len(self.given)
            self.acquire()
            if len(self.given) > before:
                self.judge(before, verdict)

    @precondition(lambda self: self.given)
    @rule(data=st.data(), verdict=verdicts)
    def verdict(self, data: Any, verdict: str) -> None:
        """On any permit ever given, spent or not."""
        self.judge(data.draw(st.integers(0, len(self.given) - 1)), verdict)

    def judge(self, number: int, verdict: str) -> None:
        permit, era = self.given[number]
        self.given[number] = (permit, -1)  # what comes later counts no more
        self.model.hear(number, era, verdict, self.now_s, self.bench.chance)
        say(permit, verdict)

    @rule(seconds=moments)
    def tick(self, seconds: float) -> None:
        self.bench.clock.tick(seconds)

    @rule()
    def until_it_is_due(self) -> None:
        """To the first quarter of a second at which an open circuit lets a probe through."""
        if self.model.state == "open":
            left_s = math.ceil((self.model.until_s - self.now_s) * 4) / 4
            self.bench.clock.tick(max(left_s, 0.0))

    @rule(chance=st.sampled_from([0.0, 0.25, MIDDLE, 0.75]))
    def by_chance(self, chance: float) -> None:
        self.bench.chance = chance

    @invariant()
    def the_breaker_is_what_the_model_is(self) -> None:
        if not hasattr(self, "bench"):
            return
        seen, model = self.bench.breaker.snapshot(), self.model
        due = model.state == "open" and self.now_s >= model.until_s
        assert seen.state == ("half-open" if due else model.state)
        assert seen.counts == model.counts(self.now_s)
        assert seen.trips == model.trips and seen.probes_ok == model.good_probes
        out = sum(ends_s > self.now_s for ends_s in model.probes.values())
        assert seen.probes_out == out <= PROBES
        if model.state == "open":
            assert self.bench.breaker.open_until_s == model.until_s
        assert {change[:2] for change in self.bench.heard.changes} <= LEGAL


class Alive(RuleBasedStateMachine):
    """Leaked permits, openings by others, bursts, amended streams, early permits: never too many probes, never stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.given: list[Permit] = []
        self.probes: list[tuple[Permit, float]] = []
        self.eras = 0

    def take(self, early: bool = False) -> Permit | None:
        breaker = self.bench.breaker
        try:
            permit = breaker.acquire_early() if early else breaker.acquire()
        except BreakerOpen:
            return None
        if len(self.bench.heard.changes) != self.eras:
            self.eras, self.probes = len(self.bench.heard.changes), []
        if breaker.snapshot().state == "half-open":
            self.probes.append((permit, self.bench.clock() + LEASE_S))
            # When one goes, it and the successes are three at most. (The late success of one that was given up may
            # make it more afterwards.)
            assert self.under_way() + breaker.snapshot().probes_ok <= PROBES
        return permit

    def under_way(self) -> int:
        """Probes, counted by what was handed out, not by what the breaker says."""
        return sum(ends_s > self.bench.clock() for _, ends_s in self.probes)

    def answer(self, permit: Permit, verdict: str) -> None:
        self.probes = [(one, ends_s) for one, ends_s in self.probes if one is not permit]
        say(permit, verdict)

    @rule(early=st.booleans())
    def acquire(self, early: bool) -> None:
        permit = self.take(early)
        if permit is not None:
            self.given.append(permit)

    @rule(times=st.integers(1, 8))
    def leak(self, times: int) -> None:
        """Permits that nobody will ever judge."""
        for _ in range(times):
            self.take()

    @rule(times=st.integers(1, 20), verdict=verdicts)
    def burst(self, times: int, verdict: str) -> None:
        """All at once, and all with the same outcome."""
        for permit in [self.take() for _ in range(times)]:
            if permit is not None:
                self.answer(permit, verdict)

    @precondition(lambda self: self.given)
    @rule(data=st.data(), verdict=verdicts)
    def verdict(self, data: Any, verdict: str) -> None:
        self.answer(data.draw(st.sampled_from(self.given)), verdict)

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def amend(self, data: Any) -> None:
        """Counts may never fall below zero; the invariant looks."""
        data.draw(st.sampled_from(self.given)).amend("stream_cut")

    @rule()
    def open(self) -> None:
        """Another process says so: an open circuit keeps its time."""
        breaker, changes = self.bench.breaker, self.bench.heard.changes
        was_open = bool(changes) and changes[-1][1] == "open"
        before = breaker.open_until_s, breaker.snapshot().trips
        assert breaker.open() is not was_open
        if was_open:
            assert (breaker.open_until_s, breaker.snapshot().trips) == before

    @rule(floor_s=st.sampled_from([None, 1.0, 100.0, 1e9]))
    def fail_with_a_floor(self, floor_s: float | None) -> None:
        permit = self.take()
        if permit is not None:
            self.probes = [(one, ends_s) for one, ends_s in self.probes if one is not permit]
            permit.failure("http_503", floor_s)

    @rule(seconds=moments)
    def tick(self, seconds: float) -> None:
        self.bench.clock.tick(seconds)

    @rule()
    def a_cancelled_probe_frees_its_permit_at_once(self) -> None:
        """However often."""
        self.bench.clock.tick(self.bench.breaker.peek())
        for _ in range(PROBES + 1):
            permit = self.take()
            if permit is None:
                return
            self.answer(permit, "ignore")
            assert self.bench.breaker.peek() == 0.0

    @rule()
    def recovers(self) -> None:
        """With a healthy provider and time it is closed again: at once after the open time, or after the lease."""
        breaker, started_s = self.bench.breaker, self.bench.clock()
        longest_s = max(breaker.open_until_s - started_s, 0.0) + LEASE_S + 1.0
        while self.bench.state != "closed":
            assert self.bench.clock() - started_s <= longest_s, "stuck"
            permit = self.take()
            if permit is None:
                self.bench.clock.tick(breaker.peek())
            else:
                self.answer(permit, "success")
        assert breaker.peek() == 0.0 and breaker.snapshot().trips == 0

    @invariant()
    def probes_under_way_are_never_more_than_the_permits(self) -> None:
        """At any time."""
        seen = self.bench.breaker.snapshot()
        if seen.state == "half-open" and len(self.bench.heard.changes) == self.eras:
            assert self.under_way() <= PROBES

    @invariant()
    def numbers_are_possible(self) -> None:
        """No count below zero, no open time beyond its bounds, no illegal change."""
        seen = self.bench.breaker.snapshot()
        assert min(seen.counts) >= 0
        assert {change[:2] for change in self.bench.heard.changes} <= LEGAL
        floors = [for_s for for_s in self.bench.heard.open_for_s if for_s is not None]
        assert all(4.5 <= for_s <= 300.0 for for_s in floors)
        assert (seen.retry_in_s == 0.0) or seen.state != "closed"

    def teardown(self) -> None:
        """From wherever the history led."""
        self.recovers()


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = SETTINGS
TestAlive = Alive.TestCase
TestAlive.settings = SETTINGS
