"""Leave for an attempt: every reason for which there is none, and everything that comes back afterwards."""

from __future__ import annotations

import asyncio

import pytest

from proxy.attempt.circuit import PROBES
from proxy.attempt.cooldown import Reason
from proxy.config.schema import CLIENT_KEYS
from proxy.errors import AnswerTimeout
from tests.attempt.sending import NONE
from tests.attempt.walking import Gate, World, fails, own_keys, retry, says, streams
from tests.scripted import turns, within


async def skipped(world: World, *labels: str) -> tuple[str, ...]:
    """The reasons for those left out, on a walk that ends well at the last of `labels`."""
    walk = world.ready(*labels)
    won = await within(walk.answer())
    assert world.asked[-1] == labels[-1] and walk.attempts == 1
    assert walk.asked is (won.leave if walk.admit.skipped else None)
    won.finish()
    return tuple(walk.admit.skipped)


# Reasons.


async def test_an_open_circuit() -> None:
    """With the time that is left of it, and never asked."""
    world = World("a", "b")
    world.trip("a")
    world.clock.tick(1.25)
    assert await skipped(world, "a", "b") == ("a/m: breaker open, 3.8 s left",)
    assert world.asked == ["b"]


async def test_a_circuit_forced_open() -> None:
    """By hand, whether or not anybody knows until when."""
    world = World("a", "b")
    world.guards["a"].breaker(None).force_open()
    assert await skipped(world, "a", "b") == ("a/m: breaker forced open",)


async def test_a_half_open_circuit_with_its_probes_under_way() -> None:
    """The permitted ones go out, and not one more; all come back."""
    world = World("a", "b")
    world.trip("a")
    world.clock.tick(5.0)
    gate = Gate()
    world.script("a", gate.then(says()))
    walks = [asyncio.ensure_future(world.ready("a", "b").answer()) for _ in range(50)]
    await turns()
    assert world.asked.count("a") == PROBES and world.asked.count("b") == 50 - PROBES
    assert await skipped(world, "a", "b") == ("a/m: breaker half-open, its probes under way",)
    gate.opened.set()
    for won in await within(asyncio.gather(*walks)):
        won.finish()
    assert world.state("a") == "closed"
    world.settled()


async def test_a_cooling_key() -> None:
    """With the reason, and the time that is left."""
    world = World("a", "b")
    world.cool("a", Reason.RATE, 20.0)
    world.clock.tick(5.0)
    assert await skipped(world, "a", "b") == ("a/m: cooling (rate), 15 s left",)
    world.clock.tick(15.0)
    assert await skipped(world, "a") == ()


async def test_a_cool_down_is_of_a_key_and_a_model() -> None:
    """Another model passes, with the client's model as with the policy's; money stops them all."""
    world = World("a", "b")
    world.cool("a", Reason.RATE, 20.0, model="x")
    assert await skipped(world, "a/x", "a/y") == ("a/x: cooling (rate), 20 s left",)
    assert await skipped(world, "a") == ()
    world.cool("a", Reason.MONEY)
    assert await skipped(world, "a", "b") == ("a/m: cooling (money), 300 s left",)


async def test_no_key() -> None:
    """Declared keys of which none can be read."""
    world = World("a", "b", a={"keys": own_keys("other")})
    assert await skipped(world, "a", "b") == ("a/m: no key",)


# Places.


async def test_a_full_target_is_passed_by_at_once() -> None:
    """No queue: who comes third goes to the next target while the others are still under way."""
    world = World("a", "b", a={"max_concurrency": 2})
    gate = Gate()
    world.script("a", gate.then(streams(complete=True)))
    first = [asyncio.ensure_future(world.ready("a", "b").answer()) for _ in range(2)]
    await turns()
    assert await skipped(world, "a", "b") == ("a/m: full: 2 under way",)
    gate.opened.set()
    won = await within(asyncio.gather(*first))
    assert await skipped(world, "a", "b") == ("a/m: full: 2 under way",), "an answer is under way until it has ended"
    won[0].finish()
    assert await skipped(world, "a") == ()
    won[1].finish("cut mid-answer")
    world.settled()


