"""What outlives a reload, and what begins anew."""

from __future__ import annotations

import math
from typing import Any

import pytest

from proxy.attempt.cooldown import Reason
from proxy.attempt.guards import MODELS_MAX, Guard, Guards
from proxy.config import schema
from tests.attempt.fakes import MIDDLE, FakeClock
from tests.attempt.walking import World, configured, own_keys


def guards(config: schema.Config, before: Guards | None = None, clock: FakeClock | None = None) -> Guards:
    """Guards of a configuration."""
    return Guards(config, clock=clock or FakeClock(), rng=lambda: MIDDLE, before=before)


def trip(guard: Guard) -> None:
    """Open the provider's breaker."""
    while guard.breaker(None).snapshot().state == "closed":
        guard.breaker(None).acquire().failure("x")


def test_an_unchanged_provider_keeps_what_it_has_learnt() -> None:
    """Breaker, places and budgets are the same objects; cool-downs and the way out, too."""
    clock = FakeClock()
    old = guards(configured("a", "b"), clock=clock)
    trip(old["a"])
    old["a"].places.take()
    old["a"].retries(None, 0.2).spend()
    old.cooldowns.cool("a:1", "m", Reason.RATE, 30.0)
    new = guards(configured("a", "b", "c"), old, clock)
    assert new["a"] is old["a"] and new["b"] is old["b"] and [one.name for one in new] == ["a", "b", "c"]
    assert new["a"].breaker(None).snapshot().state == "open" and new["a"].places.taken == 1
    assert new["a"].retries(None, 0.2).balance() == 9.0
    assert new.cooldowns is old.cooldowns and new.uplink is old.uplink and len(new.cooldowns) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"a": {"base_url": "https://elsewhere.test/v1"}},
        {"a": {"anthropic_url": "https://elsewhere.test"}},
        {"a": {"ca": "/ca.pem"}},
        {"breaker": {"failure_rate": 0.4}},
        {"breaker": {"mode": "shadow"}},
    ],
)
def test_a_changed_provider_begins_anew(change: dict[str, Any]) -> None:
    """Other addresses or other rules: nothing learnt of the old ones holds."""
    old = guards(configured("a"))
    trip(old["a"])
    new = guards(configured("a", **change), old)
    assert new["a"] is not old["a"] and new["a"].breaker(None).snapshot().state == "closed"


def test_an_order_stands_although_the_provider_has_changed() -> None:
    """Held open for so long, for good, or disabled: whoever tunes a breaker does not take it back by that."""
    clock = FakeClock()
    for order, for_s in (("held", 30.0), ("held", math.inf), ("disabled", 0.0)):
        old = guards(configured("a"), clock=clock)
        breaker = old["a"].breaker(None)
        breaker.force_open(for_s) if order == "held" else breaker.disable()
        clock.tick(10)
        new = guards(configured("a", breaker={"failure_rate": 0.4}), old, clock)["a"].breaker(None)
        assert new is not breaker
        shown = new.snapshot()
        assert (shown.held, shown.mode == "disabled") == (order == "held", order == "disabled")
        assert shown.retry_in_s == {30.0: 20.0, math.inf: None, 0.0: 0.0}[for_s]
    # One that the configuration itself disabled is no order.
    off = guards(configured("a", breaker={"mode": "disabled"}))
    assert guards(configured("a"), off)["a"].breaker(None).snapshot().mode == "enforce"


