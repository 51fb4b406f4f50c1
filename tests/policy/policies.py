"""Policies and requests for property tests: every key of the language, from few values, so that they meet often."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

from proxy.config.schema import (
    Config,
    LongContext,
    Match,
    Mirror,
    Model,
    Moment,
    Price,
    Provider,
    Retry,
    Route,
    RouteRetry,
    RouteTimeouts,
    Seconds,
    Step,
    Timeouts,
    TokenRange,
)
from proxy.exchange import Carrier, Endpoint, Facts, Format, Prompt, Target
from tests.policy.rules import FakeLook

PROVIDERS = {
    "both": Provider(base_url="http://both.test/v1", anthropic_url="http://both.test"),
    "openai": Provider(base_url="http://openai.test/v1"),
    "anthropic": Provider(anthropic_url="http://anthropic.test"),
    "nothing": Provider(),
}
CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON, modality="text", inference=True)

KEYS = ["a", "b", "a\0b", "é", "\ud800", ""]
TOKENS = [0, 1, 99, 100, 101, 1000]

SOME_TARGETS = st.builds(Target, st.sampled_from(["both", "both", *PROVIDERS]), st.sampled_from([None, "m1", "x"]))
LABELS = [f"{provider}/{model}" for provider in ("both", "openai") for model in ("m", "m1", "x")]


def steps(most: int = 3) -> st.SearchStrategy[Step]:
    """Steps of one to `most` targets."""
    choices = st.lists(st.tuples(SOME_TARGETS, st.integers(1, 99).map(float)), min_size=1, max_size=most)
    return choices.map(lambda chosen: Step(tuple(chosen)))


def some(*patterns: str) -> st.SearchStrategy[tuple[str, ...]]:
    """None to two of `patterns`."""
    return st.lists(st.sampled_from(patterns), max_size=2).map(tuple)


ASKED: dict[str, st.SearchStrategy[object]] = {
    "model": some("m", "m*", "x", "?", "*", "*1"),
    "path": some("/v1/*", "/v1/any", "/other", "*"),
    "header": st.dictionaries(
        st.sampled_from(["x-team", "X-Tier"]), st.sampled_from([("a",), ("a*", "b"), ("*",)]), max_size=2
    ),
    "format": st.sampled_from(["openai", "anthropic"]),
    "stream": st.booleans(),
    "tools": st.booleans(),
    "images": st.booleans(),
    "audio": st.booleans(),
    "json": st.booleans(),
    "prompt_tokens": st.builds(
        TokenRange, over=st.none() | st.sampled_from(TOKENS), up_to=st.none() | st.sampled_from(TOKENS[1:])
    ),
    "complexity": st.lists(st.sampled_from(["simple", "complex"]), max_size=2).map(tuple),
}


@st.composite
def matches(draw: st.DrawFn) -> Match:
    """Matches that ask for up to three things, so that most requests find a route."""
    names = draw(st.lists(st.sampled_from(sorted(ASKED)), unique=True, max_size=3))
    return msgspec.convert({name: draw(ASKED[name]) for name in names}, Match)


MOMENTS = st.sampled_from([None, None, None, Moment(100), Moment(200)])
ROUTES = st.builds(
    Route,
    name=st.sampled_from(["a", "b", "c"]),
    match=matches(),
    to=st.lists(steps(), min_size=1, max_size=4).map(tuple),
    sticky=st.sampled_from([None, "header:x-user", "user", "prompt"]),
    order=st.sampled_from(["as_written", "cost", "latency"]),
    mirror=st.none() | st.builds(Mirror, to=steps(2), percent=st.sampled_from([1.0, 50.0, 100.0])),
    timeouts=st.builds(RouteTimeouts, head=st.none() | st.just(Seconds(1))),
    retry=st.builds(RouteRetry, attempts=st.sampled_from([None, 0, 5])),
    from_=MOMENTS,
    until=MOMENTS,
)
COSTS = st.integers(0, 3).map(float)
PRICES = st.builds(
    Price,
    input=COSTS,
    output=COSTS,
    long_context=st.none() | st.builds(LongContext, over=st.just(100), input=COSTS, output=COSTS),
)
KNOWN = st.builds(
    Model,
    context=st.sampled_from([99, 100, 1000, None]),
    price=st.none() | PRICES,
    modalities=st.sampled_from([None, None, ("text",), ("image", "audio")]),
)
CONFIGS = st.builds(
    Config,
    providers=st.just(PROVIDERS),
    models=st.just({}) | st.dictionaries(st.sampled_from(LABELS), KNOWN, min_size=5),
    routes=st.lists(ROUTES, max_size=5).map(tuple),
    timeouts=st.just(Timeouts(idle=Seconds(8))),
    retry=st.just(Retry(max_wait=Seconds(7))),
)

LOOKS = st.builds(
    FakeLook,
    size=st.sampled_from([5000, 5000, 5000, 100, 99, 0]),
    told=st.builds(
        Prompt,
        tokens=st.sampled_from([*TOKENS, 100, 101, 500]),
        tools=st.booleans(),
        images=st.booleans(),
        audio=st.booleans(),
        json=st.booleans(),
        user=st.none() | st.sampled_from(KEYS),
        prefix=st.sampled_from(["", "p1", "p2"]),
    ),
    told_class=st.sampled_from(["simple", "standard", "complex"]),
)
FACTS = st.builds(
    Facts,
    st.builds(
        Endpoint,
        st.just("any"),
        st.sampled_from(list(Format)),
        st.sampled_from([Carrier.JSON, Carrier.JSON, Carrier.NONE, Carrier.QUERY]),
        modality=st.sampled_from([None, "text", "text", "image"]),
    ),
    st.just("POST"),
    st.sampled_from(["/v1/any", "/other"]),
    st.sampled_from([None, "m", "m", "x", "x", "m1", "mm", ""]),
    st.booleans(),
    st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(KEYS) for name in ("x-team", "x-tier", "x-user", "x-other")}
    ),
    st.sampled_from([None, None, "simple", "complex"]),
    st.one_of(st.none(), LOOKS, LOOKS),
)
ROLLS = st.integers(0, 2**32 - 1).map(lambda roll: roll / 2**32)
NOWS = st.sampled_from([0.0, 99.999, 100.0, 199.999, 200.0])
LATENCIES = st.dictionaries(st.sampled_from(LABELS), st.sampled_from([0.1, 0.2, 3.0]))
