"""The admin port: ``/livez`` (the loop turns), ``/readyz`` (traffic is welcome; says nothing of any provider), the API."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from proxy.admin import breakers, explain, faults, metrics, reload, status
from proxy.attempt.faults import Faults
from proxy.attempt.guards import Guards
from proxy.observe.health import Health
from proxy.observe.logs import Logger
from proxy.serve.live import Live


def application(
    health: Health,
    guards: Callable[[], Guards],
    logger: Logger,
    live: Live | None = None,
    numbers: metrics.Numbers | None = None,
    failing: Faults | None = None,
) -> web.Application:
    """The admin application. `guards`: those in force when it is asked. `live`: None where there is only them to show."""

    async def livez(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        if health.ready and not health.draining:
            return web.Response(text="ready\n")
        return web.Response(status=503, text="draining\n" if health.draining else "starting\n")

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    breakers.add_routes(app, guards, logger)
    if live is not None:
        reload.add_routes(app, live)
        status.add_routes(app, health, live)
        explain.add_routes(app, lambda: live.snapshot)
        if failing is not None:
            faults.add_routes(app, failing, lambda: live.snapshot.providers)
    if numbers is not None:
        metrics.add_routes(app, numbers)
    return app
