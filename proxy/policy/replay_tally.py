"""Counting by names that clients may choose: bounded, so that a log of any length takes the same memory."""

from __future__ import annotations

NAMES_MAX = 1000
"""Different names that are counted one by one."""

OTHERS = "(others)"
"""Under which all further names are counted together."""


def count(counts: dict[str, int], name: str) -> None:
    """One more of `name`."""
    if name not in counts and len(counts) >= NAMES_MAX:
        name = OTHERS
    counts[name] = counts.get(name, 0) + 1
