"""The admin port: ``/livez`` (the loop turns) and ``/readyz`` (traffic is welcome; says nothing of any provider)."""

from __future__ import annotations

from aiohttp import web

from proxy.observe.health import Health


def application(health: Health) -> web.Application:
    """The admin application."""

    async def livez(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        if health.ready and not health.draining:
            return web.Response(text="ready\n")
        return web.Response(status=503, text="draining\n" if health.draining else "starting\n")

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    return app
