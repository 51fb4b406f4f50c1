"""The demo provider in OpenAI format: chat completions, embeddings and models.

Source obeyed: https://platform.openai.com/docs/api-reference (chat, chat-streaming, embeddings, models). One choice
is answered whatever `n` says; sampling parameters change nothing.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from aiohttp import web

from proxy.dev.demo_answer import answer, arguments_for, cut, estimate_tokens, last_user_text, text_of, vector, words
from proxy.dev.demo_stage import (
    EventStream,
    Json,
    Refused,
    Stage,
    json_answer,
    limit_of,
    list_of,
    model_of,
    read_object,
    required,
    tools_of,
)

DIMENSIONS = 256
"""Length of an embedding unless `dimensions` asks for another: big enough to look real, small enough to print."""

DIMENSIONS_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, decided before the first byte goes out: a text, or a call of the tool named `tool`."""

    id: str
    created: int
    model: str
    text: str
    tool: str | None
    call_id: str
    arguments: str
    finish_reason: str
    usage: Json


class OpenAI:
    """The handlers, sharing one stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.post("/v1/chat/completions", self.chat),
            web.post("/v1/embeddings", self.embeddings),
        ]

    def headers(self) -> dict[str, str]:
        """The response headers that OpenAI's clients look at."""
        return {"x-request-id": self.stage.new_id("req_"), "openai-version": "2020-10-01"}

    # Chat completions

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions, whole or streamed."""
        body = await read_object(request)
        reply = self.reply(body)
        if body.get("stream") is not True:
            return json_answer(completion(reply), headers=self.headers())
        options = body.get("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage") is True
        async with EventStream(self.stage, request, self.headers()) as stream:
            first, *rest = chunks(reply, with_usage)
            await stream.send(first)
            for chunk in rest:
                await stream.send_paced(chunk)
            await stream.done()
        return stream.response

    def reply(self, body: Json) -> Reply:
        """The answer to a chat request. Raises Refused 400."""
        model, messages = model_of(body), list_of(body, "messages")
        if not messages:
            raise Refused(400, "Invalid 'messages': empty array.", "empty_array", "messages")
        tool = forced_tool(body)
        call_arguments = orjson.dumps(arguments_for(tool.get("parameters"))).decode() if tool else ""
        limit = limit_of(body, "max_completion_tokens", "max_tokens")
        text, was_cut = ("", False) if tool else cut(answer(model, last_user_text(messages)), limit)
        tokens_in = sum(estimate_tokens(text_of(message)) for message in messages)
        return Reply(
            id=self.stage.new_id("chatcmpl-"),
            created=self.stage.now(),
            model=model,
            text=text,
            tool=str(tool["name"]) if tool else None,
            call_id=self.stage.new_id("call_"),
            arguments=call_arguments,
            finish_reason="length" if was_cut else "stop",
            usage=usage(tokens_in + tool_tokens(body), estimate_tokens(text or call_arguments)),
        )

    # Embeddings

    async def embeddings(self, request: web.Request) -> web.Response:
        """POST /v1/embeddings: numbers, or base64 of little-endian 32-bit floats as the SDKs ask for."""
        body = await read_object(request)
        model, inputs = model_of(body), embedding_inputs(required(body, "input", (str, list)))
        dimensions = limit_of(body, "dimensions") or DIMENSIONS
        if dimensions > DIMENSIONS_LIMIT:
            raise Refused(400, f"Invalid 'dimensions': at most {DIMENSIONS_LIMIT}.", "invalid_value", "dimensions")
        data: list[Json] = []
        for index, (text, _) in enumerate(inputs):
            numbers: object = vector(text, dimensions)
            if body.get("encoding_format") == "base64":
                numbers = base64.b64encode(struct.pack(f"<{dimensions}f", *vector(text, dimensions))).decode()
            data.append({"object": "embedding", "index": index, "embedding": numbers})
        tokens = sum(count for _, count in inputs)
        counted = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json_answer({"object": "list", "data": data, "model": model, "usage": counted}, headers=self.headers())

    # Models

    def models(self) -> web.Response:
        """GET /v1/models."""
        listed = [model_card(name) for name in self.stage.models]
        return json_answer({"object": "list", "data": listed}, headers=self.headers())

    def model(self, name: str) -> web.Response:
        """GET /v1/models/{name}. Raises Refused 404 for a model that is not listed."""
        if name not in self.stage.models:
            raise Refused(404, f"The model '{name}' does not exist.", "model_not_found", "model")
        return json_answer(model_card(name), headers=self.headers())


# Shapes of the answers


def completion(reply: Reply) -> Json:
    """The unstreamed chat completion."""
    message: Json = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
    if reply.tool is not None:
        function = {"name": reply.tool, "arguments": reply.arguments}
        message["content"] = None
        message["tool_calls"] = [{"id": reply.call_id, "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(reply)}
    return {**envelope(reply, "chat.completion"), "choices": [choice], "usage": reply.usage}


def chunks(reply: Reply, with_usage: bool) -> Iterator[Json]:
    """The events of a streamed chat completion: the role first, then the pieces, the reason, and the usage if asked."""
    head = envelope(reply, "chat.completion.chunk")
    if with_usage:
        head["usage"] = None

    def chunk(delta: Json, reason: str | None = None) -> Json:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}

    if reply.tool is None:
        yield chunk({"role": "assistant", "content": "", "refusal": None})
        for word in words(reply.text):
            yield chunk({"content": word})
    else:
        call = {"id": reply.call_id, "type": "function", "function": {"name": reply.tool, "arguments": ""}}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}]})
        for part in pieces(reply.arguments):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
    yield chunk({}, finish_reason(reply))
    if with_usage:
        yield {**head, "choices": [], "usage": reply.usage}


def envelope(reply: Reply, kind: str) -> Json:
    """The members that every chunk and the whole completion share."""
    return {
        "id": reply.id,
        "object": kind,
        "created": reply.created,
        "model": reply.model,
        "service_tier": "default",
        "system_fingerprint": "fp_demo",
    }


def finish_reason(reply: Reply) -> str:
    """Why the answer ended; `tool_calls` after a call of a tool, which is what clients wait for."""
    return "tool_calls" if reply.tool is not None else reply.finish_reason


def usage(tokens_in: int, tokens_out: int) -> Json:
    """Token counts in chat's words."""
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def model_card(name: str) -> Json:
    """A model as GET /v1/models lists it; created is a fixed moment, because these models never change."""
    return {"id": name, "object": "model", "created": 1735689600, "owned_by": "fusebox-demo"}


