"""What would become of one request, and why: before the fact, with nothing sent.

The deciding is done by `decide` itself, the reasons come from the very tests that a route's match consists of, and what
is asked follows from the plan and the state of the world as in a real walk. So an explanation cannot tell another story
than the proxy; tests hold that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Literal

import msgspec

from proxy.config.schema import Config, Retry, Route, Step, Timeouts
from proxy.config.units import Moment
from proxy.errors import AllOut, ClientFault, FuseboxError, LocalFault, NoRoute
from proxy.exchange import Facts, Target
from proxy.policy.compiled import CompiledRoute, Policy
from proxy.policy.complexity import Assessment
from proxy.policy.cost import blended
from proxy.policy.decide import Decision, Latency, choose, decide, drawn, plan_of
from proxy.policy.draw import sticky_key
from proxy.policy.explain_asked import Asked, LookOf, Question, question
from proxy.policy.explain_reasons import header_seen, mismatches, moment, printable
from proxy.policy.explain_story import (
    Asking,
    Choice,
    Classed,
    Draw,
    Error,
    Explanation,
    Mirrored,
    Request,
    RouteSeen,
    Terms,
)
from proxy.policy.explain_world import Hindrance, World, assumed, label, last_resort
from proxy.wire.wishes import total_s

PAST = "passthrough"
"""The route's name of ``/p/PROVIDER/...``, which no route decides."""

_NO_WORLD = World()
_UNSAID = (Timeouts(), Retry())


def answer(
    asked: Asked,
    config: Config,
    policy: Policy,
    look_of: LookOf,
    *,
    now_s: float,
    latency: Latency | None = None,
    world_of: Callable[[Question], World] | None = None,
) -> Explanation:
    """The explanation for what somebody asks about the policy of `config`. `now_s`: seconds since 1970, unless they say when.

    `latency`, `world_of`: of a running process; what is assumed comes on top. Raises BadValue for a question that is none.
    """
    at_s = now_s if asked.at is None else Moment.parse(asked.at)
    world = assumed(policy.formats, down=asked.down, cooling=asked.cooling, full=asked.full)
    live = world_of is not None
    try:
        wanted = question(asked, look_of)
    except ClientFault as refused:
        request = Request(asked.method or "POST", asked.path or "", "", asked.format or "openai", asked.model, False)
        return Explanation(moment(at_s), live, request, error=Error(refused.status, refused.code, str(refused)))
    if world_of is not None:
        world = world.and_(world_of(wanted))
    past = config.timeouts, config.retry
    return explain(policy, wanted, roll=asked.roll, now_s=at_s, latency=latency, world=world, live=live, past=past)


def explain(
    policy: Policy,
    question: Question,
    *,
    roll: float,
    now_s: float,
    latency: Latency | None = None,
    world: World = _NO_WORLD,
    live: bool = False,
    past: tuple[Timeouts, Retry] = _UNSAID,
) -> Explanation:
    """The explanation. `roll`, `now_s` (seconds since 1970), `latency`: as for `decide`. `past`: the policy's timeouts and
    retries, for requests past its routes. `live`: `world` and `latency` are a running process's.

    Never raises, whatever the request: what the proxy would refuse is explained as refused.
    """
    facts = question.facts
    story: dict[str, Any] = {"alone": question.alone}
    compiled: CompiledRoute | None = None
    error: FuseboxError | None = None
    try:
        if question.past is not None:
            story |= _past(policy, question, question.past, world, past)
        else:
            compiled = choose(policy, facts, now_s)
            decision = decide(policy, facts, roll=roll, now_s=now_s, latency=latency)
            story |= _of_route(compiled, decision, facts, roll)
            total = total_s(decision.timeouts.total, facts.headers)
            story["terms"] = _terms(decision, total)
            asked = _in_order(policy, compiled, decision.plan.targets, facts, roll, latency)
            story |= _walk(asked, compiled.route.name, question, world, decision.retry, total)
            story["targets"] += _left_out(compiled, decision.plan.skipped, facts, roll)
    except FuseboxError as refused:
        error = refused
        if compiled is not None and isinstance(refused, NoRoute):
            skipped = plan_of(policy, compiled, facts, roll, latency).skipped
            story |= {"targets": _left_out(compiled, skipped, facts, roll)}
    error = story.pop("fault", error)
    if question.past is None:
        story["routes"] = _routes(policy, facts, compiled, now_s)
    if compiled is not None:
        story["route"] = compiled.route.name
    look = facts.look
    return Explanation(
        at=moment(now_s),
        live=live,
        request=_request(facts),
        error=None if error is None else Error(error.status, error.code, str(error)),
        prompt=None if look is None else look.seen,
        complexity=_classed(facts),
        notes=tuple(_notes(policy, facts, compiled, latency)),
        **story,
    )