async def test_a_place_comes_back_with_every_ending() -> None:
    """After a failure, a fault, an answer that breaks; when the client leaves: see test_walk_endings."""
    world = World("a", a={"max_concurrency": 1}, breaker={"mode": "disabled"})
    for way in (says(400), says(429), says(500), says(), streams()):
        world.script("a", way)
        won = await world.walk("a", retry=retry(0))
        won.finish("cut mid-answer")
        assert world.taken("a") == 0
        world.guards.cooldowns.forget("a")
    world.script("a", fails(lambda: AnswerTimeout("head", 30)))
    with pytest.raises(AnswerTimeout):
        await world.walk("a")
    assert world.taken("a") == 0


async def test_a_refusing_breaker_costs_no_place() -> None:
    """Nothing is held for an attempt that is not made."""
    world = World("a", "b", a={"max_concurrency": 1})
    world.trip("a")
    for _ in range(3):
        assert "breaker open" in (await skipped(world, "a", "b"))[0]
    assert world.taken("a") == 0


async def test_a_retry_gives_its_place_back_first() -> None:
    """One place is enough for a target that is asked twice."""
    world = World("a", a={"max_concurrency": 1})
    world.script("a", says(500), says())
    won = await world.walk("a")
    assert world.asked == ["a", "a"] and won.sent.answer.status == 200
    world.settled(won)


# Keys.


@pytest.mark.parametrize("cooling", [False, True])
async def test_the_keys_of_a_pool_are_taken_in_turn(cooling: bool) -> None:
    """Also while something else cools."""
    world = World("a", "b", a={"keys": own_keys("a", 2)})
    if cooling:
        world.cool("b", Reason.AUTH)
    for _ in range(6):
        world.settled(await world.walk("a"))
    used = [call.key.secret for call in world.calls if call.key is not None]
    assert used in ([b"secret-a-0", b"secret-a-1"] * 3, [b"secret-a-1", b"secret-a-0"] * 3)


async def test_a_cooling_key_of_a_pool_is_passed_by() -> None:
    """The others do its work; when all cool, the reason is that of the first to be back."""
    world = World("a", "b", a={"keys": own_keys("a", 3)})
    world.cool("a", Reason.AUTH, key=1)
    for _ in range(6):
        world.settled(await world.walk("a"))
    assert {call.key.secret for call in world.calls if call.key is not None} == {b"secret-a-0", b"secret-a-2"}
    world.cool("a", Reason.MONEY, key=0)
    world.cool("a", Reason.RATE, 7.0, key=2)
    assert await skipped(world, "a", "b") == ("a/m: cooling (rate), 7 s left",)


async def test_after_a_money_cool_down_one_request_finds_out() -> None:
    """The others wait for its answer; should it find nothing out, another one may go."""
    world = World("a", "b")
    world.cool("a", Reason.MONEY)
    world.clock.tick(300.0)
    gate = Gate()
    world.script("a", gate.then(says()))
    probe = asyncio.ensure_future(world.ready("a", "b").answer())
    await turns()
    assert await skipped(world, "a", "b") == ("a/m: cooling (money), 30 s left",)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    gate.opened.set()
    assert await skipped(world, "a") == () and len(world.guards.cooldowns) == 0, "its success ends the cool-down"
    world.settled()


@pytest.mark.parametrize(("keys", "named"), [(NONE, "a:none"), (CLIENT_KEYS, "a:"), (own_keys("a"), "a:")])
async def test_what_names_the_credentials(keys: object, named: str) -> None:
    """Never the credential itself."""
    world = World("a", a={"keys": keys})
    walk = world.ready("a")
    won = await walk.answer()
    name = walk.admit.key_id(won.leave.provider, won.leave.key)
    assert name.startswith(named) and "secret" not in name
    world.settled(won)


# Labels, and one breaker per target.


async def test_with_scope_target_a_broken_model_leaves_the_others_alone() -> None:
    """Each has a breaker of its own, under the client's model as under the policy's."""
    world = World("a", "b", breaker={"scope": "target"})
    world.script("a/x", says(503))
    for _ in range(5):
        world.settled(await world.walk("a/x", "b"))
    assert await skipped(world, "a/x", "a/y") == ("a/x: breaker open, 5.0 s left",)
    won = await world.walk("a", "b", model="x")
    assert won.leave.provider.name == "b"
    won.finish()
    assert await skipped(world, "a") == ()


async def test_a_label_names_provider_and_model() -> None:
    """As people read it; the provider alone where no model is known."""
    world = World("a")
    won = await world.walk("a", model=None)
    assert won.leave.label == "a"
    won.finish()
    won = await world.walk("a/x/y", model="m")
    assert won.leave.label == "a/x/y"
    world.settled(won)
