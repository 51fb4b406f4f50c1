"""The Realtime API over WebSocket, as far as a text goes: a session, an answer, its end."""

from __future__ import annotations

import orjson
from aiohttp import WSMsgType, web

from proxy.dev.demo_answer import answer, words
from proxy.dev.demo_stage import Json, Stage


class Realtime:
    """The handler of GET /v1/realtime?model=..."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        """Accepts the socket, says which model it serves, and answers each event until the client closes."""
        model = request.query.get("model", "")
        # The openai SDK for JavaScript in a browser, and its Node build, offer this subprotocol.
        socket = web.WebSocketResponse(protocols=("realtime",))
        await socket.prepare(request)
        session = {"id": self.stage.new_id("sess_"), "type": "realtime", "object": "realtime.session", "model": model}
        await self.send(socket, {"type": "session.created", "session": session})
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            event = orjson.loads(message.data)
            if event["type"] == "session.update":
                await self.send(socket, {"type": "session.updated", "session": {**session, **event["session"]}})
            elif event["type"] == "response.create":
                for reply in self.response(model, event.get("response") or {}):
                    await self.send(socket, reply)
            else:
                error = {"type": "invalid_request_error", "message": f"unknown event {event['type']}"}
                await self.send(socket, {"type": "error", "error": error})
        return socket

    def response(self, model: str, asked: Json) -> list[Json]:
        """The events of one answer; what the client put into `response` comes back in `response.done`."""
        name, item = self.stage.new_id("resp_"), self.stage.new_id("item_")
        text = answer(model, str(asked.get("instructions", "")))
        place = {"response_id": name, "item_id": item, "output_index": 0, "content_index": 0}
        response: Json = {"id": name, "object": "realtime.response", "output": [], **asked}
        return [
            {"type": "response.created", "response": {**response, "status": "in_progress"}},
            *({"type": "response.output_text.delta", **place, "delta": word} for word in words(text)),
            {"type": "response.output_text.done", **place, "text": text},
            {"type": "response.done", "response": {**response, "status": "completed"}},
        ]

    async def send(self, socket: web.WebSocketResponse, event: Json) -> None:
        """Sends one event under a fresh event id."""
        await socket.send_str(orjson.dumps({"event_id": self.stage.new_id("event_"), **event}).decode())
