"""``GET /api/status``: the process, its policy, its providers and what became of reloads. Never a key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from proxy import __version__
from proxy.admin.caller import json_answer
from proxy.admin.reload import failure, problems
from proxy.config.problems import ConfigError
from proxy.observe.health import Health
from proxy.observe.reloads import Reloads
from proxy.serve.live import Live
from proxy.serve.snapshot import Snapshot


def add_routes(app: web.Application, health: Health, live: Live) -> None:
    """Add the path to the admin application."""

    async def status(request: web.Request) -> web.Response:
        return json_answer(shown(health, live))

    app.router.add_get("/api/status", status)


def shown(health: Health, live: Live) -> dict[str, Any]:
    """Everything, as it is now."""
    snapshot, document, reloads = live.snapshot, live.document, live.reloads
    told: dict[str, Any] = {
        "version": __version__,
        "started_at": moment(health.started_at_s),
        "ready": health.ready and not health.draining,
        "draining": health.draining,
        "active": health.active,
        "policy": {
            "hash": reloads.digest,
            "source": document.source,
            "files": [str(file) for file in document.files],
            "loaded_at": moment(reloads.loaded_at_s),
            "routes": [route.name for route in snapshot.config.routes],
            "warnings": [f"{problem.file}:{problem.sentence()}" for problem in document.warnings],
        },
        "providers": list(_providers(snapshot)),
        "reload": _reloads(reloads),
    }
    if snapshot.config.shadow is not None:
        told["shadow"] = _shadow(live)
    return told


def _providers(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    for name, provider in snapshot.providers.items():
        guard = snapshot.ground.guards[name]
        ring = provider.ring
        breakers = [one.snapshot() for one in guard.breakers()]
        yield {
            "name": name,
            "keys": {
                "mode": provider.config.keys.mode,
                "count": 0 if ring is None else len(ring),
                "missing": [] if ring is None else ring.missing,
            },
            "breakers": [
                {"name": one.name, "mode": one.mode, "state": one.state, "held": one.held} for one in breakers
            ],
            "under_way": guard.places.taken,
            "max_concurrency": guard.places.limit,
        }


def _reloads(reloads: Reloads) -> dict[str, Any]:
    last = reloads.last_failure
    return {
        "count": reloads.count,
        "failures": reloads.failures,
        "failing": reloads.failing,
        "last_error": None if last is None else {"at": moment(last.at_s), "hash": last.digest, **failure(last)},
        "restart_needed": reloads.restart_needed,
    }


def _shadow(live: Live) -> dict[str, Any]:
    candidate, shadow = live.document.candidate, live.snapshot.shadow
    if shadow is None:
        return problems(candidate) if isinstance(candidate, ConfigError) else {}
    return {
        "source": shadow.source,
        "compared": shadow.compared,
        "differing": shadow.differing,
        "pairs": [
            {"decided": first, "candidate": other, "count": count}
            for (first, other), count in shadow.pairs.most_common()
        ],
    }


def moment(at_s: float) -> str:
    """RFC 3339, UTC, with milliseconds."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
