"""Answers of every format as providers send them, each with what it used, known before it was written down.

The numbers of an exchange are drawn as parts that exclude each other; each format adds them up in its own way. What the
code makes of the answer must come back to the parts, and its cost to their sum.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from proxy.exchange import Endpoint, Usage
from proxy.wire.endpoints import inference

LURE = 'It says {"usage": {"prompt_tokens": 999999, "input_tokens": 888888, "output_tokens": 7}}, "usage":{}\n\ndata: '
"""A text of the model's about usage objects."""

REAL_LURE = {"usage": {"prompt_tokens": 999999, "input_tokens": 888888, "output_tokens": 7}}
"""The same as JSON of its own: a tool's arguments, a schema that is echoed."""


@dataclass(frozen=True)
class Parts:
    """Tokens that are paid for, none of them in two parts; `reasoning` of the answer's is for information only."""

    fresh: int
    cached: int
    written: int
    written_1h: int
    output: int
    reasoning: int

    @property
    def input(self) -> int:
        """All of the prompt."""
        return self.fresh + self.cached + self.written + self.written_1h

    @property
    def usage(self) -> Usage:
        """What the code must find."""
        written = self.written + self.written_1h
        return Usage(self.input, self.output, self.cached, written, self.written_1h, self.reasoning)

    def usd(self) -> Decimal:
        """By the prices of `PRICES`, added up part by part."""
        amounts = (self.fresh, self.cached, self.written, self.written_1h, self.output)
        return sum((n * price for n, price in zip(amounts, PRICES, strict=True)), Decimal(0)) / 1_000_000


PRICES = (Decimal("3"), Decimal("0.3"), Decimal("3.75"), Decimal("6"), Decimal("15"))
"""USD per million tokens: input, cached, written, written for an hour, output."""


@dataclass(frozen=True)
class Answer:
    """One answer on the wire."""

    endpoint: Endpoint
    content_type: bytes
    encoding: bytes
    body: bytes
    parts: Parts


def endpoint(path: str) -> Endpoint:
    """That of an inference call."""
    found = inference(path)
    assert found is not None
    return found


