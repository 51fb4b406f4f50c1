"""Which choice of a weighted step a request gets: by chance, or always the same one for the same key.

By key it is weighted rendezvous hashing (Thaler and Ravishankar 1998; with weights: Schindelhauer and Schomaker 2005).
Every choice scores by a hash of its own, so a change of one weight moves only those keys that go to it or come from it.
"""

from __future__ import annotations

import math
from hashlib import blake2b

from proxy.config.schema import Step
from proxy.exchange import Facts, Target

_WORD = (1 << 64) - 1


def by_chance(step: Step, roll: float) -> Target:
    """The choice on which `roll`, from 0 up to 1, falls when the weights are laid end to end."""
    choices = step.choices
    if len(choices) == 1:
        return choices[0][0]
    point = roll * sum(weight for _, weight in choices)
    for target, weight in choices:
        point -= weight
        if point < 0:
            return target
    return choices[-1][0]


def another(roll: float, number: int) -> float:
    """The roll of a `number`, from 0 up to 1: each is as good as independent of `roll` and of those by other numbers.

    By splitmix64 (Steele, Lea and Flood 2014), as the digits of one roll would not last for a long chain.
    """
    mixed = int(roll * (1 << 53)) + number * 0x9E3779B97F4A7C15 & _WORD
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _WORD
    return ((mixed ^ mixed >> 31) >> 11) / (1 << 53)


def by_key(step: Step, key: bytes) -> Target:
    """The choice that `key` always gets, as long as the weights stay."""
    if len(step.choices) == 1:
        return step.choices[0][0]
    return max(step.choices, key=lambda choice: _score(choice, key))[0]


def _score(choice: tuple[Target, float], key: bytes) -> float:
    target, weight = choice
    digest = blake2b(key + b"\0" + str(target).encode(), digest_size=8, person=b"fusebox-sticky").digest()
    # Half a step in from both ends: neither 0, whose logarithm there is not, nor 1, whose logarithm is 0.
    uniform = ((int.from_bytes(digest, "big") >> 11) + 0.5) / (1 << 53)
    return -weight / math.log(uniform)


def sticky_key(by: str, facts: Facts) -> str | None:
    """What keeps a request on its choice, by a route's `sticky`; None: the request has none of it, so chance decides."""
    if by.startswith("header:"):
        return facts.headers.get(by[7:]) or None
    if facts.look is None:
        return None
    prompt = facts.look.prompt
    return (prompt.user if by == "user" else prompt.prefix) or None
