"""Deciding: the first route that fits, and those of its targets that can answer; all of it against the rules."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.schema import Config, Match, Route, RouteTimeouts, Seconds, Step, Timeouts
from proxy.errors import BadRequest, NoRoute
from proxy.exchange import Carrier, Endpoint, Facts, Format, Skipped, Target
from proxy.policy.compiled import Policy, compile_policy
from proxy.policy.decide import Decision, decide
from tests.policy.policies import CONFIGS, FACTS, LATENCIES, NOWS, PROVIDERS, ROLLS
from tests.policy.rules import decided

OFFERS = {
    "both": {Format.OPENAI, Format.ANTHROPIC},
    "openai": {Format.OPENAI},
    "anthropic": {Format.ANTHROPIC},
    "nothing": set[Format](),
}


def policy(*routes: Route, timeouts: Timeouts | None = None) -> Policy:
    """The compiled policy of a configuration with these routes."""
    return compile_policy(Config(providers=PROVIDERS, routes=routes, timeouts=timeouts or Timeouts()))


def step(*targets: str, weights: tuple[float, ...] = ()) -> Step:
    """A step of `provider/model` or `provider` texts, weighted or of one."""
    parsed = [Target(provider, model or None) for provider, _, model in (text.partition("/") for text in targets)]
    return Step(tuple(zip(parsed, weights or (1.0,) * len(parsed), strict=True)))


def facts(
    model: str | None = "m",
    format_: Format = Format.OPENAI,
    carrier: Carrier = Carrier.JSON,
    headers: dict[str, str] | None = None,
) -> Facts:
    """A request as the policy sees it."""
    return Facts(Endpoint("any", format_, carrier), "POST", "/v1/any", model, False, headers or {})


def outcome(
    made: Policy, asked: Facts, roll: float, now_s: float = 0.0, latency: Mapping[str, float] | None = None
) -> Decision | str:
    """The decision, or which of the errors that there may be."""
    try:
        return decide(made, asked, roll=roll, now_s=now_s, latency=None if latency is None else latency.get)
    except BadRequest:
        return "no model"
    except NoRoute as error:
        return "no route" if str(error).startswith("no route") else "no target"


@settings(max_examples=max(300, settings().max_examples))
@given(CONFIGS, FACTS, ROLLS, NOWS, LATENCIES)
def test_deciding_is_what_the_rules_say(
    config: Config, asked: Facts, roll: float, now_s: float, latency: dict[str, float]
) -> None:
    """Any policy gives any request the plan, or the error, of the slow and obvious rules; asked again, the same again."""
    made = compile_policy(config)
    found = outcome(made, asked, roll, now_s, latency)
    expected = decided(config, asked, roll, now_s, latency)
    if isinstance(expected, str):
        assert found == expected
    else:
        route = config.routes[expected.at]
        assert found == Decision(
            expected.plan,
            route.timeouts.over(config.timeouts),
            route.retry.over(config.retry),
            route,
            expected.mirror,
        )
    assert outcome(made, asked, roll, now_s, latency) == found
    assert outcome(compile_policy(config), asked, roll, now_s, latency) == found


@given(CONFIGS, st.lists(FACTS, max_size=6), FACTS, ROLLS, NOWS)
def test_what_was_asked_before_changes_nothing(
    config: Config, before: list[Facts], asked: Facts, roll: float, now_s: float
) -> None:
    """A policy remembers which routes fit and which plans do not vary; a new one that remembers nothing decides alike."""
    made = compile_policy(config)
    for one in before:
        outcome(made, one, roll, now_s)
    assert outcome(made, asked, roll, now_s) == outcome(compile_policy(config), asked, roll, now_s)


@given(CONFIGS, FACTS, st.floats(0, 1, exclude_max=True), st.floats(), st.lists(st.floats(0.001, 1000), min_size=3))
def test_deciding_is_total(config: Config, asked: Facts, roll: float, now_s: float, weights: list[float]) -> None:
    """Weights, rolls and moments of any digits: there is a plan with targets, or one of two errors, each time the same."""
    routes = tuple(
        msgspec.structs.replace(route, to=tuple(_weighed(step, weights) for step in route.to))
        for route in config.routes
    )
    made = compile_policy(msgspec.structs.replace(config, routes=routes))
    found = outcome(made, asked, roll, now_s)
    assert found == outcome(made, asked, roll, now_s)
    if isinstance(found, str):
        return
    assert found.route is not None and found.plan.targets
    assert len(found.plan.targets) + len(found.plan.skipped) == len(found.route.to)
    reasons = {str(skip.target): skip.reason for skip in found.plan.skipped}
    assert all(reasons.values())


def _weighed(one: Step, weights: list[float]) -> Step:
    return Step(tuple((target, weight) for (target, _), weight in zip(one.choices, weights, strict=False)))


def test_a_plan_that_does_not_vary_is_made_once() -> None:
    """The same object for every request of a format."""
    made = policy(Route(name="r", match=Match(), to=(step("both"), step("openai"))))
    assert decide(made, facts(), roll=0.1) is decide(made, facts("other"), roll=0.9)
    anthropic = decide(made, facts(format_=Format.ANTHROPIC), roll=0.1)
    assert anthropic is decide(made, facts(format_=Format.ANTHROPIC), roll=0.2)
    assert [str(target) for target in anthropic.plan.targets] == ["both"]


def test_the_first_match_wins() -> None:
    """Order is the only rank there is."""
    made = policy(
        Route(name="team", match=Match(header={"X-Team": ("a",)}), to=(step("openai/t"),)),
        Route(name="exact", match=Match(model=("m",)), to=(step("openai/e"),)),
        Route(name="rest", match=Match(), to=(step("openai"),)),
    )
    assert decide(made, facts(), roll=0).plan.route == "exact"
    assert decide(made, facts(headers={"x-team": "a"}), roll=0).plan.route == "team"
    assert decide(made, facts("other"), roll=0).plan.route == "rest"
    assert decide(made, facts(None), roll=0).plan.targets == (Target("openai"),)


def test_what_a_policy_asks_for() -> None:
    """The names of headers and models that the rest of the proxy must know of."""
    made = policy(
        Route(name="a", match=Match(model=("m1", "g*", "m?"), header={"X-Team": ("a",)}), to=(step("openai"),)),
        Route(name="b", match=Match(model=("m2", "m1"), header={"x-user": ("*",)}), to=(step("openai"),)),
    )
    assert made.header_names == {"x-team", "x-user"}
    assert made.model_names == ("m1", "m2")
    assert {name: set(formats) for name, formats in made.formats.items()} == OFFERS


@pytest.mark.parametrize(
    ("match", "to", "needed"),
    [
        (Match(), "openai", False),
        (Match(path=("/v1/*",)), "openai", False),
        (Match(model=("m",)), "openai", True),
        (Match(), "openai/m", True),
    ],
)
def test_whether_the_model_is_needed(match: Match, to: str, needed: bool) -> None:
    """Only a policy that asks for it or replaces it needs the model of a request."""
    assert policy(Route(name="r", match=match, to=(step(to),))).model_needed is needed


@pytest.mark.parametrize(
    ("model", "said"), [("m", "model 'm'"), (None, "a request without a model"), ("\ud800\r\n", "\\ud800\\r\\n")]
)
def test_no_route(model: str | None, said: str) -> None:
    """The sentence says what was asked for and what to add, in characters that a header or log can carry."""
    with pytest.raises(NoRoute, match="no route takes") as caught:
        decide(policy(Route(name="r", match=Match(path=("/other",)), to=(step("openai"),))), facts(model), roll=0)
    assert said in str(caught.value) and "match: {}" in str(caught.value)


def test_targets_without_the_format_are_skipped_with_the_reason() -> None:
    """The others stay in order."""
    made = policy(
        Route(name="r", match=Match(), to=(step("anthropic/c"), step("openai/o"), step("nothing"), step("both")))
    )
    plan = decide(made, facts(), roll=0).plan
    assert plan.targets == (Target("openai", "o"), Target("both"))
    assert plan.skipped == (
        Skipped(Target("anthropic", "c"), "provider 'anthropic' offers no openai format"),
        Skipped(Target("nothing"), "provider 'nothing' offers no openai format"),
    )


def test_no_target_is_left() -> None:
    """Each reason is told."""
    made = policy(Route(name="r", match=Match(), to=(step("openai/o"), step("nothing"))))
    with pytest.raises(NoRoute) as caught:
        decide(made, facts(format_=Format.ANTHROPIC), roll=0)
    assert str(caught.value) == (
        "route 'r' has no target for this request: openai/o: provider 'openai' offers no anthropic format; "
        "nothing: provider 'nothing' offers no anthropic format"
    )


@pytest.mark.parametrize("carrier", list(Carrier))
def test_a_model_to_replace_is_missing(carrier: Carrier) -> None:
    """400, and not a request with the wrong model; a call that carries none has nothing to replace."""
    made = policy(Route(name="r", match=Match(), to=(step("openai"), step("openai/m"))))
    if carrier is Carrier.NONE:
        assert decide(made, facts(None, carrier=carrier), roll=0).plan.route == "r"
        return
    with pytest.raises(BadRequest) as caught:
        decide(made, facts(None, carrier=carrier), roll=0)
    assert caught.value.param == "model" and "'r'" in str(caught.value)


def test_a_route_s_timeouts_stand_over_the_policy_s() -> None:
    """What it leaves out is as at the top."""
    made = policy(
        Route(name="r", match=Match(), to=(step("openai"),), timeouts=RouteTimeouts(head=Seconds(1))),
        timeouts=Timeouts(head=Seconds(9), idle=Seconds(8)),
    )
    timeouts = decide(made, facts(), roll=0).timeouts
    assert timeouts == Timeouts(head=Seconds(1), idle=Seconds(8))