def compact(value: object) -> bytes:
    """As nearly all providers write JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def spaced(value: object) -> bytes:
    """As some do."""
    return json.dumps(value).encode()


def words(roll: random.Random) -> list[str]:
    """What the model writes, piece by piece."""
    return [
        roll.choice(["Hello", " wörld", "\n", '"', "\\", LURE, "usage", '"usage"']) for _ in range(roll.randint(1, 8))
    ]


def parts(
    roll: random.Random, *, cache: bool, written: bool = False, output: bool = True, thinks: bool = True
) -> Parts:
    """Of a size as in real traffic, with zeros among them."""

    def some(most: int) -> int:
        return roll.choice([0, roll.randint(1, 9), roll.randint(1, most)])

    total = some(4000) if output else 0
    return Parts(
        fresh=some(50_000),
        cached=some(100_000) if cache else 0,
        written=some(20_000) if written else 0,
        written_1h=some(20_000) if written else 0,
        output=total,
        reasoning=roll.randint(0, total) if thinks else 0,
    )


# Usage objects.


def openai_usage(p: Parts, roll: random.Random) -> dict[str, Any]:
    """Chat completions, in the spellings of several providers."""
    usage: dict[str, Any] = {
        "prompt_tokens": p.input,
        "completion_tokens": p.output,
        "total_tokens": p.input + p.output,
        "completion_tokens_details": {"reasoning_tokens": p.reasoning, "audio_tokens": 0},
    }
    spelling = roll.randrange(4)
    if spelling == 0:
        usage["prompt_tokens_details"] = {"cached_tokens": p.cached, "audio_tokens": None}
    elif spelling == 1:  # DeepSeek
        usage |= {"prompt_cache_hit_tokens": p.cached, "prompt_cache_miss_tokens": p.input - p.cached}
    elif spelling == 2:  # Moonshot, Groq's times
        usage |= {"cached_tokens": p.cached, "queue_time": 0.0123, "total_time": 0.5, "prompt_tokens_details": None}
    else:  # Gemini: reasoning is in the total alone
        usage["prompt_tokens_details"] = {"cached_tokens": p.cached}
        usage["completion_tokens"] = p.output - p.reasoning
        if not roll.randrange(2):
            del usage["completion_tokens_details"]
    return usage


def responses_usage(p: Parts) -> dict[str, Any]:
    """The Responses API."""
    return {
        "input_tokens": p.input,
        "input_tokens_details": {"cached_tokens": p.cached, "cache_write_tokens": p.written},
        "output_tokens": p.output,
        "output_tokens_details": {"reasoning_tokens": p.reasoning},
        "total_tokens": p.input + p.output,
    }


def anthropic_usage(p: Parts, roll: random.Random) -> dict[str, Any]:
    """Messages: the input beside the cache."""
    usage: dict[str, Any] = {"input_tokens": p.fresh, "cache_read_input_tokens": p.cached, "output_tokens": p.output}
    if roll.randrange(2) or p.written or p.written_1h:
        usage["cache_creation_input_tokens"] = p.written + p.written_1h
        usage["cache_creation"] = {
            "ephemeral_5m_input_tokens": p.written,
            "ephemeral_1h_input_tokens": p.written_1h,
        }
    return usage | {"output_tokens_details": {"thinking_tokens": p.reasoning}, "service_tier": "standard"}


# Whole answers: a content type and a body.


Written = tuple[bytes, Parts]


def stream(events: list[tuple[str | None, dict[str, Any]]], roll: random.Random, done: bool = True) -> bytes:
    """Events with their names, with the line ends, spaces and comments that occur."""
    end = roll.choice([b"\n", b"\n", b"\r\n"])
    dump, field = roll.choice([compact, spaced]), roll.choice([b"data: ", b"data:"])
    lines: list[bytes] = []
    for name, data in events:
        if not roll.randrange(6):
            lines += [b': "usage":{"prompt_tokens":1}', b""]
        lines += [b"event: " + name.encode()] if name else []
        lines += [field + dump(data), b""]
    if done:
        lines += [field + b"[DONE]", b""]
    return end.join(lines) + roll.choice([end, b""])


def chat_json(roll: random.Random) -> Written:
    """Unstreamed."""
    p = parts(roll, cache=True)
    message = {"role": "assistant", "content": "".join(words(roll)), "tool_calls": [{"function": REAL_LURE}]}
    body = {
        "id": "c",
        "choices": [{"index": 0, "message": message}],
        "usage": openai_usage(p, roll),
        "service_tier": "x",
    }
    return roll.choice([compact, spaced])(body), p


def chat_stream(roll: random.Random) -> Written:
    """Streamed: where providers put the usage differs."""
    p = parts(roll, cache=True)
    usage, place = openai_usage(p, roll), roll.randrange(5)
    events: list[tuple[str | None, dict[str, Any]]] = []
    for count, word in enumerate(words(roll)):
        event: dict[str, Any] = {"id": "c", "choices": [{"index": 0, "delta": {"content": word, "x": REAL_LURE}}]}
        if place == 0:
            event["usage"] = None
        elif place == 1:  # vLLM's continuous_usage_stats
            event["usage"] = {"prompt_tokens": p.input, "completion_tokens": count, "total_tokens": p.input + count}
        events.append((None, event))
    last: dict[str, Any] = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if place == 2:
        last["usage"] = usage
    elif place == 3:
        last["choices"][0]["usage"] = usage
    elif place == 4:
        last["x_groq"] = {"id": "req_1", "usage": usage}
    events.append((None, last))
    if place in (0, 1):
        events.append((None, {"id": "c", "choices": [], "usage": usage}))
        if not roll.randrange(3):  # xAI: an empty event behind it
            events.append((None, {"id": "c", "choices": [], "usage": {}}))
    return stream(events, roll), p


def completions_json(roll: random.Random) -> Written:
    """The legacy call."""
    p = parts(roll, cache=False, thinks=False)
    usage = {"prompt_tokens": p.input, "completion_tokens": p.output, "total_tokens": p.input + p.output}
    return compact({"id": "c", "choices": [{"text": "".join(words(roll))}], "usage": usage}), p


def completions_stream(roll: random.Random) -> Written:
    """The same, streamed."""
    p = parts(roll, cache=False, thinks=False)
    usage = {"prompt_tokens": p.input, "completion_tokens": p.output, "total_tokens": p.input + p.output}
    events: list[tuple[str | None, dict[str, Any]]] = [(None, {"choices": [{"text": word}]}) for word in words(roll)]
    return stream([*events, (None, {"choices": [], "usage": usage})], roll), p


def responses_json(roll: random.Random) -> Written:
    """Unstreamed; the request's tools and schema come back."""
    p = parts(roll, cache=True)
    return compact(_response(p, words(roll), responses_usage(p))), p


