"""The admin port: ``/livez`` (the loop turns), ``/readyz`` (traffic is welcome; says nothing of any provider), the API."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from proxy.admin import breakers, events, explain, faults, guard, metrics, page, reload, requests, status
from proxy.admin.overview import overview
from proxy.admin.sources import Sources
from proxy.attempt.guards import Guards
from proxy.observe.health import Health
from proxy.observe.logs import Logger
from proxy.serve.live import Live


def application(
    health: Health,
    guards: Callable[[], Guards],
    logger: Logger,
    live: Live | None = None,
    sources: Sources | None = None,
) -> web.Application:
    """The admin application. `guards`: those in force when it is asked. `live`, `sources`: None where
    there is nothing of the kind to show.
    """

    async def livez(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        if health.ready and not health.draining:
            return web.Response(text="ready\n")
        return web.Response(status=503, text="draining\n" if health.draining else "starting\n")

    app = web.Application(middlewares=[guard.guard, _settled(sources)])
    app[guard.TOKEN] = lambda: None if live is None else live.snapshot.admin_token
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    breakers.add_routes(app, guards, logger)
    if live is not None:
        reload.add_routes(app, live)
        status.add_routes(app, health, live)
        explain.add_routes(app, lambda: live.snapshot)
    if sources is not None:
        metrics.add_routes(app, sources)
        faults.add_routes(app, sources.faults, lambda: sources.live.snapshot.providers)
        requests.add_routes(app, sources.recent)
        events.add_routes(app, sources.recent, lambda: overview(sources))
        page.add_routes(app)
    return app


def _settled(sources: Sources | None) -> Middleware:
    """Whoever asks sees every request that had ended by then."""

    @web.middleware
    async def settled(request: web.Request, handler: guard.Handler) -> web.StreamResponse:
        if sources is not None:
            sources.recorder.settle()
        return await handler(request)

    return settled
