"""Kubernetes quantities (``250m``, ``96Mi``, ``1e3``), as far as they are compared."""

from __future__ import annotations

import re
from fractions import Fraction

_SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{suffix: Fraction(1000 ** (power + 1)) for power, suffix in enumerate("kMGTPE")},
    **{f"{suffix}i": Fraction(1024 ** (power + 1)) for power, suffix in enumerate("KMGTPE")},
}

_FORM = re.compile(
    r"\+?([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:([KMGTPE]i|[numkMGTPE])|[eE]([+-]?[0-9]{1,2}))?"
)
"""As in k8s.io/apimachinery/pkg/api/resource, but without a sign below zero and with at most 18 digits on each side."""


def parse(text: str) -> Fraction:
    """The amount: cores for CPU, bytes for memory. Raises ValueError, whose text says how to write one."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("write a quantity, as in 250m, 1 or 128Mi")
    number, suffix, exponent = found[1].rstrip("."), found[2] or "", int(found[3] or 0)
    return Fraction(number) * _SUFFIXES[suffix] * Fraction(10) ** exponent