def _response(p: Parts, said: list[str], usage: dict[str, Any] | None) -> dict[str, Any]:
    content = [{"type": "output_text", "text": "".join(said)}]
    return {
        "id": "resp_1",
        "output": [{"type": "message", "content": content}],
        "text": {"format": {"schema": {"properties": REAL_LURE}}},
        "tools": [{"parameters": {"properties": REAL_LURE}}],
        "usage": usage,
        "user": None,
        "metadata": {"note": LURE},
    }


def responses_stream(roll: random.Random) -> Written:
    """Streamed: the first events hold the response without a usage, the last with it."""
    p = parts(roll, cache=True)
    said = words(roll)
    kinds = ["response.created", "response.in_progress"]
    events: list[tuple[str | None, dict[str, Any]]] = [
        (kind, {"type": kind, "response": _response(p, [], None)}) for kind in kinds
    ]
    events += [("response.output_text.delta", {"type": "response.output_text.delta", "delta": word}) for word in said]
    last = roll.choice(["response.completed", "response.incomplete", "response.failed"])
    return stream([*events, (last, {"type": last, "response": _response(p, said, responses_usage(p))})], roll, False), p


def embeddings_json(roll: random.Random) -> Written:
    """Vectors, then a total."""
    p = parts(roll, cache=False, output=False)
    vector = [roll.random() for _ in range(roll.randint(1, 40))]
    usage = {"prompt_tokens": p.input, "total_tokens": p.input}
    if not roll.randrange(3):
        del usage["prompt_tokens"]
    return compact({"data": [{"embedding": vector, "index": 0}], "model": "e", "usage": usage}), p


def messages_json(roll: random.Random) -> Written:
    """Anthropic, unstreamed; a tool's arguments are JSON of their own."""
    p = parts(roll, cache=True, written=True)
    content = [{"type": "text", "text": "".join(words(roll))}, {"type": "tool_use", "input": REAL_LURE}]
    return compact({"type": "message", "content": content, "usage": anthropic_usage(p, roll), "container": None}), p


