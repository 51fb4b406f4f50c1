"""Single values: a YAML scalar read as text, a word of a set, a truth value or a number.

YAML types plain values by their looks (``on`` is true, ``4`` a number), which surprises where text is meant; each
function here raises `BadValue` with a hint that says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec.inspect as types

from proxy.config.nodes import Mapping, Node, Scalar, Sequence
from proxy.config.problems import BadValue, looks_secret, shown

# Decimal alone: YAML 1.1 also has octal (010), hexadecimal and base 60 (1:30), which nobody means here. The digits are
# few enough for int() and float() to be exact and finite.
_WHOLE = r"[-+]?(0|[1-9][0-9_]{0,17})"
_FRACTION = r"[-+]?(0|[1-9][0-9_]{0,17})?(\.[0-9]{0,17})?([eE][-+]?[0-9]{1,2})?"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a type asks of a text: a function for its syntax, or a pattern with a hint for those who miss it."""

    parse: Callable[[str], Any] | None = None
    hint: str | None = None
    pattern: str | None = None


def what(node: Node) -> str:
    """The kind of `node` in words."""
    match node:
        case Sequence():
            return "a list"
        case Mapping():
            return "a mapping"
        case Scalar(tag=tag):
            words = {"int": "a number", "float": "a number", "bool": "true or false", "null": "nothing"}
            return words.get(tag, "a date" if tag == "timestamp" else "text")
    raise TypeError(f"no word for {node}")


def scalar_of(node: Node, wanted: str) -> Scalar:
    """`node` when it is one value and not null."""
    if not isinstance(node, Scalar):
        raise BadValue(f"{wanted} is wanted here, not {what(node)}", f"write {wanted}")
    if node.tag == "null":
        raise BadValue("no value is written", "write one, or leave the key out")
    return node


def text_of(node: Node, asked: Asked) -> Any:
    """A text that is not empty and stands on one line; or what `asked.parse` makes of it."""
    scalar = scalar_of(node, "text")
    text = scalar.text
    if scalar.tag in ("int", "float") and hasattr(asked.parse, "__self__"):
        # A type's own parse, of durations, sizes and addresses: it knows better than YAML what a bare number is.
        return _bare_number(asked, text)
    if scalar.tag not in ("str", "value", "merge") and not (
        scalar.tag == "timestamp" and hasattr(asked.parse, "__self__")
    ):
        quotable = text.isprintable() and not looks_secret(text)
        hint = f'put it in quotes: "{text}"' if quotable else "put it in quotes"
        raise BadValue(f"{what(scalar)} to YAML, where text is wanted", hint)
    if not text.strip():
        raise BadValue("an empty text", "write a value, or leave the key out")
    if not text.isprintable():
        raise BadValue("a line break or control character in this text", "write it on one line")
    if text[0] in "“”„‘’":
        # They come with text that was copied from a document or a chat; a glob with them fits nothing.
        raise BadValue("typographic quotes, which are part of the text to YAML", 'write straight ones, as in "gpt-5*"')
    if asked.parse is not None:
        return asked.parse(text)
    if asked.pattern is not None and not re.search(asked.pattern, text):
        raise BadValue(f"{shown(text)} does not fit here", asked.hint)
    return text


def _bare_number(asked: Asked, text: str) -> Any:
    """Raises BadValue with the unit most likely meant when the number is a duration without one."""
    assert asked.parse is not None
    try:
        return asked.parse(text)
    except BadValue:
        with_unit = f"{text}s"
        try:
            asked.parse(with_unit)
        except BadValue:
            pass
        else:
            raise BadValue(f"{shown(text)} has no unit", f"write {with_unit} for seconds, or use ms, m or h") from None
        raise


def word_of(node: Node, words: tuple[Any, ...]) -> Any:
    """One of `words`, as written: ``on`` and ``none`` are words here, whatever they are to YAML."""
    listed = ", ".join(words)
    scalar = scalar_of(node, f"one of {listed}")
    if scalar.text not in words:
        raise BadValue(f"{shown(scalar.text)} is not known here", f"write one of {listed}")
    return scalar.text


def truth_of(node: Node) -> bool:
    """``true`` or ``false``, and none of YAML's other words for them."""
    scalar = scalar_of(node, "true or false")
    if scalar.tag != "bool" or scalar.text not in ("true", "false"):
        raise BadValue(f"{shown(scalar.text)} is neither true nor false", "write true or false, without quotes")
    return scalar.text == "true"


def number_of(node: Node, kind: types.IntType | types.FloatType) -> int | float:
    """A decimal number within the bounds of `kind`; underscores may group its digits."""
    whole = isinstance(kind, types.IntType)
    wanted = "a whole number" if whole else "a number"
    scalar = scalar_of(node, wanted)
    if scalar.tag not in ("int", "float") or not re.fullmatch(_WHOLE if whole else _FRACTION, scalar.text):
        meant = _meant(scalar.text, kind)
        if meant is not None:
            raise BadValue(f"{shown(scalar.text)} is not {wanted}", f"write {meant}")
        quotes = " (it is in quotes or tagged as text)" if scalar.tag == "str" and scalar.text.isdecimal() else ""
        raise BadValue(f"{shown(scalar.text)} is not {wanted}{quotes}", f"write {wanted}, as in {10 if whole else 0.5}")
    digits = scalar.text.replace("_", "")
    try:
        value = int(digits) if whole else float(digits)
    except ValueError:  # a point alone
        raise BadValue(f"{shown(scalar.text)} is not {wanted}", f"write {wanted}, as in 0.5") from None
    limits = (
        ("at least", kind.ge, -math.inf if kind.ge is None else kind.ge - value),
        ("above", kind.gt, -math.inf if kind.gt is None or value > kind.gt else 1),
        ("at most", kind.le, -math.inf if kind.le is None else value - kind.le),
        ("below", kind.lt, -math.inf if kind.lt is None or value < kind.lt else 1),
    )
    said = [f"{word} {limit:g}" for word, limit, excess in limits if limit is not None]
    if any(excess > 0 for _, _, excess in limits):
        percent = f", as in {value / 100:g} for {value:g} percent" if kind.le == 1 and 1 < value <= 100 else ""
        raise BadValue(f"{shown(scalar.text)} is out of range", f"write {wanted} {' and '.join(said)}{percent}")
    return value


def _meant(text: str, kind: types.IntType | types.FloatType) -> str | None:
    """The number that somebody means by ``95%`` or ``200k``."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s?(%|[kKM])", text)
    if found is None:
        return None
    if found[2] == "%":
        return f"{float(found[1]) / 100:g}" if kind.le == 1 else found[1]
    meant = float(found[1]) * (1e6 if found[2] == "M" else 1e3)
    return f"{meant:.0f}"
