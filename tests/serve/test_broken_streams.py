"""Streams that break: before the first event the next target answers unseen; after it the client is told the truth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest
import pytest_asyncio

from tests.harness import Body, Client, Cut, Exchange, Fusebox, Head, Upstream, request

CONFIG = """
retry: {{attempts: 0}}
timeouts: {{connect: 2s, head: 30s}}
providers:
  first: {{base_url: "http://127.0.0.1:{first}/v1", anthropic_url: "http://127.0.0.1:{first}", keys: none}}
  second: {{base_url: "http://127.0.0.1:{second}/v1", anthropic_url: "http://127.0.0.1:{second}", keys: none}}
routes:
  - {{name: cut, match: {{model: abort}}, to: [first, second], timeouts: {{idle: 150ms}}}}
  - {{name: told, match: {{model: tell}}, to: [first, second], timeouts: {{idle: 150ms}}, on_broken_stream: error_event}}
  - {{name: whole, match: {{model: whole}}, to: [first, second], timeouts: {{idle: 150ms}}, deliver: whole}}
  - {{name: late, match: {{model: late}}, to: [first, second], timeouts: {{first_event: 100ms}}}}
  - {{name: all, match: {{}}, to: [first, second]}}
"""

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding; of nothing, the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def data(**fields: object) -> bytes:
    """An event of OpenAI's."""
    return b"data: %b\n\n" % json.dumps(fields).encode()


def named(kind: str, **fields: object) -> bytes:
    """An event of Anthropic's."""
    return b"event: %b\n%b" % (kind.encode(), data(type=kind, **fields))


