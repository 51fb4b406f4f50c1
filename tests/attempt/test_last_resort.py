"""When every target is out: the one request that goes all the same, and the ones that do not."""

from __future__ import annotations

import pytest

from proxy.attempt.cooldown import Reason
from proxy.config.schema import CLIENT_KEYS
from proxy.errors import AllOut, FuseboxError
from proxy.wire.headers import RequestHeaders, read_request
from tests.attempt.sending import post
from tests.attempt.walking import EVENT, World, own_keys, says, streams


async def refusal(world: World, *labels: str) -> FuseboxError:
    """The error of a walk on which nobody is asked."""
    asked = len(world.calls)
    with pytest.raises(FuseboxError) as refused:
        await world.walk(*labels)
    assert len(world.calls) == asked
    world.settled()
    return refused.value


# The panic probe.


async def test_the_nearest_open_circuit_is_asked_early() -> None:
    """One request, as its probe; the walk says so."""
    world = World("a", "b")
    world.trip("a", floor_s=30.0)
    world.trip("b", floor_s=20.0)
    walk = world.ready("a", "b")
    won = await walk.answer()
    assert world.asked == ["b"] and walk.panic and world.verdicts == [("b", "success")]
    assert world.state("b") == "half-open" and world.state("a") == "open"
    world.settled(won)


async def test_one_early_probe_a_second_per_target() -> None:
    """The first goes to the nearest, the second of the same moment to the other, the third nowhere."""
    world = World("a", "b")
    for label, floor_s in (("a", 20.0), ("b", 30.0)):
        world.trip(label, floor_s=floor_s)
        world.script(label, says(503))
    for _ in range(2):
        world.settled(await world.walk("a", "b"))
    assert world.asked == ["a", "b"]
    await refusal(world, "a", "b")
    world.clock.tick(0.9)
    await refusal(world, "a", "b")
    world.clock.tick(0.1)
    world.settled(await world.walk("a", "b"))
    assert world.asked == ["a", "b", "a"] and world.state("a") == "open"
    assert world.guards["a"].breaker(None).peek() == pytest.approx(19.0), "a failed early probe prolongs nothing"


async def test_a_failed_early_probe_is_not_followed_by_another_target() -> None:
    """Its answer goes out."""
    world = World("a", "b")
    for label in ("a", "b"):
        world.trip(label)
        world.script(label, says(503))
    won = await world.walk("a", "b")
    assert len(world.asked) == 1 and won.sent.answer.status == 503
    world.settled(won)


async def test_no_early_probe_while_another_target_is_healthy() -> None:
    """The rest of the chain answers."""
    world = World("a", "b")
    world.trip("a")
    walk = world.ready("a", "b")
    world.settled(await walk.answer())
    assert world.asked == ["b"] and not walk.panic
    world.script("b", says(503))
    world.settled(await world.walk("a", "b"))
    assert world.asked == ["b", "b"], "nor after it has failed"


async def test_no_early_probe_of_a_circuit_held_open_by_hand() -> None:
    """Somebody meant it."""
    world = World("a")
    world.guards["a"].breaker(None).force_open(5.0)
    assert isinstance(await refusal(world, "a"), AllOut)


@pytest.mark.parametrize("reason", [Reason.MONEY, Reason.AUTH])
async def test_cool_downs_for_money_and_keys_are_never_overridden(reason: Reason) -> None:
    """Not by a wait, however short, nor by a panic probe of their own target, nor beside an open circuit."""
    world = World("a", "b")
    world.cool("a", reason)
    world.clock.tick(world.guards.cooldowns.snapshot()[0].left_s - 1.0)
    assert "cooling" in str(await refusal(world, "a"))
    world.trip("b")
    world.settled(await world.walk("a", "b"))
    assert world.asked == ["b"]


async def test_a_target_that_is_open_and_cools_is_not_asked_early() -> None:
    """Its circuit is not even looked at."""
    world = World("a")
    world.trip("a")
    world.cool("a", Reason.MONEY)
    assert "cooling (money)" in str(await refusal(world, "a"))


