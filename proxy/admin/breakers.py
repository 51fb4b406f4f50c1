"""``/api/breakers``: what the breakers and cool-downs know, and the few things that a person may do to them.

Reading is free; who may change something is told in ``admin/caller``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from proxy.admin.caller import from_here, json_answer, refusal
from proxy.attempt.breaker import Breaker
from proxy.attempt.guards import Guard, Guards
from proxy.observe.logs import Logger

Action = Literal["force_open", "release", "disable", "enable", "reset"]

FOR_MAX_S = 366 * 86_400
"""A year: the end of a longer time may be no date at all, and who wants more leaves the time out."""


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What to do. `for_s`: seconds to hold a circuit open; without them, until released. `model`: one target's breaker."""

    action: Action
    for_s: Annotated[float, Meta(gt=0, le=FOR_MAX_S)] | None = None
    model: str | None = None


def add_routes(app: web.Application, guards: Callable[[], Guards], logger: Logger) -> None:
    """Add the paths to the admin application. `guards`: those in force when it is asked."""

    async def read_all(request: web.Request) -> web.Response:
        now = guards()
        return json_answer(
            {
                "breakers": [one for guard in now for one in _shown(guard)],
                "cooldowns": [msgspec.to_builtins(one) for one in now.cooldowns.snapshot()],
                "uplink_down": now.uplink.down,
            }
        )

    async def read_one(request: web.Request) -> web.Response:
        guard = _named(guards(), request)
        return json_answer(_of_provider(guards(), guard))

    async def order(request: web.Request) -> web.Response:
        from_here(request)
        sent = await request.read()
        now = guards()  # not before: a reload may have come meanwhile
        guard = _named(now, request)
        try:
            wanted = msgspec.json.decode(sent, type=Order)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise refusal(400, f'not understood: {error}; send {{"action": "reset"}} or the like') from None
        _carry_out(wanted, _meant(guard, wanted.model))
        if wanted.action == "reset":
            now.cooldowns.forget(guard.name)
        logger.warning(
            "breaker_order", provider=guard.name, model=wanted.model, action=wanted.action, for_s=wanted.for_s
        )
        return json_answer(_of_provider(now, guard))

    app.router.add_get("/api/breakers", read_all)
    app.router.add_get("/api/breakers/{provider}", read_one)
    app.router.add_post("/api/breakers/{provider}", order)


def _meant(guard: Guard, model: str | None) -> list[Breaker]:
    """The breakers an order is for."""
    if model is None:
        return list(guard.breakers())
    breaker = guard.breaker(model)
    if breaker is guard.breaker(None):
        raise refusal(409, f"{guard.name} has one breaker for all its models (breaker.scope): leave `model` out")
    return [breaker]


def _carry_out(wanted: Order, breakers: list[Breaker]) -> None:
    match wanted.action:
        case "force_open":
            for breaker in breakers:
                breaker.force_open(math.inf if wanted.for_s is None else wanted.for_s)
        case "release":
            released = [breaker.release() for breaker in breakers]
            if not any(released):
                raise refusal(409, f"the breaker of {breakers[0].label} is not forced open")
        case "disable":
            for breaker in breakers:
                breaker.disable()
        case "enable":
            for breaker in breakers:
                breaker.enable()
        case "reset":
            for breaker in breakers:
                breaker.reset()


def _of_provider(guards: Guards, guard: Guard) -> dict[str, Any]:
    cooling = guards.cooldowns.snapshot()
    return {
        "breakers": _shown(guard),
        "cooldowns": [msgspec.to_builtins(one) for one in cooling if one.key.partition(":")[0] == guard.name],
        "under_way": guard.places.taken,
        "max_concurrency": guard.places.limit,
    }


def _shown(guard: Guard) -> list[dict[str, Any]]:
    shown = []
    for breaker in guard.breakers():
        snapshot = breaker.snapshot()
        until = None
        if snapshot.retry_in_s:
            until = (datetime.now(UTC) + timedelta(seconds=snapshot.retry_in_s)).isoformat(timespec="milliseconds")
        shown.append({**msgspec.to_builtins(snapshot), "counts": snapshot.counts._asdict(), "until": until})
    return shown


def _named(guards: Guards, request: web.Request) -> Guard:
    name = request.match_info["provider"]
    guard = guards.get(name)
    if guard is None:
        raise refusal(404, f"no provider {name!r}: there are {', '.join(one.name for one in guards)}")
    return guard
