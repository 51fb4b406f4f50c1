"""Label selectors (metav1.LabelSelector): whether labels fit, and in words what does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class BadSelector(Exception):
    """Not a selector that Kubernetes takes; the text says what is wrong."""


def misfits(selector: Any, labels: Mapping[str, str]) -> list[str]:
    """What keeps `labels` from fitting; empty: they fit. A selector of nothing fits everything. Raises BadSelector."""
    return list(_misfits(selector, labels))


def _misfits(selector: Any, labels: Mapping[str, str]) -> Iterator[str]:
    if selector is None:
        return
    if not isinstance(selector, dict):
        raise BadSelector("a selector is an object")
    exact = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []
    unknown = set(selector) - {"matchLabels", "matchExpressions"}
    if unknown or not isinstance(exact, dict) or not isinstance(expressions, list):
        raise BadSelector(f"a selector has matchLabels and matchExpressions{_other(unknown)}")
    for key, value in exact.items():
        if labels.get(key) != value:
            yield f'wants {key} = "{value}"; {_has(key, labels)}'
    for one in expressions:
        yield from _expression(one, labels)


def _other(unknown: set[Any]) -> str:
    return f", not {', '.join(sorted(map(str, unknown)))}" if unknown else ""


def _expression(one: Any, labels: Mapping[str, str]) -> Iterator[str]:
    if not isinstance(one, dict) or not isinstance(one.get("key"), str):
        raise BadSelector("an expression of a selector has key, operator and values")
    key, operator, values = one["key"], one.get("operator"), one.get("values") or []
    if not isinstance(values, list) or (operator in ("In", "NotIn")) != bool(values):
        raise BadSelector(f"the expression on {key}: In and NotIn have values, Exists and DoesNotExist have none")
    listed = ", ".join(map(str, values))
    if operator == "In":
        if labels.get(key) not in values:
            yield f"wants {key} in ({listed}); {_has(key, labels)}"
    elif operator == "NotIn":
        # A label that is not there fits.
        if key in labels and labels[key] in values:
            yield f"wants {key} not in ({listed}); {_has(key, labels)}"
    elif operator == "Exists":
        if key not in labels:
            yield f"wants {key}, whatever its value; {_has(key, labels)}"
    elif operator == "DoesNotExist":
        if key in labels:
            yield f"wants no {key}; {_has(key, labels)}"
    else:
        raise BadSelector(f"the expression on {key}: {operator} is no operator (In, NotIn, Exists, DoesNotExist)")


def _has(key: str, labels: Mapping[str, str]) -> str:
    return f'it is "{labels[key]}"' if key in labels else "there is no such label"
