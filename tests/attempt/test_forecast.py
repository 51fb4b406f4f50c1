"""The forecast against real walks: what would be asked is asked, what would be left out is, in the same words."""

from __future__ import annotations

import asyncio
import copy
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from proxy.attempt import chain
from proxy.attempt.circuit import PROBES
from proxy.attempt.cooldown import Reason
from proxy.attempt.forecast import forecast
from proxy.config import schema
from proxy.config.schema import CLIENT_KEYS, Match, Route, Step
from proxy.errors import FuseboxError, LocalFault, NoKey
from proxy.exchange import Carrier, Endpoint, Facts, Format, Target
from proxy.policy import explain_world
from proxy.policy.compiled import compile_policy
from proxy.policy.explain import explain
from proxy.policy.explain_asked import Question
from proxy.policy.explain_story import Explanation
from tests.attempt.sending import NONE
from tests.attempt.walking import World, fails, fault_at, own_keys, refused, retry
from tests.scripted import within

CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON, modality="text", inference=True)
HOSTS = {name: f"{name}.test" for name in "abc"}

STATES = (
    "well",
    "open",
    "nearly over",
    "forced",
    "probing",
    "half-open",
    "probed early",
    "rate",
    "soon",
    "model",
    "money",
    "auth",
    "full",
    "offline",
)
"""What may be the matter with a provider; several at once."""


def bring_about(world: World, name: str, state: str) -> None:
    """Have `name` be in that state."""
    guard = world.guards[name]
    breaker = guard.breaker("m")
    if (
        state in ("open", "nearly over", "probing", "half-open", "probed early")
        and breaker.snapshot().state == "closed"
    ):
        while breaker.snapshot().state == "closed":
            breaker.acquire().failure("x")
    match state:
        case "nearly over":
            breaker.open_until_s = world.clock() + 0.5
        case "forced":
            guard.breaker(None).force_open()
            breaker.force_open()
        case "probing" | "half-open":
            if not breaker.held:
                breaker.open_until_s = world.clock()
                for _ in range(PROBES if state == "probing" else 1):
                    if breaker.peek() == 0:
                        breaker.acquire()
        case "probed early":
            if not breaker.held and breaker.snapshot().state == "open":
                breaker.acquire_early().ignore()
        case "rate" | "soon":
            world.cool(name, Reason.RATE, 20.0 if state == "rate" else 1.5)
        case "model" | "money" | "auth":
            world.cool(name, Reason(state))
        case "full":
            guard.places.limit, guard.places.taken = 2, 2
        case "offline":
            for host in (name, "elsewhere"):
                fault = fault_at(refused(), HOSTS.get(host, "elsewhere.test"))
                fault.refused = False  # type: ignore[attr-defined]
                world.guards.uplink.failed(fault)


def told(world: World, *labels: str, alone: str | None = None, max_wait: float = 2.0) -> Explanation:
    """What is explained for a request along `labels`, by the state of the world now."""
    targets = [Target(provider, model or None) for provider, _, model in (one.partition("/") for one in labels)]
    route = Route(name="r", match=Match(), to=tuple(Step(((target, 1.0),)) for target in targets))
    config = replace(world.config, routes=(route,), retry=retry(0, max_wait))
    found = forecast(world.ground, targets, model="m", wanted=Format.OPENAI)
    question = Question(Facts(CHAT, "POST", "/v1/chat/completions", "m", False, {}), alone)
    return explain(compile_policy(config), question, roll=0.0, now_s=0.0, world=found, live=True)


async def walked(world: World, *labels: str, alone: bool = False, max_wait: float = 2.0) -> tuple[list[str], Any, Any]:
    """What a walk asks when every target refuses, what it leaves out, and its fault, if it ends in one of our own.

    They refuse the connection: an answer, even one of 500, would show that this machine's way out is free.
    """
    for label in labels:
        world.script(label, fails(refused))
    options: dict[str, Any] = {"retry": retry(0, max_wait), "alone": alone}
    walk = world.ready(*labels, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "asyncio", SimpleNamespace(sleep=world.sleep))
        with pytest.raises(FuseboxError) as ended:
            await walk.answer()
    fault = ended.value if isinstance(ended.value, LocalFault) else None
    return list(world.asked), walk.admit.skipped, fault


def standing(world: World) -> Any:
    """Everything that somebody who looks might disturb."""
    guards = world.guards
    return copy.deepcopy(
        (
            [asdict(one.snapshot()) for guard in guards for one in guard.breakers()],
            [list(guard._of_model) for guard in guards],
            [breaker.next_early_s for guard in guards for breaker in guard.breakers()],
            guards.cooldowns.entries,
            [guard.places.taken for guard in guards],
            [provider.ring._next for provider in world.providers.values() if provider.ring is not None],
            (guards.uplink.down, guards.uplink._next_probe_s, guards.uplink._faults),
        )
    )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.permutations("abc").flatmap(lambda names: st.integers(1, 3).map(lambda count: names[:count])),
    st.fixed_dictionaries({name: st.lists(st.sampled_from(STATES), max_size=3, unique=True) for name in "abc"}),
    st.booleans(),
    st.sampled_from([0.0, 2.0]),
    st.sampled_from(["provider", "target"]),
)
def test_a_walk_does_what_was_forecast(
    names: list[str], states: dict[str, list[str]], alone: bool, max_wait: float, scope: str
) -> None:
    """Whatever is the matter with each provider: the same targets, the same order, the same reasons, the same fault."""

    async def compare() -> None:
        world = World(*"abc", hosts=HOSTS, breaker={"scope": scope})
        for name, found in states.items():
            for state in sorted(found, key=STATES.index):
                bring_about(world, name, state)
        before = standing(world)
        predicted = told(world, *names, alone="so" if alone else None, max_wait=max_wait)
        assert standing(world) == before, "somebody looked, and something changed"
        asked, skipped, fault = await within(walked(world, *names, alone=alone, max_wait=max_wait))
        in_turn = [one.target.partition("/")[0] for one in predicted.targets if one.asked != "not"]
        assert asked == in_turn
        assert (predicted.target is None) == (fault is not None) == (not asked)
        out = [f"{one.target}: {one.reason}" for one in predicted.targets if one.hindrances]
        assert list(skipped)[: len(out)] == out
        if fault is not None:
            assert predicted.error is not None and predicted.error.code == fault.code
            # A last resort that was tried in vain leaves one more reason of a target that is out for two.
            assert str(fault).startswith(predicted.error.message)
        elif predicted.resort is None:
            assert list(skipped) == out

    asyncio.run(compare())


