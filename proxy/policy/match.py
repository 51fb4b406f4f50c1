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
    # Runs of * are one: a policy with ten of them must not cost exponential time.
    expressions = (
        "".join(
            ".*" if part == "*" else "." if part == "?" else re.escape(part)
            for part in re.split(r"(\*|\?)", re.sub(r"\*+", "*", pattern))
        )
        for pattern in wild
    )
    fits = re.compile("|".join(expressions), re.DOTALL).fullmatch
    return lambda text: text in exact or fits(text) is not None


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
