"""``/api/requests``, ``/api/overview`` and ``/api/events``: the last requests, the state, and both as they change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.harness import HANG_S, Body, Client, Exchange, Fusebox, Upstream, chat, ok, request

CONFIG = """
retry: {{attempts: 0}}
providers:
  first: {{base_url: "http://127.0.0.1:{first}/v1", keys: none, max_concurrency: 9}}
  second: {{base_url: "http://127.0.0.1:{second}/v1", keys: [{{env: NO_SUCH_KEY}}, {{env: SECOND_KEY}}]}}
models: {{first/m: {{price: {{input: 1, output: 1}}}}}}
routes:
  - name: secret
    match: {{header: {{x-auth-token: "sk-in-the-policy", x-team: "a*"}}}}
    to: [second]
  - {{name: all, match: {{}}, to: [first/m, second/n], sticky: user}}
"""

KEY = "sk-of-the-second"


class Pair:
    """Fusebox in front of two providers, of which the first may be down."""

    def __init__(self, fusebox: Fusebox) -> None:
        self.fusebox = fusebox
        self.down = False

    async def first(self, exchange: Exchange) -> None:
        """The first provider."""
        if self.down:
            await exchange.answer(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}")
        else:
            await exchange.answer(
                ok(b'{"usage": {"prompt_tokens": 1000000, "completion_tokens": 0, "total_tokens": 1000000}}')
            )

    async def get(self, path: str) -> Any:
        """What the admin port says."""
        async with Client(self.fusebox.admin_port) as admin:
            answer = await admin.exchange(request("GET", path))
        assert answer.status == 200, answer
        assert KEY.encode() not in answer.body and b"sk-in-the-policy" not in answer.body
        return answer.json

    async def ask(self, count: int = 1, model: str = "x") -> None:
        """Requests, one after the other."""
        async with Client(self.fusebox.port) as client:
            for _ in range(count):
                assert (await client.exchange(chat(model))).status == 200


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Both providers up."""
    async with Upstream() as first, Upstream() as second:
        config = CONFIG.format(first=first.port, second=second.port)
        async with Fusebox(config, tmp_path, {"SECOND_KEY": KEY}) as fusebox:
            made = Pair(fusebox)

            async def healthy(exchange: Exchange) -> None:
                await exchange.answer(ok())

            first.script, second.script = made.first, healthy
            yield made


async def test_the_last_requests(pair: Pair) -> None:
    """With the fields of the log; by route, target, model, status or id; as many as are wanted."""
    await pair.ask(3)
    pair.down = True
    await pair.ask(1, "other")
    told = (await pair.get("/api/requests"))["requests"]
    assert [line["seq"] for line in told] == [1, 2, 3, 4]
    logged = await pair.fusebox.line(event="request", model="other")
    assert {key: value for key, value in told[3].items() if key not in ("seq", "time")} == {
        key: value for key, value in logged.items() if key not in ("event", "level", "time")
    }
    assert [one["target"] for one in told[3]["tried"]] == ["first/m", "second/n"]
    assert told[0]["cost_usd"] == 1.0
    assert len((await pair.get("/api/requests?limit=2"))["requests"]) == 2
    assert [line["seq"] for line in (await pair.get("/api/requests?target=second/n"))["requests"]] == [4]
    assert [line["seq"] for line in (await pair.get("/api/requests?status=200&model=x&limit=1"))["requests"]] == [3]
    assert (await pair.get("/api/requests"))["ended"] == 4


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "1e2", ""])
async def test_a_limit_that_is_none(pair: Pair, limit: str) -> None:
    """Said with what it may be."""
    async with Client(pair.fusebox.admin_port) as admin:
        refused = await admin.exchange(request("GET", f"/api/requests?limit={limit}"))
    assert refused.status == 400 and "from 1 to 200" in refused.json["error"]


async def test_the_overview(pair: Pair) -> None:
    """Providers, routes, targets and policy; nothing of a key but that it is missing, and no value of a secret header."""
    await pair.ask(2)
    shown = await pair.get("/api/overview")
    first, second = shown["providers"]
    assert (first["name"], first["max_concurrency"], first["keys"]["mode"]) == ("first", 9, "none")
    assert second["keys"] == {"mode": "own", "count": 1, "missing": ["environment variable NO_SUCH_KEY is not set"]}
    assert first["breakers"][0]["state"] == "closed" and first["breakers"][0]["counts"]["ok"] == 2
    assert sum(attempts for attempts, *_ in first["points"]) == 2
    assert shown["base_url"] == f"http://127.0.0.1:{pair.fusebox.port}/v1"
    secret, rest = shown["routes"]
    assert secret["match"]["header"] == {"x-auth-token": ["(not shown)"], "x-team": ["a*"]}
    assert rest["steps"] == [[{"target": "first/m", "share": 1.0}], [{"target": "second/n", "share": 1.0}]]
    assert (rest["sticky"], rest["match"]) == ("user", {})
    [target] = shown["targets"]
    assert (target["provider"], target["model"], target["requests"], target["cost_usd"]) == ("first", "m", 2, 2.0)
    assert shown["policy"]["failing"] is False and shown["buttons"] is False and shown["state"] == "ready"


