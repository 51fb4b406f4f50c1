"""What the demo provider's two dialects share: the stage they act on, reading a request, writing a stream."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson
from aiohttp import web

Json = dict[str, object]

BODY_LIMIT_BYTES = 64 * 1024**2
"""Largest request body: the same as what the proxy holds of one by default, so that the demo is never the narrower."""


class Refused(Exception):
    """The client asked for something that cannot be answered. `status` is 4xx, `code` is OpenAI's short name for it."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


@dataclass(frozen=True, slots=True)
class Stage:
    """What a handler needs from outside: the time, the pace of its words, and fresh identifiers.

    `clock` gives seconds since 1970. `pause` is awaited with `pace_s` between two pieces of a stream. Identifiers
    count up from 1 and so are the same in every run. `models` are the names that are listed.
    """

    clock: Callable[[], float]
    pace_s: float
    pause: Callable[[float], Awaitable[None]]
    models: tuple[str, ...]
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def now(self) -> int:
        """Seconds since 1970, whole."""
        return int(self.clock())

    def new_id(self, prefix: str) -> str:
        """An identifier that was not given before, such as `chatcmpl-demo1`."""
        return f"{prefix}demo{next(self.numbers)}"


# Reading the request


async def read_object(request: web.Request) -> Json:
    """The request's body as a JSON object. Raises Refused 400 when it is none."""
    try:
        body = orjson.loads(await request.read())
    except (orjson.JSONDecodeError, web.RequestPayloadError) as error:
        raise Refused(400, f"We could not read the JSON body of your request: {error}.") from None
    if not isinstance(body, dict):
        raise Refused(400, "The JSON body of your request must be an object.")
    return body


def required(body: Json, name: str, kind: type | tuple[type, ...]) -> object:
    """`body[name]`. Raises Refused 400 when it is missing or of another type."""
    if name not in body:
        raise Refused(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
    if not isinstance(body[name], kind) or isinstance(body[name], bool):
        raise Refused(400, f"Invalid type for '{name}'.", "invalid_type", name)
    return body[name]


def model_of(body: Json) -> str:
    """The model asked for. Raises Refused 400 when there is none."""
    return str(required(body, "model", str))


def list_of(body: Json, name: str) -> list[object]:
    """The list at `name`, which must be there. Raises Refused 400."""
    found = required(body, name, list)
    assert isinstance(found, list)
    return found


def limit_of(body: Json, *names: str) -> int | None:
    """The first of `names` that sets a limit of output tokens. Raises Refused 400 unless it is a number from 1 on."""
    for name in names:
        limit = body.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise Refused(400, f"Invalid value for '{name}': expected a whole number from 1 on.", "invalid_value", name)
        return limit
    return None


def tools_of(body: Json) -> list[Json]:
    """The tools offered, those that are objects."""
    tools = body.get("tools")
    return [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []


# Writing the answer


def json_answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """`body` as a JSON response."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


class EventStream:
    """A response that is sent event by event, as Server-Sent Events.

    Used in an `async with`, which ends quietly when the client goes away: that is the client's right and no fault.
    Afterwards `response` is what the handler returns.
    """

    def __init__(self, stage: Stage, request: web.Request, headers: dict[str, str]) -> None:
        self.stage = stage
        self.request = request
        self.response = web.StreamResponse(headers={"Cache-Control": "no-cache", **headers})
        self.response.headers["Content-Type"] = "text/event-stream; charset=utf-8"

    async def __aenter__(self) -> EventStream:
        await self.response.prepare(self.request)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        return isinstance(error, ConnectionResetError)

    async def send(self, data: object, event: str | None = None) -> None:
        """Sends one event with `data` as JSON, under the name `event` where the dialect names its events."""
        name = b"" if event is None else b"event: " + event.encode() + b"\n"
        await self.response.write(name + b"data: " + orjson.dumps(data) + b"\n\n")

    async def send_paced(self, data: object, event: str | None = None) -> None:
        """Sends one event after a pause, which is what makes the answer look written."""
        await self.stage.pause(self.stage.pace_s)
        await self.send(data, event)

    async def done(self) -> None:
        """Sends OpenAI's end mark."""
        await self.response.write(b"data: [DONE]\n\n")