def _request(facts: Facts) -> Request:
    endpoint = facts.endpoint
    return Request(facts.method, facts.path, endpoint.name, endpoint.format.value, facts.model, facts.stream)


def _routes(policy: Policy, facts: Facts, taking: CompiledRoute | None, now_s: float) -> tuple[RouteSeen, ...]:
    """Every route up to the one that takes the request with its reasons; those behind it are not looked at."""
    seen: list[RouteSeen] = []
    reached = True
    for compiled in policy.routes:
        if not reached:
            seen.append(RouteSeen(compiled.route.name, "not reached"))
        elif compiled is taking:
            seen.append(RouteSeen(compiled.route.name, "takes"))
            reached = False
        else:
            seen.append(RouteSeen(compiled.route.name, "does not fit", mismatches(compiled, facts, now_s)))
    return tuple(seen)


def _classed(facts: Facts) -> Classed | None:
    if facts.complexity is not None:
        return Classed(facts.complexity, True)
    look = facts.look
    if look is None or look.classed is None:
        return None
    # Not every look has one: what was logged, say, holds the class alone.
    found = getattr(look, "assessment", None)
    if not isinstance(found, Assessment):
        return Classed(look.classed, False)
    return Classed(look.classed, False, found.score, found.features, found.parts, found.why)


# The route: what it draws, and what holds for it.


def _of_route(compiled: CompiledRoute, decision: Decision, facts: Facts, roll: float) -> dict[str, Any]:
    route, mirror = compiled.route, compiled.route.mirror
    copied: Mirrored | None = None
    if mirror is not None and facts.endpoint.inference:
        to = decision.mirror
        copied = Mirrored(
            _choices(mirror.to, to, facts), mirror.percent, None if to is None else label(to, facts.model)
        )
    targets = drawn(route, facts, roll)
    draws = tuple(
        Draw(number, _choices(step, target, facts), _drawn_by(route, facts, roll))
        for number, (step, target) in enumerate(zip(route.to, targets, strict=True), 1)
        if len(step.choices) > 1
    )
    return {"draws": draws, "mirror": copied}


def _choices(step: Step, drawn_one: Target | None, facts: Facts) -> tuple[Choice, ...]:
    total = sum(weight for _, weight in step.choices)
    return tuple(
        Choice(label(target, facts.model), weight / total, target == drawn_one) for target, weight in step.choices
    )


def _drawn_by(route: Route, facts: Facts, roll: float) -> str:
    by = route.sticky
    if by is None:
        return f"by chance, here with a roll of {roll:g}"
    thing = {"user": "the user", "prompt": "the prompt's beginning"}.get(by, by.replace(":", " "))
    if sticky_key(by, facts) is None:
        return f"sticky by {thing}, which this request has not: by chance, here with a roll of {roll:g}"
    seen = f" ({header_seen(by[7:], facts)})" if by.startswith("header:") else ""
    return f"sticky by {thing}{seen}: the same choice each time"


def _terms(decision: Decision, total: float) -> Terms:
    route = decision.route
    assert route is not None
    # `total`: the client may not wait as long as the policy would.
    timeouts = {name: float(value) for name, value in msgspec.structs.asdict(decision.timeouts).items()}
    retry = {name: float(value) for name, value in msgspec.structs.asdict(decision.retry).items()}
    return Terms(
        timeouts | {"total": float(total)},
        retry,
        route.order,
        route.sticky,
        route.deliver,
        route.on_broken_stream,
        route.on_content_filter,
        None if route.hedge is None else float(route.hedge.after),
        None if route.from_ is None else moment(route.from_),
        None if route.until is None else moment(route.until),
    )


# The targets: in which order, and which of them are out.

_Numbered = tuple[int, Target, float | None]
"""A target with the number of its step, and what it was sorted by."""


def _in_order(
    policy: Policy,
    compiled: CompiledRoute,
    targets: Sequence[Target],
    facts: Facts,
    roll: float,
    latency: Latency | None,
) -> list[_Numbered]:
    numbers = _numbers(compiled, targets, facts, roll)
    order = compiled.route.order
    found: list[_Numbered] = []
    for number, target in zip(numbers, targets, strict=True):
        name, value = f"{target.provider}/{target.model or facts.model}", None
        if order == "cost" and name in policy.prices:
            value = blended(policy.prices[name], 0 if facts.look is None else facts.look.prompt.tokens)
        elif order == "latency" and latency is not None:
            value = latency(name)
        found.append((number, target, value))
    return found


