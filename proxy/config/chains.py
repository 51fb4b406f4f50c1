"""Rules on the chain of one route, and on what goes with it: weights, order, sticky keys, mirror, hedge, credentials."""

from __future__ import annotations

import math
from collections.abc import Iterator

from proxy.config import syntax
from proxy.config.presets import PRESETS
from proxy.config.problems import Path, did_you_mean, looks_secret, shown
from proxy.config.reader import EXAMPLES
from proxy.config.schema import Config, Route, Step
from proxy.config.whole import Whole
from proxy.exchange import Target

_SHARES_SHOWN = 4
_UNPRICED_SHOWN = 5


def check(index: int, route: Route, config: Config, whole: Whole) -> None:
    """Notes what is wrong with the route at `index`, and what it can hardly be meant to do."""
    path: Path = ("routes", index, "to")
    if not route.to and whole.sound(path):
        whole.report(path, "an empty chain", EXAMPLES[Route, "to"])
    for where, target in _targets(index, route):
        declared(target, where, config, whole)
    _credentials(index, route, config, whole)
    _hedge(index, route, config, whole)
    if route.to and whole.sound(path):
        _weights(index, route, whole)
        _outage(index, route, config, whole)
        _order(index, route, config, whole)
        _sticky(index, route, whole)
        _mirror(index, route, whole)


def declared(target: Target, path: Path, config: Config, whole: Whole) -> None:
    """Notes a target, named at `path`, of a provider that there is not."""
    name = target.provider
    if name in config.providers or not config.providers or not whole.known("providers"):
        return
    preset = PRESETS.get(name)
    if preset is not None:
        keys = f"{{keys: [{{env: {preset.env[0]}}}]}}" if preset.env else "{}"
        hint = f"declare it under providers: {name}: {keys}"
    else:
        hint = did_you_mean(name, config.providers) or "declare it under providers"
        if target.model is None and hint.startswith("known here: "):
            hint = f"a target is provider/model; the providers here: {hint.removeprefix('known here: ')}"
    whole.report(path, f"provider {shown(name)} is not declared", hint)


def named(target: Target) -> str:
    """`target` as it may be printed."""
    text = str(target)
    return "(not shown)" if len(text) > 60 or looks_secret(text) else text


def _targets(index: int, route: Route) -> Iterator[tuple[Path, Target]]:
    """The targets of a chain and of its mirror, and where each is written."""
    for number, step in enumerate(route.to):
        yield from _choices(("routes", index, "to", number), step)
    if route.mirror is not None:
        yield from _choices(("routes", index, "mirror", "to"), route.mirror.to)


def _choices(path: Path, step: Step) -> Iterator[tuple[Path, Target]]:
    for target, _ in step.choices:
        yield ((*path, str(target)) if len(step.choices) > 1 else path), target


def _credentials(index: int, route: Route, config: Config, whole: Whole) -> None:
    """The client's credentials reach one host: in a chain, and by its mirror. Each format is looked at alone, as a request
    has one.
    """
    for root in ("base_url", "anthropic_url"):
        first: tuple[str, tuple[str, int]] | None = None
        for path, target in _targets(index, route):
            provider = config.providers.get(target.provider)
            if provider is None or provider.keys.mode != "client" or not whole.sound(("providers", target.provider)):
                continue
            url = getattr(provider, root)
            if url is None:
                continue
            here = (target.provider, syntax.origin(url))
            first = first or here
            if here[1] != first[1]:
                said = f"{first[0]} and {here[0]} are on different hosts, and both would get the client's credentials"
                of = "this chain and its mirror" if "mirror" in path else "this chain"
                whole.report(path, said, f"give all but one provider of {of} keys of its own, or keys: none")
                return


def _hedge(index: int, route: Route, config: Config, whole: Whole) -> None:
    """What a hedge waits for must be there to wait for, and must come before the attempt is given up."""
    hedge, path = route.hedge, ("routes", index, "hedge")
    if hedge is None or not whole.sound(path) or hedge.after <= 0:
        return
    bound = route.timeouts.over(config.timeouts).first_event
    if route.deliver == "whole":
        # There is no first event to wait for: each answer would be hedged.
        said = "hedge waits for a first event, which deliver: whole holds back until the answer is complete"
        whole.report(path, said, "leave one of the two out")
    elif len(route.to) == 1:
        whole.warn(
            path, "it asks the next step of the chain, and this one has a single step", "add a step, or take hedge out"
        )
    elif hedge.after >= bound and whole.sound(("timeouts",)) and whole.sound(("routes", index, "timeouts")):
        said = f"no hedge is ever sent: an attempt is given up after {bound:g}s without a first event (timeouts.first_event)"
        whole.warn((*path, "after"), said, "write a shorter time")


