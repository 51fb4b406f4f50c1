"""What differs between two configurations: names, never values."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.diff import Changes, changes, in_force, moved, needs_restart
from proxy.config.parse import parse
from proxy.config.schema import Config

BASE = """
listen: 127.0.0.1:4010
providers:
  one: {base_url: "http://one.test/v1", keys: [{env: ONE_KEY}]}
  two: {base_url: "http://two.test/v1", keys: none}
models: {one/a: {context: 1000}, one/b: {context: 2000}}
routes:
  - {name: first, match: {model: "a*"}, to: [one/a]}
  - {name: second, match: {model: "b*"}, to: [one/b]}
  - {name: rest, match: {}, to: [two]}
"""


def changed(*replaced: tuple[str, str]) -> Changes:
    """The changes of BASE with texts replaced."""
    text = BASE
    for old, new in replaced:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return changes(parse(BASE), parse(text))


def test_nothing() -> None:
    """The same file, also in other words, is no change."""
    assert not changed()
    assert not changed(("context: 1000", "context: 1_000"))
    assert changed() == Changes()


@pytest.mark.parametrize(
    ("replaced", "expected"),
    [
        (("name: first", "name: new"), Changes(routes_added=("new",), routes_removed=("first",))),
        (('"a*"}, to: [one/a]', '"c*"}, to: [two/c]'), Changes(routes_changed=("first.match", "first.to"))),
        (("to: [two]", "to: [two], deliver: whole"), Changes(routes_changed=("rest.deliver",))),
        (
            ("to: [one/b]", "to: [one/b], until: '2099-01-01T00:00:00Z', from: '2020-01-01T00:00:00Z'"),
            Changes(routes_changed=("second.from", "second.until")),
        ),
        (("//two.test", "//else.test"), Changes(providers_changed=("two.base_url",))),
        (("ONE_KEY", "OTHER_KEY"), Changes(providers_changed=("one.keys",))),
        (
            ("models:", "  three: {base_url: 'http://3/v1', keys: none}\nmodels:"),
            Changes(providers_added=("three",)),
        ),
        (("context: 1000", "context: 1001"), Changes(models_changed=("one/a.context",))),
        ((", one/b: {context: 2000}", ""), Changes(models_removed=("one/b",))),
        (("4010", "4020"), Changes(other=("listen",))),
        (("models:", "drain: 1s\nlog: {level: debug}\nmodels:"), Changes(other=("drain", "log"))),
    ],
    ids=lambda value: None if isinstance(value, Changes) else value[1][:20],
)
def test_each_kind(replaced: tuple[str, str], expected: Changes) -> None:
    """Named where it is, with the key; a removed thing is the other way round an added one."""
    assert changed(replaced) == expected


def test_a_removed_provider() -> None:
    """With the route that used it."""
    found = changed(
        ("  - {name: rest, match: {}, to: [two]}\n", ""),
        ('  two: {base_url: "http://two.test/v1", keys: none}\n', ""),
    )
    assert found == Changes(routes_removed=("rest",), providers_removed=("two",))


def test_a_moved_route() -> None:
    """It is the same, and stands elsewhere; the one it passed has not moved."""
    lines = BASE.splitlines(keepends=True)
    swapped = "".join([*lines[:-3], lines[-2], lines[-3], lines[-1]])
    assert changes(parse(BASE), parse(swapped)) == Changes(routes_moved=("second",))


def test_values_are_never_told() -> None:
    """Nor a key that was pasted in a name's place."""
    secret = "sk-proj-0123456789abcdefghij"
    found = changed(("one/a: {context", f"one/{secret}: {{context"), ("ONE_KEY", "MY_SECRET_VARIABLE"))
    assert found.models_added == ("[not shown]",) and found.models_removed == ("one/a",)
    assert secret not in repr(found) and "MY_SECRET" not in repr(found)


@given(st.permutations("abcdefgh"), st.permutations("abcdefgh"))
def test_the_fewest_are_moved(before: list[str], after: list[str]) -> None:
    """Without those that moved both orders are the same, and no smaller set would do."""
    gone = moved(before, after)
    rest = [name for name in after if name not in gone]
    assert rest == [name for name in before if name not in gone]
    assert [name for name in after if name in gone] == list(gone)
    longest: list[int] = []
    for index, name in enumerate(after):
        fits = [longest[i] for i in range(index) if before.index(after[i]) < before.index(name)]
        longest.append(1 + max(fits, default=0))
    assert len(rest) == max(longest)


def test_no_names() -> None:
    """Nothing to move."""
    assert moved([], []) == ()


def test_a_long_list_is_quick_enough_to_be_compared() -> None:
    """Three thousand routes, reversed: all but one have moved."""
    names = [f"route-{number}" for number in range(3000)]
    assert len(moved(names, names[::-1])) == 2999
    random.Random(1).shuffle(names)
    assert moved(names, names) == ()


STARTED = parse(BASE)


@pytest.mark.parametrize(
    ("more", "needed"),
    [
        ("", ()),
        ("admin: 127.0.0.1:4099\n", ("admin",)),
        ("admin: 127.0.0.1:4099\nlimits: {headers: 32KiB, body: 1MiB}\n", ("admin", "limits.headers")),
        ("limits: {body: 1MiB}\ndrain: 1s\nlog: {level: error}\n", ()),
    ],
)
def test_what_only_a_start_can_change(more: str, needed: tuple[str, ...]) -> None:
    """It is named, and what is in force has it as the process started; all the rest is new."""
    config = parse(more + BASE.replace("first", "new"))
    assert needs_restart(config, STARTED) == needed
    live = in_force(config, STARTED)
    assert (live.listen, live.admin, live.limits.headers) == (STARTED.listen, STARTED.admin, STARTED.limits.headers)
    same = {"listen": STARTED.listen, "admin": STARTED.admin, "limits": STARTED.limits}
    assert msgspec.structs.replace(config, **same) == msgspec.structs.replace(live, **same)
    assert live.limits.body == config.limits.body and needs_restart(live, STARTED) == ()


def test_another_address_to_listen_on() -> None:
    """The data port."""
    config: Config = parse(BASE.replace("4010", "4020"))
    assert needs_restart(config, STARTED) == ("listen",) and in_force(config, STARTED) == STARTED
