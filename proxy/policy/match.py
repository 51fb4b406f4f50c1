"""Whether a route takes a request: globs and header values, compiled once per policy."""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.config.schema import Match
from proxy.exchange import Facts

Predicate = Callable[[Facts], bool]


def glob(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """A test for text that fits one of `patterns` as a whole; ``*`` is any text (slashes too), ``?`` any one character."""
    exact = frozenset(pattern for pattern in patterns if not {"*", "?"} & set(pattern))
    wild = [pattern for pattern in patterns if pattern not in exact]
    if not wild:
        return exact.__contains__
    fits = re.compile("|".join(map(_expression, wild)), re.DOTALL).fullmatch
    return lambda text: text in exact or fits(text) is not None


def _expression(pattern: str) -> str:
    """`pattern` as a regular expression whose time is bounded by pattern × text: clients choose the text.

    What stands between two stars is taken at its first place and never tried at another (atomic groups): a later place
    leaves less text for the rest, so it cannot fit where the first does not.
    """
    first, *others = (_literal(part) for part in pattern.split("*"))
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>.*?{part})" for part in middle if part) + ".*" + last


def _literal(text: str) -> str:
    return "".join("." if char == "?" else re.escape(char) for char in text)


def compile_match(match: Match) -> Predicate:
    """One predicate for all that `match` asks; nothing asked takes everything."""
    tests: list[Predicate] = []
    if match.model:
        model_fits = glob(match.model)
        tests.append(lambda facts: facts.model is not None and model_fits(facts.model))
    if match.path:
        path_fits = glob(match.path)
        tests.append(lambda facts: path_fits(facts.path))
    for name, values in match.header.items():
        tests.append(_header_test(name.lower(), glob(values)))
    if match.complexity:
        wanted = frozenset(match.complexity)
        tests.append(lambda facts: facts.complexity in wanted)
    if not tests:
        return lambda facts: True
    if len(tests) == 1:
        return tests[0]
    return lambda facts: all(test(facts) for test in tests)


def _header_test(name: str, fits: Callable[[str], bool]) -> Predicate:
    return lambda facts: (value := facts.headers.get(name)) is not None and fits(value)
