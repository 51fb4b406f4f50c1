"""The demo provider as a server: what it refuses, its pace, its identifiers, its port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import anthropic
import openai
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.dev import demo
from proxy.dev.demo_answer import answer, words
from tests.dev.conftest import NOW, QUESTION, SAID


@asynccontextmanager
async def serving(application: web.Application) -> AsyncIterator[str]:
    """The root URL of `application`, served on a free loopback port."""
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# Refusals

GOOD = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], "input": "hi"}


@pytest.mark.parametrize("path", ["chat/completions", "responses", "embeddings", "messages", "messages/count_tokens"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": 1}', b"\xff", b"{}"])
async def test_unreadable_body_is_refused_in_the_formats_shape(
    http: aiohttp.ClientSession, path: str, body: bytes
) -> None:
    """A body that is no request is a 400 that says why, in the shape of the format of its path."""
    async with http.post(f"/v1/{path}", data=body) as response:
        said = await response.json()
        assert response.status == 400
    assert said["error"]["type"] == "invalid_request_error"
    assert said["error"]["message"]
    assert said.get("type") == ("error" if path.startswith("messages") else None)


@pytest.mark.parametrize(
    ("path", "change", "named"),
    [
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": "hi"}, "messages"),
        ("chat/completions", {"max_tokens": 0}, "max_tokens"),
        ("chat/completions", {"tool_choice": "required"}, "tool_choice"),
        ("chat/completions", {"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ("responses", {"input": 5}, "input"),
        ("responses", {"previous_response_id": "resp_1"}, "stores no responses"),
        ("embeddings", {"input": []}, "input"),
        ("embeddings", {"input": [{}]}, "input"),
        ("embeddings", {"dimensions": 4097}, "dimensions"),
        ("messages", {"messages": []}, "messages"),
        ("messages", {"max_tokens": "5"}, "max_tokens"),
        ("messages", {"tool_choice": {"type": "tool", "name": "x"}}, "tool_choice"),
    ],
)
async def test_wrong_value_is_refused_by_name(
    http: aiohttp.ClientSession, path: str, change: dict[str, object], named: str
) -> None:
    """A readable request with a wrong value is a 400 whose message names what is wrong."""
    async with http.post(f"/v1/{path}", json={**GOOD, **change}) as response:
        said = await response.json()
    assert response.status == 400
    assert named in said["error"]["message"]


@pytest.mark.parametrize("path", ["chat/completions", "responses", "embeddings", "messages", "messages/count_tokens"])
async def test_the_request_that_the_refusals_vary_is_good(http: aiohttp.ClientSession, path: str) -> None:
    """The base of the tests above is answered with 200, so that each refusal is for its own reason."""
    async with http.post(f"/v1/{path}", json=GOOD) as response:
        assert response.status == 200
        assert await response.json()


async def test_unknown_path_and_method_in_each_formats_shape(http: aiohttp.ClientSession) -> None:
    """A path that is not there is a 404 and a wrong method a 405, both shaped for the client."""
    async with http.post("/v1/nothing", json={}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (404, "unknown_url")
    async with http.get("/v1/nothing", headers={"anthropic-version": "2023-06-01"}) as response:
        assert (response.status, (await response.json())["error"]["type"]) == (404, "not_found_error")
    async with http.get("/v1/chat/completions") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (405, "method_not_supported")


async def test_body_that_does_not_decompress_is_refused_in_shape(http: aiohttp.ClientSession) -> None:
    """A body that is not encoded as it says is a 400 like any other unreadable one."""
    headers = {"Content-Encoding": "gzip"}
    async with http.post("/v1/chat/completions", data=b"no gzip", headers=headers) as response:
        assert (response.status, (await response.json())["error"]["type"]) == (400, "invalid_request_error")


async def test_body_over_the_limit_is_refused_in_shape() -> None:
    """A body larger than the limit is a 413 in the format's shape."""
    application = demo.app(pace_s=0)
    application._client_max_size = 10
    async with (
        serving(application) as root,
        aiohttp.ClientSession(root) as http,
        http.post("/v1/messages", data=b"x" * 11) as response,
    ):
        assert (response.status, (await response.json())["error"]["type"]) == (413, "request_too_large")


# Pace, identifiers, the port


