"""The demo provider, driven by the real SDKs and, where they hide the wire, by plain HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import anthropic
import openai
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from anthropic.types import MessageParam, ToolParam
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionToolChoiceOptionParam,
)
from openai.types.responses import FunctionToolParam

from proxy.dev import demo
from proxy.dev.demo_answer import (
    DEPTH_LIMIT,
    answer,
    arguments_for,
    cut,
    estimate_tokens,
    excerpt,
    text_of,
    vector,
    words,
)

NOW = 1_700_000_000.5
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "What  is\na sidecar?"}]},
]
SAID: list[MessageParam] = [{"role": "user", "content": "What is a sidecar?"}]
SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "days"],
}
CHAT_TOOL: ChatCompletionFunctionToolParam = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
TOOL: ToolParam = {"name": "weather", "input_schema": SCHEMA}
RESPONSES_TOOL: FunctionToolParam = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}


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


@pytest_asyncio.fixture
async def server() -> AsyncIterator[demo.DemoServer]:
    """A demo provider without a pace."""
    started = await demo.start(clock=lambda: NOW, pace_s=0)
    yield started
    await started.stop()


@pytest_asyncio.fixture
async def gpt(server: demo.DemoServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The OpenAI SDK, pointed at the demo provider."""
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest_asyncio.fixture
async def claude(server: demo.DemoServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The Anthropic SDK, pointed at the demo provider."""
    url = server.anthropic_url
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest_asyncio.fixture
async def http(server: demo.DemoServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client with the provider's root as its base."""
    async with aiohttp.ClientSession(server.anthropic_url) as session:
        yield session


# OpenAI format


async def test_chat_answers_with_its_name_the_model_and_the_question(gpt: openai.AsyncOpenAI) -> None:
    """An unstreamed chat says who answers, for which model, to which words, and counts tokens by the rule."""
    done = await gpt.chat.completions.create(model="any/name", messages=QUESTION)
    assert done.choices[0].message.content == answer("any/name", "What  is\na sidecar?")
    assert "demo provider of Fusebox" in done.choices[0].message.content
    assert "“any/name”" in done.choices[0].message.content
    assert "“What is a sidecar?”" in done.choices[0].message.content
    assert (done.model, done.created, done.choices[0].finish_reason) == ("any/name", int(NOW), "stop")
    assert done.usage is not None
    assert done.usage.prompt_tokens == estimate_tokens("Be brief.") + estimate_tokens("What  is\na sidecar?")
    assert done.usage.completion_tokens == estimate_tokens(done.choices[0].message.content)
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


async def test_chat_stream_has_role_first_words_reason_and_usage(gpt: openai.AsyncOpenAI) -> None:
    """A streamed chat begins with the role, goes word by word, then gives the reason and, when asked, the usage."""
    stream = await gpt.chat.completions.create(
        model="demo-large", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    text = answer("demo-large", "What is a sidecar?")
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-2]] == words(text)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == estimate_tokens(text)
    assert len({chunk.id for chunk in chunks}) == 1


