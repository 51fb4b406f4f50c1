"""What the demo provider answers, seen through the real SDKs and, where they hide the wire, by plain HTTP."""

from __future__ import annotations

import json

import aiohttp
import anthropic
import openai
import pytest
from anthropic.types import ToolParam
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionToolChoiceOptionParam
from openai.types.responses import FunctionToolParam

from proxy.dev import demo
from proxy.dev.demo_answer import answer, estimate_tokens, vector, words
from tests.dev.conftest import NOW, QUESTION, SAID

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "days"],
}
CHAT_TOOL: ChatCompletionFunctionToolParam = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
TOOL: ToolParam = {"name": "weather", "input_schema": SCHEMA}
RESPONSES_TOOL: FunctionToolParam = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}


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
