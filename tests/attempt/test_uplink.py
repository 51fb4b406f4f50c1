"""The guard of this machine's own way out, alone and in a walk."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.attempt.uplink import PROBE_EVERY_S, TOGETHER_S, Uplink, is_ours_perhaps, needs_way_out
from proxy.errors import (
    AllOut,
    AnswerCut,
    AnswerTimeout,
    BadAnswer,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    UpstreamFault,
)
from tests.attempt.fakes import FakeClock
from tests.attempt.walking import World, fails, fault_at, says

HOSTS = {"a": "a.test", "b": "b.test", "c": "c.test"}


def unfound() -> UpstreamFault:
    return ConnectFailed("dns", "no such name")


class Told:
    """An uplink, its clock, and what it told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.changes: list[bool] = []
        self.uplink = Uplink(self.clock, self.changes.append)

    @property
    def down(self) -> bool:
        return self.uplink.down

    def fail(self, *hosts: str, fault: Callable[[], UpstreamFault] = unfound) -> None:
        for host in hosts:
            self.uplink.failed(fault_at(fault(), host))


@pytest.mark.parametrize(
    "fault",
    [unfound, lambda: ConnectFailed("tcp", "x"), lambda: ConnectFailed("tls", "x"), lambda: ConnectTimeout("x")],
)
def test_two_hosts_that_cannot_be_reached_are_our_own_trouble(fault: Callable[[], UpstreamFault]) -> None:
    """Whatever keeps them from being reached; it is told once."""
    told = Told()
    told.fail("a.test", fault=fault)
    assert not told.down
    told.fail("b.test", "c.test", "a.test", fault=fault)
    assert told.down and told.changes == [True]


def test_one_host_is_one_outage() -> None:
    """However often it fails."""
    told = Told()
    told.fail(*["a.test"] * 20)
    assert not told.down and told.changes == []


@pytest.mark.parametrize(("apart_s", "down"), [(TOGETHER_S, True), (TOGETHER_S + 0.01, False)])
def test_only_what_happens_together_is_one_trouble(apart_s: float, down: bool) -> None:
    """Within two seconds."""
    told = Told()
    told.fail("a.test")
    told.clock.tick(apart_s)
    told.fail("b.test")
    assert told.down is down


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "127.8.0.1", "localhost:11434", "[::1]:80"])
def test_this_machine_needs_no_way_out(host: str) -> None:
    """A local model that is not running says nothing of the network."""
    told = Told()
    told.fail("a.test", host)
    assert not told.down and not needs_way_out(f"http://{host}") and needs_way_out("https://a.test")


def test_a_refusal_shows_that_somebody_is_there() -> None:
    """It does not count against the way out, but does not clear it either: it may be a router's."""
    told = Told()
    told.fail("a.test")
    told.fail("b.test", fault=lambda: ConnectFailed("tcp", "x", refused=True))
    assert not told.down
    told.fail("c.test")
    assert told.down
    told.fail("b.test", fault=lambda: ConnectFailed("tcp", "x", refused=True))
    assert told.down


@pytest.mark.parametrize(
    "fault",
    [
        lambda: AnswerTimeout("head", 30),
        lambda: ConnectionLost("x", reused=False),
        lambda: BadAnswer("x"),
        lambda: AnswerCut("x"),
    ],
)
def test_a_failure_of_a_host_that_was_reached_clears_the_way(fault: Callable[[], UpstreamFault]) -> None:
    """Bytes went out to somebody."""
    told = Told()
    told.fail("a.test", "b.test")
    told.fail("a.test", fault=fault)
    assert not told.down and told.changes == [True, False]


def test_an_answer_in_between_clears_what_was_counted() -> None:
    """The network works: these are outages of hosts."""
    told = Told()
    told.fail("a.test")
    assert told.uplink.uneasy
    told.uplink.answered()
    assert not told.uplink.uneasy
    told.fail("b.test")
    assert not told.down
    told.fail("a.test")
    told.uplink.answered()
    told.uplink.answered()
    assert told.changes == [True, False]