async def test_chat_stream_without_usage_ends_in_done(http: aiohttp.ClientSession) -> None:
    """On the wire a stream is `data:` events only, `[DONE]` last, and has no usage unless it was asked for."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with http.post("/v1/chat/completions", json=body) as response:
        events = (await response.read()).split(b"\n\n")
        assert response.headers["Content-Type"].startswith("text/event-stream")
    assert events[-2:] == [b"data: [DONE]", b""]
    assert all(event.startswith(b"data: {") and b'"usage"' not in event for event in events[:-2])


async def test_stream_is_cut_at_the_limit(gpt: openai.AsyncOpenAI) -> None:
    """`max_completion_tokens` ends the answer early, with the reason `length`."""
    done = await gpt.chat.completions.create(model="m", messages=QUESTION, max_completion_tokens=3)
    assert done.choices[0].message.content == "Hello! I am "
    assert done.choices[0].finish_reason == "length"
    assert done.usage is not None and done.usage.completion_tokens == 3


CHOICES: list[ChatCompletionToolChoiceOptionParam] = ["required", {"type": "function", "function": {"name": "weather"}}]


@pytest.mark.parametrize("choice", CHOICES)
async def test_chat_calls_the_tool_it_is_forced_to(
    gpt: openai.AsyncOpenAI, choice: ChatCompletionToolChoiceOptionParam
) -> None:
    """A forced tool is called, streamed or not, with arguments that fit its schema."""
    done = await gpt.chat.completions.create(model="m", messages=QUESTION, tools=[CHAT_TOOL], tool_choice=choice)
    [call] = done.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "demo", "days": 1})
    assert (done.choices[0].finish_reason, done.choices[0].message.content) == ("tool_calls", None)
    async with gpt.chat.completions.stream(
        model="m", messages=QUESTION, tools=[CHAT_TOOL], tool_choice=choice
    ) as stream:
        final = await stream.get_final_completion()
    [streamed] = final.choices[0].message.tool_calls or []
    assert json.loads(streamed.function.arguments) == {"city": "demo", "days": 1}
    assert final.choices[0].finish_reason == "tool_calls"


async def test_chat_with_tools_but_no_force_talks(gpt: openai.AsyncOpenAI) -> None:
    """Tools alone do not make a call: `auto` lets the model talk."""
    done = await gpt.chat.completions.create(model="m", messages=QUESTION, tools=[CHAT_TOOL], tool_choice="auto")
    assert done.choices[0].message.tool_calls is None
    assert done.usage is not None and done.usage.prompt_tokens > estimate_tokens("Be brief.What  is\na sidecar?") + 1


async def test_responses_whole(gpt: openai.AsyncOpenAI) -> None:
    """The Responses API answers with one message, and counts instructions and input."""
    done = await gpt.responses.create(model="demo-small", input="What is a sidecar?", instructions="Be brief.")
    assert done.output_text == answer("demo-small", "What is a sidecar?")
    assert (done.status, done.model, done.created_at) == ("completed", "demo-small", int(NOW))
    assert done.usage is not None
    assert done.usage.input_tokens == estimate_tokens("Be brief.") + estimate_tokens("What is a sidecar?")


async def test_responses_streamed_with_the_real_event_names(gpt: openai.AsyncOpenAI) -> None:
    """The events come in the documented order, numbered, and the SDK puts the answer together from them."""
    async with gpt.responses.stream(model="m", input=[{"role": "user", "content": "hi"}]) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    text = answer("m", "hi")
    assert final.output_text == text
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * len(words(text)),
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_responses_cut_at_the_limit_are_incomplete(gpt: openai.AsyncOpenAI) -> None:
    """`max_output_tokens` makes the response incomplete, and says why."""
    stream = await gpt.responses.create(model="m", input="hi", max_output_tokens=2, stream=True)
    last = [event async for event in stream][-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == "Hello! I"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"


async def test_responses_call_the_tool_they_are_forced_to(gpt: openai.AsyncOpenAI) -> None:
    """A forced function comes as a function_call item, its arguments piece by piece."""
    stream = await gpt.responses.create(
        model="m",
        input="hi",
        tools=[RESPONSES_TOOL],
        tool_choice={"type": "function", "name": "weather"},
        stream=True,
    )
    events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(deltas)) == {"city": "demo", "days": 1}
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output[0].type == "function_call"
    assert last.response.output[0].arguments == "".join(deltas)


async def test_embeddings_are_the_same_in_both_encodings(gpt: openai.AsyncOpenAI) -> None:
    """Base64, which the SDK asks for by itself, and plain numbers hold the same vector of unit length."""
    packed = await gpt.embeddings.create(model="e", input=["one", "two"], dimensions=8)
    plain = await gpt.embeddings.create(model="e", input="one", dimensions=8, encoding_format="float")
    assert plain.data[0].embedding == vector("one", 8)
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert packed.data[1].embedding != packed.data[0].embedding
    assert sum(number * number for number in plain.data[0].embedding) == pytest.approx(1)
    assert (packed.usage.prompt_tokens, packed.model) == (2, "e")


async def test_embeddings_of_token_numbers(gpt: openai.AsyncOpenAI) -> None:
    """A list of token numbers is one input, a list of such lists several."""
    one = await gpt.embeddings.create(model="e", input=[1, 2, 3])
    two = await gpt.embeddings.create(model="e", input=[[1, 2], [3]])
    assert (len(one.data), one.usage.prompt_tokens, len(one.data[0].embedding)) == (1, 3, 256)
    assert (len(two.data), two.usage.prompt_tokens) == (2, 3)


async def test_models_are_listed_in_both_formats(gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic) -> None:
    """The same names in OpenAI's shape and, for a client that sends `anthropic-version`, in Anthropic's."""
    assert [model.id async for model in gpt.models.list()] == list(demo.MODELS)
    assert [model.id async for model in claude.models.list()] == list(demo.MODELS)
    assert (await gpt.models.retrieve("demo-large")).owned_by == "fusebox-demo"
    assert (await claude.models.retrieve("demo-large")).display_name == "demo-large"
    with pytest.raises(openai.NotFoundError, match="'a/b' does not exist"):
        await gpt.models.retrieve("a/b")
    with pytest.raises(anthropic.NotFoundError, match="other"):
        await claude.models.retrieve("other")


# Anthropic format


async def test_messages_whole(claude: anthropic.AsyncAnthropic) -> None:
    """A message says who answers, and its input tokens are those that count_tokens gives."""
    done = await claude.messages.create(model="claude-x", max_tokens=500, messages=SAID, system="Be brief.")
    counted = await claude.messages.count_tokens(model="claude-x", messages=SAID, system="Be brief.")
    assert done.content[0].type == "text"
    assert done.content[0].text == answer("claude-x", "What is a sidecar?")
    assert (done.stop_reason, done.model, done.role) == ("end_turn", "claude-x", "assistant")
    assert done.usage.input_tokens == counted.input_tokens == 3 + 5
    assert done.usage.output_tokens == estimate_tokens(done.content[0].text)


async def test_messages_streamed_with_the_real_events(http: aiohttp.ClientSession) -> None:
    """On the wire each event is named as its data's type, in the documented order, a ping among them."""
    body = {"model": "m", "max_tokens": 900, "stream": True, "messages": SAID}
    async with http.post("/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"}) as response:
        events = [event.split(b"\n") for event in (await response.read()).removesuffix(b"\n\n").split(b"\n\n")]
    names = [name.removeprefix(b"event: ").decode() for name, _ in events]
    assert names == [json.loads(data.removeprefix(b"data: "))["type"] for _, data in events]
    start = ["message_start", "content_block_start", "ping"]
    end = ["content_block_stop", "message_delta", "message_stop"]
    spoken = len(words(answer("m", "What is a sidecar?")))
    assert names == [*start, *["content_block_delta"] * spoken, *end]


