"""The rules of deciding once more: slow, obvious, and independent of the code that is tested. And looks for the tests.

Chance is computed in fractions, so rolls are multiples of 2^-32 and weights and prices small whole numbers: then the
code's floats are exact as well, and both must agree to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import blake2b

from proxy.config.schema import Config, Match, Price, Route, Step
from proxy.exchange import Carrier, Facts, Format, Plan, Prompt, Skipped, Target


@dataclass(slots=True)
class FakeLook:
    """A look that says what it was told to say, and keeps count of what it was asked."""

    size: int = 100
    told: Prompt = field(default_factory=Prompt)
    told_class: str = "standard"
    asked: list[str] = field(default_factory=list)

    @property
    def prompt(self) -> Prompt:
        """What it was told."""
        self.asked.append("prompt")
        return self.told

    @property
    def complexity(self) -> str:
        """What it was told."""
        self.asked.append("complexity")
        return self.told_class

    @property
    def seen(self) -> Prompt | None:
        """The prompt, once it has been asked for."""
        return self.told if "prompt" in self.asked else None

    @property
    def classed(self) -> str | None:
        """The class, once it has been asked for."""
        return self.told_class if "complexity" in self.asked else None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A look that must not be taken."""

    size: int = 100

    @property
    def prompt(self) -> Prompt:
        """Never to be asked for."""
        raise AssertionError("the body was looked into")

    @property
    def complexity(self) -> str:
        """Never to be asked for."""
        raise AssertionError("the body was classed")

    @property
    def seen(self) -> Prompt | None:
        """Nobody has asked."""
        return None

    @property
    def classed(self) -> str | None:
        """Nobody has asked."""
        return None


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be decided: the route by its place in the policy, the plan, and the target of a copy."""

    at: int
    plan: Plan
    mirror: Target | None


def fits(pattern: str, text: str) -> bool:
    """A glob by its definition."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(fits(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and fits(pattern[1:], text[1:])


def takes(match: Match, facts: Facts) -> bool:
    """Whether all that `match` asks holds."""
    prompt = Prompt() if facts.look is None else facts.look.prompt
    holds = []
    if match.model:
        holds.append(facts.model is not None and any(fits(one, facts.model) for one in match.model))
    if match.path:
        holds.append(any(fits(one, facts.path) for one in match.path))
    for name, values in match.header.items():
        value = facts.headers.get(name.lower())
        holds.append(value is not None and any(fits(one, value) for one in values))
    if match.format is not None:
        holds.append(facts.endpoint.format.value == match.format)
    if match.stream is not None:
        holds.append(facts.stream == match.stream)
    holds += [
        getattr(prompt, name) == getattr(match, name)
        for name in ("tools", "images", "audio", "json")
        if getattr(match, name) is not None
    ]
    if match.prompt_tokens is not None:
        over, up_to = match.prompt_tokens.over, match.prompt_tokens.up_to
        holds.append(over is None or prompt.tokens > over)
        holds.append(up_to is None or prompt.tokens <= up_to)
    if match.complexity:
        found = facts.complexity or (None if facts.look is None else facts.look.complexity)
        holds.append(found in match.complexity)
    return all(holds)


def in_force(route: Route, now_s: float) -> bool:
    """From its beginning on, and before its end."""
    begun = route.from_ is None or now_s >= route.from_
    ended = route.until is not None and now_s >= route.until
    return begun and not ended


def rolled(roll: float, number: int) -> Fraction:
    """The roll of a number, by splitmix64's definition: its state is the roll and so many golden ratios."""
    state = (int(roll * 2**53) + number * 0x9E3779B97F4A7C15) % 2**64
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    state ^= state >> 31
    return Fraction(state >> 11, 2**53)


def by_weight(step: Step, roll: Fraction) -> Target:
    """The choice in whose part of the sum of all weights the roll falls."""
    point = roll * sum(Fraction(weight) for _, weight in step.choices)
    ends = [sum(Fraction(weight) for _, weight in step.choices[: at + 1]) for at in range(len(step.choices))]
    return next(target for (target, _), end in zip(step.choices, ends, strict=True) if point < end)