def pieces(text: str, size: int = 8) -> list[str]:
    """`text` in pieces of `size` characters, as providers cut the arguments of a tool call."""
    return [text[i : i + size] for i in range(0, len(text), size)]


def openai_error(refused: Refused) -> Json:
    """An error in the format's shape."""
    detail = {"type": "invalid_request_error", "param": refused.param, "code": refused.code}
    return {"error": {"message": refused.message, **detail}}


# Reading what was asked


def forced_tool(body: Json) -> Json | None:
    """The function that `tool_choice` forces (`required`: the first one offered), or None when the model may talk.

    Takes chat's `{"function": {"name": ...}}` and the Responses API's `{"name": ...}`, for the choice and for the
    tools alike. Raises Refused 400 when the function forced was not offered.
    """
    choice = body.get("tool_choice")
    offered = [function for tool in tools_of(body) if (function := function_of(tool)) is not None]
    if choice == "required":
        if not offered:
            raise Refused(400, "Invalid 'tool_choice': it is only allowed when 'tools' are given.", None, "tool_choice")
        return offered[0]
    wanted = function_of(choice) if isinstance(choice, dict) else None
    if wanted is None:
        return None
    for function in offered:
        if function["name"] == wanted["name"]:
            return function
    raise Refused(400, f"Invalid 'tool_choice': '{wanted['name']}' is not among the 'tools'.", None, "tool_choice")


def function_of(tool: Json) -> Json | None:
    """The part of a tool, or of a choice of one, that holds the function's `name`; None when it is no function."""
    function = tool.get("function", tool)
    if tool.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return None
    return function


def tool_tokens(body: Json) -> int:
    """Tokens that the tools offered count for: the estimate for their JSON."""
    tools = tools_of(body)
    return estimate_tokens(orjson.dumps(tools).decode()) if tools else 0


def embedding_inputs(given: object) -> list[tuple[str, int]]:
    """Each input as text, and its number of tokens; an input may be a string or a list of token numbers.

    Raises Refused 400 for anything else.
    """
    items = given if isinstance(given, list) else [given]
    if items and all(isinstance(item, int) for item in items):
        items = [items]
    found: list[tuple[str, int]] = []
    for item in items:
        if isinstance(item, str) and item:
            found.append((item, estimate_tokens(item)))
        elif isinstance(item, list) and item and all(isinstance(number, int) for number in item):
            found.append((" ".join(str(number) for number in item), len(item)))
        else:
            raise Refused(400, "Invalid 'input': expected texts or lists of token numbers.", "invalid_type", "input")
    if not found:
        raise Refused(400, "Invalid 'input': empty array.", "empty_array", "input")
    return found
