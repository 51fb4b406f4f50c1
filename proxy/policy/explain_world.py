"""The state of the world as an explanation sees it: which targets would not be asked now, and which one all the same.

The same checks, in the same order, as when leave is given for an attempt (``attempt/admit``), and the same last resort as
a walk has (``attempt/chain``). Tests compare the two. What the state is, others say: ``attempt/forecast`` of a running
process, or a person who asks "what if" (`assumed`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from proxy.config.problems import BadValue, did_you_mean, shown
from proxy.exchange import Target

Kind = Literal["no_key", "cooling", "uplink", "full", "open"]

_CHECKS: dict[Kind, int] = {"no_key": 0, "cooling": 1, "uplink": 2, "full": 3, "open": 4}
"""What is looked at first decides the reason."""

LEFT_MIN_S = 1.0
"""A wait that leaves less of the total time than this is not begun (``attempt/chain`` has the same number)."""


class Hindrance(msgspec.Struct, frozen=True):
    """Why a target would not be asked now.

    `left_s`: seconds until that is over; None: nobody knows. `certain`: time alone ends it; else that is when it is worth
    another try (places, probes). `cause`: of a cool-down: rate, money, auth, model. `early_in_s`:
    when an open circuit lets one request through before its time, if every target is out; None: it does not. `whole_key`: a
    cool-down is of the key for all its models.
    """

    kind: Kind
    reason: str
    left_s: float | None = None
    cause: str | None = None
    early_in_s: float | None = None
    whole_key: bool = False
    certain: bool = True


class World(msgspec.Struct, frozen=True):
    """What hinders targets, by ``provider`` (all its models) and by ``provider/model``."""

    out: Mapping[str, tuple[Hindrance, ...]] = {}

    def of(self, target: Target, model: str | None) -> tuple[Hindrance, ...]:
        """What hinders `target`, the reason that will be given first. `model`: the client's, if the target keeps it."""
        found = self.out.get(target.provider, ())
        name = label(target, model)
        if name != target.provider:
            found += self.out.get(name, ())
        return tuple(sorted(found, key=lambda one: _CHECKS[one.kind]))

    def and_(self, other: World) -> World:
        """Both together."""
        names = dict.fromkeys([*self.out, *other.out])
        return World({name: self.out.get(name, ()) + other.out.get(name, ()) for name in names})


def label(target: Target, model: str | None) -> str:
    """`target` as people read it, with the model that it will be asked for; `model`: the client's."""
    asked = target.model if target.model is not None else model
    return target.provider if asked is None else f"{target.provider}/{asked}"


def assumed(
    providers: Iterable[str], *, down: Sequence[str] = (), cooling: Sequence[str] = (), full: Sequence[str] = ()
) -> World:
    """The world that somebody assumes: PROVIDER or PROVIDER/MODEL for each. Raises BadValue for one that is not there."""
    known = list(providers)
    kinds: tuple[tuple[str, Sequence[str], Kind, str, str | None], ...] = (
        ("down", down, "open", "its circuit is open", None),
        ("cooling", cooling, "cooling", "its key cools", "rate"),
        ("full", full, "full", "all its places are taken", None),
    )
    out: dict[str, tuple[Hindrance, ...]] = {}
    for option, names, kind, reason, cause in kinds:
        for name in names:
            provider, slash, model = name.partition("/")
            if provider not in known:
                raise BadValue(f"--{option}: there is no provider {shown(provider)}", did_you_mean(provider, known))
            if slash and (not model or option == "full"):
                wanted = "PROVIDER: places are a provider's" if option == "full" else "PROVIDER or PROVIDER/MODEL"
                raise BadValue(f"--{option}: {shown(name)} is not what is wanted here", f"write {wanted}")
            hindrance = Hindrance(kind, f"{reason} (assumed: --{option} {name})", cause=cause)
            out[name] = (*out.get(name, ()), hindrance)
    return World(out)


class Resort(msgspec.Struct, frozen=True):
    """The target that is asked although every one is out: by its number, after so many seconds, and why."""

    number: int
    after_s: float
    why: Literal["wait", "early", "model"]


def last_resort(hindrances: Sequence[tuple[Hindrance, ...]], *, max_wait_s: float, total_s: float) -> Resort | None:
    """What a walk does when each of its targets is hindered; None: it ends, with 503.

    A rate limit that is over within `max_wait_s` is waited for. Else an open circuit lets one request through early. Else
    a provider is asked for a model that it did not have a while ago.
    """
    firsts = [(number, found[0]) for number, found in enumerate(hindrances) if found]
    cooling = sorted(
        ((_left(first), number, first) for number, first in firsts if first.kind == "cooling"), key=lambda one: one[0]
    )
    opened = [(_left(first), number) for number, first in firsts if _may_be_early(first)]
    passed_s = 0.0
    for left_s, number, first in cooling:
        wait_s = left_s - passed_s
        if first.cause != "rate" or wait_s > max_wait_s or wait_s + LEFT_MIN_S > total_s - passed_s:
            continue
        passed_s = max(passed_s, left_s)
        still = _still(hindrances[number], passed_s)
        if not still:
            return Resort(number, passed_s, "wait")
        if _may_be_early(still[0]):
            opened.append((_left(still[0]) - passed_s, number))
    for _, number in sorted(opened, key=lambda one: one[0]):
        still = _still(hindrances[number], passed_s)
        early_in_s = still[-1].early_in_s if len(still) == 1 and still[0].kind == "open" else None
        if not still or (early_in_s is not None and early_in_s <= passed_s):
            return Resort(number, passed_s, "early")
    for _, number, first in cooling:
        if first.cause == "model":
            # Only the first of these is asked.
            others = [one for one in _still(hindrances[number], passed_s) if one is not first]
            return None if others or first.whole_key else Resort(number, passed_s, "model")
    return None


def _may_be_early(hindrance: Hindrance) -> bool:
    """Whether it is a circuit that is open by its own judgement, or half-open; not one that is held open by hand."""
    return hindrance.kind == "open" and hindrance.left_s is not None and hindrance.early_in_s is not None


def _left(hindrance: Hindrance) -> float:
    return float("inf") if hindrance.left_s is None else hindrance.left_s


def _still(found: tuple[Hindrance, ...], passed_s: float) -> list[Hindrance]:
    """Those of `found` that are not over after `passed_s`."""
    return [one for one in found if not one.certain or _left(one) > passed_s]
