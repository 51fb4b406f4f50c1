"""All that the page shows beside the requests: one value that changes as seldom as it can, so that it is sent seldom.

Times are moments (seconds since 1970, to the second), not what is left of them, which would change with each look. Metadata
only: names of the policy, numbers, reasons in the code's own words; of keys how many there are, never one, nor its digest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from proxy import __version__
from proxy.admin.reload import failure
from proxy.admin.sources import Sources
from proxy.admin.status import moment
from proxy.attempt.breaker import Breaker
from proxy.attempt.cooldown import Cooling
from proxy.attempt.guards import Guard
from proxy.config.schema import Route, Step
from proxy.observe.history import EVERY_S, quantile
from proxy.observe.meter import ANSWER_S, Meter
from proxy.observe.record import may_log
from proxy.serve.live import Live

COOLING_SHOWN = 16
"""Cool-downs of one provider that are shown, keys that cool for the same reason being one: clients' own keys may be many."""

BREAKERS_SHOWN = 32
"""Breakers of one provider that are shown; with ``scope: target`` there may be one for each model that clients name."""


def overview(sources: Sources, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """Everything, as it is now."""
    health, live = sources.health, sources.live
    snapshot, now_s = live.snapshot, clock()
    cooling = _cooling(snapshot.ground.guards.cooldowns.snapshot(), now_s)
    sources.recorder.settle()  # an open breaker beside "0 failed" would not be believed
    points = sources.history.points(snapshot.providers)
    return {
        "version": __version__,
        "started_at": round(health.started_at_s),
        "state": "draining" if health.draining else "ready" if health.ready else "starting",
        "active": health.active,
        "streams": health.streams,
        "uplink_down": snapshot.ground.guards.uplink.down,
        "buttons": snapshot.admin_token is not None,
        "every_s": EVERY_S,
        "base_url": f"http://{snapshot.config.listen}/v1",
        "policy": _policy(live),
        "providers": [
            {**_provider(sources, name, cooling.get(name, {}), now_s), "points": points[name]}
            for name in snapshot.providers
        ],
        "routes": [_route(route) for route in snapshot.config.routes],
        "targets": list(_targets(sources.meter)),
        "mirror": {"sent": sources.mirror.sent, "cost_usd": round(sum(sources.mirror.cost_usd.values()), 6)},
    }


def _policy(live: Live) -> dict[str, Any]:
    document, reloads = live.document, live.reloads
    last = reloads.last_failure
    return {
        "hash": reloads.digest,
        "source": document.source,
        "files": [str(file) for file in document.files],
        "loaded_at": round(reloads.loaded_at_s),
        "reloads": reloads.count,
        "failing": reloads.failing,
        "last_error": None if last is None else {"at": moment(last.at_s), **failure(last)},
        "restart_needed": list(reloads.restart_needed),
        "warnings": [f"{problem.file}:{problem.sentence()}" for problem in document.warnings],
    }


def _cooling(all_of_them: tuple[Cooling, ...], now_s: float) -> dict[str, dict[Any, dict[str, Any]]]:
    """By provider, and there by model and reason; the longest first."""
    found: dict[str, dict[Any, dict[str, Any]]] = {}
    for one in all_of_them:
        of_provider = found.setdefault(one.key.partition(":")[0], {})
        place = (one.model, one.reason)
        if place in of_provider:
            of_provider[place]["keys"] += 1
            of_provider[place]["times"] = max(of_provider[place]["times"], one.times)
        else:
            until = round(now_s + one.left_s)
            of_provider[place] = {
                "model": one.model,
                "reason": one.reason.value,
                "until": until,
                "times": one.times,
                "keys": 1,
            }
    return found


def _provider(sources: Sources, name: str, cooling: dict[Any, dict[str, Any]], now_s: float) -> dict[str, Any]:
    snapshot = sources.live.snapshot
    provider = snapshot.providers[name]
    guard = snapshot.ground.guards[name]
    struck = sources.faults.standing().get(name)
    return {
        "name": name,
        "url": provider.config.base_url or provider.config.anthropic_url,
        "keys": {
            "mode": provider.config.keys.mode,
            "count": 0 if provider.ring is None else len(provider.ring),
            "missing": [] if provider.ring is None else list(provider.ring.missing),
        },
        "under_way": guard.places.taken,
        "max_concurrency": guard.places.limit,
        "breakers": list(_breakers(guard, now_s)),
        "cooling": list(cooling.values())[:COOLING_SHOWN],
        "cooling_count": len(cooling),
        "fault": None if struck is None else {"does": str(struck[0].fault), "until": round(now_s + struck[1])},
    }


def _breakers(guard: Guard, now_s: float) -> Iterator[dict[str, Any]]:
    """Of a provider: its own first, then those that are not as they should be."""
    all_of_them = [(breaker, breaker.snapshot()) for breaker in guard.breakers()]
    whole, others = all_of_them[0], all_of_them[1:]
    others.sort(key=lambda one: one[1].state == "closed" and one[1].mode == whole[1].mode)
    for breaker, shown in [whole, *others][:BREAKERS_SHOWN]:
        yield {
            "model": _model_of(breaker),
            "mode": shown.mode,
            "state": shown.state,
            "held": shown.held,
            "why": shown.why,
            "since": round(now_s - shown.since_s),
            "until": None if not shown.retry_in_s or math.isinf(shown.retry_in_s) else round(now_s + shown.retry_in_s),
            "last_failure": shown.last_failure,
            "counts": shown.counts._asdict(),
            "trips": shown.trips,
        }


def _model_of(breaker: Breaker) -> str:
    return breaker.label.partition("/")[2]


def _route(route: Route) -> dict[str, Any]:
    match = {key: value for key, value in msgspec.to_builtins(route.match).items() if value not in (None, [], {}, ())}
    if "header" in match:
        match["header"] = {name: value if may_log(name) else ["(not shown)"] for name, value in match["header"].items()}
    return {
        "name": route.name,
        "match": match,
        "steps": [_step(step) for step in route.to],
        "order": route.order,
        "sticky": route.sticky,
        "mirror": None if route.mirror is None else {"to": _step(route.mirror.to), "percent": route.mirror.percent},
        "from": None if route.from_ is None else round(route.from_),
        "until": None if route.until is None else round(route.until),
    }


def _step(step: Step) -> list[dict[str, Any]]:
    whole = sum(weight for _, weight in step.choices)
    return [{"target": str(target), "share": round(weight / whole, 4)} for target, weight in step.choices]


def _targets(meter: Meter) -> Iterator[dict[str, Any]]:
    """What each target has done since the start, all routes together."""
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for (_, provider, model), one in meter.series.items():
        if not provider:
            continue
        shown = sums.setdefault(
            (provider, model),
            {"requests": 0, "input": 0, "output": 0, "cost_usd": 0.0, "unmetered": 0, "unpriced": 0, "incomplete": 0}
            | {"buckets": [0] * (len(ANSWER_S) + 1)},
        )
        shown["requests"] += sum(one.requests.values())
        shown["input"] += one.tokens["input"]
        shown["output"] += one.tokens["output"]
        shown["buckets"] = [sum(pair) for pair in zip(shown["buckets"], one.first_event.counts, strict=True)]
        for name in ("cost_usd", "unmetered", "unpriced", "incomplete"):
            shown[name] += getattr(one, name)
    for (provider, model), shown in sorted(sums.items()):
        buckets = shown.pop("buckets")
        cost_usd = round(shown.pop("cost_usd"), 6)
        times = {"p50_s": quantile(buckets, 0.5), "p95_s": quantile(buckets, 0.95)}
        yield {"provider": provider, "model": model, **shown, "cost_usd": cost_usd, **times}
