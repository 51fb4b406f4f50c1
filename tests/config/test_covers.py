"""What comes to a route: a route is called unreachable only when nothing comes to it, and often enough when nothing does."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.config.covers import GLOB_MAX, always_while, any_covers, glob_covers, rest_covers, takes_everything
from proxy.config.parse import parse, parse_document
from proxy.config.problems import ConfigError
from proxy.config.reachable import Earlier
from proxy.config.schema import Match, Moment, Route, TokenRange
from proxy.exchange import Carrier, Endpoint, Facts, Format, Prompt
from proxy.policy.compiled import compile_policy
from proxy.policy.decide import choose
from proxy.policy.match import glob

PROVIDERS = "providers: {near: {base_url: 'http://h/v1', anthropic_url: 'http://h', keys: none}}\n"


class Look:
    """A body that is what it says."""

    size = 100

    def __init__(self, prompt: Prompt, complexity: str) -> None:
        self.prompt = prompt
        self.complexity = complexity


# Globs.

PATTERNS = st.text("ab*?", max_size=6)


@st.composite
def globs(draw: st.DrawFn) -> tuple[str, str]:
    """Two patterns of which the first is often the wider: made from the second by putting in stars and question marks."""
    narrow = draw(PATTERNS)
    wide = "".join(draw(st.sampled_from([char, char, "*", "?", "*" + char])) for char in narrow)
    return draw(st.sampled_from([wide, wide, "*" + narrow, draw(PATTERNS)])), narrow


@given(globs(), st.lists(st.text("ab?*c", max_size=5), min_size=1, max_size=40))
def test_a_glob_that_covers_another_takes_all_its_texts(pair: tuple[str, str], texts: list[str]) -> None:
    """Of random texts, and of what the narrow one makes of each when its stars and question marks are filled in."""
    wide, narrow = pair
    assume(glob_covers(wide, narrow))
    filled = [narrow.replace("*", text).replace("?", text[:1] or "x") for text in texts]
    for text in [*texts, *filled]:
        assert not glob((narrow,))(text) or glob((wide,))(text), text


@pytest.mark.parametrize(
    ("wide", "narrow", "covers"),
    [
        ("*", "", True),
        ("*", "gpt-5", True),
        ("gpt-*", "gpt-5*", True),
        ("gpt-*", "gpt-*", True),
        ("gpt-5*", "gpt-*", False),
        ("gpt-?", "gpt-5", True),
        ("gpt-?", "gpt-??", False),
        ("gpt-?", "gpt-*", False),
        ("g?t*", "gp*t", False),
        ("*mini", "gpt-*-mini", True),
        ("*a*", "b*ab*", True),
        ("a", "?", False),
        ("", "*", False),
        ("a" * GLOB_MAX + "*", "a" * GLOB_MAX + "b", False),
        ("a" * GLOB_MAX + "*", "a" * GLOB_MAX + "*", True),
    ],
)
def test_which_globs_cover_which(wide: str, narrow: str, covers: bool) -> None:
    """The obvious ones are found; very long ones are compared as text alone."""
    assert glob_covers(wide, narrow) is covers


# Matches and routes.

TRUTHS = st.sampled_from([None, True, False])
NAMES = st.sampled_from(["gpt-5", "gpt-5*", "*", "gpt-5-mini", "o5", "o?"])
FORMATS: list[Literal["openai", "anthropic"] | None] = [None, "openai", "anthropic"]
CLASSES: list[tuple[Literal["simple", "standard", "complex", "creative"], ...]] = [
    *((), ("simple",), ("simple", "complex"), ("simple", "standard", "complex", "creative"))
]
RANGES = st.builds(TokenRange, over=st.sampled_from([None, 0, 1, 5]), up_to=st.sampled_from([None, 1, 5, 9]))
MATCHES = st.builds(
    Match,
    model=st.lists(NAMES, max_size=2).map(tuple),
    path=st.lists(st.sampled_from(["/v1/*", "*", "/v1/chat", "/v2*"]), max_size=2).map(tuple),
    header=st.dictionaries(
        st.sampled_from(["x-a", "x-b"]), st.lists(NAMES, min_size=1, max_size=2).map(tuple), max_size=2
    ),
    format=st.sampled_from(FORMATS),
    stream=TRUTHS,
    tools=TRUTHS,
    images=TRUTHS,
    audio=TRUTHS,
    json=TRUTHS,
    prompt_tokens=st.none() | RANGES,
    complexity=st.sampled_from(CLASSES),
)
MOMENTS = st.sampled_from([None, Moment(1), Moment(2), Moment(3)])
FACTS = st.builds(
    lambda format_, path, model, stream, headers, complexity, look: Facts(
        Endpoint("chat", format_, Carrier.JSON), "POST", path, model, stream, headers, complexity, look
    ),
    st.sampled_from(Format),
    st.sampled_from(["/v1/chat", "/v1/x", "/v2"]),
    st.sampled_from([None, "gpt-5", "gpt-5-mini", "o5", "x"]),
    st.booleans(),
    st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.sampled_from(["gpt-5", "o5", ""]), max_size=2),
    st.sampled_from([None, None, "simple", "creative"]),
    st.none()
    | st.builds(
        Look,
        st.builds(
            Prompt,
            tokens=st.sampled_from([0, 1, 2, 5, 6, 9, 10]),
            tools=st.booleans(),
            images=st.booleans(),
            audio=st.booleans(),
            json=st.booleans(),
        ),
        st.sampled_from(["simple", "standard", "complex", "creative"]),
    ),
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Match, Match]:
    """A match and one that asks for more or less than it, so that one often covers the other."""
    narrow = draw(MATCHES)
    left_out = draw(st.sets(st.sampled_from(Match.__struct_fields__), min_size=7))
    plain = Match()
    wide = replace(narrow, **{name: getattr(plain, name) for name in left_out})
    if draw(st.booleans()):
        other = draw(MATCHES)
        name = draw(st.sampled_from(Match.__struct_fields__))
        wide = replace(wide, **{name: getattr(other, name)})
    return wide, narrow


def routes(*matches: Match) -> tuple[Route, ...]:
    """A route for each, all to one provider."""
    chain = parse(PROVIDERS + "routes: [{name: r, match: {}, to: [near]}]\n").routes[0].to
    return tuple(Route(name=f"r{number}", match=match, to=chain) for number, match in enumerate(matches))


@given(pairs(), st.lists(FACTS, min_size=1, max_size=30))
def test_a_match_that_covers_another_takes_all_its_requests(pair: tuple[Match, Match], seen: list[Facts]) -> None:
    """As the policy itself decides them."""
    wide, narrow = (replace(match, model=()) for match in pair)
    assume(rest_covers(wide, narrow))
    config = parse(PROVIDERS + "routes: [{name: r, match: {}, to: [near]}]\n")
    policy = compile_policy(replace(config, routes=routes(wide, narrow, Match())))
    for facts in seen:
        assert choose(policy, facts).route.name != "r1"


@given(MOMENTS, MOMENTS, MOMENTS, MOMENTS)
def test_always_while_one_is_in_force_the_other_is(
    from_: Moment | None, until: Moment | None, other_from: Moment | None, other_until: Moment | None
) -> None:
    """At every moment around the ends."""
    config = parse(PROVIDERS + "routes: [{name: r, match: {}, to: [near]}]\n")
    first, second = (
        replace(routes(Match())[0], from_=begin, until=end)
        for begin, end in ((from_, until), (other_from, other_until))
    )
    assume(always_while(first, second))
    one, two = compile_policy(replace(config, routes=(first, second))).routes
    assert all(one.in_force(now_s) or not two.in_force(now_s) for now_s in (0.5, 1, 1.5, 2, 2.5, 3, 3.5))


@pytest.mark.parametrize(
    ("changes", "everything"),
    [
        ({}, True),
        ({"match": Match(path=("/v1/*", "/*"))}, True),
        ({"match": Match(prompt_tokens=TokenRange())}, True),
        ({"match": Match(model=("*",))}, False),
        ({"match": Match(header={"x-a": ("*",)})}, False),
        ({"match": Match(stream=True)}, False),
        ({"match": Match(complexity=("simple", "standard", "complex", "creative"))}, False),
        ({"match": Match(prompt_tokens=TokenRange(over=0))}, False),
        ({"until": Moment(1)}, False),
        ({"from_": Moment(1)}, False),
    ],
)
def test_what_takes_everything(changes: dict[str, object], everything: bool) -> None:
    """A request may have no model, no header of a name, no body to look at, and come at any time."""
    assert takes_everything(replace(routes(Match())[0], **changes)) is everything


@given(st.lists(MATCHES, min_size=2, max_size=6))
def test_the_index_finds_what_a_look_at_every_route_finds(matches: list[Match]) -> None:
    """The first route before that takes all that one takes, for each of its models."""
    config = parse(PROVIDERS + "routes: [{name: r, match: {}, to: [near]}]\n")
    config = replace(config, routes=routes(*matches))
    earlier = Earlier(config)
    for index, match in enumerate(matches):
        for model in match.model or (None,):
            covering = [
                number
                for number, other in enumerate(matches[:index])
                if rest_covers(other, match)
                and (not other.model or (model is not None and any_covers(other.model, model)))
            ]
            assert earlier.taker(config.routes[index], model) == (covering[0] if covering else None)
        earlier.add(index)


# As reported.


def report(*written: str) -> list[str]:
    """What is said of the matches of routes, each `written` like ``{match: ..., until: ...}`` without the rest."""
    lines = [f"- {{name: r{number}, to: [near], {one}}}\n" for number, one in enumerate(written)]
    try:
        found = parse_document(f"{PROVIDERS}routes:\n{''.join(lines)}").warnings
    except ConfigError as error:
        found = error.problems
    return [f"{one.severity} {one.path}: {one.message}" for one in found]


def test_a_route_behind_one_in_force_for_a_while_is_reached() -> None:
    """Before it begins, or after it ends; within its time it is not."""
    box = "from: 2026-01-01T00:00:00Z, until: 2027-01-01T00:00:00Z"
    part = "from: 2026-02-01T00:00:00Z, until: 2026-03-01T00:00:00Z"
    assert report(f"match: {{}}, {box}", "match: {}") == []
    assert report(f"match: {{model: a}}, {part}", f"match: {{model: a}}, {box}") == []
    assert report(f"match: {{model: a}}, {box}", f"match: {{model: a}}, {part}") == [
        "error routes[1].match: this route is never reached: route 'r0' in line 3 takes every request that it matches"
    ]


def test_a_route_that_takes_nothing_hides_nothing() -> None:
    """It alone is reported."""
    (one,) = report("match: {prompt_tokens: {over: 9, up_to: 9}}", "match: {prompt_tokens: {over: 10}}")
    assert one.startswith("error routes[0].match.prompt_tokens: no number is over 9 and up to 9")
    assert report("match: {prompt_tokens: {over: 9, up_to: 10}}", "match: {}") == []


def test_a_broken_match_says_nothing_of_others() -> None:
    """Nobody knows what was meant."""
    assert report("match: {modl: a}", "match: {model: a}") == ["error routes[0].match.modl: unknown key"]
    assert report("match: {}, until: soon", "match: {model: a}") == [
        "error routes[0].until: 'soon' is not a moment (RFC 3339)"
    ]


def test_only_some_models_of_a_route_are_taken_before() -> None:
    """A warning for each, at the model; a pattern that only overlaps is no matter."""
    assert report("match: {model: a}", "match: {model: [a, b]}", "match: {model: '?'}") == [
        "warning routes[1].match.model[0]: 'a' never comes here: route 'r0' in line 3 takes it"
    ]


def test_a_large_policy_is_judged() -> None:
    """A thousand routes by model, or by glob, and the one that comes twice is found."""
    for model in ("m{}", "m{}-x*"):
        (one,) = report(*(f"match: {{model: {model.format(number % 999)}}}" for number in range(1000)))
        assert one.startswith("error routes[999].match: this route is never reached: route 'r0' in line 3")


def test_classes_that_no_request_looks_like() -> None:
    """Only when all that a route asks for are out of reach."""
    standing = PROVIDERS + "complexity: {simple_below: 0.4, complex_from: 0.4}\n"
    route = "routes: [{name: r, match: {complexity: CLASSES}, to: [near]}]\n"
    (warning,) = parse_document(standing + route.replace("CLASSES", "standard")).warnings
    assert "no request looks standard: complexity.simple_below is no less than complex_from" in warning.message
    assert parse_document(standing + route.replace("CLASSES", "[standard, simple]")).warnings == ()
