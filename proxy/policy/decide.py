"""From a policy and a request's facts to a plan, with the reason for every target left out. `explain` calls it too."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import msgspec

from proxy.config.schema import Retry, Route, Timeouts
from proxy.errors import BadRequest, NoRoute
from proxy.exchange import Carrier, Facts, Format, Plan, Skipped, Target
from proxy.policy.compiled import CompiledRoute, Policy
from proxy.policy.cost import blended
from proxy.policy.draw import another, by_chance, by_key, sticky_key

Latency = Callable[[str], float | None]
"""How long first events of a ``provider/model`` took of late, in seconds; None: nobody knows."""

_NO_CARRIER, _ANTHROPIC = Carrier.NONE, Format.ANTHROPIC  # members of an enum are slow to look up
_MIRRORED, _MIRROR_TARGET = -1, -2
"""Numbers of the rolls that a mirror draws by; no draw of the chain has them."""


class Decision(msgspec.Struct, frozen=True):
    """A plan, and the route's timeouts and retries that hold for it.

    `route`: None for ``/p/``, which no route decides. `mirror`: the target that gets a copy of this request.
    """

    plan: Plan
    timeouts: Timeouts
    retry: Retry
    route: Route | None = None
    mirror: Target | None = None


def decide(
    policy: Policy, facts: Facts, *, roll: float, now_s: float = 0.0, latency: Latency | None = None
) -> Decision:
    """The plan for a request; `roll`, from 0 up to 1, draws from weighted steps. `now_s`: seconds since 1970.

    Raises NoRoute when no route takes it or no target of the route can answer it, and BadRequest when the route replaces
    the model of a request that has none.
    """
    compiled = choose(policy, facts, now_s)
    if facts.model is None and compiled.replaces and facts.endpoint.carrier is not _NO_CARRIER:
        raise BadRequest(
            f"the request names no `model`, which route {compiled.route.name!r} needs to replace; add one",
            param="model",
        )
    route = compiled.route
    look = facts.look
    # A token has at least a byte, so a body no larger than the smallest window fits every one.
    large = look is not None and look.size > policy.least_context > 0
    decision: Decision | None
    if compiled.steady and not large and not policy.modalities:
        of_format = facts.endpoint.format is _ANTHROPIC
        decision = compiled.plans[of_format]
        if decision is None:
            plan = plan_of(policy, compiled, facts, roll, latency)
            compiled.plans[of_format] = decision = Decision(plan, compiled.timeouts, compiled.retry, route)
    else:
        plan = plan_of(policy, compiled, facts, roll, latency)
        decision = Decision(plan, compiled.timeouts, compiled.retry, route, _mirrored(route, roll))
    if not decision.plan.targets:
        reasons = "; ".join(f"{skip.target}: {skip.reason}" for skip in decision.plan.skipped)
        raise NoRoute(f"route {route.name!r} has no target for this request: {reasons}")
    return decision


def choose(policy: Policy, facts: Facts, now_s: float = 0.0) -> CompiledRoute:
    """The first route that takes the request. Raises NoRoute when none does."""
    for compiled in policy.candidates(facts):
        if compiled.timed and not compiled.in_force(now_s):
            continue  # before its live part is asked, which may look into the body
        if compiled.live is None or compiled.live(facts):
            return compiled
    asked = f"model {facts.model!r}" if facts.model is not None else "a request without a model"
    raise NoRoute(
        f"no route takes {asked} at {facts.path}: add a route to the policy, or a last one with `match: {{}}` that"
        " takes everything"
    )


def plan_of(policy: Policy, compiled: CompiledRoute, facts: Facts, roll: float, latency: Latency | None) -> Plan:
    """The targets in the order in which they will be asked, and those that cannot answer this request."""
    route = compiled.route
    targets: list[Target] = []
    skipped: list[Skipped] = []
    for target in drawn(route, facts, roll):
        reason = _unfit(policy, target, facts)
        if reason is None:
            targets.append(target)
        else:
            skipped.append(Skipped(target, reason))
    if policy.least_context:
        targets = _with_room(policy, targets, skipped, facts)
    if len(targets) > 1 and route.order != "as_written":
        targets = _sorted(policy, route, targets, facts, latency)
    return Plan(route.name, tuple(targets), tuple(skipped))


def drawn(route: Route, facts: Facts, roll: float) -> list[Target]:
    """One target for each step of the chain."""
    key: str | None = None
    if route.sticky is not None:
        key = sticky_key(route.sticky, facts)
    targets: list[Target] = []
    draws = 0
    for number, step in enumerate(route.to):
        if len(step.choices) == 1:
            targets.append(step.choices[0][0])
        elif key is not None:
            # With the route's name and the step's number, so that two splits by the same key are independent.
            targets.append(by_key(step, f"{route.name}\0{number}\0{key}".encode(errors="surrogatepass")))
        else:
            targets.append(by_chance(step, another(roll, draws) if draws else roll))
            draws += 1
    return targets


def _unfit(policy: Policy, target: Target, facts: Facts) -> str | None:
    """Why `target` cannot answer this request, whatever its size."""
    wanted, modality = facts.endpoint.format, facts.endpoint.modality
    if wanted not in policy.formats[target.provider]:
        return f"provider {target.provider!r} offers no {wanted.value} format"
    if modality is not None and policy.modalities:
        declared = policy.modalities.get(_label(target, facts))
        if declared is not None and modality not in declared:
            return f"its model is declared for {', '.join(sorted(declared))}, not {modality}"
    return None


def _with_room(policy: Policy, targets: list[Target], skipped: list[Skipped], facts: Facts) -> list[Target]:
    """`targets` without those whose declared window is smaller than the prompt; the others go to `skipped`.

    When that is all of them the one with the largest window stays: the size is estimated, the provider's word is not.
    """
    look = facts.look
    if look is None or look.size <= policy.least_context:
        return targets
    tokens = look.prompt.tokens
    windows = [policy.contexts.get(_label(target, facts), inf) for target in targets]
    if not windows or tokens <= min(windows):
        return targets
    enough = min(tokens, max(windows))
    for target, window in zip(targets, windows, strict=True):
        if window < enough:
            skipped.append(Skipped(target, f"about {tokens} prompt tokens do not fit its context of {window}"))
    return [target for target, window in zip(targets, windows, strict=True) if window >= enough]


def _sorted(policy: Policy, route: Route, targets: list[Target], facts: Facts, latency: Latency | None) -> list[Target]:
    """`targets` by the route's `order`; those that are equal in it stay as written.

    Of unknown price: last. Of unknown latency: first, as nothing but a request can tell it.
    """
    if route.order == "cost":
        tokens = 0 if facts.look is None else facts.look.prompt.tokens

        def price_of(target: Target) -> float:
            price = policy.prices.get(_label(target, facts))
            return inf if price is None else blended(price, tokens)

        return sorted(targets, key=price_of)
    if latency is None:
        return targets
    known = latency
    return sorted(targets, key=lambda target: known(_label(target, facts)) or 0.0)


def _mirrored(route: Route, roll: float) -> Target | None:
    """The target that gets a copy, if this request is one of those that are copied."""
    mirror = route.mirror
    if mirror is None:
        return None
    # By a roll that no step of the chain draws by: a canary's requests are copied like any others.
    if another(roll, _MIRRORED) * 100 >= mirror.percent:
        return None
    return by_chance(mirror.to, another(roll, _MIRROR_TARGET))


def _label(target: Target, facts: Facts) -> str:
    return f"{target.provider}/{target.model or facts.model}"
