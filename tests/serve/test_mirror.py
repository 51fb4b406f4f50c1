"""Copies sent aside: the client's answer never waits for them, and their outcome counts for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.harness import HANG_S, Client, Exchange, Fusebox, Response, Upstream, chat, ok, request

CONFIG = """
retry: {{attempts: 0}}
providers:
  main: {{base_url: "http://127.0.0.1:{main}/v1", keys: [{{env: MAIN_KEY}}]}}
  copy: {{base_url: "http://127.0.0.1:{copy}/v1", keys: [{{env: COPY_KEY}}], max_concurrency: 3}}
models:
  copy/other: {{price: {{input: 1, output: 10}}}}
routes:
  - {{name: half, match: {{model: half}}, to: [main], mirror: {{to: copy/other, percent: 50}}}}
  - {{name: all, match: {{}}, to: [main], mirror: {{to: copy/other}}}}
"""

MAIN_KEY, COPY_KEY = "sk-key-of-the-main", "sk-key-of-the-copy"


class Pair:
    """Fusebox in front of a provider that answers and one that gets the copies."""

    def __init__(self, fusebox: Fusebox, main: Upstream, copy: Upstream) -> None:
        self.fusebox = fusebox
        self.main = main
        self.copy = copy

    async def logged(self, asked: Response) -> dict[str, Any]:
        """What was logged of the copy of this request."""
        identity = asked.head.one("x-fusebox-request-id")
        assert identity is not None
        return await self.fusebox.line(event="mirror", request_id=identity.decode())

    async def idle(self) -> dict[str, Any]:
        """What is known of the copies' provider once nothing is under way there."""
        async with asyncio.timeout(HANG_S):
            while True:
                async with Client(self.fusebox.admin_port) as admin:
                    shown = (await admin.exchange(request("GET", "/api/breakers/copy"))).json
                if shown["under_way"] == 0:
                    return dict(shown)


async def healthy(exchange: Exchange) -> None:
    """A provider as it should be."""
    await exchange.answer(ok())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """All of it, once; at the end the log must be free of faults and of keys."""
    async with Upstream() as main, Upstream() as copy:
        config = CONFIG.format(main=main.port, copy=copy.port)
        keys = {"MAIN_KEY": MAIN_KEY, "COPY_KEY": COPY_KEY}
        async with Fusebox(config, tmp_path_factory.mktemp("mirror"), keys) as fusebox:
            yield Pair(fusebox, main, copy)
        assert fusebox.errors == b""
        assert [line for line in fusebox.lines if line["event"] == "internal_error"] == []
        assert MAIN_KEY.encode() not in fusebox.raw_log and COPY_KEY.encode() not in fusebox.raw_log


@pytest_asyncio.fixture(loop_scope="session")
async def pair(running: Pair) -> Pair:
    """The same, nothing left over from the test before."""
    running.main.forget()
    running.copy.forget()
    running.main.script, running.copy.script = healthy, None
    await running.fusebox.forget()
    return running


async def test_the_copy_is_the_request_with_its_own_model_and_key(pair: Pair) -> None:
    """Same path and body but for the model; and the client's answer is there before the copy's."""
    async with Client(pair.fusebox.port) as client:
        asked = await client.exchange(chat(model="m1", filler="x" * 1000))
        assert (asked.status, asked.body) == (200, b'{"ok": true}')
        copy = await pair.copy.next()
        assert copy.target == b"/v1/chat/completions"
        assert copy.head.all("authorization") == [f"Bearer {COPY_KEY}".encode()]
        body = await copy.answer(ok(b'{"never": "seen"}'))
    assert b'"model": "other"' in body and b"x" * 1000 in body
    line = await pair.logged(asked)
    assert (line["target"], line["status"]) == ("copy/other", 200)


async def test_a_copy_that_hangs_or_fails_delays_nobody_and_counts_for_nobody(pair: Pair) -> None:
    """The copies' provider is silent, then broken: every request is answered, and its breaker has heard of nothing."""
    pair.copy.script = None
    async with Client(pair.fusebox.port) as client:
        asked = [await client.exchange(chat()) for _ in range(3)]
        assert [one.status for one in asked] == [200, 200, 200]
        held = [await pair.copy.next() for _ in range(3)]
        # Three are under way, which is all that this provider takes at once: the fourth is left out.
        full = await pair.logged(await client.exchange(chat()))
        assert (full["status"], full["error"]) == (None, "copy/other: full: 3 under way")
        for exchange in held:
            await exchange.answer(b"HTTP/1.1 500 Broken\r\nContent-Length: 4\r\n\r\nnope")
        assert [(await pair.logged(one))["status"] for one in asked] == [500, 500, 500]

        async def broken(exchange: Exchange) -> None:
            exchange.reset()

        pair.copy.script = broken
        for _ in range(20):
            again = await client.exchange(chat())
            assert again.status == 200
        await pair.logged(again)
        shown = await pair.idle()
        [breaker] = shown["breakers"]
        assert (breaker["state"], breaker["counts"]["failed"]) == ("closed", 0)