CHOICE = {"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}
GPT = data(id="c", object="chat.completion.chunk", created=1, model="m", choices=[CHOICE])
GPT_END = b"data: [DONE]\n\n"
MESSAGE: dict[str, object] = {
    "id": "m",
    "type": "message",
    "role": "assistant",
    "content": [],
    "model": "m",
    "stop_reason": None,
}
CLAUDE = named("message_start", message={**MESSAGE, "usage": {"input_tokens": 1, "output_tokens": 1}})
COMMENT = b": keep-alive\n\n"

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
FIRST = {"openai": GPT, "anthropic": CLAUDE}


class Both:
    """Fusebox in front of two providers."""

    def __init__(self, fusebox: Fusebox, first: Upstream, second: Upstream) -> None:
        self.fusebox = fusebox
        self.first = first
        self.second = second

    async def breaker(self, provider: str) -> dict[str, Any]:
        """The provider's breaker, as the admin port shows it."""
        async with Client(self.fusebox.admin_port) as admin:
            shown = (await admin.exchange(request("GET", f"/api/breakers/{provider}"))).json
        found: dict[str, Any] = shown["breakers"][0]
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    """All of it, once."""
    async with Upstream() as first, Upstream() as second:
        config = CONFIG.format(first=first.port, second=second.port)
        async with Fusebox(config, tmp_path_factory.mktemp("broken")) as fusebox:
            yield Both(fusebox, first, second)
        assert fusebox.errors == b""
        assert [line for line in fusebox.lines if line["event"] == "internal_error"] == []


@pytest_asyncio.fixture(loop_scope="session")
async def both(running: Both) -> Both:
    """The same, nothing left over from the test before."""
    running.first.forget()
    running.second.forget()
    await running.fusebox.forget()
    return running


@pytest_asyncio.fixture(loop_scope="session")
async def caller(both: Both) -> AsyncIterator[Client]:
    """A client's connection."""
    async with Client(both.fusebox.port) as client:
        yield client


def streamed(model: str, dialect: str = "openai") -> bytes:
    """A request for a stream."""
    return request("POST", PATHS[dialect], json.dumps({"model": model, "stream": True}).encode())


async def opened(upstream: Upstream, events: bytes) -> Exchange:
    """The next request of a provider, answered with the beginning of a stream."""
    exchange = await upstream.next()
    await exchange.body.rest()
    await exchange.send(STREAM + chunk(events))
    return exchange


# How a stream breaks


async def closed(exchange: Exchange) -> None:
    """The connection ends between two chunks."""
    exchange.close()


async def reset(exchange: Exchange) -> None:
    """The connection is reset."""
    exchange.reset()


async def truncated(exchange: Exchange) -> None:
    """The connection ends inside a chunk's framing."""
    await exchange.send(b"40\r\n")
    exchange.close()


async def garbled(exchange: Exchange) -> None:
    """What follows is no chunk."""
    await exchange.send(b"zz\r\nhello\r\n")
    await exchange.hung_up()


async def stalled(exchange: Exchange) -> None:
    """Nothing more comes."""
    await exchange.hung_up()


Break = Callable[[Exchange], Awaitable[None]]

WAYS: list[tuple[Break, str, str]] = [
    (closed, "upstream_answer_cut", "cut mid-answer"),
    (reset, "upstream_answer_cut", "cut mid-answer"),
    (truncated, "upstream_answer_cut", "cut mid-answer"),
    (garbled, "upstream_answer_cut", "cut mid-answer"),
    (stalled, "upstream_timeout", "stalled mid-answer"),
]


async def assert_broken(both: Both, head: Head, code: str, reason: str) -> None:
    """Asserts that the log names the fault, and that the success at the first event was taken back."""
    line = await both.fusebox.request_line(head)
    assert (line["error_code"], line["status"], line["attempts"], line["level"]) == (code, 200, 1, "warning")
    shown = await both.breaker("first")
    assert (shown["counts"]["ok"], shown["counts"]["failed"], shown["last_failure"]) == (0, 1, reason)
    assert both.second.requests == 0


async def until_cut(body: Body) -> bytes:
    """What comes before the connection ends short of the body's framing."""
    with pytest.raises(Cut) as cut:
        await body.rest()
    return cut.value.got


@pytest.mark.parametrize(("way", "code", "reason"), WAYS)
async def test_it_is_cut_here_too(both: Both, caller: Client, way: Break, code: str, reason: str) -> None:
    """`abort`: the client has what came, and no end. Nobody else is asked."""
    await caller.send(streamed("abort"))
    exchange = await opened(both.first, GPT)
    head, body = await caller.begin()
    assert await body.take(len(GPT)) == GPT
    await way(exchange)
    assert await until_cut(body) == GPT
    await assert_broken(both, head, code, reason)


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize(("way", "code", "reason"), WAYS)
async def test_an_event_says_so(both: Both, caller: Client, way: Break, code: str, reason: str, dialect: str) -> None:
    """`error_event`: one event more, in the client's format; then the cut, for it is no end all the same."""
    await caller.send(streamed("tell", dialect))
    exchange = await opened(both.first, FIRST[dialect])
    head, body = await caller.begin()
    assert await body.take(len(FIRST[dialect])) == FIRST[dialect]
    await way(exchange)
    event = (await until_cut(body)).removeprefix(FIRST[dialect])
    *name, field, empty, last = event.split(b"\n")
    assert (name, empty, last) == ([b"event: error"] if dialect == "anthropic" else [], b"", b"")
    said = json.loads(field.removeprefix(b"data: "))
    if dialect == "anthropic":
        assert (said["type"], said["error"]["type"]) == ("error", "timeout_error" if way is stalled else "api_error")
        assert said["request_id"].encode() == head.one("x-fusebox-request-id")
    else:
        assert (said["error"]["type"], said["error"]["code"]) == ("upstream_error", code)
    assert said["error"]["message"].startswith("Fusebox: provider 'first'")
    await assert_broken(both, head, code, reason)


@pytest.mark.parametrize("rest", [b"data: {", b'data: {"a": 1}', b'data: {"a": 1}\n', b"event: x\n"])
async def test_inside_an_event_nothing_is_written(both: Both, caller: Client, rest: bytes) -> None:
    """An event of ours behind half of another would be read as a part of that one."""
    await caller.send(streamed("tell"))
    exchange = await opened(both.first, GPT + rest)
    _, body = await caller.begin()
    assert await body.take(len(GPT + rest)) == GPT + rest
    exchange.close()
    assert await until_cut(body) == GPT + rest


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
async def test_other_line_ends_end_an_event_too(both: Both, caller: Client, line_end: bytes) -> None:
    """The three line ends of the standard, also when the end of the event comes in a read of its own."""
    event = GPT.replace(b"\n", line_end)
    await caller.send(streamed("tell"))
    exchange = await opened(both.first, event[:-1])
    _, body = await caller.begin()
    assert await body.take(len(event) - 1) == event[:-1]
    await exchange.send(chunk(event[-1:]))
    assert await body.take(1) == event[-1:]
    exchange.close()
    assert b'"code":"upstream_answer_cut"' in (await until_cut(body)).removeprefix(event)


async def keep_alive(exchange: Exchange, body: Body) -> None:
    """Comments without end, each sent when the one before has come: a timer that they armed would never ring."""
    while True:
        await exchange.send(chunk(COMMENT))
        assert await body.take(len(COMMENT)) == COMMENT


async def test_comments_are_no_events(both: Both, caller: Client) -> None:
    """A provider that only says `: keep-alive` has stalled; its comments are passed on until then."""
    await caller.send(streamed("abort"))
    exchange = await opened(both.first, GPT)
    head, body = await caller.begin()
    assert await body.take(len(GPT)) == GPT
    with pytest.raises((Cut, ConnectionError)):
        await keep_alive(exchange, body)
    await assert_broken(both, head, "upstream_timeout", "stalled mid-answer")


# What the SDKs raise


async def break_after_one(upstream: Upstream, event: bytes) -> None:
    """Play a stream that breaks after its first event."""
    exchange = await opened(upstream, event)
    await exchange.send(chunk(COMMENT))
    exchange.close()


@pytest.mark.parametrize(("model", "raised"), [("abort", openai.APIConnectionError), ("tell", openai.APIError)])
async def test_what_the_openai_sdk_raises(both: Both, model: str, raised: type[Exception]) -> None:
    """Never a stream that just ends; with the event, an error that names its code."""
    playing = asyncio.create_task(break_after_one(both.first, GPT))
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    url = f"http://127.0.0.1:{both.fusebox.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="k", http_client=http) as client:
        stream = await client.chat.completions.create(model=model, messages=[], stream=True)
        assert (await anext(stream)).choices[0].delta.content == "hi"
        with pytest.raises(raised) as error:
            await anext(stream)
        await stream.close()
    await playing
    assert type(error.value) is raised
    assert (getattr(error.value, "code", None) == "upstream_answer_cut") is (model == "tell")


@pytest.mark.parametrize(
    ("model", "raised"), [("abort", httpx2.RemoteProtocolError), ("tell", anthropic.APIStatusError)]
)
async def test_what_the_anthropic_sdk_raises(both: Both, model: str, raised: type[Exception]) -> None:
    """The same; this SDK hands the cut itself on as its HTTP client's exception."""
    playing = asyncio.create_task(break_after_one(both.first, CLAUDE))
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    url = f"http://127.0.0.1:{both.fusebox.port}"
    async with anthropic.AsyncAnthropic(base_url=url, api_key="k", http_client=http) as client:
        stream = await client.messages.create(model=model, messages=[], max_tokens=1, stream=True)
        assert (await anext(stream)).type == "message_start"
        with pytest.raises(raised) as error:
            await anext(stream)
        await stream.close()
    await playing
    assert ("Fusebox: provider 'first'" in str(error.value)) is (model == "tell")


# deliver: whole


@pytest.mark.parametrize(("way", "code", "reason"), WAYS)
async def test_held_whole_a_cut_falls_back(both: Both, caller: Client, way: Break, code: str, reason: str) -> None:
    """The client sees one complete stream, and nothing of the one that broke behind its first events."""
    await caller.send(streamed("whole"))
    exchange = await opened(both.first, GPT + GPT)
    await way(exchange)
    exchange = await opened(both.second, COMMENT + GPT)
    await exchange.send(chunk(GPT) + chunk(GPT_END) + chunk(b""))
    exchange.finish()
    response = await caller.response()
    assert (response.status, response.body) == (200, COMMENT + GPT + GPT + GPT_END)
    assert response.head.one("x-fusebox-target") == b"second/whole"
    line = await both.fusebox.request_line(response.head)
    assert [one["outcome"] for one in line["tried"]] == ["stalled" if way is stalled else "answer cut", "ok"]
    assert ((await both.breaker("first"))["counts"]["failed"], (await both.breaker("second"))["counts"]["ok"]) == (1, 1)


async def test_held_whole_and_cut_everywhere(both: Both, caller: Client) -> None:
    """Nothing has gone out, so the error has a status of its own."""
    await caller.send(streamed("whole"))
    for upstream in (both.first, both.second):
        (await opened(upstream, GPT)).close()
    response = await caller.response()
    assert (response.status, response.error_code) == (502, "upstream_answer_cut")
    assert response.head.one("x-should-retry") == b"false"


# Before the first event


async def failing(exchange: Exchange) -> None:
    """The first event is an error."""
    await exchange.send(chunk(data(error={"message": "no", "code": 503})) + chunk(b""))
    exchange.finish()


async def empty(exchange: Exchange) -> None:
    """The stream ends cleanly without an event."""
    await exchange.send(chunk(b""))
    exchange.finish()


@pytest.mark.parametrize("ending", [closed, reset, garbled, failing, empty, stalled])
async def test_only_the_winners_comments_come_out(both: Both, caller: Client, ending: Break) -> None:
    """Comments before the first event come first and in order, and those of a target that failed never do."""
    await caller.send(streamed("late" if ending is stalled else "any"))
    await ending(await opened(both.first, b": of the first\n\n"))
    exchange = await opened(both.second, b": one\n\n")
    await exchange.send(chunk(b": two\n\n") + chunk(GPT) + chunk(GPT_END) + chunk(b""))
    exchange.finish()
    response = await caller.response()
    assert (response.status, response.body) == (200, b": one\n\n: two\n\n" + GPT + GPT_END)
    assert response.head.one("x-fusebox-attempts") == b"2"
