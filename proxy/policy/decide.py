"""From a policy and a request's facts to a plan, with the reason for every target left out. `explain` calls it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from proxy.config.schema import Config, Route, Step, Timeouts
from proxy.errors import BadRequest, NoRoute
from proxy.exchange import Carrier, Facts, Format, Plan, Skipped, Target
from proxy.policy.match import Predicate, compile_match


class Decision(msgspec.Struct, frozen=True):
    """A plan and the route's timeouts that hold for it. `route`: None for ``/p/``, which no route decides."""

    plan: Plan
    timeouts: Timeouts
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class CompiledRoute:
    """A route with its match compiled and its timeouts complete.

    `fixed`: the decision for each format, for a route whose steps have no weights and so always decide alike.
    """

    route: Route
    takes: Predicate
    timeouts: Timeouts
    fixed: Mapping[Format, Decision]
    replaces: bool
    """Whether any target of the route names a model of its own."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The routing part of a configuration, ready to decide.

    `formats`: which formats each provider offers. `header_names`: the lower-case names that any route asks for.
    `modalities`: the kinds of call that a target's model answers, by ``provider/model``, where they are declared.
    `model_names`: the exact models that routes match, in order, for ``GET /v1/models``. `model_needed`: whether any
    route asks for the request's model, or replaces it.
    """

    routes: tuple[CompiledRoute, ...]
    formats: Mapping[str, frozenset[Format]]
    header_names: frozenset[str]
    modalities: Mapping[str, frozenset[str]]
    model_names: tuple[str, ...]
    model_needed: bool


def compile_policy(config: Config) -> Policy:
    """The policy of `config`, whose providers are resolved (presets filled in)."""
    formats = {
        name: frozenset(
            format_
            for format_, url in ((Format.OPENAI, provider.base_url), (Format.ANTHROPIC, provider.anthropic_url))
            if url is not None
        )
        for name, provider in config.providers.items()
    }
    exact = (model for route in config.routes for model in route.match.model if not {"*", "?"} & set(model))
    routes = tuple(_compile_route(route, config.timeouts, formats) for route in config.routes)
    return Policy(
        routes=routes,
        formats=formats,
        header_names=frozenset(name.lower() for route in config.routes for name in route.match.header),
        modalities={
            name: frozenset(model.modalities) for name, model in config.models.items() if model.modalities is not None
        },
        model_names=tuple(dict.fromkeys(exact)),
        model_needed=any(compiled.replaces or compiled.route.match.model for compiled in routes),
    )


def decide(policy: Policy, facts: Facts, *, roll: float) -> Decision:
    """The plan for a request; `roll` in [0, 1) draws from weighted steps.

    Raises NoRoute when no route takes it or no target of the route offers its format, and BadRequest when the route
    replaces the model of a request that has none.
    """
    for compiled in policy.routes:
        if compiled.takes(facts):
            break
    else:
        asked = f"model {facts.model!r}" if facts.model is not None else "a request without a model"
        raise NoRoute(
            f"no route takes {asked} at {facts.path}: add a route to the policy, or a last one with `match: {{}}` that"
            " takes everything"
        )
    if facts.model is None and compiled.replaces and facts.endpoint.carrier is not Carrier.NONE:
        raise BadRequest(
            f"the request names no `model`, which route {compiled.route.name!r} needs to replace; add one",
            param="model",
        )
    wanted = facts.endpoint.format
    decision = compiled.fixed.get(wanted) or Decision(
        _plan(policy.formats, compiled.route, wanted, roll), compiled.timeouts, compiled.route
    )
    if policy.modalities and facts.endpoint.modality is not None:
        decision = _of_modality(policy, decision, facts, facts.endpoint.modality)
    if not decision.plan.targets:
        reasons = "; ".join(f"{skip.target}: {skip.reason}" for skip in decision.plan.skipped)
        raise NoRoute(f"route {compiled.route.name!r} has no target for this request: {reasons}")
    return decision


def _of_modality(policy: Policy, decision: Decision, facts: Facts, wanted: str) -> Decision:
    """`decision` without the targets whose models are declared to be of other modalities."""
    plan = decision.plan
    targets: list[Target] = []
    skipped = list(plan.skipped)
    for target in plan.targets:
        declared = policy.modalities.get(f"{target.provider}/{target.model or facts.model}")
        if declared is None or wanted in declared:
            targets.append(target)
        else:
            skipped.append(Skipped(target, f"its model is declared for {', '.join(sorted(declared))}, not {wanted}"))
    return msgspec.structs.replace(decision, plan=Plan(plan.route, tuple(targets), tuple(skipped)))


def _compile_route(route: Route, timeouts: Timeouts, formats: Mapping[str, frozenset[Format]]) -> CompiledRoute:
    own = route.timeouts.over(timeouts)
    weighted = any(len(step.choices) > 1 for step in route.to)
    return CompiledRoute(
        route=route,
        takes=compile_match(route.match),
        timeouts=own,
        fixed={}
        if weighted
        else {wanted: Decision(_plan(formats, route, wanted, 0.0), own, route) for wanted in Format},
        replaces=any(target.model is not None for step in route.to for target, _ in step.choices),
    )


def _plan(formats: Mapping[str, frozenset[Format]], route: Route, wanted: Format, roll: float) -> Plan:
    targets: list[Target] = []
    skipped: list[Skipped] = []
    for step in route.to:
        target = _draw(step, roll)
        if len(step.choices) > 1:
            roll = roll * 4096 % 1.0  # the next weighted step draws from the digits behind, so from none of these
        if wanted in formats[target.provider]:
            targets.append(target)
        else:
            skipped.append(Skipped(target, f"provider {target.provider!r} offers no {wanted.value} format"))
    return Plan(route.name, tuple(targets), tuple(skipped))


def _draw(step: Step, roll: float) -> Target:
    """The choice on which `roll` falls when the weights are laid end to end."""
    choices = step.choices
    if len(choices) == 1:
        return choices[0][0]
    point = roll * sum(weight for _, weight in choices)
    for target, weight in choices:
        point -= weight
        if point < 0:
            return target
    return choices[-1][0]