def messages_stream(roll: random.Random) -> Written:
    """Anthropic, streamed: the prompt in the first event, the answer so far in the last."""
    p = parts(roll, cache=True, written=True)
    whole = anthropic_usage(p, roll)
    early = {**whole, "output_tokens": 1, "output_tokens_details": None}
    late: dict[str, Any] = {"output_tokens": p.output, "output_tokens_details": whole["output_tokens_details"]}
    if roll.randrange(2):  # as of later API versions, and of others that know the prompt's size at the end only
        late |= {"input_tokens": p.fresh, "cache_read_input_tokens": p.cached, "server_tool_use": None}
        early["input_tokens"] = roll.choice([0, p.fresh])
    start = {"type": "message_start", "message": {"id": "m", "content": [], "usage": early}}
    events: list[tuple[str | None, dict[str, Any]]] = [("message_start", start), ("ping", {"type": "ping"})]
    for word in words(roll):
        delta = {"type": "text_delta", "text": word}
        events.append(("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}))
    events.append(("message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": late}))
    events.append(("message_stop", {"type": "message_stop"}))
    return stream(events, roll, False), p


def _picture_usage(p: Parts) -> dict[str, Any]:
    details = {"text_tokens": p.input, "image_tokens": 0}
    total = p.input + p.output
    return {"input_tokens": p.input, "input_tokens_details": details, "output_tokens": p.output, "total_tokens": total}


def images_json(roll: random.Random) -> Written:
    """A picture, then the usage."""
    p = parts(roll, cache=False, thinks=False)
    return compact({"created": 1, "data": [{"b64_json": "iVBO" * roll.randint(1, 900)}], "usage": _picture_usage(p)}), p


def images_stream(roll: random.Random) -> Written:
    """Sketches, then the picture with the usage."""
    p = parts(roll, cache=False, thinks=False)
    sketch = {"type": "image_generation.partial_image", "b64_json": "iVBO" * roll.randint(1, 900)}
    last = {"type": "image_generation.completed", "b64_json": "iVBO" * 9000, "usage": _picture_usage(p)}
    return stream([(None, sketch), (None, sketch), (None, last)], roll, False), p


def transcription_json(roll: random.Random) -> Written:
    """Speech to text, by tokens."""
    p = parts(roll, cache=False, thinks=False)
    usage = {"type": "tokens", "input_tokens": p.input, "output_tokens": p.output, "total_tokens": p.input + p.output}
    return compact({"text": "".join(words(roll)), "usage": usage | {"input_token_details": {"text_tokens": 3}}}), p


def transcription_stream(roll: random.Random) -> Written:
    """The same, streamed."""
    p = parts(roll, cache=False, thinks=False)
    usage = {"type": "tokens", "input_tokens": p.input, "output_tokens": p.output, "total_tokens": p.input + p.output}
    said = words(roll)
    events: list[tuple[str | None, dict[str, Any]]] = [
        (None, {"type": "transcript.text.delta", "delta": w}) for w in said
    ]
    last = {"type": "transcript.text.done", "text": "".join(said), "usage": usage}
    return stream([*events, (None, last)], roll, False), p


JSON, EVENTS = b"application/json", b"text/event-stream; charset=utf-8"

FORMATS: dict[str, tuple[str, bytes, Callable[[random.Random], Written]]] = {
    "chat": ("/v1/chat/completions", JSON, chat_json),
    "chat, streamed": ("/v1/chat/completions", EVENTS, chat_stream),
    "completions": ("/v1/completions", JSON, completions_json),
    "completions, streamed": ("/v1/completions", EVENTS, completions_stream),
    "responses": ("/v1/responses", JSON, responses_json),
    "responses, streamed": ("/v1/responses", EVENTS, responses_stream),
    "embeddings": ("/v1/embeddings", JSON, embeddings_json),
    "messages": ("/v1/messages", JSON, messages_json),
    "messages, streamed": ("/v1/messages", EVENTS, messages_stream),
    "images": ("/v1/images/generations", JSON, images_json),
    "images, streamed": ("/v1/images/generations", EVENTS, images_stream),
    "transcriptions": ("/v1/audio/transcriptions", JSON, transcription_json),
    "transcriptions, streamed": ("/v1/audio/transcriptions", EVENTS, transcription_stream),
}

STREAMED = [name for name in FORMATS if name.endswith("streamed")]


def bare_deflate(body: bytes) -> bytes:
    """Deflate without the zlib format around it, as some servers send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PACKERS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"gzip", lambda body: gzip.compress(body, 1)),
    (b"deflate", lambda body: zlib.compress(body, 1)),
    (b"deflate", bare_deflate),
]


def answer(name: str, roll: random.Random, *, packed: bool | None = None) -> Answer:
    """One answer of a format; every third compressed, unless `packed` says."""
    path, content_type, write = FORMATS[name]
    body, used = write(roll)
    encoding = roll.choice([b"", b"identity"])
    if packed if packed is not None else not roll.randrange(3):
        encoding, pack = roll.choice(PACKERS)
        body = pack(body)
    return Answer(endpoint(path), content_type, encoding, body, used)
