"""The same target again: retries, other keys of a pool; and what cools meanwhile."""

from __future__ import annotations

import pytest

from proxy.attempt.cooldown import Reason
from proxy.config.schema import CLIENT_KEYS
from proxy.errors import (
    ConnectionLost,
    UpstreamFault,
)
from tests.attempt.walking import Way, World, fails, own_keys, retry, says

RATE = (b"Retry-After", b"30")
NO_MODEL = b'{"error": {"code": "model_not_found", "message": "x"}}'


def lost() -> UpstreamFault:
    return ConnectionLost("closed", reused=False)


# The same target again.


@pytest.mark.parametrize(("attempts", "asked"), [(0, 1), (1, 2), (2, 3)])
async def test_a_500_is_retried_as_configured(attempts: int, asked: int) -> None:
    """Not at all with `attempts: 0`; the next target follows."""
    world = World("a", "b")
    world.script("a", says(500))
    won = await world.walk("a", "b", retry=retry(attempts))
    assert world.asked == ["a"] * asked + ["b"]
    world.settled(won)


async def test_retries_are_counted_over_the_whole_chain() -> None:
    """`attempts` is the request's, not the target's: dead chains must not multiply."""
    world = World("a", "b")
    for label in ("a", "b"):
        world.script(label, says(500))
    world.settled(await world.walk("a", "b"))
    assert world.asked == ["a", "a", "b"]


async def test_a_retry_that_succeeds_is_the_answer() -> None:
    """The failure before it is dropped."""
    world = World("a", "b")
    world.script("a", says(500, complete=False), says())
    won = await world.walk("a", "b")
    assert world.asked == ["a", "a"] and world.verdicts == [("a", "failure"), ("a", "success")]
    world.settled(won)


@pytest.mark.parametrize("way", [says(502), says(503), says(504), says(529), fails(), fails(lost)])
async def test_what_is_not_retried(way: Way) -> None:
    """Only a 500 and its like are: these go to the next target at once."""
    world = World("a", "b")
    world.script("a", way)
    world.settled(await world.walk("a", "b", retry=retry(5)))
    assert world.asked == ["a", "b"]


@pytest.mark.parametrize("way", [says(500), says(429, None, (b"Retry-After", b"1"))])
async def test_no_retry_beside_the_sdks_own(way: Way) -> None:
    """A client that is trying again itself spends none of ours."""
    world = World("a", "b")
    world.script("a", way)
    world.settled(await world.walk("a", "b", may_retry=False))
    assert world.asked == ["a", "b"] and world.slept == []


@pytest.mark.parametrize(
    ("stated", "asked", "slept"), [(b"1", ["a", "a"], 1.0), (b"2", ["a", "a"], 2.0), (b"3", ["a", "b"], None)]
)
async def test_a_short_wait_is_waited_for(stated: bytes, asked: list[str], slept: float | None) -> None:
    """Up to `retry.max_wait` the same target is asked again after it; past it the next one is."""
    world = World("a", "b")
    world.script("a", says(429, None, (b"Retry-After", stated)), says())
    won = await world.walk("a", "b")
    assert world.asked == asked
    assert [pytest.approx(slept, abs=0.01)] == world.slept if slept else world.slept == []
    world.settled(won)


async def test_no_wait_that_leaves_no_time_for_an_answer() -> None:
    """A second must be left after it."""
    world = World("a")
    world.script("a", says(429, None, (b"Retry-After", b"2")))
    won = await world.walk("a", total=2.9)
    assert world.asked == ["a"] and world.slept == [] and won.sent.answer.status == 429
    world.settled(won)


async def test_a_spent_budget_allows_no_retry() -> None:
    """What one target may be burdened with is shared by all requests; a share of zero grants nothing."""
    world = World("a", "b", breaker={"mode": "disabled"})
    world.script("a", says(500))
    budget = world.guards["a"].retries(None, 0.2)
    while budget.spend():
        pass
    world.settled(await world.walk("a", "b"))
    assert world.asked == ["a", "b"]
    world.settled(await world.walk("a", "b", retry=retry(1, budget=0.0)))
    assert world.asked == ["a", "b", "a", "b"]


async def test_requests_pay_for_retries() -> None:
    """With a budget of a fifth, 100 requests buy 20 retries beyond the ten that are free."""
    world = World("a", "b")
    for _ in range(100):
        world.settled(await world.walk("a"))
    assert world.guards["a"].retries(None, 0.2).balance() == pytest.approx(30.0)


async def test_a_retry_does_not_pay_for_itself() -> None:
    """One request, one payment, however often the target was asked."""
    world = World("a")
    world.script("a", says(500), says())
    world.settled(await world.walk("a"))
    assert world.asked == ["a", "a"] and world.guards["a"].retries(None, 0.2).balance() == pytest.approx(9.2)


# Keys.


