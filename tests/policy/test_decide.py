"""Deciding: the first route that fits, the targets that offer the format, the weights; nothing else comes into it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Config, Match, Provider, Route, RouteTimeouts, Seconds, Step, Timeouts
from proxy.errors import BadRequest, NoRoute
from proxy.exchange import Carrier, Endpoint, Facts, Format, Skipped, Target
from proxy.policy.compiled import Policy, compile_policy
from proxy.policy.decide import Decision, decide

PROVIDERS = {
    "both": Provider(base_url="http://both.test/v1", anthropic_url="http://both.test"),
    "openai": Provider(base_url="http://openai.test/v1"),
    "anthropic": Provider(anthropic_url="http://anthropic.test"),
    "nothing": Provider(),
}
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


TARGETS = st.builds(Target, st.sampled_from(sorted(PROVIDERS)), st.sampled_from([None, "m1", "m2/x"]))
STEPS = st.lists(st.tuples(TARGETS, st.floats(0.001, 1000)), min_size=1, max_size=3).map(
    lambda choices: Step(tuple(choices))
)
MATCHES = st.builds(
    Match,
    model=st.lists(st.sampled_from(["m", "m*", "x", "*"]), max_size=2).map(tuple),
    header=st.dictionaries(st.just("x-team"), st.sampled_from([("a",), ("*",)]), max_size=1),
    path=st.sampled_from([(), ("/v1/*",), ("/other",)]),
)
ROUTES = st.builds(
    Route,
    name=st.sampled_from(["a", "b", "c"]),
    match=MATCHES,
    to=st.lists(STEPS, min_size=1, max_size=3).map(tuple),
    timeouts=st.builds(RouteTimeouts, head=st.none() | st.just(Seconds(1))),
)
FACTS = st.builds(
    facts,
    st.sampled_from([None, "m", "mm", "x", ""]),
    st.sampled_from(list(Format)),
    st.sampled_from(list(Carrier)),
)
ROLLS = st.floats(0, 1, exclude_max=True)


def outcome(made: Policy, asked: Facts, roll: float) -> Decision | str:
    """The decision, or the sentence of one of the two errors that there may be."""
    try:
        return decide(made, asked, roll=roll)
    except (NoRoute, BadRequest) as error:
        return str(error)


@given(st.lists(ROUTES, max_size=4), FACTS, ROLLS)
def test_deciding_is_total_and_repeats_itself(routes: list[Route], asked: Facts, roll: float) -> None:
    """Any policy gives a plan or one of two errors, and the same for the same request, newly compiled or not."""
    made = policy(*routes)
    first = outcome(made, asked, roll)
    assert first == outcome(made, asked, roll) == outcome(policy(*routes), asked, roll)
    if isinstance(first, str):
        return
    # Every step of the route is accounted for, in order and with a target of its own, taken or skipped.
    route = next(compiled.route for compiled in made.routes if compiled.takes(asked))
    assert first.plan.route == route.name
    assert first.plan.targets
    for target in first.plan.targets:
        assert asked.endpoint.format in OFFERS[target.provider]
    for skip in first.plan.skipped:
        assert asked.endpoint.format not in OFFERS[skip.target.provider]
    assert len(first.plan.targets) + len(first.plan.skipped) == len(route.to)


@given(st.lists(ROUTES, min_size=1, max_size=4), st.lists(FACTS, max_size=6), FACTS, ROLLS)
def test_what_was_asked_before_changes_nothing(
    routes: list[Route], before: list[Facts], asked: Facts, roll: float
) -> None:
    """A policy remembers which routes fit and which plans do not vary; a new one that remembers nothing decides alike."""
    made = policy(*routes)
    for one in before:
        outcome(made, one, roll)
    assert outcome(made, asked, roll) == outcome(policy(*routes), asked, roll)


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


def test_weights_hold() -> None:
    """20,000 draws of a fixed seed: each share within four standard deviations (under 1.5 percent points) of its weight."""
    weights = (95.0, 4.0, 1.0, 100.0)
    made = policy(
        Route(name="r", match=Match(), to=(step("openai/a", "openai/b", "openai/c", "openai/d", weights=weights),))
    )
    dice = random.Random(7)
    drawn = Counter(decide(made, facts(), roll=dice.random()).plan.targets[0].model for _ in range(20_000))
    for model, weight in zip("abcd", weights, strict=True):
        share = weight / sum(weights)
        assert abs(drawn[model] / 20_000 - share) < 4 * (share * (1 - share) / 20_000) ** 0.5


@pytest.mark.parametrize(
    ("roll", "model"), [(0.0, "a"), (0.2499999, "a"), (0.25, "b"), (0.4999999, "b"), (0.5, "c"), (1 - 2**-53, "c")]
)
def test_where_a_draw_falls(roll: float, model: str) -> None:
    """The weights are laid end to end; a boundary belongs to the next."""
    made = policy(Route(name="r", match=Match(), to=(step("openai/a", "openai/b", "openai/c", weights=(1, 1, 2)),)))
    assert decide(made, facts(), roll=roll).plan.targets == (Target("openai", model),)


def test_weighted_steps_draw_for_themselves() -> None:
    """Of two steps with equal halves, each of the four pairs is a quarter of 20,000 draws, within four deviations."""
    halves = (step("openai/a", "openai/b", weights=(1, 1)), step("openai/c", "openai/d", weights=(1, 1)))
    made = policy(Route(name="r", match=Match(), to=halves))
    rng = random.Random(7)
    drawn = Counter(decide(made, facts(), roll=rng.random()).plan.targets for _ in range(20_000))
    assert len(drawn) == 4
    for count in drawn.values():
        assert abs(count - 5000) < 4 * (20_000 * 0.25 * 0.75) ** 0.5