async def test_no_copy_goes_where_the_circuit_is_open(pair: Pair) -> None:
    """Nor does one take a probe; the log says why."""
    order = b'{"action": "force_open"}'
    async with Client(pair.fusebox.admin_port) as admin:
        assert (await admin.exchange(request("POST", "/api/breakers/copy", order, host="127.0.0.1"))).status == 200
    async with Client(pair.fusebox.port) as client:
        line = await pair.logged(await client.exchange(chat()))
    assert (line["status"], line["error"]) == (None, "copy/other: breaker forced open")
    assert pair.copy.requests == 0


async def test_a_client_that_hangs_up_leaves_the_copy_alone(pair: Pair) -> None:
    """The copy is nobody's answer, so it runs to its end."""
    pair.main.script = None
    since = len(pair.fusebox.lines)
    async with Client(pair.fusebox.port) as client:
        await client.send(chat())
        await pair.main.next()
        copy = await pair.copy.next()
        client.reset()
    gone = await pair.fusebox.line(since, event="request", status=499)
    await copy.answer(ok())
    assert (await pair.fusebox.line(event="mirror", request_id=gone["request_id"]))["status"] == 200


@pytest.mark.parametrize(
    "data",
    [
        request("GET", "/v1/files"),
        request("POST", "/v1/files", b"u" * 100, [("Content-Type", "application/octet-stream")]),
        request("POST", "/p/main/x", b"{}"),
    ],
    ids=["read", "stored", "passthrough"],
)
async def test_only_inference_is_copied(pair: Pair, data: bytes) -> None:
    """A file is not stored twice, and what is asked of one provider by name is asked of no other."""
    async with Client(pair.fusebox.port) as client:
        assert (await client.exchange(data)).status == 200
        pair.copy.script = healthy
        assert (await pair.logged(await client.exchange(chat())))["status"] == 200
    assert pair.copy.requests == 1


async def test_a_share_is_copied(pair: Pair) -> None:
    """Of 200 requests about half: 100 within four standard deviations."""
    pair.copy.script = healthy
    async with Client(pair.fusebox.port) as client:
        asked = [await client.exchange(chat(model="half")) for _ in range(200)]
        await pair.idle()
        await pair.logged(await client.exchange(chat()))  # always copied, and logged behind all others
    ids = {one.head.one("x-fusebox-request-id") for one in asked}
    copied = sum(line["event"] == "mirror" and line["request_id"].encode() in ids for line in pair.fusebox.lines)
    assert 72 <= copied <= 128


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_a_copy_used_is_known_and_no_part_of_the_request_s(pair: Pair, streamed: bool) -> None:
    """Tokens and cost in its own line and in numbers of its own: a comparison of models is about these, too."""
    usage = b'{"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}'

    async def costly(exchange: Exchange) -> None:
        if streamed:
            await exchange.answer(ok(b'data: {"choices": []}\n\ndata: {"usage": %b}\n\n' % usage, b"text/event-stream"))
        else:
            await exchange.answer(ok(b'{"choices": [], "usage": %b}' % usage))

    async def counted() -> float:
        async with Client(pair.fusebox.admin_port) as admin:
            text = (await admin.exchange(request("GET", "/metrics"))).body.decode()
        found = [line for line in text.splitlines() if line.startswith("fusebox_mirror_cost_usd_total{")]
        return float(found[0].split()[-1]) if found else 0.0

    before = await counted()
    pair.copy.script = costly
    async with Client(pair.fusebox.port) as client:
        asked = await client.exchange(chat())
    line = await pair.logged(asked)
    assert line["tokens"] == {"input": 1000, "output": 100} and line["cost_usd"] == 0.002
    assert "tokens" not in await pair.fusebox.request_line(asked.head)
    assert await counted() - before == pytest.approx(0.002)
