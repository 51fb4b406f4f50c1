"""The anthropic SDK of PyPI through Fusebox, synchronous and asynchronous."""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from proxy.dev.demo_answer import answer, words
from tests.emulator.server import MODELS
from tests.sdk.conftest import Claude, entered, items, settled, streamed
from tests.sdk.gateway import CLIENT_KEY, Gateway, expected_model

SAID: list[MessageParam] = [{"role": "user", "content": 'Grüße, 世界 \\ " \n'}]
TOOL: ToolParam = {
    "name": "pick",
    "input_schema": {"type": "object", "properties": {"model": {"type": "string"}}, "required": ["model"]},
}


async def test_messages(claude: Claude, gateway: Gateway, model: str) -> None:
    """A message comes back whole, and says the model that the provider was asked for."""
    done = await settled(claude.client.messages.create(model=model, max_tokens=900, messages=SAID, system="Be brief."))
    assert done.content[0].type == "text"
    assert done.content[0].text == answer(expected_model(model), str(SAID[0]["content"]))
    assert (done.model, done.stop_reason) == (expected_model(model), "end_turn")
    [received] = gateway.take(claude.sent, model)
    assert received.path == "/v1/messages"


async def test_messages_events(claude: Claude, gateway: Gateway, model: str) -> None:
    """The raw events of a stream come complete and in order."""
    events = await streamed(claude.client.messages.create(model=model, max_tokens=900, messages=SAID, stream=True))
    kinds = [kind for kind, _ in itertools.groupby(event.type for event in events)]
    assert kinds[0] == "message_start"
    assert kinds[-4:] == ["content_block_delta", "content_block_stop", "message_delta", "message_stop"]
    deltas = [
        event.delta.text for event in events if event.type == "content_block_delta" and event.delta.type == "text_delta"
    ]
    assert deltas == words(answer(expected_model(model), str(SAID[0]["content"])))
    gateway.take(claude.sent, model)


async def test_messages_streamed(claude: Claude, gateway: Gateway, model: str) -> None:
    """The SDK's own stream helper puts the message together."""
    async with AsyncExitStack() as stack:
        context = claude.client.messages.stream(model=model, max_tokens=900, messages=SAID)
        stream = await entered(stack, context)
        text = "".join(await items(stream.text_stream))
        final = await settled(stream.get_final_message())
    assert text == answer(expected_model(model), str(SAID[0]["content"]))
    assert final.usage.output_tokens > 1
    gateway.take(claude.sent, model)


async def test_messages_call_a_tool(claude: Claude, gateway: Gateway, model: str) -> None:
    """A forced tool is called, and the schema's own `model` property is left alone."""
    done = await settled(
        claude.client.messages.create(
            model=model, max_tokens=900, messages=SAID, tools=[TOOL], tool_choice={"type": "any"}
        )
    )
    assert done.content[0].type == "tool_use"
    assert done.content[0].input == {"model": "demo"}
    gateway.take(claude.sent, model)


async def test_count_tokens(claude: Claude, gateway: Gateway, model: str) -> None:
    """Tokens are counted by the provider."""
    counted = await settled(claude.client.messages.count_tokens(model=model, messages=SAID))
    assert counted.input_tokens > 0
    [received] = gateway.take(claude.sent, model)
    assert received.path == "/v1/messages/count_tokens"


async def test_models(claude: Claude, gateway: Gateway) -> None:
    """The list holds the provider's models in this format; an unknown one is the provider's own 404."""
    assert {model.id for model in await items(claude.client.models.list())} >= set(MODELS)
    gateway.emulator.take()
    claude.sent.clear()
    assert (await settled(claude.client.models.retrieve("real-model"))).display_name == "real-model"
    with pytest.raises(anthropic.NotFoundError):
        await settled(claude.client.models.retrieve("none"))
    gateway.take(claude.sent)


async def test_message_batches(claude: Claude, gateway: Gateway) -> None:
    """A batch is made, listed, looked up, cancelled and deleted; the models inside it are left alone."""
    batches = claude.client.messages.batches
    made = await settled(
        batches.create(
            requests=[{"custom_id": "a", "params": {"model": "kept-model", "max_tokens": 9, "messages": SAID}}]
        )
    )
    assert made.request_counts.succeeded == 1
    assert made.id in [batch.id for batch in await items(batches.list())]
    assert (await settled(batches.retrieve(made.id))).processing_status == "ended"
    assert (await settled(batches.cancel(made.id))).processing_status == "canceling"
    assert (await settled(batches.delete(made.id))).id == made.id
    gateway.take(claude.sent)


async def test_the_clients_key_would_be_seen(claude: Claude, gateway: Gateway, model: str) -> None:
    """The SDK does send its own key, so that the comparison of keys above proves something."""
    await settled(claude.client.messages.count_tokens(model=model, messages=SAID))
    sent = {name.lower(): value for name, value in claude.sent[0].headers}
    # The SDK changed headers over time; whichever it uses, the provider must get its own key in its own header.
    assert CLIENT_KEY.encode() in sent.get(b"x-api-key", b"") + sent.get(b"authorization", b"")
    gateway.take(claude.sent, model)