# Rate limits that are over in a moment, and models that may be there by now.


@pytest.mark.parametrize(("left_s", "total"), [(1.5, 600.0), (2.0, 600.0), (1.5, 2.5)])
async def test_a_short_rate_limit_is_waited_for(left_s: float, total: float) -> None:
    """Within `retry.max_wait`, and if a second is left after it."""
    world = World("a")
    world.cool("a", Reason.RATE, left_s)
    won = await world.walk("a", total=total)
    assert world.asked == ["a"] and sum(world.slept) == pytest.approx(left_s, abs=0.01)
    world.settled(won)


@pytest.mark.parametrize(("left_s", "total"), [(2.1, 600.0), (1.5, 2.4)])
async def test_a_longer_rate_limit_is_not(left_s: float, total: float) -> None:
    """The client is told when to come back instead."""
    world = World("a")
    world.cool("a", Reason.RATE, left_s)
    with pytest.raises(AllOut) as out:
        await world.walk("a", total=total)
    assert world.slept == [] and out.value.retry_in_s == pytest.approx(left_s)


async def test_the_rate_limit_that_ends_first_is_waited_for() -> None:
    """Of several targets, and of several keys."""
    world = World("a", "b", b={"keys": own_keys("b", 2)})
    world.cool("a", Reason.RATE, 1.9)
    world.cool("b", Reason.RATE, 1.8, key=0)
    world.cool("b", Reason.RATE, 0.7, key=1)
    won = await world.walk("a", "b")
    assert world.asked == ["b"] and sum(world.slept) == pytest.approx(0.7, abs=0.01)
    assert world.calls[0].key is not None and world.calls[0].key.secret == b"secret-b-1"
    world.settled(won)


async def test_a_wait_in_vain_ends_with_all_out() -> None:
    """Somebody else was told to wait longer meanwhile."""
    world = World("a")
    world.cool("a", Reason.RATE, 1.0)
    asleep = world.sleep

    async def sleep(seconds: float) -> None:
        await asleep(seconds)
        world.cool("a", Reason.RATE, 50.0)

    world.sleep = sleep  # type: ignore[method-assign]
    error = await refusal(world, "a")
    assert isinstance(error, AllOut) and len(world.slept) == 1


async def test_a_model_is_asked_for_again_when_nothing_else_is_left() -> None:
    """The provider's own words help more than a 503."""
    world = World("a", "b")
    world.cool("a", Reason.MODEL)
    world.cool("b", Reason.AUTH)
    world.script("a", says(404, b'{"error": {"code": "model_not_found", "message": "x"}}'))
    won = await world.walk("a", "b")
    assert world.asked == ["a"] and won.sent.answer.status == 404
    world.settled(won)


async def test_but_not_past_a_key_that_was_refused() -> None:
    """The model's cool-down does not count then; the key's does."""
    world = World("a")
    world.cool("a", Reason.MODEL)
    world.cool("a", Reason.AUTH)
    with pytest.raises(AllOut):
        await world.walk("a")
    assert world.asked == []


async def test_a_cooling_model_is_passed_by_where_another_target_is_left() -> None:
    """That is what the cool-down is for."""
    world = World("a", "b")
    world.cool("a", Reason.MODEL)
    world.settled(await world.walk("a", "b"))
    assert world.asked == ["b"]


async def test_clients_keys_cool_each_for_itself() -> None:
    """What one client's key is told does not concern another's; the key itself is in no log."""
    world = World("a", a={"keys": CLIENT_KEYS})
    mine = post(headers=_with_key(b"Bearer mine"))
    world.script("a", says(429, None, (b"Retry-After", b"30")), streams(EVENT))
    world.settled(await world.walk("a", request=mine))
    with pytest.raises(AllOut):
        await world.walk("a", request=mine)
    won = await world.walk("a", request=post(headers=_with_key(b"Bearer yours")))
    assert world.asked == ["a", "a"] and "mine" not in repr(world.log.lines)
    world.settled(won)


def _with_key(value: bytes) -> RequestHeaders:
    return read_request([(b"Authorization", value)], frozenset())
