"""The order of a chain: by price, by latency, as written; ties stay as written."""

from __future__ import annotations

from typing import Literal

import pytest

from proxy.attempt.latency import FORGOTTEN_AFTER_S, Latencies
from proxy.config.schema import Config, LongContext, Match, Model, Price, Route, Step
from proxy.exchange import Facts, Look, Prompt, Target
from proxy.policy.compiled import compile_policy
from proxy.policy.decide import Latency, decide
from tests.policy.policies import CHAT, PROVIDERS
from tests.policy.rules import FakeLook, Sealed

LONG = LongContext(over=100, input=90, output=90)
MODELS = {
    "both/dear": Model(price=Price(input=10, output=30)),
    "both/cheap": Model(price=Price(input=1, output=4)),
    "both/alike": Model(price=Price(input=1, output=4)),
    "both/tiered": Model(price=Price(input=0, output=1, long_context=LONG)),
    "both/wordy": Model(price=Price(input=0, output=60)),
    "both/free": Model(price=Price(input=0, output=0)),
    "both/unpriced": Model(context=10**9),
}


def order(
    by: Literal["as_written", "cost", "latency"],
    chain: str,
    *,
    model: str = "m",
    look: Look | None = None,
    latency: Latency | None = None,
) -> str:
    """The models of a chain in the order in which they will be asked; ``-`` is the client's own."""
    steps = tuple(Step(((Target("both", None if name == "-" else name), 1.0),)) for name in chain.split())
    route = Route(name="r", match=Match(), to=steps, order=by)
    policy = compile_policy(Config(providers=PROVIDERS, models=MODELS, routes=(route,)))
    asked = Facts(CHAT, "POST", "/v1/any", model, False, {}, None, look)
    plan = decide(policy, asked, roll=0.5, latency=latency).plan
    assert not plan.skipped
    return " ".join(target.model or "-" for target in plan.targets)


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("dear cheap", "cheap dear"),
        ("cheap dear", "cheap dear"),
        ("dear alike cheap", "alike cheap dear"),
        ("cheap alike", "cheap alike"),
        ("unpriced dear", "dear unpriced"),
        ("unpriced other", "unpriced other"),
        ("unpriced dear free", "free dear unpriced"),
        ("dear wordy", "dear wordy"),  # 0.75 × 10 + 0.25 × 30 and 0.25 × 60
        ("wordy dear", "wordy dear"),
        ("cheap", "cheap"),
    ],
)
def test_the_cheapest_is_asked_first(chain: str, expected: str) -> None:
    """By three tokens of the prompt to one of the answer; what has no price comes last, equals stay as written."""
    assert order("cost", chain) == expected


@pytest.mark.parametrize(("tokens", "expected"), [(0, "tiered cheap"), (100, "tiered cheap"), (101, "cheap tiered")])
def test_a_long_prompt_costs_the_long_price(tokens: int, expected: str) -> None:
    """Above the tier's bound by the estimate; at the bound not yet."""
    assert order("cost", "cheap tiered", look=FakeLook(told=Prompt(tokens=tokens))) == expected


def test_a_prompt_that_cannot_be_looked_into_costs_the_short_price() -> None:
    """Its size is not known."""
    assert order("cost", "cheap tiered", look=None) == "tiered cheap"


@pytest.mark.parametrize(("model", "expected"), [("dear", "cheap -"), ("free", "- cheap"), ("m", "cheap -")])
def test_the_client_s_model_has_its_own_price(model: str, expected: str) -> None:
    """A target that keeps the model costs what that model costs."""
    assert order("cost", "- cheap", model=model) == expected


def test_as_written_nothing_is_looked_at() -> None:
    """Neither body nor prices nor latencies."""
    assert order("as_written", "dear cheap free", look=Sealed(), latency={"both/free": 0.1}.get) == "dear cheap free"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"both/a": 0.3, "both/b": 0.2, "both/c": 0.1}, "c b a"),
        ({"both/a": 0.3, "both/b": 0.2}, "c b a"),
        ({"both/a": 0.3}, "b c a"),
        ({}, "a b c"),
        ({"both/a": 0.2, "both/b": 0.2, "both/c": 0.1}, "c a b"),
        ({"both/b": 0.0, "both/a": 0.1}, "b c a"),
        (None, "a b c"),
    ],
)
def test_the_soonest_is_asked_first(known: dict[str, float] | None, expected: str) -> None:
    """What nobody knows comes first, as nothing but a request can tell it; equals, and all without times, as written."""
    assert order("latency", "a b c", look=Sealed(), latency=None if known is None else known.get) == expected


def test_latencies_that_are_measured() -> None:
    """The chain follows the moving averages, and one that is forgotten is asked first again."""
    now = 0.0
    latencies = Latencies(lambda: now)
    assert order("latency", "a b", latency=latencies.of) == "a b"
    latencies.add("both/a", 0.1)
    assert order("latency", "a b", latency=latencies.of) == "b a"
    latencies.add("both/b", 0.2)
    assert order("latency", "a b", latency=latencies.of) == "a b"
    for _ in range(5):
        latencies.add("both/a", 1.0)
    assert order("latency", "a b", latency=latencies.of) == "b a"
    now = FORGOTTEN_AFTER_S
    latencies.add("both/b", 0.2)
    now += 1
    assert order("latency", "a b", latency=latencies.of) == "a b"


def test_an_order_is_made_anew_for_each_request() -> None:
    """One policy, which remembers plans that do not vary: those by latency or by the prompt's price do."""
    steps = tuple(Step(((Target("both", name), 1.0),)) for name in ("cheap", "tiered"))
    known = {"both/cheap": 0.1, "both/tiered": 0.2}
    short, long = FakeLook(told=Prompt(tokens=1)), FakeLook(told=Prompt(tokens=101))
    firsts = []
    for route in (
        Route(name="r", match=Match(), to=steps, order="latency"),
        Route(name="r", match=Match(), to=steps, order="cost"),
    ):
        made = compile_policy(Config(providers=PROVIDERS, models=MODELS, routes=(route,)))
        for look in (short, long, short):
            asked = Facts(CHAT, "POST", "/v1/any", "m", False, {}, None, look)
            firsts.append(decide(made, asked, roll=0.5, latency=known.get).plan.targets[0].model)
            known["both/cheap"] += 0.15  # slower than the other from the second time on
    assert firsts == ["cheap", "tiered", "tiered", "tiered", "cheap", "tiered"]
