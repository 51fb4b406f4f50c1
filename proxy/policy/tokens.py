"""How many tokens a text has, about. Every provider counts otherwise, and none of their counts is to be had in a few µs.

The characters of the text fall into kinds, and each makes so many tokens. The numbers were fitted to real tokenizers on
texts of many kinds, a little upwards; docs/complexity.md has the errors that are left.
"""

from __future__ import annotations

import json

PER_LOWER = 0.21
"""A small letter of ASCII: a common word is one token."""

PER_SPACE = 0.1
"""Mostly a part of the word after it. Line breaks, tabs and other controls are part of what stands beside them."""

PER_CAPITAL = 1.0
"""Rare in prose; in codes of random letters, which fall into tokens of two or three, two of five letters are capital."""

PER_DIGIT = 0.9
"""Some tokenizers take three digits together, others none."""

PER_MARK = 0.7
"""Everything else of ASCII: punctuation, brackets."""

_LEADS: tuple[tuple[int, int, float], ...] = (
    (0xC2, 0xC5, 2.5),  # letters with accents: words that are not English have more tokens, and these tell them
    (0xC6, 0xCF, 0.62),  # Greek and others
    (0xD0, 0xD3, 0.45),  # Cyrillic
    (0xD4, 0xDF, 0.62),  # Hebrew, Arabic
    (0xE0, 0xE1, 0.75),  # Indic, Thai
    (0xE2, 0xE9, 0.95),  # typographic marks, Japanese, Chinese
    (0xEA, 0xED, 1.1),  # Korean
    (0xEE, 0xEF, 0.95),
    (0xF0, 0xF4, 2.0),  # emoji
)
"""First bytes of characters beyond ASCII, from and to, and the tokens of each such character."""

SAMPLED_MAX = 32 * 1024
"""Bytes of one text that are looked at; of a longer one the beginning, the middle and the end stand for the rest."""

_PLAIN = bytes(range(97, 123))
_CAPITALS = bytes(range(65, 91))
_DIGITS = b"0123456789"
_CONTROLS = bytes(range(32)) + b"\x7f"
_ASCII = bytes(range(128))
_TAILS = bytes(range(0x80, 0xC0))
_WEIGHED = tuple((bytes(range(first, last + 1)), weight) for first, last, weight in _LEADS)


def estimate(text: bytes | memoryview, sampled: int = SAMPLED_MAX) -> float:
    """About how many tokens `text`, in UTF-8, has. Of a text longer than `sampled` bytes so many are looked at."""
    size = len(text)
    if size <= sampled:
        return _counted(bytes(text))
    third = sampled // 3
    middle = size // 2
    sample = bytes(text[:third]) + bytes(text[middle : middle + third]) + bytes(text[-third:])
    return _counted(sample) * size / len(sample)


def estimate_source(source: memoryview, sampled: int = SAMPLED_MAX) -> float:
    """The same of JSON as it stands in a body: a string's inside, or any value. Escapes count as what they stand for."""
    size = len(source)
    if size <= sampled:
        return _counted(unescaped(source, 0, size))
    third = sampled // 3
    starts = (0, size // 2, size - third)
    return sum(_counted(unescaped(source, start, start + third)) for start in starts) * size / (3 * third)


def unescaped(source: memoryview, start: int, stop: int) -> bytes:
    """The text, in UTF-8, of bytes `start` to `stop` of a JSON string's inside. An escape that is cut is left out.

    In JSON that is not a string's inside, only the escaped quotes and line breaks of strings in strings are undone.
    """
    window = bytes(source[start:stop])
    if b"\\" not in window:
        return window
    if start > 0 and source[start - 1] == _BACKSLASH:  # nobody knows if that one escapes what begins here
        window = window.lstrip(b"\\")[1:]
    cut = window.rfind(b"\\", max(0, len(window) - 6))
    if cut >= 0 and stop < len(source):
        window = window[:cut].rstrip(b"\\")
    try:
        text = json.loads('"' + window.decode("utf-8", "ignore") + '"', strict=False)
    except ValueError:
        return window.replace(b'\\"', b'"').replace(b"\\n", b"\n")
    return str(text).encode("utf-8", "replace")


_BACKSLASH = ord("\\")


def _counted(text: bytes) -> float:
    rest = text.translate(None, _PLAIN)
    tokens = (len(text) - len(rest)) * PER_LOWER
    solid = rest.translate(None, b" ")
    tokens += (len(rest) - len(solid)) * PER_SPACE
    if not solid:
        return tokens
    small = solid.translate(None, _CAPITALS)
    marks = small.translate(None, _DIGITS)
    high = b"" if marks.isascii() else marks.translate(None, _ASCII)
    controls = len(marks) - len(marks.translate(None, _CONTROLS))
    tokens += (len(solid) - len(small)) * PER_CAPITAL + (len(small) - len(marks)) * PER_DIGIT
    tokens += (len(marks) - len(high) - controls) * PER_MARK
    if high:
        leads = high.translate(None, _TAILS)
        for these, weight in _WEIGHED:
            others = leads.translate(None, these)
            tokens += (len(leads) - len(others)) * weight
            leads = others
            if not leads:
                break
    return tokens