def test_the_states_are_what_they_say() -> None:
    """Each alone hinders as its name says: else the comparison above compares nothing."""
    kinds = {}
    for state in STATES:
        world = World(*"abc", hosts=HOSTS)
        bring_about(world, "a", state)
        found = forecast(world.ground, [Target("a")], model="m", wanted=Format.OPENAI).of(Target("a"), "m")
        kinds[state] = [(one.kind, one.cause) for one in found]
    cools = {
        state: [("cooling", "rate" if state == "soon" else state)]
        for state in ("rate", "soon", "model", "money", "auth")
    }
    opens = {state: [("open", None)] for state in ("open", "nearly over", "forced", "probing", "probed early")}
    assert kinds == {
        "well": [],
        "half-open": [],
        "full": [("full", None)],
        "offline": [("uplink", None)],
        **cools,
        **opens,
    }


@pytest.mark.parametrize(
    ("state", "resort", "asked"),
    [
        ("open", "to see whether it is back", "a"),
        ("soon", "that is waited for", "a"),
        ("model", "did not have a while ago", "a"),
        ("probed early", None, None),
        ("money", None, None),
        ("forced", None, None),
    ],
)
def test_when_every_target_is_out(state: str, resort: str | None, asked: str | None) -> None:
    """One may be asked all the same; why is said, and the others are not asked after it."""
    world = World(*"abc", hosts=HOSTS)
    for name in "ab":
        bring_about(world, name, state)
    predicted = told(world, "a", "b")
    assert (predicted.target and predicted.target[0]) == asked
    if resort is None:
        assert predicted.error is not None and predicted.error.code == "all_targets_out" and predicted.resort is None
    else:
        assert predicted.resort is not None and resort in predicted.resort
        assert [one.asked for one in predicted.targets] == ["first", "not"]


def test_keys() -> None:
    """A pool is out when all its keys are; no key at all is said; a client's own key is its own."""
    world = World("a", "b", "c", a={"keys": own_keys("a", 2)}, b={"keys": CLIENT_KEYS}, c={"keys": NONE})
    targets = [Target(name) for name in "abc"]
    world.cool("a", Reason.AUTH, key=0)
    assert forecast(world.ground, targets, model="m", wanted=Format.OPENAI).out == {}
    world.cool("a", Reason.RATE, 7.0, key=1)
    mine = [(b"Authorization", b"Bearer mine")]
    cooldowns = world.guards.cooldowns
    walk = world.ready("b")
    cooldowns.cool(walk.admit.key_id(world.providers["b"], None), "m", Reason.RATE, 9.0)
    cooldowns.cool("c:none", "m", Reason.RATE, 8.0)
    found = forecast(world.ground, targets, model="m", wanted=Format.OPENAI).out
    assert {name: one[0].reason for name, one in found.items()} == {
        "a/m": "cooling (rate), 7 s left",
        "b/m": "cooling (rate), 9 s left",
        "c/m": "cooling (rate), 8 s left",
    }
    assert "b/m" not in forecast(world.ground, targets, model="m", wanted=Format.OPENAI, headers=mine).out


async def test_no_key() -> None:
    """As the walk says it, but for where the keys should come from."""
    world = World("a", "b", a={"keys": schema.Keys("own", (schema.KeySource(env="UNSET"),))})
    predicted = told(world, "a", "b")
    assert [(one.asked, one.reason) for one in predicted.targets] == [("not", "no key"), ("first", None)]
    alone = told(world, "a")
    _, _, fault = await walked(world, "a")
    assert alone.error is not None and isinstance(fault, NoKey)
    assert (alone.error.status, alone.error.code) == (fault.status, fault.code)


def test_a_model_that_nobody_has_asked_for_gets_no_breaker() -> None:
    """With ``scope: target`` clients name models, so looking must not make a place for each."""
    world = World("a", breaker={"scope": "target"})
    guard = world.guards["a"]
    assert forecast(world.ground, [Target("a", "new")], model=None, wanted=Format.OPENAI).out == {}
    assert len(list(guard.breakers())) == 1
    guard.breaker(None).force_open(60.0)
    found = forecast(world.ground, [Target("a", "new")], model=None, wanted=Format.OPENAI).out
    assert [one.reason for one in found["a/new"]] == ["breaker forced open"] and len(list(guard.breakers())) == 1


def test_past_the_routes() -> None:
    """The provider's origin is what counts."""
    world = World(*"abc", hosts=HOSTS)
    bring_about(world, "a", "offline")
    found = forecast(world.ground, [Target("a")], model=None, wanted=None).out
    assert [one.kind for one in found["a"]] == ["uplink"]


def test_the_least_time_is_the_chain_s() -> None:
    """A number that stands in two rooms, as one of them is below the other."""
    assert explain_world.LEFT_MIN_S == chain.LEFT_MIN_S