async def test_a_breaker_that_opens_says_why_and_until_when(pair: Pair) -> None:
    """And a policy that is refused says where it is wrong."""
    pair.down = True
    await pair.ask(12)
    first = (await pair.get("/api/overview"))["providers"][0]
    breaker = first["breakers"][0]
    assert (breaker["state"], breaker["why"], breaker["last_failure"]) == ("open", "streak", "overloaded")
    assert breaker["until"] > breaker["since"]
    # The figures of the very same moment agree: they do not wait for the next step.
    assert sum(failed for _, failed, *_ in first["points"]) == breaker["counts"]["failed"] > 0
    good = pair.fusebox.config.read_text()
    pair.fusebox.config.write_text(good.replace("to: [second]", "to: [nobody]"))
    await pair.fusebox.line(event="reload_failed")
    policy = (await pair.get("/api/overview"))["policy"]
    assert policy["failing"] is True
    [file] = policy["last_error"]["files"]
    assert file["problems"][0]["line"] == good[: good.index("to: [second]")].count("\n") + 1


class Stream:
    """The events of ``/api/events``."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._text = b""

    async def next(self, name: str) -> Any:
        """The data of the next event of this name."""
        async with asyncio.timeout(HANG_S):
            while True:
                event, found, rest = self._text.partition(b"\n\n")
                if not found:
                    self._text += await self._body.some()
                    continue
                self._text = rest
                if event.startswith(b"event: %b\n" % name.encode()):
                    return json.loads(event.partition(b"\ndata: ")[2])


async def test_events(pair: Pair) -> None:
    """First what is kept, then the state, then each request as it ends, and the state when it changes."""
    await pair.ask(2)
    async with Client(pair.fusebox.admin_port) as admin:
        await admin.send(request("GET", "/api/events"))
        head, body = await admin.begin()
        assert (head.status, head.one("content-type")) == (200, b"text/event-stream")
        stream = Stream(body)
        assert [line["seq"] for line in await stream.next("requests")] == [1, 2]
        assert (await stream.next("state"))["providers"][0]["breakers"][0]["state"] == "closed"
        pair.down = True
        await pair.ask(12)
        seen: list[int] = []
        while len(seen) < 12:
            seen += [line["seq"] for line in await stream.next("requests")]
        assert seen == list(range(3, 15))
        while (await stream.next("state"))["providers"][0]["breakers"][0]["state"] != "open":
            pass


async def test_events_from_now_on(pair: Pair) -> None:
    """As ``fusebox tail`` wants them: nothing of what was before."""
    await pair.ask()
    async with Client(pair.fusebox.admin_port) as admin:
        await admin.send(request("GET", "/api/events?from=now"))
        _, body = await admin.begin()
        stream = Stream(body)
        await stream.next("state")
        await pair.ask()
        assert [line["seq"] for line in await stream.next("requests")] == [2]


async def test_watchers_are_bounded_and_make_room_when_they_leave(pair: Pair) -> None:
    """One too many is told so; a page that is closed is noticed by the next thing that is sent."""
    watching = [Client(pair.fusebox.admin_port) for _ in range(16)]
    for one in watching:
        await one.__aenter__()
        await one.send(request("GET", "/api/events"))
        assert (await one.begin())[0].status == 200
    async with Client(pair.fusebox.admin_port) as admin:
        refused = await admin.exchange(request("GET", "/api/events"))
        assert refused.status == 409 and "close a page" in refused.json["error"]
    for one in watching:
        await one.__aexit__(None, None, None)
    async with asyncio.timeout(HANG_S):
        while True:
            await pair.ask()  # which is told to those who seem to be there
            async with Client(pair.fusebox.admin_port) as admin:
                await admin.send(request("GET", "/api/events"))
                head, _ = await admin.begin()
            if head.status == 200:
                break


async def test_it_ends_although_pages_are_open(pair: Pair) -> None:
    """A page that is open holds nothing up."""
    async with Client(pair.fusebox.admin_port) as admin:
        await admin.send(request("GET", "/api/events"))
        await admin.begin()
        assert await pair.fusebox.stop() == 0