@pytest.mark.parametrize("status", [401, 402, 403, 429])
async def test_another_key_of_the_pool_is_tried_once(status: int) -> None:
    """Whether it was the key's fault: of three, two are asked with, and then the next target."""
    world = World("a", "b", a={"keys": own_keys("a", 3)})
    world.script("a", says(status))
    won = await world.walk("a", "b", retry=retry(0))
    assert world.asked == ["a", "a", "b"]
    used = [call.key.id for call in world.calls if call.key is not None]
    assert len(set(used)) == 3, "no key twice"
    world.settled(won)


async def test_a_single_key_is_not_tried_twice() -> None:
    """There is no other: the next target."""
    world = World("a", "b")
    world.script("a", says(401))
    world.settled(await world.walk("a", "b"))
    assert world.asked == ["a", "b"]


async def test_a_refused_key_goes_nowhere_else() -> None:
    """A target with the same key is left out; one with another key is asked."""
    world = World("a", "b")
    world.script("a", says(401))
    walk = world.ready("a/x", "a/y", "b")
    won = await walk.answer()
    assert world.asked == ["a/x", "b"] and "a/y" in walk.admit.skipped[0]
    world.settled(won)


async def test_a_refused_key_of_the_clients_own_ends_the_walk() -> None:
    """Every target would get the same."""
    world = World("a", "b", a={"keys": CLIENT_KEYS}, b={"keys": CLIENT_KEYS})
    world.script("a", says(401))
    won = await world.walk("a", "b")
    assert world.asked == ["a"] and won.sent.answer.status == 401
    world.settled(won)


async def test_a_rate_limit_is_of_one_model() -> None:
    """The same key may be used for another model at once."""
    world = World("a", "b")
    world.script("a/x", says(429, None, RATE))
    won = await world.walk("a/x", "a/y", "b")
    assert world.asked == ["a/x", "a/y"] and won.sent.answer.status == 200
    world.settled(won)


# Cool-downs that come of it.


@pytest.mark.parametrize(
    ("way", "reason", "model", "left_s"),
    [
        (says(429, None, RATE), Reason.RATE, "m", 30.0),
        (says(429, None, (b"retry-after-ms", b"2500")), Reason.RATE, "m", 2.5),
        (says(429), Reason.RATE, "m", 5.0),
        (says(402), Reason.MONEY, None, 300.0),
        (says(401), Reason.AUTH, None, 60.0),
        (says(404, NO_MODEL), Reason.MODEL, "m", 300.0),
    ],
)
async def test_what_cools(way: Way, reason: Reason, model: str | None, left_s: float) -> None:
    """The key for this model, or the key as a whole, as long as the provider said or the reason asks for."""
    world = World("a", "b")
    world.script("a", way)
    world.settled(await world.walk("a", "b", retry=retry(0)))
    (cooling,) = world.guards.cooldowns.snapshot()
    assert (cooling.reason, cooling.model) == (reason, model) and cooling.left_s == pytest.approx(left_s)
    assert world.verdicts == [("a", "ignore"), ("b", "success")]
    ((level, event, fields),) = world.log.lines
    assert (level, event, fields["reason"]) == ("warning", "cooldown", reason.value)
    assert "secret" not in repr(fields)


async def test_a_success_ends_a_cool_down_that_is_over() -> None:
    """The next rate limit then begins from the beginning."""
    world = World("a")
    world.script("a", says(429), says())
    world.settled(await world.walk("a", retry=retry(0)))
    assert len(world.guards.cooldowns) == 1
    world.clock.tick(5.0)
    world.settled(await world.walk("a"))
    assert len(world.guards.cooldowns) == 0


async def test_a_failure_states_the_floor_of_the_open_time() -> None:
    """Retry-After on a 503 keeps the circuit open at least so long, and cools no key."""
    world = World("a", "b")
    world.script("a", says(503, None, (b"Retry-After", b"40")))
    for _ in range(5):
        world.settled(await world.walk("a", "b"))
    assert world.state("a") == "open" and len(world.guards.cooldowns) == 0
    assert world.guards["a"].breaker(None).peek() == pytest.approx(40.0)


async def test_a_rate_limit_fails_a_probe() -> None:
    """A half-open circuit waits for an answer that shows recovery."""
    world = World("a", "b")
    world.trip("a")
    world.clock.tick(5.0)
    world.script("a", says(429))
    world.settled(await world.walk("a", "b", retry=retry(0)))
    assert world.verdicts == [("a", "failure"), ("b", "success")] and world.state("a") == "open"


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b'{"error": {"code": "model_not_found", "message": "x"}}'), (429, b'{"error": {"message": "slow down"}}')],
)
async def test_a_call_without_a_model_cools_no_model(status: int, body: bytes) -> None:
    """What is said of it must not bar the way for all models of its key."""
    world = World("a", "b")
    world.script("a", says(status, body))
    won = await world.walk("a", model=None)
    assert won.sent.answer.status == status and world.guards.cooldowns.snapshot() == ()
    world.settled(won)
