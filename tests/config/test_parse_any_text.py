"""Any text at all: a configuration or a `ConfigError`, in bounded time, with problems that stand within the text."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.config import nodes
from proxy.config.parse import parse
from proxy.config.problems import ConfigError, Problem
from proxy.config.reader import MAX_PROBLEMS
from proxy.config.schema import Config, KeySource, Provider

GOOD = (
    "providers: {openai: {keys: [{env: A}]}, near: {base_url: 'http://h/v1', keys: none}}\n"
    "routes: [{name: all, match: {}, to: [openai]}]\n"
)
"""A sound file to which a test adds lines, from line 3 on."""


def problems(text: str) -> tuple[Problem, ...]:
    """The problems of `text`, which must have some."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.problems


def bombs() -> list[str]:
    """Small texts that stand for huge trees, by aliases, by merges, and by merges of nothing."""
    levels = range(1, 40)
    lists = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in levels)
    merges = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in levels)
    voids = "a0: &a0 {}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in levels)
    chain = "a0: &a0 {}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}}}\n" for n in range(1, 2000))
    many = f"routes: [{', '.join(['*r'] * 400)}]\nx: &r"
    wide = f"x: &r {{name: r, match: {{}}, to: [{', '.join(['openai'] * 400)}]}}\nroutes: [{', '.join(['*r'] * 400)}]\n"
    keys = "".join(f"k{n}: 1\n" for n in range(20_000))
    used = [text + f"providers: {{openai: *a{len(text.splitlines()) - 1}}}\n" for text in (lists, merges, voids, chain)]
    return [*used, many, wide, keys, lists + "<<: *a39\n", merges + "<<: *a39\n", voids + "<<: *a39\n"]


@pytest.mark.parametrize("text", bombs(), ids=lambda text: f"{text[:8]}..{text[-12:]}")
def test_a_bomb_is_refused(text: str) -> None:
    """What is walked, and what is reported, is bounded; the error says so or is one of type."""
    found = problems(text)
    assert 1 <= len(found) <= MAX_PROBLEMS + 1


def test_very_many_problems_end_with_a_word_on_the_rest() -> None:
    """The last problem says that there are more."""
    found = problems(GOOD + "".join(f"k{number}: 1\n" for number in range(MAX_PROBLEMS + 5)))
    assert len(found) == MAX_PROBLEMS + 1
    assert f"more than {MAX_PROBLEMS} problems" in found[-1].message


def check_any(text: str) -> None:
    """Parses, and holds every problem to its promises."""
    try:
        parse(text)
    except ConfigError as error:
        lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
        assert error.problems
        assert len(str(error).splitlines()) == len(error.problems)
        assert list(error.problems) == sorted(error.problems, key=lambda one: (one.line, one.column))
        for one in error.problems:
            assert 1 <= one.line <= len(lines), one
            assert 1 <= one.column <= len(lines[one.line - 1]) + 1, one


@given(st.text())
@example("\ufeff")
@example("\ufeffa: *b")
@example("a: 'b\u2028")
@example("a: |1x")
@example("%YAML 9.9\n---\na")
@example("%TAG ! x\n%TAG ! y\n--- a")
@example("? ?")
@example("{<<: ")
@example("!<tag:yaml.org,2002:> x")
@example('"\\uD800": 1')
@example("=: 1")
def test_no_text_raises_anything_but_a_config_error(text: str) -> None:
    """Any text: a configuration, or problems whose places lie within it."""
    check_any(text)


PIECES = st.sampled_from(
    [
        *(
            "providers",
            "routes",
            "openai",
            "keys",
            "match",
            "to",
            "model",
            "header",
            "listen",
            "timeouts",
            "a/b",
            "none",
        ),
        *(
            ": ",
            ":\n  ",
            ":\n",
            "\n- ",
            "\n  - ",
            "- ",
            ", ",
            "{",
            "}",
            "[",
            "]",
            "'",
            '"',
            "&a ",
            "*a",
            "<<: ",
            "!!str ",
            "? ",
        ),
        *("4", "5s", "true", "~", "|\n ", ">", "#", "\t", "---\n", "...\n", "%", "@", "\u2028", "\ufeff", "\r\n", "="),
    ]
)


@given(st.lists(PIECES, max_size=40).map("".join))
def test_no_text_that_looks_like_yaml_does_either(text: str) -> None:
    """The same for texts made of the marks of YAML and the words of the configuration."""
    check_any(text)


WORDS = st.sampled_from(
    [
        "a",
        "openai",
        "openai/x",
        "x/",
        "none",
        "5s",
        "0s",
        "*",
        "/v1",
        "http://h",
        "header:x",
        "",
        "\n",
        "on",
        "sk-abcdefgh",
    ]
)
KEYS = st.sampled_from(
    [
        *sorted({name for one in (Config, Provider, KeySource) for name in one.__struct_fields__}),
        *("name", "match", "to", "model", "header", "openai", "a", "openai/x", "price", "total", "sk-abcdefgh", "é"),
    ]
)
VALUES = st.recursive(
    WORDS | st.integers(-1, 2) | st.booleans() | st.none() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)


@given(st.dictionaries(KEYS, VALUES, max_size=8))
def test_no_tree_of_values_does_either(tree: dict[str, object]) -> None:
    """The same for well-formed YAML with every kind of value in every kind of place."""
    check_any(yaml.safe_dump(tree, allow_unicode=True))


@given(st.lists(PIECES, max_size=40).map("".join))
def test_the_parser_in_python_keeps_the_same_promises(text: str) -> None:
    """Where PyYAML has no libyaml, its own parser reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "LOADER", yaml.SafeLoader)
        check_any(text)
