"""A candidate policy that decides beside the one in force: what it would do differently. Nothing is sent for it."""

from __future__ import annotations

import msgspec

from proxy.errors import BadRequest, NoRoute
from proxy.exchange import Facts
from proxy.policy.compiled import Policy
from proxy.policy.decide import Decision, Latency, decide


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the candidate decided otherwise: its `route` and first `target`, or the `error` that the client would get."""

    route: str | None = None
    target: str | None = None
    error: str | None = None


def difference(
    candidate: Policy, facts: Facts, decision: Decision | None, *, roll: float, now_s: float, latency: Latency | None
) -> Difference | None:
    """How the candidate's plan differs from `decision` (None: the request was refused); None: not in route or first target.

    With the same `roll` for both, weights that are alike draw alike, so that chance is no difference.
    """
    try:
        other = decide(candidate, facts, roll=roll, now_s=now_s, latency=latency)
    except (NoRoute, BadRequest) as error:
        return None if decision is None else Difference(error=error.code)
    first = other.plan.targets[0]
    if decision is not None and decision.plan.route == other.plan.route and decision.plan.targets[0] == first:
        return None
    return Difference(other.plan.route, str(first))
