"""The routing part of a configuration, made ready to decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.config.schema import Config, Price, Retry, Route, Timeouts
from proxy.exchange import Facts, Format
from proxy.policy.index import Index
from proxy.policy.match import Predicate, compile_fixed, compile_live

REMEMBERED_MAX = 1024
"""Requests' lines and headers whose routes are remembered. Clients choose them, so there is a bound."""

REMEMBERED_CHARS_MAX = 512
"""Characters of one of them; longer ones are looked at each time."""


@dataclass(frozen=True, slots=True)
class CompiledRoute:
    """A route with its match compiled, its timeouts and retries complete.

    `live`: what the match asks of the body; None: nothing. `timed`: it is not in force at all times. `steady`: it has the
    same targets for every request of one format; `plans` keeps these decisions, OpenAI's and Anthropic's, once they have
    been made. `replaces`: whether any of its targets names a model of its own.
    """

    route: Route
    takes: Predicate
    live: Predicate | None
    timed: bool
    steady: bool
    timeouts: Timeouts
    retry: Retry
    replaces: bool
    plans: list[Any] = field(default_factory=lambda: [None, None])

    def in_force(self, now_s: float) -> bool:
        """Whether the route is there at `now_s`, in seconds since 1970."""
        route = self.route
        return (route.from_ is None or route.from_ <= now_s) and (route.until is None or now_s < route.until)


@dataclass(frozen=True, slots=True)
class Policy:
    """The routing part of a configuration, ready to decide.

    `formats`: which formats each provider offers. `header_names`: the lower-case names that any route asks for.
    By ``provider/model``, where they are declared: `modalities`, the kinds of call that it answers, `contexts`, its window
    in tokens, and `prices`. `model_names`: the exact models that routes match, in order, for ``GET /v1/models``.
    `model_needed`: whether any route asks for the request's model, or replaces it. `looks`: whether anything of it may
    need a look into the body. `timed`: whether any route has a
    beginning or an end. `least_context`: the smallest window; 0: none is declared.
    """

    routes: tuple[CompiledRoute, ...]
    formats: Mapping[str, frozenset[Format]]
    header_names: frozenset[str]
    modalities: Mapping[str, frozenset[str]]
    contexts: Mapping[str, int]
    prices: Mapping[str, Price]
    model_names: tuple[str, ...]
    model_needed: bool
    looks: bool
    timed: bool
    least_context: int
    _asked: tuple[str, ...]
    _index: Index
    _remembered: dict[tuple[str | bool | None, ...], tuple[CompiledRoute, ...]] = field(default_factory=dict)

    def candidates(self, facts: Facts) -> tuple[CompiledRoute, ...]:
        """The routes whose line and headers fit, in order, up to the first that asks nothing more.

        The body and the time are not looked at.
        """
        model, path = facts.model, facts.path
        key: tuple[str | bool | None, ...] = (model, path, facts.endpoint.format is Format.ANTHROPIC)
        if self._asked:
            key += tuple([facts.headers.get(name) for name in self._asked])
        found = self._remembered.get(key)
        if found is None:
            found = self._fitting(facts)
            if sum([len(part) for part in key if isinstance(part, str)]) <= REMEMBERED_CHARS_MAX:
                if len(self._remembered) >= REMEMBERED_MAX:
                    self._remembered.clear()
                self._remembered[key] = found
        return found

    def _fitting(self, facts: Facts) -> tuple[CompiledRoute, ...]:
        found = []
        for number in self._index.possible(facts):
            compiled = self.routes[number]
            if compiled.takes(facts):
                found.append(compiled)
                if compiled.live is None and not compiled.timed:
                    break
        return tuple(found)


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
    routes = tuple(_compile_route(route, config) for route in config.routes)
    matched = {name.lower() for route in config.routes for name in route.match.header}
    sticky = {
        route.sticky[7:] for route in config.routes if route.sticky is not None and route.sticky.startswith("header:")
    }
    contexts = {name: model.context for name, model in config.models.items() if model.context is not None}
    return Policy(
        routes=routes,
        formats=formats,
        header_names=frozenset(matched | sticky),
        modalities={
            name: frozenset(model.modalities) for name, model in config.models.items() if model.modalities is not None
        },
        contexts=contexts,
        prices={name: model.price for name, model in config.models.items() if model.price is not None},
        model_names=tuple(dict.fromkeys(exact)),
        model_needed=any(compiled.replaces or compiled.route.match.model for compiled in routes),
        looks=bool(contexts) or any(_looks(route) for route in config.routes),
        timed=any(compiled.timed for compiled in routes),
        least_context=min(contexts.values(), default=0),
        _asked=tuple(sorted(matched)),
        _index=Index([route.match for route in config.routes]),
    )


def _compile_route(route: Route, config: Config) -> CompiledRoute:
    return CompiledRoute(
        route=route,
        takes=compile_fixed(route.match),
        live=compile_live(route.match),
        timed=route.from_ is not None or route.until is not None,
        steady=not any(len(step.choices) > 1 for step in route.to)
        and route.order == "as_written"
        and route.mirror is None,
        timeouts=route.timeouts.over(config.timeouts),
        retry=route.retry.over(config.retry),
        replaces=any(target.model is not None for step in route.to for target, _ in step.choices),
    )


def _looks(route: Route) -> bool:
    match = route.match
    asked = (match.tools, match.images, match.audio, match.json, match.prompt_tokens, match.complexity or None)
    by_body = route.sticky in ("user", "prompt") or route.order == "cost"
    return by_body or any(one is not None for one in asked)
