"""Globs and matches: what fits, and that no text a client sends makes them slow."""

from __future__ import annotations

import re
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Match, TokenRange
from proxy.exchange import Carrier, Endpoint, Facts, Format, Look, Prompt
from proxy.policy.match import _expression, compile_fixed, compile_live, fixed_tests, glob, live_tests
from tests.policy.policies import FACTS, matches
from tests.policy.rules import FakeLook, Sealed, takes

CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON)


def facts(
    model: str | None = "gpt-5",
    path: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
    complexity: str | None = None,
) -> Facts:
    """A request as the policy sees it."""
    return Facts(CHAT, "POST", path, model, False, headers or {}, complexity)


def fits(pattern: str, text: str) -> bool:
    """A glob by its definition: try every length for each star."""
    reachable = {0}
    for char in pattern:
        if char == "*":
            reachable = set(range(min(reachable, default=len(text) + 1), len(text) + 1))
        else:
            reachable = {at + 1 for at in reachable if at < len(text) and char in ("?", text[at])}
    return len(text) in reachable


@given(st.lists(st.text("ab*?.[\n", max_size=8), min_size=1, max_size=3), st.text("ab.[\n", max_size=12))
def test_a_glob_is_what_its_definition_says(patterns: list[str], text: str) -> None:
    """One of several must fit, as a whole; every other character means itself."""
    assert glob(tuple(patterns))(text) is any(fits(pattern, text) for pattern in patterns)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("gpt-5*", "gpt-5", True),
        ("gpt-5*", "gpt-5.4-mini", True),
        ("gpt-5*", "xgpt-5", False),
        ("*", "", True),
        ("?", "", False),
        ("?", "é", True),
        ("meta/*", "meta/llama/3", True),
        ("GPT-5", "gpt-5", False),
        ("a.c", "abc", False),
        ("a**b", "ab", True),
        ("*ab*ab*", "abab", True),
        ("*ab*ab*", "aab", False),
        ("*a?b", "aab", True),
        ("*a?b*b", "aabxb", True),
    ],
)
def test_globs(pattern: str, text: str, expected: bool) -> None:
    """Slashes and line ends are characters like others; letters count as they are."""
    assert glob((pattern,))(text) is expected


def test_a_glob_never_goes_back_to_try_a_star_anew() -> None:
    """Between two stars nothing is tried twice: with backtracking this text would not end within the age of the world."""
    assert glob(("*a" * 30 + "b",))("a" * 1000) is False
    assert "(?>" in _expression("a*b*c") and re.compile(_expression("a*b*c")).fullmatch("axbxc")


@pytest.mark.parametrize(
    ("match", "asked", "expected"),
    [
        (Match(), facts(model=None), True),
        (Match(model=("gpt-5*",)), facts(), True),
        (Match(model=("gpt-5*",)), facts(model=None), False),
        (Match(model=("*",)), facts(model=None), False),
        (Match(model=("a", "gpt-5")), facts(), True),
        (Match(path=("/v1/chat/*",)), facts(), True),
        (Match(path=("/v1/chat",)), facts(), False),
        (Match(header={"x-team": ("search", "ads*")}), facts(headers={"x-team": "ads-2"}), True),
        (Match(header={"X-Team": ("search",)}), facts(headers={"x-team": "search"}), True),
        (Match(header={"x-team": ("search",)}), facts(headers={"x-team": "Search"}), False),
        (Match(header={"x-team": ("*",)}), facts(), False),
        (Match(header={"x-team": ("*",)}), facts(headers={"x-team": ""}), True),
        (Match(header={"a": ("1",), "b": ("2",)}), facts(headers={"a": "1"}), False),
        (Match(header={"a": ("1",), "b": ("2",)}), facts(headers={"a": "1", "b": "2"}), True),
        (Match(complexity=("simple", "complex")), facts(complexity="complex"), True),
        (Match(complexity=("simple",)), facts(complexity=None), False),
        (Match(model=("gpt-5",), path=("/v1/chat/*",), header={"a": ("1",)}), facts(headers={"a": "1"}), True),
        (Match(model=("gpt-5",), path=("/v1/emb*",), header={"a": ("1",)}), facts(headers={"a": "1"}), False),
    ],
)
def test_all_that_is_written_must_hold(match: Match, asked: Facts, expected: bool) -> None:
    """A part that the request lacks is a part that does not hold."""
    live = compile_live(match)
    assert (compile_fixed(match)(asked) and (live is None or live(asked))) is expected


