"""How hard a request looks: ten features, each from 0 to 1, a weighted sum, four classes. No model is asked.

It reads the last message of the user's as a set of words, and the settings. What it can and cannot tell, and how that was
found out, is in docs/complexity.md. English is read best, then German, French and Spanish; of others only what is no word
(size, turns, code, formulas, tools, images, settings) counts.
"""

from __future__ import annotations

import math

import msgspec

from proxy.config.schema import Complexity, ComplexityClass
from proxy.policy.prompt import Reading
from proxy.policy.vocabulary import CODE, CREATE, DEMANDS, MATHEMATICS, PHRASES, WORKS, Phrases

WEIGHTS: dict[str, float] = {
    "size": 0.50,
    "turns": 0.08,
    "code": 0.24,
    "mathematics": 0.36,
    "tools": 0.15,
    "images": 0.12,
    "reasoning": 0.45,
    "structured": 0.06,
    "instructions": 0.60,
    "creation": 0.0,
}
"""Built in; a policy's `complexity.weights` go over them. Creation makes a class of its own, and so no score."""

ASKED_FROM, ASKED_TO = 10, 8_000
"""Tokens of the last message that count as no size at all, and as all of it; between them the logarithm counts."""

WHOLE_FROM, WHOLE_TO = 4_000, 128_000
"""The same of the whole prompt: a short question at the end of a long conversation is a short question still."""

TURNS_FULL, TOOLS_FULL = 12, 10
"""Messages of the user's, and tools offered, that count as all there is."""


class Assessment(msgspec.Struct, frozen=True):
    """What was found. `parts`: what each feature adds to the score: its value times its weight."""

    complexity: ComplexityClass
    score: float
    features: dict[str, float]
    parts: dict[str, float]

    @property
    def why(self) -> str:
        """The class and what led to it, in a sentence."""
        if self.complexity == "creative":
            return f"creative: it is asked to create something ({self.features['creation']:.2f})"
        led = sorted((part, name) for name, part in self.parts.items() if part > 0)[::-1]
        named = ", ".join(f"{name} {part:.2f}" for part, name in led[:4])
        return f"{self.complexity}: score {self.score:.2f}{f' ({named})' if named else ''}"


def assess(reading: Reading, settings: Complexity) -> Assessment:
    """The class of a request that has been looked into."""
    features = _features(reading)
    weights = WEIGHTS | settings.weights if settings.weights else WEIGHTS
    parts = {name: value * weights[name] for name, value in features.items()}
    score = sum(parts.values())
    complexity: ComplexityClass
    if features["creation"] >= settings.creative_from and features["code"] < 0.5:
        complexity = "creative"
    elif score < settings.simple_below:
        complexity = "simple"
    else:
        complexity = "complex" if score >= settings.complex_from else "standard"
    return Assessment(complexity, score, features, parts)


def _features(reading: Reading) -> dict[str, float]:
    prompt = reading.prompt
    text = reading.asked.lower()
    words = set(text.translate(_TO_SPACES).split())
    said = {kind: _said(phrases, words, text) for kind, phrases in PHRASES.items()}
    asking = sum(map(text.count, _ASKING))
    demands = len(words & DEMANDS) + 2 * said["demands"] + min(1, said["questions"]) + min(4, max(0, asking - 1)) // 2
    demands += min(4, text.count(b"\n- ") + text.count(b"\n1") * 2) + max(0, text.count(b"?") - 1)
    return {
        "size": max(_size(reading.asked_tokens, ASKED_FROM, ASKED_TO), _size(prompt.tokens, WHOLE_FROM, WHOLE_TO)),
        "turns": _share((prompt.turns - 1) / TURNS_FULL),
        "code": _share(len(words & CODE) / 3 + said["code"] / 2),
        "mathematics": _share(len(words & MATHEMATICS) / 2 + said["mathematics"] / 2),
        "tools": _share(reading.tool_count / TOOLS_FULL),
        "images": 1.0 if prompt.images else 0.0,
        "reasoning": reading.reasoning,
        "structured": 1.0 if prompt.json else 0.0,
        "instructions": _share(demands / 6),
        "creation": _creation(words, said["creation"]),
    }


def _said(phrases: Phrases, words: set[bytes], text: bytes) -> int:
    """How many of the phrases are there."""
    said = 0
    for first in phrases.firsts & words:
        said += sum([phrase in text for phrase in phrases.worded[first]])
    for byte, sign in phrases.signs:
        if byte in text and sign in text:
            said += 1
    return said


def _size(tokens: float, none: int, full: int) -> float:
    return _share(math.log(max(tokens, 1) / none) / math.log(full / none))


def _creation(words: set[bytes], phrases: int) -> float:
    """That something is to be made up takes two: a verb that asks for it, and a kind of work that is made up."""
    works, verbs = len(words & WORKS), len(words & CREATE)
    if works and verbs:
        return _share(0.6 + 0.2 * (works - 1) + 0.2 * phrases)
    return _share(0.5 * phrases + (0.3 if works else 0.0))


def _share(value: float) -> float:
    return 0.0 if value <= 0.0 else 1.0 if value >= 1.0 else value


_ASKING = (b" what ", b" which ", b" how ", b" whether ", b" welche ", b" quel")
"""Of these several stand where several things are asked in one sentence; two count as one demand, the first not at all."""

_TO_SPACES = bytes(byte if byte >= 128 or chr(byte).isalnum() or byte in b"_+#" else 32 for byte in range(256))
"""Marks become spaces, so that what is left are words. Bytes beyond ASCII stay: they are letters more often than not."""