def _numbers(compiled: CompiledRoute, targets: Sequence[Target], facts: Facts, roll: float) -> list[int]:
    """The steps, from 1, that gave `targets`; one that is there twice gives them in their order."""
    steps = list(enumerate(drawn(compiled.route, facts, roll), 1))
    numbers: list[int] = []
    for target in targets:
        found = next(one for one in steps if one[1] == target)
        steps.remove(found)
        numbers.append(found[0])
    return numbers


def _left_out(compiled: CompiledRoute, skipped: Sequence[Any], facts: Facts, roll: float) -> tuple[Asking, ...]:
    numbers = _numbers(compiled, [one.target for one in skipped], facts, roll)
    return tuple(
        Asking(number, label(one.target, facts.model), "not", one.reason)
        for number, one in zip(numbers, skipped, strict=True)
    )


def _walk(
    asked: Sequence[_Numbered], route: str, question: Question, world: World, retry: Retry, total: float
) -> dict[str, Any]:
    """What a walk along `asked` does as things stand: the targets, the first of them, the fault if there is none."""
    model = question.facts.model
    within = asked[:1] if question.alone is not None else asked
    hindrances = [world.of(target, model) for _, target, _ in within]
    first = next((number for number, found in enumerate(hindrances) if not found), None)
    resort = None if first is not None else last_resort(hindrances, max_wait_s=retry.max_wait, total_s=total)
    taken = first if resort is None else resort.number
    targets: list[Asking] = []
    for number, (step, target, value) in enumerate(asked):
        found = hindrances[number] if number < len(hindrances) else ()
        reason = found[0].reason if found else None if number < len(hindrances) else question.alone
        how: Literal["first", "next", "not"] = "not" if reason is not None else "next"
        targets.append(Asking(step, label(target, model), "first" if number == taken else how, reason, found, value))
    if taken is None:
        return {"targets": tuple(targets), "fault": _all_out(route, targets, hindrances)}
    name = targets[taken].target
    words = None if resort is None else _RESORTS[resort.why].format(name, resort.after_s)
    return {"targets": tuple(targets), "target": name, "resort": words}


_RESORTS = {
    "wait": "every target is out, but the rate limit of {0} is over in {1:.1f} s: that is waited for",
    "early": "every target is out, so one request a second goes to {0} all the same, to see whether it is back",
    "model": "every target is out, so {0} is asked all the same for a model that it did not have a while ago",
}


def _all_out(route: str, targets: Sequence[Asking], hindrances: Sequence[tuple[Hindrance, ...]]) -> FuseboxError:
    firsts = [found[0] for found in hindrances]
    if [one.kind for one in firsts] == ["no_key"]:
        return _NoKey(f"{targets[0].target}: none of its provider's keys can be read")
    reasons = tuple(dict.fromkeys(f"{one.target}: {one.reason}" for one in targets[: len(firsts)]))
    return AllOut(route, reasons, min((inf if one.left_s is None else one.left_s for one in firsts), default=inf))


class _NoKey(LocalFault):
    """As ``errors.NoKey``, for who cannot see where the keys come from."""

    code = "no_key"


def _past(
    policy: Policy, question: Question, provider: str, world: World, terms: tuple[Timeouts, Retry]
) -> dict[str, Any]:
    """Of a request past the routes. Raises NoRoute, and BadRequest for a timeout that is none."""
    if provider not in policy.formats:
        known = ", ".join(policy.formats)
        raise NoRoute(f"no provider {printable(provider)} in the policy: /p/NAME/... takes one of {known}")
    timeouts, retry = terms
    total = total_s(timeouts.total, question.facts.headers)
    walk = _walk([(1, Target(provider), None)], PAST, question, world, retry, total)
    return {**walk, "route": PAST}


# What else is to be said.


def _notes(policy: Policy, facts: Facts, compiled: CompiledRoute | None, latency: Latency | None) -> list[str]:
    notes: list[str] = []
    if facts.endpoint.name == PAST:
        return ["/p/PROVIDER/ goes to that provider past the routes; nothing of it is replaced but the credentials"]
    if policy.looks and facts.look is None:
        notes.append(
            "the body of this call is not looked into: it counts as one without tools, images, audio and prompt tokens"
        )
    if compiled is not None and compiled.route.order == "latency" and latency is None:
        notes.append(
            "order: latency goes by what a running process has measured; here nothing is known, so the chain is as"
            " written (ask it with --live)"
        )
    if facts.endpoint.name == "models" and facts.method == "GET" and policy.model_names:
        notes.append(
            "the answer is the target's list with the models that the policy's routes name; these alone where no route"
            " takes the call, or its target gives no list"
        )
    return notes
