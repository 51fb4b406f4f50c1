"""Which metrics and labels a PromQL expression names. No parser: Prometheus itself parses, in another test."""

from __future__ import annotations

import re
from dataclasses import dataclass

WORDS = {"and", "or", "unless", "bool", "offset", "le"}
"""Words of the language that stand where a metric's name could."""

_TEXT = re.compile(r"\"[^\"]*\"|'[^']*'")
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SELECTOR = re.compile(rf"({_NAME})\s*\{{([^}}]*)\}}")
_MATCHER = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*(\"[^\"]*\"|'[^']*')")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_DURATION = re.compile(r"\[[^\]]*\]|\boffset\s+\w+|\b\d[\w.]*")
_METRIC = re.compile(rf"{_NAME}(?!\s*\(|[a-zA-Z0-9_:])")


@dataclass(frozen=True, slots=True)
class Matcher:
    """A label's matcher. `name` is the metric's; `value` is without its quotes."""

    name: str
    label: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Uses:
    """What an expression names: metrics, matchers, and the labels of `by`, `on` and their like."""

    names: frozenset[str]
    matchers: tuple[Matcher, ...]
    grouping: frozenset[str]


def uses(expression: str) -> Uses:
    """What `expression` names. Dashboards' variables may stand where durations and values do."""
    matchers = tuple(
        Matcher(selector[1], found[1], found[2], found[3][1:-1])
        for selector in _SELECTOR.finditer(expression)
        for found in _MATCHER.finditer(selector[2])
    )
    bare = _SELECTOR.sub(lambda found: found[1] + " ", expression)
    bare = _TEXT.sub(" ", bare)
    grouping = {label.strip() for found in _GROUPING.finditer(bare) for label in found[1].split(",") if label.strip()}
    bare = _DURATION.sub(" ", _GROUPING.sub(" ", bare))
    names = {found for found in _METRIC.findall(bare) if found not in WORDS}
    return Uses(frozenset(names), matchers, frozenset(grouping))
