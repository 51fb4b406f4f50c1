"""What would keep targets from being asked now, read from the guards without changing anything.

No permit is taken, no place, no turn of a key, and no circuit changes its state because somebody looked. The words are
those of ``attempt/admit``, and so is the order in which things are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.attempt.admit import FULL_RETRY_S
from proxy.attempt.cooldown import Reason
from proxy.attempt.guards import Guard
from proxy.attempt.uplink import needs_way_out
from proxy.attempt.walk import Ground
from proxy.config.secrets import key_id
from proxy.exchange import Format, RawHeaders, Target
from proxy.policy.explain_world import Hindrance, World, label
from proxy.upstream.provider import Provider
from proxy.wire.headers import CREDENTIALS


def forecast(
    ground: Ground,
    targets: Iterable[Target],
    *,
    model: str | None,
    wanted: Format | None,
    headers: RawHeaders = (),
) -> World:
    """What hinders each of `targets` now. `model`: the client's, for those that keep it. `wanted`: the request's format;
    None: past the routes, to the provider's origin (``/p/``). `headers`: the request's, for cool-downs of a client's own key.
    """
    out: dict[str, tuple[Hindrance, ...]] = {}
    for target in targets:
        name = label(target, model)
        if name not in out:
            found = _hindrances(ground, target, target.model or model, wanted, headers)
            if found:
                out[name] = found
    return World(out)


def _hindrances(
    ground: Ground, target: Target, model: str | None, wanted: Format | None, headers: RawHeaders
) -> tuple[Hindrance, ...]:
    guards, provider = ground.guards, ground.providers[target.provider]
    guard = guards.of[target.provider]
    if provider.ring is not None and not provider.ring.upcoming():
        return (Hindrance("no_key", "no key"),)
    found = [_cooling(ground, provider, model, headers)]
    if guards.uplink.down and wanted in (None, *provider.offers):
        origin = (provider.origin_root() if wanted is None else provider.root(wanted)).where.origin
        wait_s = guards.uplink.wait_s(origin) if needs_way_out(origin) else 0.0
        if wait_s > 0:
            found.append(Hindrance("uplink", "this machine's way out is down", wait_s))
    places = guard.places
    if places.limit is not None and places.taken >= places.limit:
        found.append(Hindrance("full", f"full: {places.limit} under way", FULL_RETRY_S, certain=False))
    found.append(_open(guard, model))
    return tuple(one for one in found if one is not None)


def _cooling(ground: Ground, provider: Provider, model: str | None, headers: RawHeaders) -> Hindrance | None:
    """The cool-down that is over first, when every key of the provider cools."""
    cooldowns, now_s = ground.guards.cooldowns, ground.guards.clock()
    if not cooldowns.entries:
        return None
    first: tuple[float, Reason, bool] | None = None
    for name in _key_names(provider, headers):
        until_s = cooldowns.until(name, model)
        if not until_s:
            return None
        if first is None or until_s < first[0]:
            first = until_s, cooldowns.reason(name, model), bool(cooldowns.until(name, None))
    if first is None:
        return None
    left_s, cause = first[0] - now_s, first[1].value
    return Hindrance("cooling", f"cooling ({cause}), {left_s:.0f} s left", left_s, cause, whole_key=first[2])


def _key_names(provider: Provider, headers: RawHeaders) -> list[str]:
    """What names the credentials that would go to `provider`, in the order in which they would be looked at."""
    if provider.ring is not None:
        return [key.id for key in provider.ring.upcoming()]
    if provider.config.keys.mode != "client":
        return [f"{provider.name}:none"]
    values = (value for name, value in headers if name.lower() in CREDENTIALS)
    return [key_id(provider.name, b"\n".join(values))]


def _open(guard: Guard, model: str | None) -> Hindrance | None:
    breaker = guard.standing(model)
    wait_s = 0.0 if breaker is None else breaker.peek()
    if breaker is None or wait_s == 0.0:
        return None
    if breaker.held:
        left_s = None if wait_s == float("inf") else wait_s
        return Hindrance("open", "breaker forced open", left_s)
    if breaker.snapshot().state == "half-open":
        # It lets nobody through early: as many probes as it allows are under way.
        return Hindrance("open", "breaker half-open, its probes under way", wait_s, certain=False)
    early_in_s = max(breaker.next_early_s - breaker.clock(), 0.0)
    return Hindrance("open", f"breaker open, {wait_s:.1f} s left", wait_s, early_in_s=early_in_s)
