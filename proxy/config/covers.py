"""Whether one match takes every request that another takes. Only what is certain counts: no is also "cannot tell".

A match takes all that a second one takes when each of its tests is implied by a test of the second. Globs are compared
as patterns, number ranges and moments by their ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from proxy.config.schema import Match, Route, TokenRange

GLOB_MAX = 200
"""Characters of a pattern that is compared; comparing takes the product of two lengths. Longer ones cover themselves."""

_EVERY_PATH = ("*", "**", "/*", "/**")
_ALWAYS = Route(name="always", match=Match(), to=())


def glob_covers(wide: str, narrow: str) -> bool:
    """Whether every text that fits `narrow` fits `wide`; both may hold ``*`` and ``?``.

    `narrow` is read as a text by `wide`, in which a star can be matched by a star alone.
    """
    if wide == narrow:
        return True
    if ("*" not in wide and "?" not in wide) or max(len(wide), len(narrow)) > GLOB_MAX:
        return False
    states = _rested(wide, {0})
    for char in narrow:
        onward = set()
        for state in states:
            if state == len(wide):
                continue
            if wide[state] == "*":
                onward.add(state)
            elif char != "*" and wide[state] in ("?", char):
                onward.add(state + 1)
        states = _rested(wide, onward)
        if not states:
            return False
    return len(wide) in states


def _rested(pattern: str, states: Iterable[int]) -> set[int]:
    """`states`, and those behind stars, which may stand for nothing."""
    rested = set()
    for state in states:
        rested.add(state)
        while state < len(pattern) and pattern[state] == "*":
            state += 1
            rested.add(state)
    return rested


def any_covers(wide: tuple[str, ...], narrow: str) -> bool:
    """Whether one of `wide` covers `narrow`."""
    return narrow in wide or any(glob_covers(pattern, narrow) for pattern in wide)


def always_while(first: Route, second: Route) -> bool:
    """Whether `first` is in force whenever `second` is."""
    begins = (first.from_ if first.from_ is not None else -inf) <= (second.from_ if second.from_ is not None else -inf)
    ends = (first.until if first.until is not None else inf) >= (second.until if second.until is not None else inf)
    return begins and ends


def rest_covers(wide: Match, narrow: Match) -> bool:
    """Whether `wide` takes all that `narrow` takes, their models left aside."""
    for name in ("format", "stream", "tools", "images", "audio", "json"):
        wanted = getattr(wide, name)
        if wanted is not None and getattr(narrow, name) != wanted:
            return False
    if wide.complexity and not (narrow.complexity and set(narrow.complexity) <= set(wide.complexity)):
        return False
    if not _range_covers(wide.prompt_tokens, narrow.prompt_tokens):
        return False
    if not every_path(wide) and not _list_covers(wide.path, narrow.path):
        return False
    return all(_list_covers(values, narrow.header.get(name, ())) for name, values in wide.header.items())


def every_path(match: Match) -> bool:
    """Whether `match` takes any path; each begins with a slash."""
    return not match.path or any(pattern in _EVERY_PATH for pattern in match.path)


def takes_everything(route: Route) -> bool:
    """Whether nothing can come after `route`."""
    return not route.match.model and rest_covers(route.match, Match()) and always_while(route, _ALWAYS)


def is_empty(wanted: TokenRange) -> bool:
    """Whether no number of tokens is within."""
    return wanted.over is not None and wanted.up_to is not None and wanted.over >= wanted.up_to


def _list_covers(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """An empty `narrow` asks for nothing, not even that there is a value."""
    return bool(narrow) and all(any_covers(wide, pattern) for pattern in narrow)


def _range_covers(wide: TokenRange | None, narrow: TokenRange | None) -> bool:
    if wide is None:
        return True
    narrow = narrow or TokenRange()
    # A number of tokens is never below 0, so over: -1 is no bound.
    over = [-1 if one.over is None else one.over for one in (wide, narrow)]
    up_to = [inf if one.up_to is None else one.up_to for one in (wide, narrow)]
    return over[0] <= over[1] and up_to[0] >= up_to[1]
