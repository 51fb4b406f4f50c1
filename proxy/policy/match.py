"""Whether a route takes a request: globs, values and ranges, compiled once per policy.

A match has two parts. What rests on the request's line and headers alone is `fixed`: the same for the same values, so it
can be remembered (see ``policy/compiled``). What rests on the body is `live`, and asked only of routes that have passed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.config.schema import Match, TokenRange
from proxy.exchange import Facts, Format, Prompt

Predicate = Callable[[Facts], bool]

_NO_PROMPT = Prompt()


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


def compile_fixed(match: Match) -> Predicate:
    """What `match` asks of a request's line and headers; nothing asked takes everything."""
    return _all([test for _, test in fixed_tests(match)]) or _everything


def compile_live(match: Match) -> Predicate | None:
    """What `match` asks of a request's body; None: nothing."""
    return _all([test for _, test in live_tests(match)])


def fixed_tests(match: Match) -> list[tuple[str, Predicate]]:
    """Each test of the line and headers with the key of the match that asks for it."""
    tests: list[tuple[str, Predicate]] = []
    if match.model:
        model_fits = glob(match.model)
        tests.append(("model", lambda facts: facts.model is not None and model_fits(facts.model)))
    if match.path:
        path_fits = glob(match.path)
        tests.append(("path", lambda facts: path_fits(facts.path)))
    for name, values in match.header.items():
        tests.append((f"header.{name}", _header_test(name.lower(), glob(values))))
    if match.format is not None:
        wanted = Format(match.format)
        tests.append(("format", lambda facts: facts.endpoint.format is wanted))
    return tests


def live_tests(match: Match) -> list[tuple[str, Predicate]]:
    """Each test of the body with the key of the match that asks for it, the cheap ones first."""
    tests: list[tuple[str, Predicate]] = []
    if match.stream is not None:
        streamed = match.stream
        tests.append(("stream", lambda facts: facts.stream is streamed))
    for name in ("tools", "images", "audio", "json"):
        wanted = getattr(match, name)
        if wanted is not None:
            tests.append((name, _holds_test(name, wanted)))
    if match.prompt_tokens is not None:
        tests.append(("prompt_tokens", _range_test(match.prompt_tokens)))
    if match.complexity:
        classes = frozenset(match.complexity)
        tests.append(("complexity", lambda facts: complexity_of(facts) in classes))
    return tests


def prompt_of(facts: Facts) -> Prompt:
    """What the body holds; nothing, for one that cannot be looked into."""
    return _NO_PROMPT if facts.look is None else facts.look.prompt


def complexity_of(facts: Facts) -> str | None:
    """The class the client stated, else the one found by looking; None: there is nothing to look at."""
    if facts.complexity is not None or facts.look is None:
        return facts.complexity
    return facts.look.complexity


def _everything(facts: Facts) -> bool:
    return True


def _all(tests: list[Predicate]) -> Predicate | None:
    if len(tests) < 2:
        return tests[0] if tests else None
    if len(tests) == 2:
        first, second = tests
        return lambda facts: first(facts) and second(facts)
    return lambda facts: all(test(facts) for test in tests)


def _header_test(name: str, fits: Callable[[str], bool]) -> Predicate:
    return lambda facts: (value := facts.headers.get(name)) is not None and fits(value)


def _holds_test(name: str, wanted: bool) -> Predicate:
    return lambda facts: getattr(prompt_of(facts), name) is wanted


def _range_test(wanted: TokenRange) -> Predicate:
    over, up_to = wanted.over, wanted.up_to

    def within(facts: Facts) -> bool:
        tokens = prompt_of(facts).tokens
        return (over is None or tokens > over) and (up_to is None or tokens <= up_to)

    return within