def test_one_request_a_second_goes_out_to_see() -> None:
    """The first a second after the trouble was seen; asking alone takes nothing."""
    told = Told()
    assert told.uplink.wait_s() == 0.0
    told.fail("a.test", "b.test")
    assert told.uplink.wait_s() == PROBE_EVERY_S
    told.clock.tick(PROBE_EVERY_S)
    assert told.uplink.wait_s() == 0.0 and told.uplink.wait_s() == 0.0
    told.uplink.probe()
    told.clock.tick(0.25)
    assert told.uplink.wait_s() == 0.75
    told.uplink.answered()
    assert told.uplink.wait_s() == 0.0


def test_a_fault_of_no_known_host_is_nobodys() -> None:
    """There is nothing to count it under."""
    assert not is_ours_perhaps(ConnectTimeout("x"))


# In a walk.


async def down(world: World) -> None:
    """Have two hosts be out of reach in one walk."""
    for label in ("a", "b"):
        world.script(label, fails(unfound))
    with pytest.raises(UpstreamFault):
        await world.walk("a", "b")
    assert world.guards.uplink.down and world.uplink == [True]
    world.verdicts.clear()
    world.books.permits = 0


async def test_such_faults_count_against_nobody() -> None:
    """From the one on that shows it; the first could not be known."""
    world = World("a", "b", hosts=HOSTS)
    for label in ("a", "b"):
        world.script(label, fails(unfound))
    with pytest.raises(UpstreamFault):
        await world.walk("a", "b")
    assert world.verdicts == [("a", "failure"), ("b", "ignore")]
    for _ in range(20):
        world.clock.tick(PROBE_EVERY_S)
        with pytest.raises((UpstreamFault, AllOut)):
            await world.walk("a", "b")
    assert world.state("a") == "closed" and world.state("b") == "closed" and world.uplink == [True]
    world.settled()


async def test_while_it_is_down_others_are_told_at_once() -> None:
    """All but those on this machine, which answer."""
    world = World("a", "b", "local", hosts=HOSTS)
    await down(world)
    with pytest.raises(AllOut) as out:
        await world.walk("a", "b")
    assert str(out.value).count("this machine's way out is down") == 2 and out.value.retry_in_s == 1.0
    won = await world.walk("a", "local")
    assert world.asked == ["a", "b", "local"]
    world.settled(won)


async def test_the_first_answer_clears_it() -> None:
    """A success or an error, of whomever was asked to see."""
    for way in (says(), says(503), says(429)):
        world = World("a", "b", hosts=HOSTS)
        await down(world)
        world.clock.tick(PROBE_EVERY_S)
        world.script("a", way)
        world.settled(await world.walk("a"))
        assert not world.guards.uplink.down and world.uplink == [True, False]


async def test_one_probe_for_all_providers() -> None:
    """Not one for each."""
    world = World("a", "b", hosts=HOSTS)
    await down(world)
    world.clock.tick(PROBE_EVERY_S)
    with pytest.raises(UpstreamFault):
        await world.walk("a", "b")
    assert world.asked == ["a", "b", "a"]
    with pytest.raises(AllOut):
        await world.walk("b")
    world.settled()


async def test_a_refusing_breaker_does_not_use_the_probe_up() -> None:
    """The early probe of an open circuit is then the one that goes out to see."""
    world = World("a", "b", hosts=HOSTS)
    world.trip("a", floor_s=60.0)
    world.trip("b", floor_s=60.0)
    world.guards.uplink.failed(fault_at(unfound(), "a.test"))
    world.guards.uplink.failed(fault_at(unfound(), "b.test"))
    world.clock.tick(PROBE_EVERY_S)
    won = await world.walk("a", "b")
    assert world.asked == ["a"] and not world.guards.uplink.down
    world.settled(won)


async def test_two_dead_hosts_do_not_bar_the_way_to_a_third() -> None:
    """They look like a broken way out, until the healthy one answers; and it is asked, as it has not failed."""
    world = World("a", "b", "c", hosts=HOSTS)
    for label in ("a", "b"):
        world.script(label, *[fails(unfound)] * 50)
    for _ in range(20):
        won = await world.walk("a", "b", "c")
        assert won.leave.label.startswith("c")
        won.finish()
        world.clock.tick(0.1)
    assert not world.guards.uplink.down


def test_an_answer_from_this_machine_says_nothing_of_the_way_out() -> None:
    """A local model answers with the cable pulled."""
    told = Told()
    told.fail("a.test", "b.test")
    told.uplink.answered("http://127.0.0.1:11434")
    assert told.down
    told.uplink.answered("https://c.test")
    assert not told.down and told.changes == [True, False]
