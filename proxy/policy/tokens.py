"""How many tokens a text has, about. Every provider counts otherwise, and none of their counts is to be had in a few µs.

The characters of the text fall into five kinds, and each makes so many tokens. The numbers were fitted to three real
tokenizers on texts of many kinds; docs/complexity.md has the errors that are left.
"""

from __future__ import annotations

PER_WORD_BYTE = 0.25
"""A letter of ASCII or a space: four to a token, in prose and in code."""

PER_DIGIT = 1.0
"""Some tokenizers take three digits together, others none."""

PER_MARK = 0.42
"""Everything else of ASCII: punctuation, brackets, line breaks."""

PER_NARROW = 0.42
"""A character of two bytes: Cyrillic, Greek, letters with accents."""

PER_WIDE = 0.95
"""A character of three bytes or four: Chinese, Japanese, Korean, emoji."""

SAMPLED_MAX = 32 * 1024
"""Bytes of one text that are looked at; of a longer one the beginning, the middle and the end stand for the rest."""

_WORDS = bytes(range(65, 91)) + bytes(range(97, 123)) + b" "
_DIGITS = b"0123456789"
_ASCII = bytes(range(128))
_LEADS_NARROW = bytes(range(0xC0, 0xE0))
_LEADS_WIDE = bytes(range(0xE0, 0xF8))


def estimate(text: bytes | memoryview) -> float:
    """About how many tokens `text`, in UTF-8, has."""
    size = len(text)
    if size <= SAMPLED_MAX:
        return _counted(bytes(text))
    third = SAMPLED_MAX // 3
    middle = size // 2
    sample = bytes(text[:third]) + bytes(text[middle : middle + third]) + bytes(text[-third:])
    return _counted(sample) * size / len(sample)


def _counted(text: bytes) -> float:
    rest = text.translate(None, _WORDS)
    words = (len(text) - len(rest)) * PER_WORD_BYTE
    if not rest:
        return words
    others = rest.translate(None, _DIGITS)
    high = others.translate(None, _ASCII)
    plain = words + (len(rest) - len(others)) * PER_DIGIT + (len(others) - len(high)) * PER_MARK
    if not high:
        return plain
    narrow = len(high) - len(high.translate(None, _LEADS_NARROW))
    wide = len(high) - len(high.translate(None, _LEADS_WIDE))
    return plain + narrow * PER_NARROW + wide * PER_WIDE
