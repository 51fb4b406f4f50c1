"""What stands between a plan and its providers: breakers, places, budgets, cool-downs. It outlives a reload.

A `Guard` belongs to one provider as it is configured. `Guards` holds those of one configuration; built from the ones
before, it keeps the guard of every provider that has not changed, with all that it has learnt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from proxy.attempt.breaker import Breaker
from proxy.attempt.budget import Places, RetryBudget
from proxy.attempt.circuit import Listener
from proxy.attempt.cooldown import Cooldowns
from proxy.attempt.latency import Latencies
from proxy.attempt.uplink import Uplink
from proxy.config import schema

MODELS_MAX = 256
"""Breakers of one provider with ``scope: target``. Clients name models, so the one unused for longest makes room."""


class Guard:
    """The guards of one provider. `only`: its one breaker, unless it has one per target."""

    def __init__(
        self,
        name: str,
        settings: schema.Breaker,
        *,
        clock: Callable[[], float],
        rng: Callable[[], float],
        listeners: Sequence[Listener],
    ) -> None:
        self.name = name
        self.places = Places(None)
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._listeners = listeners
        self._whole = self._new(name)
        self._per_target = settings.scope == "target"
        self.only = None if self._per_target else self._whole
        self._of_model: OrderedDict[str, Breaker] = OrderedDict()
        self._retries: dict[tuple[str | None, float], RetryBudget] = {}
        self._hedges: dict[tuple[str | None, float], RetryBudget] = {}

    def breaker(self, model: str | None) -> Breaker:
        """The breaker of the provider, or of one model there with ``scope: target``.

        A provider that is held open as a whole is so for models, too, that nobody has asked for yet.
        """
        if not self._per_target or model is None:
            return self._whole
        known = self._of_model.get(model)
        if known is None:
            if len(self._of_model) >= MODELS_MAX:
                # Not one that is held open by hand: that order stands until it is taken back.
                idle = (name for name, breaker in self._of_model.items() if not breaker.held)
                self._of_model.pop(next(idle, next(iter(self._of_model))))
            known = self._of_model[model] = self._new(f"{self.name}/{model}")
            if self._whole.held and self._whole.open_until_s > self._clock():
                known.force_open(self._whole.open_until_s - self._clock())
            elif self._whole.mode == "disabled" != known.mode:
                known.disable()
        self._of_model.move_to_end(model)
        return known

    def standing(self, model: str | None) -> Breaker | None:
        """As `breaker`, but makes and moves nothing; None: a new one would be made, and let everything through."""
        if not self._per_target or model is None:
            return self._whole
        # Held open as a whole it is for the models, too, that nobody has asked for.
        return self._of_model.get(model) or (self._whole if self._whole.held else None)

    def breakers(self) -> Iterator[Breaker]:
        """All that have been asked for, the provider's own first."""
        yield self._whole
        yield from self._of_model.values()

    def obey(self, before: Guard) -> None:
        """What somebody has ordered by hand of the breakers before stands until somebody takes it back."""
        self._follow(before._whole, self._whole)
        if self._per_target:
            for model, old in before._of_model.items():
                if old.held or old.mode != old.settings.mode:
                    self._follow(old, self.breaker(model))

    def _follow(self, old: Breaker, new: Breaker) -> None:
        if old.held and old.open_until_s > self._clock():
            new.force_open(old.open_until_s - self._clock())
        elif old.mode == "disabled" != old.settings.mode:
            new.disable()

    def retries(self, model: str | None, share: float) -> RetryBudget:
        """The retry budget of one target; `model` as the policy names it, so their number is the policy's."""
        budget = self._retries.get((model, share))
        if budget is None:
            budget = self._retries[model, share] = RetryBudget(share, clock=self._clock)
        return budget

    def hedges(self, model: str | None, share: float) -> RetryBudget:
        """The budget for hedging requests of one target, which grants nothing for free."""
        budget = self._hedges.get((model, share))
        if budget is None:
            budget = self._hedges[model, share] = RetryBudget(share, clock=self._clock, floor_per_s=0.0)
        return budget

    def _new(self, label: str) -> Breaker:
        return Breaker(label, self._settings, clock=self._clock, rng=self._rng, listeners=self._listeners)


class Guards:
    """The guards of one configuration, by provider.

    `before`: those of the configuration before it, whose cool-downs and uplink live on, and the guard of every provider
    that is the same. `clock`: seconds of a monotonic clock; `rng`: numbers from 0 up to 1. `latencies`: of the targets;
    None when no route is ordered by them.
    """

    def __init__(
        self,
        config: schema.Config,
        *,
        clock: Callable[[], float],
        rng: Callable[[], float],
        listeners: Sequence[Listener] = (),
        uplink_changed: Callable[[bool], None] = lambda down: None,
        before: Guards | None = None,
    ) -> None:
        self.clock = clock
        self.cooldowns: Cooldowns = before.cooldowns if before is not None else Cooldowns(clock)
        self.uplink: Uplink = before.uplink if before is not None else Uplink(clock, uplink_changed)
        # Kept by one that is not asked for it, so that a reload that takes the order out and back in forgets nothing.
        self._latencies: Latencies = before._latencies if before is not None else Latencies(clock)
        wanted = any(route.order == "latency" for route in config.routes)
        self.latencies = self._latencies if wanted else None
        self._same: dict[str, object] = {}
        self.of: dict[str, Guard] = {}
        for name, provider in config.providers.items():
            # What a breaker has learnt is of these addresses, under these rules; keys and places may change under it.
            same = (provider.base_url, provider.anthropic_url, provider.ca, config.breaker)
            known = before.of[name] if before is not None and before._same.get(name) == same else None
            guard = known or Guard(name, config.breaker, clock=clock, rng=rng, listeners=listeners)
            if known is None and before is not None and name in before.of:
                guard.places = before.of[name].places  # requests under way are under way at the new one, too
                guard.obey(before.of[name])
            guard.places.limit = provider.max_concurrency
            self._same[name], self.of[name] = same, guard

    def __getitem__(self, provider: str) -> Guard:
        return self.of[provider]

    def __iter__(self) -> Iterator[Guard]:
        return iter(self.of.values())

    def get(self, provider: str) -> Guard | None:
        """The guard of a provider that may not exist."""
        return self.of.get(provider)
