"""The openai SDK of PyPI through Fusebox, synchronous and asynchronous, endpoint by endpoint.

Each test says what the SDK must return, and `Gateway.take` compares what the provider received with what was sent.
"""

from __future__ import annotations

import base64
import io
import json
from contextlib import AsyncExitStack

import openai
import pytest
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionStreamOptionsParam,
)
from openai.types.realtime import RealtimeServerEvent
from openai.types.responses import FunctionToolParam

from proxy.dev.demo_answer import answer, words
from tests.emulator.form import parse_form
from tests.emulator.media import PICTURE, SPEECH
from tests.emulator.server import MODELS
from tests.sdk.conftest import Gpt, entered, items, settled, streamed
from tests.sdk.gateway import ALIAS, CLIENT_KEY, Gateway, assert_own_key, expected_model

MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": 'The "model" is a word here, and so is {"model": 1}.'},
    {"role": "user", "content": 'Grüße, 世界 \U0001f600 \\ " \n'},
]
SCHEMA: dict[str, object] = {"type": "object", "properties": {"model": {"type": "string"}}, "required": ["model"]}
CHAT_TOOL: ChatCompletionFunctionToolParam = {"type": "function", "function": {"name": "pick", "parameters": SCHEMA}}
RESPONSES_TOOL: FunctionToolParam = {"type": "function", "name": "pick", "parameters": SCHEMA, "strict": False}
SOUND = bytes(range(256)) * 300


# Chat


async def test_chat(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """A chat completion comes back whole, and says the model that the provider was asked for."""
    done = await settled(gpt.client.chat.completions.create(model=model, messages=MESSAGES, temperature=0.2))
    assert done.choices[0].message.content == answer(expected_model(model), str(MESSAGES[1]["content"]))
    assert done.model == expected_model(model)
    assert done.usage is not None and done.usage.total_tokens > 0
    gateway.take(gpt.sent, model)


async def test_chat_streamed(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """A streamed chat comes word by word, with its reason and its usage."""
    create = gpt.client.chat.completions.create
    options: ChatCompletionStreamOptionsParam = {"include_usage": True}
    chunks = await streamed(create(model=model, messages=MESSAGES, stream=True, stream_options=options))
    text = answer(expected_model(model), str(MESSAGES[1]["content"]))
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-2]] == words(text)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    gateway.take(gpt.sent, model)