def noticing(ended: asyncio.Event) -> Middleware:
    """A middleware that sets `ended` when a handler is through, however it ends."""

    @web.middleware
    async def notice(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            ended.set()

    return notice


async def test_each_word_waits_for_its_turn() -> None:
    """The role is on the wire before the first pause ends, and each later piece comes only after its own pause."""
    turns: asyncio.Semaphore = asyncio.Semaphore(0)
    asked: list[float] = []

    async def pause(seconds: float) -> None:
        asked.append(seconds)
        await turns.acquire()

    async with (
        serving(demo.app(pace_s=0.25, pause=pause)) as root,
        openai.AsyncOpenAI(base_url=f"{root}/v1", api_key="none") as client,
    ):
        stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
        assert (await anext(stream)).choices[0].delta.role == "assistant"
        turns.release()
        assert (await anext(stream)).choices[0].delta.content == "Hello! "
        assert len(asked) <= 2
        for _ in range(1000):
            turns.release()
        rest = [chunk async for chunk in stream]
    assert rest[-1].choices[0].finish_reason == "stop"
    assert asked == [0.25] * (len(words(answer("m", "What is a sidecar?"))) + 1)


@pytest.mark.parametrize("path", ["responses", "messages"])
async def test_other_streams_pause_at_each_word(path: str) -> None:
    """Responses and messages wait the pace once per word, not for the events around them."""
    asked: list[float] = []

    async def pause(seconds: float) -> None:
        asked.append(seconds)

    async with (
        serving(demo.app(pace_s=0.5, pause=pause)) as root,
        aiohttp.ClientSession(root) as http,
        http.post(f"/v1/{path}", json={**GOOD, "max_tokens": 900, "stream": True}) as response,
    ):
        await response.read()
    assert asked == [0.5] * len(words(answer("m", "hi")))


async def test_client_that_leaves_mid_stream_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A hang-up ends the answer at its next word: nothing is logged as an error, and the provider goes on."""
    left, noticed = asyncio.Event(), asyncio.Event()

    async def pause(_: float) -> None:
        await left.wait()
        await asyncio.sleep(0)  # a turn of the loop, in which the server can see that the client is gone

    application = demo.app(pause=pause)
    application.middlewares.insert(0, noticing(noticed))
    async with serving(application) as root, aiohttp.ClientSession(root) as http:
        response = await http.post("/v1/chat/completions", json={**GOOD, "stream": True})
        assert (await response.content.readline()).startswith(b"data: ")
        response.close()
        left.set()
        await noticed.wait()
        async with http.get("/v1/models") as again:
            assert again.status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_two_runs_say_the_same() -> None:
    """Identifiers come from a counter and time from the clock, so two fresh providers answer byte for byte alike."""

    async def one_run() -> list[bytes]:
        async with serving(demo.app(lambda: NOW, 0)) as root, aiohttp.ClientSession(root) as http:
            said = []
            for path in ("chat/completions", "responses", "messages"):
                async with http.post(f"/v1/{path}", json={**GOOD, "stream": True}) as response:
                    said.append(await response.read())
            return said

    first = await one_run()
    assert first == await one_run()
    assert b"chatcmpl-demo1" in first[0]


async def test_start_says_where_it_listens_and_stop_frees_the_port() -> None:
    """The URLs hold the port taken; a second start on it fails with OSError; after `stop` it is free again."""
    first = await demo.start(pace_s=0)
    assert first.base_url == f"http://127.0.0.1:{first.port}/v1"
    assert first.anthropic_url == f"http://127.0.0.1:{first.port}"
    with pytest.raises(OSError, match=str(first.port)):
        await demo.start(port=first.port)
    await first.stop()
    again = await demo.start(port=first.port)
    assert again.port == first.port
    await again.stop()


async def test_ipv6_host_is_bracketed_in_the_urls() -> None:
    """A server on ::1 gives URLs that a client can read."""
    server = demo.DemoServer("::1", 4100, web.AppRunner(demo.app()))
    assert server.base_url == "http://[::1]:4100/v1"


async def test_sync_sdks_work_too(server: demo.DemoServer) -> None:
    """The synchronous SDKs stream from it as well, from another thread."""

    def ask() -> tuple[str, str]:
        with openai.OpenAI(base_url=server.base_url, api_key="none") as client:
            stream = client.chat.completions.create(model="m", messages=QUESTION, stream=True)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        with (
            anthropic.Anthropic(base_url=server.anthropic_url, api_key="none") as claude,
            claude.messages.stream(model="m", max_tokens=900, messages=SAID) as messages,
        ):
            return text, messages.get_final_text()

    text, message = await asyncio.to_thread(ask)
    assert text == message == answer("m", "What is a sidecar?")
