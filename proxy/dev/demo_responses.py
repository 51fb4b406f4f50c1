"""The demo provider's Responses API, whole and streamed, with the names and the order of the real events.

Source obeyed: https://platform.openai.com/docs/api-reference/responses and .../responses-streaming. Nothing is stored
(`store` is answered with false), so there is no response to retrieve and none to continue from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from aiohttp import web

from proxy.dev.demo_answer import answer, arguments_for, cut, estimate_tokens, last_user_text, text_of, words
from proxy.dev.demo_openai import forced_tool, pieces, tool_tokens
from proxy.dev.demo_stage import (
    EventStream,
    Json,
    Refused,
    Stage,
    json_answer,
    limit_of,
    model_of,
    read_object,
    required,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """One response, decided before the first byte goes out: `item` is its only output, complete."""

    skeleton: Json
    item: Json
    was_cut: bool
    usage: Json

    def at_the_start(self) -> Json:
        """The response as the first events carry it: nothing written yet."""
        return {**self.skeleton, "status": "in_progress", "output": [], "usage": None}

    def at_the_end(self) -> Json:
        """The response as the unstreamed answer and the last event carry it."""
        status = "incomplete" if self.was_cut else "completed"
        why = {"reason": "max_output_tokens"} if self.was_cut else None
        return {
            **self.skeleton,
            "status": status,
            "incomplete_details": why,
            "output": [self.item],
            "usage": self.usage,
        }


class Responses:
    """The handlers, sharing one stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def routes(self) -> list[web.RouteDef]:
        """What to add to the application."""
        return [web.post("/v1/responses", self.create)]

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/responses."""
        body = await read_object(request)
        reply = self.reply(body)
        headers = {"x-request-id": self.stage.new_id("req_")}
        if body.get("stream") is not True:
            return json_answer(reply.at_the_end(), headers=headers)
        async with EventStream(self.stage, request, headers) as stream:
            for number, event in enumerate(events(reply)):
                kind = str(event["type"])
                send = stream.send_paced if kind.endswith(".delta") else stream.send
                await send({**event, "sequence_number": number}, kind)
        return stream.response

    def reply(self, body: Json) -> Reply:
        """The answer to a request. Raises Refused 400."""
        model = model_of(body)
        given = required(body, "input", (str, list))
        messages = given if isinstance(given, list) else [{"role": "user", "content": given}]
        if isinstance(body.get("previous_response_id"), str):
            raise Refused(400, "The demo provider stores no responses to continue from.", None, "previous_response_id")
        limit = limit_of(body, "max_output_tokens")
        tool, was_cut = forced_tool(body), False
        if tool is not None:
            written = orjson.dumps(arguments_for(tool.get("parameters"))).decode()
            item: Json = {"id": self.stage.new_id("fc_"), "type": "function_call", "status": "completed"}
            item |= {"call_id": self.stage.new_id("call_"), "name": tool["name"], "arguments": written}
        else:
            written, was_cut = cut(answer(model, last_user_text(messages)), limit)
            item = {"id": self.stage.new_id("msg_"), "type": "message", "role": "assistant"}
            item |= {"status": "incomplete" if was_cut else "completed", "content": [text_part(written)]}
        texts = [text_of(body.get("instructions")), *(text_of(message) for message in messages)]
        tokens_in = sum(estimate_tokens(text) for text in texts) + tool_tokens(body)
        return Reply(self.skeleton(model, body, limit), item, was_cut, usage(tokens_in, estimate_tokens(written)))

    def skeleton(self, model: str, body: Json, limit: int | None) -> Json:
        """The members of a response that do not change while it is written."""
        now = self.stage.now()
        return {
            "id": self.stage.new_id("resp_"),
            "object": "response",
            "created_at": now,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": limit,
            "metadata": {},
            "model": model,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": body.get("tools", []),
            "top_p": 1.0,
            "truncation": "disabled",
        }


def events(reply: Reply) -> Iterator[Json]:
    """The events of a streamed response in their order, without their sequence numbers."""
    yield {"type": "response.created", "response": reply.at_the_start()}
    yield {"type": "response.in_progress", "response": reply.at_the_start()}
    yield from call_events(reply.item) if reply.item["type"] == "function_call" else message_events(reply.item)
    yield {"type": "response.output_item.done", "output_index": 0, "item": reply.item}
    last = "response.incomplete" if reply.was_cut else "response.completed"
    yield {"type": last, "response": reply.at_the_end()}


def message_events(item: Json) -> Iterator[Json]:
    """The events that build a message up, from its empty shell to its last word."""
    parts = item["content"]
    assert isinstance(parts, list)
    [part] = parts
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    shell = {**item, "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": 0, "item": shell}
    yield {"type": "response.content_part.added", **place, "part": text_part("")}
    for word in words(part["text"]):
        yield {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def call_events(item: Json) -> Iterator[Json]:
    """The events that build a function call up."""
    place = {"item_id": item["id"], "output_index": 0}
    shell = {**item, "status": "in_progress", "arguments": ""}
    yield {"type": "response.output_item.added", "output_index": 0, "item": shell}
    for piece in pieces(str(item["arguments"])):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **place, **done}


def text_part(text: str) -> Json:
    """A part of a message's content."""
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def usage(tokens_in: int, tokens_out: int) -> Json:
    """Token counts in this API's words."""
    return {
        "input_tokens": tokens_in,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens_in + tokens_out,
    }
