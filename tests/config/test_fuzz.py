"""Broken by chance: whatever becomes of config.yaml, ``check`` says what is wrong with it, or that it is fine."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.commands.check import check_file
from proxy.config.parse import parse
from proxy.config.problems import ConfigError
from proxy.config.report import as_github, as_json, as_text

EXAMPLE = (Path(__file__).parents[2] / "config.yaml").read_text(encoding="utf-8")
LINES = EXAMPLE.splitlines(keepends=True)
SECRET = "sk-proj-Zx81hTq0LmN4vB7w"
"""Planted in every file that is mutated, in place of a key's name."""

JUNK = st.sampled_from(
    [
        *"{}[]:,*&!|>'\"%@`#?-~\t\n ",
        "\x00",
        "\u2028",
        "\ufeff",
        "é",
        "- ",
        ": ",
        "<<: ",
        "*a",
        "&a ",
        "{{ x }}",
        "5",
        "~",
    ]
)


def _delete(text: str, at: int, length: int, _: str) -> str:
    return text[:at] + text[at + length :]


def _insert(text: str, at: int, length: int, junk: str) -> str:
    return text[:at] + junk * (1 + length % 3) + text[at:]


def _replace(text: str, at: int, length: int, junk: str) -> str:
    return text[:at] + junk + text[at + length % 8 :]


def _repeat(text: str, at: int, length: int, _: str) -> str:
    return text[: at + length] + text[at:]


def _cut(text: str, at: int, length: int, _: str) -> str:
    return text[:at]


def _indent(text: str, at: int, length: int, _: str) -> str:
    begin = text.rfind("\n", 0, at) + 1
    line = text[begin:].lstrip(" ")
    return text[:begin] + " " * (length % 9) + line


def _swap(text: str, at: int, length: int, _: str) -> str:
    lines = text.splitlines(keepends=True) or [""]
    one, other = at % len(lines), (at + length) % len(lines)
    lines[one], lines[other] = lines[other], lines[one]
    return "".join(lines)


MUTATION = st.tuples(
    st.sampled_from([_delete, _insert, _replace, _repeat, _cut, _indent, _swap]),
    st.integers(0, len(EXAMPLE)),
    st.integers(0, 400),
    JUNK,
)


def broken(mutations: list[tuple[object, int, int, str]], text: str) -> str:
    """`text` after all of them."""
    for mutate, at, length, junk in mutations:
        assert callable(mutate)
        text = mutate(text, min(at, len(text)), length, junk)
    return text


def check_any(text: str) -> None:
    """A report in each format, whatever it is; errors exactly when `parse` refuses the text; no secret in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_text(text, encoding="utf-8", newline="")
        checked = check_file(path, {}, 1_795_000_000.0)
    try:
        parse(path.read_text(encoding="utf-8") if path.exists() else text)
    except ConfigError as error:
        # Files that the text includes are not there in the one case, and cannot be in the other.
        assert checked.count("error") or "included here" in str(error)
    else:
        assert checked.count("error") == 0 or "shadow" in text
    for written in (as_text([checked], False), as_json([checked], True), as_github([checked], False)):
        assert SECRET not in written


@given(st.lists(MUTATION, min_size=1, max_size=4))
def test_no_change_of_the_text_crashes_check(mutations: list[tuple[object, int, int, str]]) -> None:
    """Characters, spans and lines deleted, doubled, swapped, moved, cut off."""
    check_any(broken(mutations, EXAMPLE.replace("OPENAI_API_KEY}", f"{SECRET}}}")))


def paths(tree: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to each value of a tree."""
    inner: list[tuple[str | int, object]] = []
    if isinstance(tree, dict):
        inner = list(tree.items())
    elif isinstance(tree, list):
        inner = list(enumerate(tree))
    return [at, *(path for key, value in inner for path in paths(value, (*at, key)))]


TREE = yaml.safe_load(EXAMPLE)
PATHS = paths(TREE)[1:]
VALUES: st.SearchStrategy[object] = st.sampled_from(
    [None, True, 0, -1, 1e9, "", "x", "5s", "openai/x", "a/b/c", "*", SECRET, [], [[]], {}, {"x": 1}, {"openai/x": 3}]
)


@given(
    st.lists(st.tuples(st.sampled_from(PATHS), VALUES | st.sampled_from(PATHS)), min_size=1, max_size=5),
    st.booleans(),
)
def test_no_change_of_the_values_crashes_check(changes: list[tuple[tuple[str | int, ...], object]], flow: bool) -> None:
    """Well-formed, with values taken out, put in another's place, or replaced by those of another kind."""
    tree = yaml.safe_load(EXAMPLE)
    for path, value in changes:
        holder = tree
        try:
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = _at(tree, value) if isinstance(value, tuple) else value
        except (KeyError, IndexError, TypeError):
            continue  # a change before this one took the place away
    check_any(yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True))


def _at(tree: object, path: tuple[str | int, ...]) -> object:
    for key in path:
        tree = tree[key]  # type: ignore[index]  # what is no container raises TypeError, which ends the change
    return tree
