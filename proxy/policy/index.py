"""Which routes may take a request, found without asking each of them.

A route is kept under one thing that its match asks for: its models, its paths or a header, whichever the fewest other
routes ask for as well. An exact text is looked up as it is, a glob by its beginning, which is what stands before its first
``*`` or ``?``. A route whose match has no such thing is among the possible ones of every request. What is found may take
the request; whether it does its own test says.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from proxy.config.schema import Match
from proxy.exchange import Facts

Read = Callable[[Facts], str | None]


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Numbers of routes by what they ask of one text of a request. `lengths`: of the beginnings, ascending."""

    read: Read
    exact: dict[str, list[int]] = field(default_factory=dict)
    beginnings: dict[str, list[int]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)

    def put(self, pattern: str, number: int) -> None:
        """Keep a route under one of its patterns."""
        beginning = _beginning(pattern)
        if beginning == pattern:
            self.exact.setdefault(pattern, []).append(number)
            return
        self.beginnings.setdefault(beginning, []).append(number)
        if len(beginning) not in self.lengths:
            insort(self.lengths, len(beginning))

    def find(self, facts: Facts) -> Iterator[int]:
        """The routes that may fit; one may come more than once."""
        text = self.read(facts)
        if text is None:
            return
        yield from self.exact.get(text, ())
        for length in self.lengths:
            if length > len(text):
                break
            yield from self.beginnings.get(text[:length], ())


class Index:
    """Routes by their number, from 0, as possible takers of a request."""

    def __init__(self, matches: Sequence[Match]) -> None:
        self._always: list[int] = []
        self._shelves: dict[str, _Shelf] = {}
        asked = [_asked(match) for match in matches]
        crowd = Counter((name, pattern) for one in asked for name, patterns in one.items() for pattern in patterns)
        for number, one in enumerate(asked):
            if not one:
                self._always.append(number)
                continue
            # Of several the one that was written first: min keeps the first of equals.
            name = min(one, key=lambda name: sum(crowd[name, pattern] for pattern in one[name]))
            shelf = self._shelves.setdefault(name, _Shelf(_reader(name)))
            for pattern in one[name]:
                shelf.put(pattern, number)

    def possible(self, facts: Facts) -> list[int]:
        """The routes that may take the request, in order: all that do are among them."""
        found = set(self._always)
        for shelf in self._shelves.values():
            found.update(shelf.find(facts))
        return sorted(found)


def _asked(match: Match) -> dict[str, tuple[str, ...]]:
    """What a route can be kept under: patterns by what they are asked of, where each of them has a beginning."""
    asked = {"model": match.model, "path": match.path}
    asked.update({f"header.{name.lower()}": values for name, values in match.header.items()})
    return {name: patterns for name, patterns in asked.items() if patterns and all(map(_beginning, patterns))}


def _beginning(pattern: str) -> str:
    return re.split(r"[*?]", pattern, maxsplit=1)[0]


def _reader(name: str) -> Read:
    if name == "model":
        return lambda facts: facts.model
    if name == "path":
        return lambda facts: facts.path
    header = name.removeprefix("header.")
    return lambda facts: facts.headers.get(header)
