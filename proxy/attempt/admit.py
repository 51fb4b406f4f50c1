"""Leave to make an attempt: the key, the place and the permit that it takes, or the reason why there is none."""

from __future__ import annotations

import math
import re

import msgspec

from proxy.attempt.breaker import BreakerOpen
from proxy.attempt.cooldown import Reason
from proxy.attempt.send import Request
from proxy.attempt.uplink import needs_way_out
from proxy.attempt.walk import Ground, Leave, Terms
from proxy.config.secrets import Key, key_id
from proxy.errors import FuseboxError
from proxy.exchange import Target
from proxy.upstream.provider import Provider
from proxy.wire.headers import CREDENTIALS

_FIGURES = re.compile(r"[:,]")
"""Where the words of a reason end and its figures begin; the words alone are few enough for a metric's label."""

FULL_RETRY_S = 1.0
"""What is said of a target that is full: places come free with every answer."""


class Admit(msgspec.Struct, eq=False):
    """Gives leave for the attempts of one request.

    `skipped`: the targets left out, with reasons. `left_out`: their providers, with the bare words of the reason.
    `retry_in_s`: when the first of them may be asked again; infinite:
    unknown. `fault`: what to say if there was nothing but a provider without a key.
    """

    _ground: Ground
    _request: Request
    _terms: Terms
    skipped: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    retry_in_s: float = math.inf
    fault: FuseboxError | None = None
    refused: set[tuple[str, str | None]] | None = None
    opened: tuple[tuple[float, Target], ...] = ()
    cooling: tuple[tuple[float, Reason, Target], ...] = ()
    _client_keys: dict[str, str] | None = None

    def leave(self, target: Target, *, early: bool = False, though: Reason | None = None) -> Leave | None:
        """Leave to ask `target`; None: not now, and `skipped` says why.

        `early`: before its circuit's open time is over. `though`: cool-downs for this reason do not count.

        Whatever is given must come back: the permit by its verdict, the rest by `give_back` or the answer's end.
        """
        ground = self._ground
        guards = ground.guards
        provider = ground.providers[target.provider]
        guard = guards.of[target.provider]
        model = target.model if target.model is not None else self._terms.model
        key: Key | None = None
        keys: tuple[Key, ...] = ()
        if provider.ring is not None:
            keys = provider.ring.turn()
            if not keys:
                self.fault = provider.no_key()
                self.skip(target, model, "no key")
                return None
            key = keys[0]
        now_s = guards.clock()
        if guards.cooldowns.entries or self.refused:
            usable = self._usable(target, provider, model, keys, now_s, though)
            if usable is None:
                return None
            key = usable[0]
        to_see = guards.uplink.down and needs_way_out(self._origin(provider))
        if to_see:
            wait_s = guards.uplink.wait_s(self._origin(provider))
            if wait_s > 0:
                self.skip(target, model, "this machine's way out is down", wait_s)
                return None
        places = guard.places
        if places.limit is None:
            places.taken += 1
        elif not places.take():
            self.skip(target, model, f"full: {places.limit} under way", FULL_RETRY_S)
            return None
        breaker = guard.only or guard.breaker(model)
        try:
            permit = breaker.acquire_early() if early else breaker.acquire()
        except BreakerOpen as refused:
            places.leave()
            if not early:  # what stands of this target has been said
                self._opened(target, model, refused)
            return None
        if to_see:
            guards.uplink.probe()
        if guards.cooldowns.entries:
            guards.cooldowns.admit(self.key_id(provider, key), model)
        return Leave(target, provider, guard, breaker, permit, model, key, now_s)

    def skip(self, target: Target, model: str | None, reason: str, retry_in_s: float = math.inf) -> None:
        """`target` is left out."""
        label = target.provider if model is None else f"{target.provider}/{model}"
        self.skipped = (*self.skipped, f"{label}: {reason}")
        self.left_out = (*self.left_out, (target.provider, _FIGURES.split(reason, 1)[0]))
        self.retry_in_s = min(self.retry_in_s, retry_in_s)

    def give_back(self, leave: Leave) -> None:
        """What was given with `leave` and its permit beside is free again; the attempt found nothing out."""
        leave.guard.places.leave()
        cooldowns = self._ground.guards.cooldowns
        if cooldowns.entries:
            cooldowns.release(self.key_id(leave.provider, leave.key))

    def key_id(self, provider: Provider, key: Key | None) -> str:
        """What names the credentials that go to `provider`: its own key's, the client's, or none."""
        if key is not None:
            return key.id
        if provider.config.keys.mode != "client":
            return f"{provider.name}:none"
        known = self._client_keys
        if known is None:
            known = self._client_keys = {}
        if provider.name not in known:
            lines = (line for line in self._request.headers.raw if line[0].lower() in CREDENTIALS)
            known[provider.name] = key_id(provider.name, b"\n".join(value for _, value in lines))
        return known[provider.name]

    def _origin(self, provider: Provider) -> str:
        """Where `provider` would be asked; its two formats may have hosts of their own."""
        request = self._request
        return (provider.origin_root() if request.passthrough else provider.root(request.endpoint.format)).where.origin

    def _usable(
        self,
        target: Target,
        provider: Provider,
        model: str | None,
        keys: tuple[Key, ...],
        now_s: float,
        though: Reason | None,
    ) -> tuple[Key | None] | None:
        """The key to use (None where none is sent); nothing when all of them cool, or have been refused."""
        cooldowns = self._ground.guards.cooldowns
        refused = self.refused or ()
        earliest_s, reason = math.inf, "the key was refused"
        for key in keys or (None,):
            name = self.key_id(provider, key)
            if (name, model) in refused or (name, None) in refused:
                continue
            until_s = cooldowns.until(name, model)
            cause = cooldowns.reason(name, model) if until_s else None
            # Whatever is the matter with the key as a whole stands beside that, and is never passed over.
            if cause is None or (cause is though and not cooldowns.until(name, None)):
                return (key,)
            if until_s < earliest_s:
                earliest_s, reason = until_s, f"cooling ({cause.value})"
                self.cooling = (*self.cooling, (until_s, cause, target))
        if earliest_s == math.inf:
            self.skip(target, model, reason)
        else:
            self.skip(target, model, f"{reason}, {earliest_s - now_s:.0f} s left", earliest_s - now_s)
        return None

    def _opened(self, target: Target, model: str | None, refused: BreakerOpen) -> None:
        if refused.reason == "forced":
            self.skip(target, model, "breaker forced open", refused.retry_in_s)
            return
        self.opened = (*self.opened, (refused.retry_in_s, target))
        probing = refused.reason == "half-open"
        why = "breaker half-open, its probes under way" if probing else f"breaker open, {refused.retry_in_s:.1f} s left"
        self.skip(target, model, why, refused.retry_in_s)