def _weights(index: int, route: Route, whole: Whole) -> None:
    """Weights are relative. People mean percent, or shares of 1; another sum is a slip, or at least hard to read."""
    steps: list[tuple[Path, Step]] = [(("routes", index, "to", number), step) for number, step in enumerate(route.to)]
    if route.mirror is not None:
        steps.append((("routes", index, "mirror", "to"), route.mirror.to))
    for path, step in steps:
        total = sum(weight for _, weight in step.choices)
        if not whole.sound(path) or any(math.isclose(total, whole_, rel_tol=1e-6) for whole_ in (1, 100)):
            continue
        if len(step.choices) == 1:
            said = f"a weight of {total:g}, but no other target to share with: all requests go to this one"
            whole.warn(path, said, "add the other targets to this step, or write the target without a weight")
            continue
        parts = [f"{named(target)} {weight / total:.1%}" for target, weight in step.choices[:_SHARES_SHOWN]]
        rest = ["..."] if len(step.choices) > _SHARES_SHOWN else []
        said = f"the weights add up to {total:g}; they are relative, so the shares are {', '.join(parts + rest)}"
        whole.warn(path, said, "make them add up to 100, or to 1")


def _outage(index: int, route: Route, config: Config, whole: Whole) -> None:
    """A fallback to what has just failed is none."""
    seen: set[Target] = set()
    for number, step in enumerate(route.to):
        if len(step.choices) > 1:
            continue  # which of them was asked before is open: a canary may well fall back to its rest
        target = step.choices[0][0]
        if target in seen:
            said = f"{named(target)} is in this chain already: it would be asked again after it failed"
            hint = "fall back to another target; the same one again is a matter of retry.attempts"
            whole.warn(("routes", index, "to", number), said, hint)
            return
        seen.add(target)
    if len(route.to) < 2:
        return
    by_step = [{target.provider for target, _ in step.choices} for step in route.to]
    first, last = by_step[0], by_step[-1]
    path = ("routes", index, "to")
    if len(first) != 1 or first != last:
        return
    (name,) = first
    sized = any(_context(target, config) for step in route.to for target, _ in step.choices)
    if len(set().union(*by_step)) == 1:
        if sized:
            return  # steps for prompts that do not fit the one before
        said = f"every step of this chain is at {shown(name)}, so its outage is an outage of this route"
        whole.warn(path, said, "add a target at another provider")
    else:
        said = f"this chain ends at {shown(name)}, where it began: when that is out, so is the last step"
        whole.warn((*path, len(route.to) - 1), said, "end it at another provider")


def _order(index: int, route: Route, config: Config, whole: Whole) -> None:
    """What is to be sorted by price needs prices, and more than one target."""
    path: Path = ("routes", index, "order")
    if route.order == "as_written" or not whole.sound(path):
        return
    if len(route.to) == 1:
        said = "the steps of a chain are sorted by it, and this one has a single step"
        whole.warn(path, said, "write each target as a step of its own, or take order out")
        return
    if route.order != "cost" or not whole.sound(("models",)):
        return
    every = [target for step in route.to for target, _ in step.choices]
    unpriced = list(
        dict.fromkeys(target for target in every if target.model is not None and not _priced(target, config))
    )
    if unpriced:
        names = ", ".join(map(named, unpriced[:_UNPRICED_SHOWN])) + (", ..." if len(unpriced) > _UNPRICED_SHOWN else "")
        said = f"no price is known for {names}"
        hint = f'write it under models, as in "{named(unpriced[0])}: {{price: {{input: 2.50, output: 15.00}}}}"'
        whole.report(path, said, hint)
    kept = next((target for target in every if target.model is None), None)
    asked = route.match.model
    if kept is not None and not (asked and all(_priced(Target(kept.provider, model), config) for model in asked)):
        said = f"what {shown(kept.provider)} costs depends on the client's model, whose price may not be known"
        hint = "write provider/model in this chain; a target without a price is asked last"
        whole.warn(path, said, hint)


def _context(target: Target, config: Config) -> int | None:
    known = config.models.get(str(target))
    return None if known is None else known.context


def _priced(target: Target, config: Config) -> bool:
    known = config.models.get(str(target))
    return known is not None and known.price is not None


def _sticky(index: int, route: Route, whole: Whole) -> None:
    path: Path = ("routes", index, "sticky")
    if route.sticky is None or not whole.sound(path) or any(len(step.choices) > 1 for step in route.to):
        return
    said = "it keeps a client on one choice of a weighted step, and this chain has none"
    whole.warn(
        path, said, "write a step with weights, as in {openai/gpt-5.4: 95, deepseek/deepseek-chat: 5}, or take it out"
    )


def _mirror(index: int, route: Route, whole: Whole) -> None:
    path: Path = ("routes", index, "mirror", "to")
    if route.mirror is None or not whole.sound(path):
        return
    own = {target for step in route.to for target, _ in step.choices}
    for where, target in _choices(path, route.mirror.to):
        if target in own:
            said = f"{named(target)} is in the chain as well, so it would get the same request twice"
            whole.warn(where, said, "mirror to a target outside the chain")