def test_an_order_of_one_model_stands_too() -> None:
    """With ``scope: target``; with one breaker for the provider there is none left that it could be of."""
    clock = FakeClock()
    old = guards(configured("a", breaker={"scope": "target"}), clock=clock)
    old["a"].breaker("held").force_open(30.0)
    old["a"].breaker("off").disable()
    old["a"].breaker("plain")
    clock.tick(10)
    new = guards(configured("a", breaker={"scope": "target", "failure_rate": 0.4}), old, clock)["a"]
    assert {breaker.label for breaker in new.breakers()} == {"a", "a/held", "a/off"}
    assert (new.breaker("held").snapshot().retry_in_s, new.breaker("off").snapshot().mode) == (20.0, "disabled")
    assert new.breaker("plain").snapshot().state == new.breaker(None).snapshot().state == "closed"
    whole = guards(configured("a"), old, clock)["a"]
    assert [breaker.snapshot().state for breaker in whole.breakers()] == ["closed"]


@pytest.mark.parametrize("change", [{"keys": own_keys("a", 3)}, {"max_concurrency": 7}, {"auth": "api-key"}])
def test_keys_and_places_may_change_under_a_breaker(change: dict[str, Any]) -> None:
    """The provider is the same; a new limit holds at once, and counts who is under way."""
    old = guards(configured("a", a={"max_concurrency": 2}))
    trip(old["a"])
    old["a"].places.take()
    new = guards(configured("a", a=change), old)
    assert (
        new["a"] is old["a"] and new["a"].places.limit == change.get("max_concurrency") and new["a"].places.taken == 1
    )


async def test_an_attempt_of_before_a_reload_gives_back_where_it_took() -> None:
    """Its provider may be configured anew meanwhile, or be gone."""
    world = World("a")
    won = await world.walk("a")
    new = Guards(configured("b"), clock=world.clock, rng=lambda: MIDDLE, before=world.guards)
    assert new.get("a") is None and world.taken("a") == 1
    won.finish("cut mid-answer")
    assert world.taken("a") == 0 and world.books.amended == [("a", "cut mid-answer")]


def test_a_provider_that_comes_back_begins_anew() -> None:
    """Between two configurations it was none."""
    old = guards(configured("a", "b"))
    trip(old["a"])
    without = configured("a", "b")
    del without.providers["a"]
    new = guards(configured("a", "b"), guards(without, old))
    assert new["a"].breaker(None).snapshot().state == "closed" and new["b"] is old["b"]


def test_a_provider_has_one_breaker_for_all_its_models() -> None:
    """So a dead host need not be learnt model by model."""
    guard = guards(configured("a"))["a"]
    assert guard.breaker("x") is guard.breaker("y") is guard.breaker(None)
    assert [breaker.label for breaker in guard.breakers()] == ["a"]


def test_with_scope_target_each_model_has_its_own() -> None:
    """The provider's own is for requests without a model."""
    guard = guards(configured("a", breaker={"scope": "target"}))["a"]
    x, y = guard.breaker("x"), guard.breaker("y")
    assert x is guard.breaker("x") and x is not y and guard.breaker(None) not in (x, y)
    assert sorted(breaker.label for breaker in guard.breakers()) == ["a", "a/x", "a/y"]


def test_clients_cannot_make_breakers_without_end() -> None:
    """The one unused for longest makes room, and those in use keep what they know."""
    guard = guards(configured("a", breaker={"scope": "target"}))["a"]
    known = guard.breaker("known")
    first = guard.breaker("0")
    for number in range(1, MODELS_MAX):
        guard.breaker("known")
        guard.breaker(str(number))
    assert len(list(guard.breakers())) == MODELS_MAX + 1
    assert guard.breaker("known") is known and guard.breaker("0") is not first


def test_budgets_are_per_target_and_share() -> None:
    """What one target may be burdened with; hedges get nothing for free."""
    guard = guards(configured("a"))["a"]
    assert guard.retries("x", 0.2) is guard.retries("x", 0.2)
    assert guard.retries("x", 0.2) is not guard.retries("y", 0.2)
    assert guard.retries("x", 0.2) is not guard.retries("x", 0.3)
    assert guard.retries("x", 0.2) is not guard.hedges("x", 0.2)
    assert guard.retries("x", 0.2).balance() == 10.0 and guard.hedges("x", 0.2).balance() == 0.0