@given(
    st.lists(st.sampled_from(["gpt-5", "gpt-*", "a"]), max_size=2),
    st.lists(st.sampled_from(["/v1/*", "/v1/chat/completions", "/x"]), max_size=2),
    st.dictionaries(
        st.sampled_from(["a", "b"]), st.lists(st.sampled_from(["1", "2*"]), min_size=1).map(tuple), max_size=2
    ),
    st.sampled_from(["gpt-5", "a", "b", None]),
    st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "22", "3"])),
)
def test_a_match_is_the_conjunction_of_its_parts(
    models: list[str], paths: list[str], header: dict[str, tuple[str, ...]], model: str | None, sent: dict[str, str]
) -> None:
    """Whether one test, several or none is compiled never shows."""
    asked = facts(model=model, headers=sent)
    expected = (
        (not models or (model is not None and any(fits(one, model) for one in models)))
        and (not paths or any(fits(one, asked.path) for one in paths))
        and all(name in sent and any(fits(one, sent[name]) for one in values) for name, values in header.items())
    )
    assert bool(compile_fixed(Match(model=tuple(models), path=tuple(paths), header=header))(asked)) is expected


@given(matches(), FACTS)
def test_a_match_is_what_the_rules_say(match: Match, asked: Facts) -> None:
    """Of line, headers and body alike."""
    live = compile_live(match)
    assert (compile_fixed(match)(asked) and (live is None or live(asked))) is takes(match, asked)


def body(tokens: int = 0, *, holds: bool = False) -> FakeLook:
    """A body of so many tokens that holds all there can be, or nothing."""
    return FakeLook(told=Prompt(tokens=tokens, tools=holds, images=holds, audio=holds, json=holds))


@pytest.mark.parametrize("name", ["tools", "images", "audio", "json"])
@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(("look", "holds"), [(body(holds=True), True), (body(), False), (None, False)])
def test_what_a_body_holds(name: str, wanted: bool, look: Look | None, holds: bool) -> None:
    """Asked for or asked against; a body that cannot be looked into holds nothing."""
    (found,) = live_tests(msgspec.convert({name: wanted}, Match))
    assert found[0] == name
    assert found[1](msgspec.structs.replace(facts(), look=look)) is (holds is wanted)


@pytest.mark.parametrize(
    ("over", "up_to", "taken"),
    [(100, None, [101, 1000]), (None, 100, [0, 99, 100]), (99, 100, [100]), (None, None, [0, 99, 100, 101, 1000])],
)
def test_ranges_of_prompt_tokens(over: int | None, up_to: int | None, taken: list[int]) -> None:
    """More than the one bound, and up to the other."""
    live = compile_live(Match(prompt_tokens=TokenRange(over=over, up_to=up_to)))
    assert live is not None
    asked = {tokens: msgspec.structs.replace(facts(), look=body(tokens)) for tokens in (0, 99, 100, 101, 1000)}
    assert [tokens for tokens, one in asked.items() if live(one)] == taken


@pytest.mark.parametrize(("stated", "found", "expected"), [(None, "simple", True), ("complex", "simple", False)])
def test_a_stated_class_stands_over_the_one_that_is_found(stated: str | None, found: str, expected: bool) -> None:
    """The client knows best."""
    live = compile_live(Match(complexity=("simple",)))
    assert live is not None
    asked = msgspec.structs.replace(facts(complexity=stated), look=FakeLook(told_class=found))
    assert live(asked) is expected


def test_the_cheap_tests_come_first() -> None:
    """The stream is known without a look, so a route for streams never looks into a request that is none."""
    match = Match(complexity=("simple",), prompt_tokens=TokenRange(over=1), json=True, tools=True, stream=True)
    assert [name for name, _ in live_tests(match)] == ["stream", "tools", "json", "prompt_tokens", "complexity"]
    live = compile_live(match)
    assert live is not None and live(msgspec.structs.replace(facts(), look=Sealed())) is False
    assert compile_live(Match(model=("m",), path=("/x",), format="openai")) is None


def test_fixed_tests_are_named_by_what_they_ask() -> None:
    """`explain` shows these names: one test each, and none of the body among them."""
    match = Match(
        model=("m",), path=("/x",), header={"X-Team": ("a",), "b": ("*",)}, format="openai", stream=True, tools=True
    )
    assert [name for name, _ in fixed_tests(match)] == ["model", "path", "header.X-Team", "header.b", "format"]


@pytest.mark.parametrize(("wanted", "expected"), [("openai", True), ("anthropic", False)])
def test_the_client_s_format(wanted: Literal["openai", "anthropic"], expected: bool) -> None:
    """By the endpoint, not by anything in the body."""
    assert compile_fixed(Match(format=wanted))(facts()) is expected
