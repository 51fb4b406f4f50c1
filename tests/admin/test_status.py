"""``/api/status``: everything at a glance, of which nothing is secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer

from proxy import __version__
from proxy.admin.api import application
from proxy.attempt.guards import Guards
from proxy.config import schema
from proxy.config.store import load_document
from proxy.observe.health import Health
from proxy.observe.logs import configure
from proxy.serve.build import Builder, Pools
from proxy.serve.live import Live
from proxy.upstream.egress import Egress

POLICY = """
providers:
  one: {base_url: "http://127.0.0.1:1/v1", keys: [{env: ONE}, {env: NO_SUCH}], max_concurrency: 4}
  two: {base_url: "http://127.0.0.1:2/v1", keys: client}
routes:
  - {name: first, match: {model: "a*"}, to: [one]}
  - {name: rest, match: {}, to: [two]}
"""

SECRET = "sk-the-secret-of-the-provider"


class Port:
    """The admin port over a policy in a file."""

    client: TestClient[Any, Any]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.health = Health(1_700_000_000.0)
        logger = configure(lambda line: None, "error")
        self.now_s = 1_700_000_001.5
        builder = Builder({"ONE": SECRET}, Pools(Egress({})), self._guards, self._complete, logger)
        path.write_text(POLICY)
        self.live = Live(load_document(path), builder, logger, lambda: self.now_s)
        self.app = application(self.health, lambda: self.live.snapshot.ground.guards, logger, self.live)

    async def status(self) -> Any:
        """What is shown."""
        response = await self.client.get("/api/status")
        assert (response.status, response.content_type) == (200, "application/json")
        assert SECRET not in await response.text()
        return await response.json()

    async def reload(self) -> Any:
        """Have the file read again."""
        response = await self.client.post("/api/reload", json={})
        return response.status, await response.json()

    @staticmethod
    async def _complete(config: schema.Config) -> schema.Config:
        return config

    @staticmethod
    def _guards(config: schema.Config, before: Guards | None) -> Guards:
        return Guards(config, clock=lambda: 0.0, rng=lambda: 0.5, before=before)


@pytest_asyncio.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    """One that has started."""
    made = Port(tmp_path / "config.yaml")
    await made.live.start()
    async with TestClient(TestServer(made.app)) as made.client:
        yield made


async def test_everything_after_the_start(port: Port) -> None:
    """Process, policy, providers, reloads: with all their names, which tools rely on."""
    port.health.ready, port.health.active = True, 3
    shown = await port.status()
    breaker = {"mode": "enforce", "state": "closed", "held": False}
    missing = ["environment variable NO_SUCH is not set"]
    assert shown == {
        "version": __version__,
        "started_at": "2023-11-14T22:13:20.000Z",
        "ready": True,
        "draining": False,
        "active": 3,
        "policy": {
            "hash": port.live.document.digest,
            "source": str(port.path),
            "files": [str(port.path)],
            "loaded_at": "2023-11-14T22:13:21.500Z",
            "routes": ["first", "rest"],
            "warnings": [],
        },
        "providers": [
            {
                "name": "one",
                "keys": {"mode": "own", "count": 1, "missing": missing},
                "breakers": [{"name": "one", **breaker}],
                "under_way": 0,
                "max_concurrency": 4,
            },
            {
                "name": "two",
                "keys": {"mode": "client", "count": 0, "missing": []},
                "breakers": [{"name": "two", **breaker}],
                "under_way": 0,
                "max_concurrency": None,
            },
        ],
        "reload": {"count": 0, "failures": 0, "failing": False, "last_error": None, "restart_needed": []},
    }


async def test_draining(port: Port) -> None:
    """No longer ready, as ``/readyz`` says."""
    port.health.ready = port.health.draining = True
    shown = await port.status()
    assert (shown["ready"], shown["draining"]) == (False, True)


async def test_a_failed_reload_and_a_good_one(port: Port) -> None:
    """The failure with its problems, at its time; then what is in force now, and the failure as history."""
    first = port.live.document.digest
    port.now_s += 10
    port.path.write_text(POLICY + f"oops: {SECRET}\n")
    assert (await port.reload())[0] == 422
    shown = await port.status()
    failed = shown["reload"]
    assert (failed["count"], failed["failures"], failed["failing"]) == (0, 1, True)
    assert failed["last_error"]["at"] == "2023-11-14T22:13:31.500Z" and failed["last_error"]["hash"] != first
    [file] = failed["last_error"]["files"]
    assert (file["file"], file["problems"][0]["line"]) == (str(port.path), POLICY.count("\n") + 1)
    assert (shown["policy"]["hash"], shown["policy"]["loaded_at"]) == (first, "2023-11-14T22:13:21.500Z")
    port.now_s += 10
    port.path.write_text("listen: 127.0.0.1:9\n" + POLICY.replace("first", "new"))
    status, answer = await port.reload()
    assert (status, answer["changes"]) == (
        200,
        {"routes_added": ["new"], "routes_removed": ["first"], "other": ["listen"]},
    )
    shown = await port.status()
    assert shown["policy"]["routes"] == ["new", "rest"] and shown["policy"]["hash"] == answer["hash"] != first
    assert shown["policy"]["loaded_at"] == "2023-11-14T22:13:41.500Z"
    reload = shown["reload"]
    assert (reload["count"], reload["failing"], reload["restart_needed"]) == (1, False, ["listen"])
    assert reload["last_error"] == failed["last_error"]


async def test_a_candidate(port: Port) -> None:
    """What it would have done otherwise, or why there is none."""
    candidate = port.path.with_name("candidate.yaml")
    port.path.write_text("shadow: candidate.yaml\n" + POLICY)
    candidate.write_text("routes: 5\n")
    assert (await port.reload())[0] == 200
    assert (await port.status())["shadow"]["files"][0]["problems"] != []
    candidate.write_text("routes: [{name: only, match: {}, to: [two]}]\n")
    assert (await port.reload())[0] == 200
    empty = {"source": str(candidate), "compared": 0, "differing": 0, "pairs": []}
    assert (await port.status())["shadow"] == empty


async def test_a_held_breaker(port: Port) -> None:
    """Shown as such, before a reload and after it."""
    assert (await port.client.post("/api/breakers/one", json={"action": "force_open"})).status == 200
    for _ in range(2):
        first = (await port.status())["providers"][0]["breakers"][0]
        assert first == {"name": "one", "mode": "enforce", "state": "open", "held": True}
        assert (await port.reload())[0] == 200


async def test_only_to_be_read(port: Port) -> None:
    """There is nothing to change."""
    assert (await port.client.post("/api/status", json={})).status == 405