async def test_chat_calls_a_tool(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """A forced tool is called, and the schema's own `model` property is left alone."""
    done = await settled(
        gpt.client.chat.completions.create(model=model, messages=MESSAGES, tools=[CHAT_TOOL], tool_choice="required")
    )
    [call] = done.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("pick", {"model": "demo"})
    gateway.take(gpt.sent, model)


async def test_chat_says_how_it_went_in_headers(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """The raw response carries the provider's headers and Fusebox's explanation."""
    raw = await settled(gpt.client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES))
    assert raw.headers["x-request-id"].startswith("req_demo")
    assert raw.headers["x-fusebox-route"] == ("aliases" if model == ALIAS else "everything")
    assert raw.headers["x-fusebox-target"] == f"emulator/{expected_model(model)}"
    assert raw.headers["x-fusebox-attempts"] == "1"
    assert raw.headers["x-fusebox-request-id"]
    gateway.take(gpt.sent, model)


async def test_legacy_completions(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """The legacy endpoint works, whole and streamed."""
    done = await settled(gpt.client.completions.create(model=model, prompt="hi"))
    chunks = await streamed(gpt.client.completions.create(model=model, prompt="hi", stream=True))
    assert done.choices[0].text == answer(expected_model(model), "hi")
    assert "".join(chunk.choices[0].text for chunk in chunks) == done.choices[0].text
    gateway.take(gpt.sent, model)


# Responses


async def test_responses(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """A response comes back whole; a forced function is called."""
    done = await settled(gpt.client.responses.create(model=model, input="hi", instructions="Be brief."))
    assert (done.output_text, done.model) == (answer(expected_model(model), "hi"), expected_model(model))
    called = await settled(
        gpt.client.responses.create(model=model, input="hi", tools=[RESPONSES_TOOL], tool_choice="required")
    )
    assert called.output[0].type == "function_call"
    assert json.loads(called.output[0].arguments) == {"model": "demo"}
    gateway.take(gpt.sent, model)


async def test_responses_streamed(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """The events of a streamed response come complete and in order."""
    events = await streamed(gpt.client.responses.create(model=model, input="hi", stream=True))
    text = answer(expected_model(model), "hi")
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == text
    assert [event.sequence_number for event in events] == list(range(len(words(text)) + 8))
    assert events[-1].type == "response.completed"
    gateway.take(gpt.sent, model)


# Embeddings, moderations, models


async def test_embeddings(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """Embeddings come back as the SDK unpacks them."""
    done = await settled(gpt.client.embeddings.create(model=model, input=["one", "two"], dimensions=16))
    assert [len(item.embedding) for item in done.data] == [16, 16]
    assert done.model == expected_model(model)
    gateway.take(gpt.sent, model)


async def test_moderations(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """A moderation comes back with its categories."""
    done = await settled(gpt.client.moderations.create(model=model, input="hi"))
    assert (done.model, done.results[0].flagged) == (expected_model(model), False)
    gateway.take(gpt.sent, model)


async def test_models(gpt: Gpt, gateway: Gateway) -> None:
    """The list holds the provider's models; one of them is retrieved by its name; one unknown is the provider's 404."""
    listed = {model.id for model in await items(gpt.client.models.list())}
    assert listed >= set(MODELS)
    gateway.emulator.take()
    gpt.sent.clear()
    assert (await settled(gpt.client.models.retrieve("real-model"))).owned_by == "fusebox-demo"
    with pytest.raises(openai.NotFoundError) as caught:
        await settled(gpt.client.models.retrieve("no such/model"))
    assert caught.value.code == "model_not_found"
    gateway.take(gpt.sent)


# Images, audio, videos


async def test_image_generation(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """Generated images come back byte for byte."""
    done = await settled(gpt.client.images.generate(model=model, prompt="a fuse", n=2))
    assert [base64.b64decode(image.b64_json or "") for image in done.data or []] == [PICTURE, PICTURE]
    assert done.data and done.data[0].revised_prompt == f"{expected_model(model)}: a fuse"
    gateway.take(gpt.sent, model)


async def test_image_edit_multipart(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """An image goes up in a form and comes back unchanged; the form differs in the model's field only."""
    upload = ("picture.png", PICTURE, "image/png")
    done = await settled(gpt.client.images.edit(model=model, image=upload, prompt="add a fuse"))
    assert done.data and base64.b64decode(done.data[0].b64_json or "") == PICTURE
    assert done.data[0].revised_prompt == f"{expected_model(model)}: add a fuse"
    [received] = gateway.take(gpt.sent, model)
    form = parse_form(received.header("content-type") or "", received.body)
    assert form.file("image").content == PICTURE


async def test_transcription_multipart(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """A sound goes up in a form; the text comes back as JSON, as plain text and as a stream."""
    said = f"{expected_model(model)} heard {len(SOUND)} bytes of talk.wav"
    create = gpt.client.audio.transcriptions.create
    done = await settled(create(model=model, file=("talk.wav", SOUND)))
    plain = await settled(create(model=model, file=("talk.wav", io.BytesIO(SOUND)), response_format="text"))
    events = await streamed(create(model=model, file=("talk.wav", SOUND), stream=True))
    assert done.text == said
    assert str(plain) == said + "\n"
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == said
    gateway.take(gpt.sent, model)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_translation_multipart(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """The other multipart audio endpoint."""
    done = await settled(gpt.client.audio.translations.create(model=model, file=("talk.wav", SOUND)))
    assert done.text == f"{expected_model(model)} translated {len(SOUND)} bytes"
    gateway.take(gpt.sent, model)


async def test_speech_is_binary(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """Speech comes back byte for byte, whole."""
    done = await settled(gpt.client.audio.speech.create(model=model, input="hi", voice="alloy"))
    assert done.content == SPEECH
    gateway.take(gpt.sent, model)


async def test_speech_streamed(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """Speech comes back byte for byte when it is read in pieces."""
    async with AsyncExitStack() as stack:
        speech = gpt.client.audio.speech.with_streaming_response
        done = await entered(stack, speech.create(model=model, input="hi", voice="alloy"))
        assert b"".join(await items(done.iter_bytes())) == SPEECH
    gateway.take(gpt.sent, model)


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
async def test_videos(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """A video is ordered, looked up and fetched."""
    ordered = await settled(gpt.client.videos.create(model=model, prompt="a fuse"))
    assert (ordered.model, ordered.status) == (expected_model(model), "queued")
    gateway.take(gpt.sent, model)
    gpt.sent.clear()
    assert (await settled(gpt.client.videos.retrieve(ordered.id))).status == "completed"
    assert (await settled(gpt.client.videos.download_content(ordered.id))).content == SPEECH
    gateway.take(gpt.sent)


# Objects that live at the provider


async def test_files(gpt: Gpt, gateway: Gateway) -> None:
    """A file is uploaded, listed, looked up, fetched byte for byte, and deleted."""
    files = gpt.client.files
    uploaded = await settled(files.create(file=("all.bin", SOUND), purpose="batch"))
    assert (uploaded.bytes, uploaded.filename) == (len(SOUND), "all.bin")
    assert uploaded.id in [file.id for file in await items(files.list())]
    assert (await settled(files.retrieve(uploaded.id))).purpose == "batch"
    assert (await settled(files.content(uploaded.id))).content == SOUND
    assert (await settled(files.delete(uploaded.id))).deleted
    with pytest.raises(openai.NotFoundError):
        await settled(files.retrieve(uploaded.id))
    received = gateway.take(gpt.sent)
    assert [one.method for one in received] == ["POST", "GET", "GET", "GET", "DELETE", "GET"]


async def test_batches(gpt: Gpt, gateway: Gateway) -> None:
    """A batch is made for an uploaded file, listed, looked up and cancelled. A model inside the file is left alone."""
    line = json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {"model": "kept-model"}})
    file = await settled(gpt.client.files.create(file=("jobs.jsonl", line.encode()), purpose="batch"))
    batch = await settled(
        gpt.client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
    )
    assert batch.status == "validating"
    assert batch.id in [item.id for item in await items(gpt.client.batches.list())]
    assert (await settled(gpt.client.batches.retrieve(batch.id))).input_file_id == file.id
    assert (await settled(gpt.client.batches.cancel(batch.id))).status == "cancelling"
    gateway.take(gpt.sent)


async def test_vector_stores(gpt: Gpt, gateway: Gateway) -> None:
    """A vector store is made, looked up and deleted."""
    store = await settled(gpt.client.vector_stores.create(name="shelf"))
    assert (await settled(gpt.client.vector_stores.retrieve(store.id))).name == "shelf"
    assert (await settled(gpt.client.vector_stores.delete(store.id))).deleted
    gateway.take(gpt.sent)


# Realtime


async def test_realtime_over_websocket(gpt: Gpt, gateway: Gateway, model: str) -> None:
    """A session opens for the replaced model, an answer comes, and what was sent in comes back in it."""
    async with AsyncExitStack() as stack:
        connection = await entered(stack, gpt.client.realtime.connect(model=model))
        created: RealtimeServerEvent = await settled(connection.recv())
        assert created.type == "session.created"
        assert created.session.type == "realtime"
        assert created.session.model == expected_model(model)
        await settled(connection.response.create(response={"instructions": "hi", "metadata": {"a": "b"}}))
        text = ""
        while True:
            event: RealtimeServerEvent = await settled(connection.recv())
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type == "response.done":
                break
    assert text == answer(expected_model(model), "hi")
    assert event.response.metadata == {"a": "b"}
    [received] = gateway.emulator.take()
    assert received.target == f"/v1/realtime?model={expected_model(model)}"
    assert_own_key(received)


async def test_the_clients_key_would_be_seen(gpt: Gpt, gateway: Gateway) -> None:
    """The SDK does send its own key, so that the comparison of keys above proves something."""
    await items(gpt.client.files.list())
    assert (b"authorization", f"Bearer {CLIENT_KEY}".encode()) in [(n.lower(), v) for n, v in gpt.sent[0].headers]
    gateway.take(gpt.sent)
