"""The demo provider in Anthropic format: messages, whole and streamed, the count of tokens, and models.

Source obeyed: https://docs.anthropic.com/en/api/messages, .../messages-streaming, .../messages-count-tokens and
.../models-list. Sampling parameters change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from aiohttp import web

from proxy.dev.demo_answer import answer, arguments_for, cut, estimate_tokens, last_user_text, text_of, words
from proxy.dev.demo_openai import pieces
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

ERROR_TYPES = {404: "not_found_error", 413: "request_too_large"}
"""Anthropic's names for statuses; every other one of ours is an invalid_request_error."""


class Anthropic:
    """The handlers, sharing one stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [
            web.post("/v1/messages", self.messages),
            web.post("/v1/messages/count_tokens", self.count_tokens),
        ]

    def headers(self) -> dict[str, str]:
        """The response header that Anthropic's clients look at."""
        return {"request-id": self.stage.new_id("req_")}

    # Messages

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/messages, whole or streamed."""
        body = await read_object(request)
        message = self.message(body)
        if body.get("stream") is not True:
            return json_answer(message, headers=self.headers())
        async with EventStream(self.stage, request, self.headers()) as stream:
            for event in events(message):
                kind = str(event["type"])
                send = stream.send_paced if kind == "content_block_delta" else stream.send
                await send(event, kind)
        return stream.response

    def message(self, body: Json) -> Json:
        """The answer to a request, complete. Raises Refused 400."""
        model, tokens_in = model_of(body), self.tokens_in(body)
        required(body, "max_tokens", int)
        tool, was_cut = forced_tool(body), False
        if tool is not None:
            made_up = arguments_for(tool.get("input_schema"))
            written = orjson.dumps(made_up).decode()
            block: Json = {
                "type": "tool_use",
                "id": self.stage.new_id("toolu_"),
                "name": tool["name"],
                "input": made_up,
            }
        else:
            text = answer(model, last_user_text(list_of(body, "messages")))
            written, was_cut = cut(text, limit_of(body, "max_tokens"))
            block = {"type": "text", "text": written}
        return {
            "id": self.stage.new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [block],
            "stop_reason": "tool_use" if tool is not None else "max_tokens" if was_cut else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": tokens_in,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": estimate_tokens(written),
                "service_tier": "standard",
            },
        }

    async def count_tokens(self, request: web.Request) -> web.Response:
        """POST /v1/messages/count_tokens."""
        body = await read_object(request)
        model_of(body)
        return json_answer({"input_tokens": self.tokens_in(body)}, headers=self.headers())

    def tokens_in(self, body: Json) -> int:
        """Tokens of the system prompt, the messages and the tools, estimated. Raises Refused 400."""
        messages = list_of(body, "messages")
        if not messages:
            raise Refused(400, "messages: at least one message is required")
        texts = [text_of(body.get("system")), *(text_of(message) for message in messages)]
        tools = tools_of(body)
        texts.append(orjson.dumps(tools).decode() if tools else "")
        return sum(estimate_tokens(text) for text in texts)

    # Models

    def models(self) -> web.Response:
        """GET /v1/models, for a client that sends `anthropic-version`."""
        listed = [model_card(name) for name in self.stage.models]
        ends = {"first_id": self.stage.models[0], "last_id": self.stage.models[-1]}
        return json_answer({"data": listed, "has_more": False, **ends}, headers=self.headers())

    def model(self, name: str) -> web.Response:
        """GET /v1/models/{name}. Raises Refused 404 for a model that is not listed."""
        if name not in self.stage.models:
            raise Refused(404, f"model: {name}")
        return json_answer(model_card(name), headers=self.headers())


def events(message: Json) -> Iterator[Json]:
    """The events of a streamed message in their order."""
    content, counted = message["content"], message["usage"]
    assert isinstance(content, list) and isinstance(counted, dict)
    [block] = content
    # The first event knows what came in; what goes out is counted in message_delta, when it is known.
    shell = {**message, "content": [], "stop_reason": None, "usage": {**counted, "output_tokens": 1}}
    yield {"type": "message_start", "message": shell}
    is_text = block["type"] == "text"
    empty = {**block, "text": ""} if is_text else {**block, "input": {}}
    yield {"type": "content_block_start", "index": 0, "content_block": empty}
    yield {"type": "ping"}
    if is_text:
        deltas = [{"type": "text_delta", "text": word} for word in words(block["text"])]
    else:
        parts = ["", *pieces(orjson.dumps(block["input"]).decode())]
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
    for delta in deltas:
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": counted["output_tokens"]}}
    yield {"type": "message_stop"}


def forced_tool(body: Json) -> Json | None:
    """The tool that `tool_choice` forces (`any`: the first one offered), or None when the model may talk.

    Raises Refused 400 when the tool forced was not offered.
    """
    choice = body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or kind not in ("any", "tool"):
        return None
    for tool in tools_of(body):
        if isinstance(tool.get("name"), str) and (kind == "any" or tool["name"] == choice.get("name")):
            return tool
    raise Refused(400, "tool_choice: the tool it names is not among the tools")


def model_card(name: str) -> Json:
    """A model as GET /v1/models lists it; created at a fixed moment, because these models never change."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2025-01-01T00:00:00Z",
        "lifecycle": "active",
    }


def anthropic_error(refused: Refused) -> Json:
    """An error in the format's shape."""
    kind = ERROR_TYPES.get(refused.status, "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": refused.message}, "request_id": None}
