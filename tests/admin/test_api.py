"""The admin port's answers: alive, and ready only between the start and the drain."""

from __future__ import annotations

from aiohttp.test_utils import TestClient, TestServer

from proxy.admin.api import application
from proxy.attempt.guards import Guards
from proxy.config.schema import Config
from proxy.observe.health import Health
from proxy.observe.logs import configure

LOGGER = configure(lambda line: None, "error")


def guards() -> Guards:
    """Those of a configuration without providers."""
    return Guards(Config(providers={}, routes=()), clock=lambda: 0.0, rng=lambda: 0.5)


async def test_readiness_follows_the_facts() -> None:
    """503 before the ports accept, 200 then, 503 from the first signal on; each says why."""
    health = Health()
    async with TestClient(TestServer(application(health, guards, LOGGER))) as client:
        for ready, draining, status, text in (
            (False, False, 503, "starting\n"),
            (True, False, 200, "ready\n"),
            (True, True, 503, "draining\n"),
            (False, True, 503, "draining\n"),
        ):
            health.ready, health.draining = ready, draining
            response = await client.get("/readyz")
            assert (response.status, await response.text()) == (status, text)


async def test_liveness_does_not() -> None:
    """The process lives as long as its loop turns, ready or not."""
    health = Health()
    async with TestClient(TestServer(application(health, guards, LOGGER))) as client:
        for health.ready in (False, True):
            response = await client.get("/livez")
            assert (response.status, await response.text()) == (200, "ok\n")


async def test_nothing_else_is_there() -> None:
    """Neither other paths nor other methods."""
    async with TestClient(TestServer(application(Health(), guards, LOGGER))) as client:
        assert (await client.get("/v1/models")).status == 404
        assert (await client.post("/livez")).status == 405
