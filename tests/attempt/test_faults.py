"""Faults that are set: which attempts they strike, how long they last; and what a walk makes of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from proxy.attempt.faults import Fault
from proxy.errors import UpstreamFault
from tests.attempt.failing import Stage
from tests.attempt.walking import World, says, streams

# Which, and how long.


def test_a_fault_ends_by_itself() -> None:
    """After its time, not before; log and state say so, and nothing is left that would cost anything."""
    stage = Stage()
    assert not stage.faults.active
    stage.faults.begin("one", Fault(status=503, for_s=10))
    assert stage.faults.active and stage.faults.strikes("other") is None
    stage.later.tick(9)
    assert stage.faults.strikes("one") == Fault(status=503, for_s=10)
    standing, left_s = stage.faults.standing()["one"]
    assert (standing.struck, left_s) == (1, 1.0)
    stage.later.tick(1)
    assert stage.faults.strikes("one") is None and not stage.faults.active
    assert stage.events == [("fault_begun", None), ("fault_ended", "its time is over")]
    assert stage.log.lines[-1][2]["struck"] == 1


def test_a_new_fault_takes_the_place_of_the_old() -> None:
    """With a time of its own: the end of the first one's does not end it."""
    stage = Stage()
    stage.faults.begin("one", Fault(status=503, for_s=10))
    stage.later.tick(5)
    stage.faults.begin("one", Fault(silence=True, for_s=10))
    stage.later.tick(6)
    assert stage.faults.strikes("one") == Fault(silence=True, for_s=10)
    assert [why for _, why in stage.events] == [None, "replaced", None]


def test_faults_are_cleared() -> None:
    """One or all; to end what is not there changes nothing."""
    stage = Stage()
    for name in ("one", "two", "three"):
        stage.faults.begin(name, Fault(silence=True))
    assert stage.faults.clear("two") == ["two"] and stage.faults.clear("two") == []
    assert stage.faults.active and stage.faults.clear() == ["one", "three"]
    assert not stage.faults.active and stage.faults.standing() == {}
    stage.later.tick(100)
    assert [why for event, why in stage.events if event == "fault_ended"] == ["cleared"] * 3


def test_a_configuration_that_forbids_them_ends_them() -> None:
    """All, at the next attempt."""
    stage = Stage()
    stage.faults.begin("one", Fault(silence=True))
    stage.faults.begin("two", Fault(silence=True))
    stage.allowed = False
    assert stage.faults.strikes("one") is None and not stage.faults.active


@pytest.mark.parametrize(("chance", "strikes"), [(0.0, True), (0.249, True), (0.25, False), (0.99, False)])
def test_a_share_of_the_attempts(chance: float, strikes: bool) -> None:
    """By chance, each attempt for itself; those that are spared are not counted."""
    stage = Stage()
    stage.chance = chance
    stage.faults.begin("one", Fault(status=500, share=0.25))
    assert (stage.faults.strikes("one") is not None) is strikes
    assert stage.faults.standing()["one"][0].struck == strikes


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({}, "name one of status, latency_s, cut_after, silence"),
        ({"silence": False}, "name one of"),
        ({"status": 503, "silence": True}, "not status and silence"),
        ({"cut_after": 0, "status": 503}, "not status and cut_after"),
        ({"latency_s": 1, "retry_after_s": 5}, "retry_after_s goes with status"),
        ({"status": 399}, "`int` >= 400"),
        ({"status": 600}, "`int` <= 599"),
        ({"latency_s": 0}, "> 0.0"),
        ({"silence": True, "for_s": 3601}, "<= 3600.0"),
        ({"silence": True, "share": 0}, "> 0.0"),
        ({"silence": True, "share": 1.1}, "<= 1.0"),
        ({"cut_after": -1}, "`int` >= 0"),
        ({"sttus": 503}, "unknown field `sttus`"),
    ],
)
def test_orders_that_make_no_sense(order: dict[str, object], said: str) -> None:
    """Each is refused with what is wrong."""
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(json.dumps(order), type=Fault)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=429, retry_after_s=0), "status 429 with Retry-After 0"),
        (Fault(latency_s=0.25), "latency 0.25 s"),
        (Fault(cut_after=0), "cut after 0"),
        (Fault(silence=True), "silence"),
    ],
)
def test_faults_in_words(fault: Fault, words: str) -> None:
    """As the log has them."""
    assert str(fault) == words


# The walk takes it for real.


def faulty(world: World) -> Stage:
    """Faults for the walks of `world`, on its clock."""
    stage = Stage(world.clock)
    world.ground = msgspec.structs.replace(world.ground, faults=stage.faults)
    return stage


FAR: dict[str, Any] = {"total_at": 100_000_000.0}
"""Terms whose end is far away on the loop's own clock, too: what is played waits by that one."""


async def test_the_breaker_opens_and_closes_again() -> None:
    """Five errors open it; while it is open others answer; after the fault the probe closes it."""
    world = World("a", "b", breaker={"open_for": 5})
    stage = faulty(world)
    stage.faults.begin("a", Fault(status=503, for_s=4))
    for _ in range(5):
        world.settled(await world.walk("a", "b", **FAR))
    assert world.state("a") == "open" and world.asked == ["b"] * 5
    assert world.verdicts.count(("a", "failure")) == 5
    world.settled(await world.walk("a", "b", **FAR))
    standing, _ = stage.faults.standing()["a"]
    assert standing.struck == 5
    stage.later.tick(4)
    assert not stage.faults.active and world.state("a") == "open"
    world.clock.tick(60)
    while world.state("a") != "closed":
        before = len(world.asked)
        world.settled(await world.walk("a", "b", **FAR))
        assert world.asked[before:] == ["a"]
    world.settled(await world.walk("a", "b", **FAR))
    assert world.asked[-1] == "a"


async def test_a_rate_limit_cools_the_key() -> None:
    """For as long as the answer says."""
    world = World("a", "b")
    stage = faulty(world)
    stage.faults.begin("a", Fault(status=429, retry_after_s=30, for_s=10))
    world.settled(await world.walk("a", "b", **FAR))
    stage.later.tick(11)
    world.settled(await world.walk("a", "b", **FAR))
    assert world.asked == ["b", "b"]
    world.clock.tick(60)
    world.settled(await world.walk("a", "b", **FAR))
    assert world.asked == ["b", "b", "a"]


async def test_a_cut_before_and_after_the_first_byte() -> None:
    """Before it the next target answers; after it there is no second answer."""
    world = World("a", "b")
    stage = faulty(world)
    world.script("a", streams())
    stage.faults.begin("a", Fault(cut_after=0))
    won = await world.walk("a", "b", **FAR)
    assert world.asked == ["a", "b"]
    world.settled(won)
    stage.faults.begin("a", Fault(cut_after=1))
    won = await world.walk("a", "b", **FAR)
    assert world.asked == ["a", "b", "a"] and isinstance(won.sent.answer.fault, UpstreamFault)
    won.finish("cut mid-answer")


async def test_a_short_answer_that_breaks_goes_to_the_next() -> None:
    """It is judged before it is handed on, so nobody sees half of it."""
    world = World("a", "b")
    faulty(world).faults.begin("a", Fault(cut_after=9))
    world.script("a", says())
    won = await world.walk("a", "b", **FAR)
    assert world.asked == ["a", "b"] and won.leave.label == "b/m"
    assert world.verdicts == [("a", "failure"), ("b", "success")]
    world.settled(won)
