"""``/api/faults``: what it shows, what it takes, and whose orders it does not take."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from proxy.admin.faults import add_routes
from proxy.attempt.faults import Fault
from tests.attempt.failing import Stage

JSON = {"Content-Type": "application/json"}


class Port:
    """The paths over faults of the test's own, for the providers `one` and `two`."""

    client: TestClient[Any, Any]

    def __init__(self) -> None:
        self.stage = Stage()

    async def ask(
        self, method: str, path: str = "", order: object = None, status: int = 200, **headers: str
    ) -> dict[str, Any]:
        """What comes back; `order` as JSON, or the text itself."""
        text = order if isinstance(order, str) else json.dumps(order)
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.client.request(method, f"/api/faults{path}", data=text, headers={**JSON, **more})
        told = await response.json()
        assert (response.status, response.content_type) == (status, "application/json"), told
        assert isinstance(told, dict)
        return told


@pytest_asyncio.fixture
async def port() -> AsyncIterator[Port]:
    """Nothing is set yet."""
    made = Port()
    app = web.Application()
    add_routes(app, made.stage.faults, lambda: ("one", "two"))
    async with TestClient(TestServer(app)) as made.client:
        yield made


async def test_a_fault_is_set_shown_and_ended(port: Port) -> None:
    """With what was ordered, when it ends, and how many attempts it has met."""
    assert await port.ask("GET") == {"allowed": True, "faults": [], "providers": ["one", "two"]}
    told = await port.ask("POST", "/one", {"status": 429, "retry_after_s": 5, "for_s": 20})
    assert datetime.fromisoformat(told.pop("until")).tzinfo is not None
    assert told == {
        "provider": "one",
        "does": "status 429 with Retry-After 5",
        "status": 429,
        "retry_after_s": 5,
        "for_s": 20.0,
        "share": 1.0,
        "ends_in_s": 20.0,
        "struck": 0,
    }
    port.stage.faults.strikes("one")
    port.stage.later.tick(5)
    (shown,) = (await port.ask("GET"))["faults"]
    assert (shown["ends_in_s"], shown["struck"]) == (15.0, 1)
    assert await port.ask("DELETE", "/two") == {"cleared": []}
    assert await port.ask("DELETE", "/one") == {"cleared": ["one"]}
    assert (await port.ask("GET"))["faults"] == []


async def test_all_are_ended(port: Port) -> None:
    """In one go."""
    for name in ("one", "two"):
        await port.ask("POST", f"/{name}", {"silence": True})
    assert await port.ask("DELETE") == {"cleared": ["one", "two"]}
    assert not port.stage.faults.active


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({}, "name one of status, latency_s, cut_after, silence"),
        ({"status": 200}, "Expected `int` >= 400 - at `$.status`"),
        ({"status": 503, "latency_s": 1}, "not status and latency_s"),
        ({"statsu": 503}, "unknown field `statsu`"),
        ("not JSON", "malformed"),
        ("[]", "Expected `object`"),
    ],
)
async def test_what_is_not_understood(port: Port, order: object, said: str) -> None:
    """400, with what is wrong and an example; nothing is set."""
    error = (await port.ask("POST", "/one", order, 400))["error"]
    assert said in error and '{"status": 503, "for_s": 60}' in error
    assert not port.stage.faults.active


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_provider_that_is_none(port: Port, method: str) -> None:
    """404, with those there are."""
    error = (await port.ask(method, "/three", {"silence": True}, 404))["error"]
    assert error == "no provider 'three': there are one, two"


async def test_a_fault_of_a_provider_that_a_reload_took_away(port: Port) -> None:
    """It can still be ended."""
    port.stage.faults.begin("gone", Fault(silence=True))
    assert await port.ask("DELETE", "/gone") == {"cleared": ["gone"]}


async def test_where_faults_are_not_allowed(port: Port) -> None:
    """403 with what to do; to read and to end is free."""
    port.stage.faults.begin("one", Fault(silence=True))
    port.stage.allowed = False
    error = (await port.ask("POST", "/one", {"status": 503}, 403))["error"]
    assert "`faults: true`" in error and "`fusebox dev`" in error
    assert (await port.ask("GET"))["allowed"] is False
    assert await port.ask("DELETE") == {"cleared": ["one"]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 403), ({"Origin": "https://evil.example"}, 403), ({"Content_Type": "text/plain"}, 415)],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/one"), ("DELETE", "/one"), ("DELETE", "")])
async def test_whose_orders_are_not_taken(
    port: Port, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """As for every change: a browser's page, another host's name, no JSON."""
    port.stage.faults.begin("one", Fault(status=500))
    await port.ask(method, path, {"silence": True}, status, **headers)
    assert port.stage.faults.strikes("one") == Fault(status=500)