def by_race(step: Step, key: str) -> Target:
    """The choice that arrives first when each takes a time by its own hash of the key, the shorter the heavier it is."""
    times = []
    for target, weight in step.choices:
        hashed = f"{key}\0{target}".encode(errors="surrogatepass")
        digest = blake2b(hashed, digest_size=8, person=b"fusebox-sticky").digest()
        times.append(-math.log((int.from_bytes(digest, "big") // 2**11 + 0.5) / 2**53) / weight)
    return step.choices[times.index(min(times))][0]


def chain(route: Route, facts: Facts, roll: float) -> list[Target]:
    """One target for each step."""
    prompt = Prompt() if facts.look is None else facts.look.prompt
    kinds: dict[str, str | None] = {"user": prompt.user, "prompt": prompt.prefix}
    key = None
    if route.sticky is not None:
        key = kinds[route.sticky] if route.sticky in kinds else facts.headers.get(route.sticky.removeprefix("header:"))
    targets, draws = [], 0
    for number, step in enumerate(route.to):
        if len(step.choices) == 1:
            targets.append(step.choices[0][0])
        elif key:
            targets.append(by_race(step, f"{route.name}\0{number}\0{key}"))
        else:
            targets.append(by_weight(step, rolled(roll, draws) if draws else Fraction(roll)))
            draws += 1
    return targets


def decided(config: Config, facts: Facts, roll: float, now_s: float, latency: Mapping[str, float]) -> Expected | str:
    """What must come out: ``no route``, ``no model``, ``no target``, or a decision."""
    taking = [at for at, route in enumerate(config.routes) if in_force(route, now_s) and takes(route.match, facts)]
    if not taking:
        return "no route"
    route = config.routes[taking[0]]
    replaces = any(target.model is not None for step in route.to for target, _ in step.choices)
    if facts.model is None and replaces and facts.endpoint.carrier is not Carrier.NONE:
        return "no model"
    targets, skipped = left_over(config, facts, chain(route, facts, roll))
    if not targets:
        return "no target"
    mirror = route.mirror
    copied = mirror is not None and rolled(roll, -1) * 100 < Fraction(mirror.percent)
    return Expected(
        taking[0],
        Plan(route.name, tuple(in_order(config, route, facts, targets, latency)), tuple(skipped)),
        by_weight(mirror.to, rolled(roll, -2)) if mirror is not None and copied else None,
    )


def left_over(config: Config, facts: Facts, targets: list[Target]) -> tuple[list[Target], list[Skipped]]:
    """The targets that can answer, and the others with their reasons: first the format, then the kind, then the size."""
    fit, skipped, wanted = [], [], facts.endpoint
    for target in targets:
        model = config.models.get(label(target, facts))
        provider = config.providers[target.provider]
        url = provider.base_url if wanted.format is Format.OPENAI else provider.anthropic_url
        if url is None:
            skipped.append(Skipped(target, f"provider '{target.provider}' offers no {wanted.format.value} format"))
        elif model and model.modalities is not None and wanted.modality and wanted.modality not in model.modalities:
            kinds = ", ".join(sorted(model.modalities))
            skipped.append(Skipped(target, f"its model is declared for {kinds}, not {wanted.modality}"))
        else:
            fit.append(target)
    declared = [model.context for model in config.models.values() if model.context is not None]
    if facts.look is None or not declared or facts.look.size <= min(declared) or not fit:
        return fit, skipped
    tokens = facts.look.prompt.tokens
    windows = [model.context if (model := config.models.get(label(one, facts))) else None for one in fit]
    holds = [window is None or window >= tokens for window in windows]
    if not any(holds):
        largest = max(window for window in windows if window is not None)
        holds = [window == largest for window in windows]
    small = [(target, window) for target, window, held in zip(fit, windows, holds, strict=True) if not held]
    skipped += [
        Skipped(target, f"about {tokens} prompt tokens do not fit its context of {window}") for target, window in small
    ]
    return [target for target, held in zip(fit, holds, strict=True) if held], skipped


def in_order(
    config: Config, route: Route, facts: Facts, targets: list[Target], latency: Mapping[str, float]
) -> list[Target]:
    """The targets by rank: of equals the one written first is taken first."""
    tokens = 0 if facts.look is None else facts.look.prompt.tokens

    def rank(target: Target) -> tuple[bool, float]:
        name = label(target, facts)
        if route.order == "cost":
            model = config.models.get(name)
            known = None if model is None else model.price
            return (known is None, 0 if known is None else mixed(known, tokens))
        return (name in latency, latency.get(name, 0)) if route.order == "latency" else (False, 0)

    left, sorted_ = list(targets), []
    while left:
        best = min(map(rank, left))
        sorted_.append(left.pop([rank(one) for one in left].index(best)))
    return sorted_


def mixed(price: Price, tokens: int) -> float:
    """Three tokens read for one written."""
    long = price.long_context
    tier = price if long is None or tokens <= long.over else long
    return (3 * tier.input + tier.output) / 4


def label(target: Target, facts: Facts) -> str:
    """As ``models`` and latencies name it."""
    return f"{target.provider}/{target.model or facts.model}"