async def test_messages_stream_is_put_together_by_the_sdk(claude: anthropic.AsyncAnthropic) -> None:
    """The SDK's own accumulation of the stream gives the text, the reason and the usage; the limit is obeyed."""
    async with claude.messages.stream(model="m", max_tokens=3, messages=SAID) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == "Hello! I am "
    assert (final.stop_reason, final.usage.output_tokens, final.usage.input_tokens) == ("max_tokens", 3, 5)


async def test_messages_call_the_tool_they_are_forced_to(claude: anthropic.AsyncAnthropic) -> None:
    """`any` and `tool` force a call, whole and streamed."""
    done = await claude.messages.create(
        model="m", max_tokens=9, messages=SAID, tools=[TOOL], tool_choice={"type": "tool", "name": "weather"}
    )
    assert done.content[0].type == "tool_use"
    assert (done.content[0].name, done.content[0].input) == ("weather", {"city": "demo", "days": 1})
    async with claude.messages.stream(
        model="m", max_tokens=9, messages=SAID, tools=[TOOL], tool_choice={"type": "any"}
    ) as stream:
        final = await stream.get_final_message()
    assert final.content[0].type == "tool_use"
    assert final.content[0].input == {"city": "demo", "days": 1}
    assert final.stop_reason == "tool_use"


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


# The words themselves


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é" * 8, 2)])
def test_tokens_are_four_characters_each(text: str, tokens: int) -> None:
    """The estimate is one token for every four characters begun, in characters and not bytes."""
    assert estimate_tokens(text) == tokens


@pytest.mark.parametrize("limit", [None, 1, 2, 3])
def test_cut_keeps_what_fits(limit: int | None) -> None:
    """A text is cut exactly when it has more tokens than the limit, and then to that many."""
    text, was_cut = cut("abcdefgh", limit)
    assert (text, was_cut) == (("abcd", True) if limit == 1 else ("abcdefgh", False))


@pytest.mark.parametrize("length", [0, 59, 60, 61, 5000])
def test_only_a_short_part_of_a_prompt_is_repeated(length: int) -> None:
    """A prompt up to the limit is repeated whole, a longer one is cut to the limit with an ellipsis."""
    short = excerpt("x" * length)
    assert len(short) == min(length, 60)
    assert short.endswith("…") == (length > 60)


def test_words_joined_are_the_text() -> None:
    """No character is lost between the pieces, leading and doubled white space included."""
    text = "  one two\n\nthree "
    assert words(text) == ["  one ", "two\n\n", "three "]
    assert words(" \n") == [" \n"]
    assert words("") == []


def test_deep_nesting_is_not_followed() -> None:
    """Text is found as deep as the limit and no deeper, so that a hostile body costs nothing."""

    def nested(levels: int) -> object:
        value: object = "deep"
        for _ in range(levels):
            value = [value]
        return value

    assert text_of(nested(DEPTH_LIMIT)) == "deep"
    assert text_of(nested(DEPTH_LIMIT + 1)) == ""


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (None, "demo"),
        ({"type": "object"}, {}),
        ({"type": "number"}, 1.5),
        ({"type": ["boolean", "null"]}, True),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"const": 7}, 7),
        ({"enum": ["b", "a"]}, "b"),
        ({"default": None}, None),
        ({"properties": {"a": {"type": "null"}, "b": {}}, "required": ["a"]}, {"a": None}),
    ],
)
def test_arguments_fit_the_schema(schema: object, value: object) -> None:
    """Each kind of schema gets a value of its own kind; only required properties are filled."""
    assert arguments_for(schema) == value
