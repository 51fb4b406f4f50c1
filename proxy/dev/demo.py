"""The built-in demo provider: a small LLM provider on loopback that needs no key, no network and no model.

It speaks both formats well enough for the real SDKs, streams at a human pace, and says in every answer what it is. It
keeps nothing: a request is read, answered and forgotten. Tokens are counted by an estimate, four characters each.

The way through: `app` puts the handlers of `demo_openai`, `demo_responses` and `demo_anthropic` behind one error
shaper; what they say comes from `demo_answer`, what they share is in `demo_stage`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.dev.demo_anthropic import Anthropic, anthropic_error
from proxy.dev.demo_openai import OpenAI, openai_error
from proxy.dev.demo_responses import Responses
from proxy.dev.demo_stage import BODY_LIMIT_BYTES, Refused, Stage, json_answer

PACE_S = 0.02
"""Seconds between two words of a stream: fast, and still seen to be written."""

MODELS = ("demo-large", "demo-small", "demo-embedding")
"""What GET /v1/models lists."""

SHUTDOWN_S = 1.0
"""How long `stop` lets open answers go on. Short: whoever stops the demo wants to leave."""


@dataclass(frozen=True, slots=True)
class DemoServer:
    """A running demo provider. Call `stop` once."""

    host: str
    port: int
    runner: web.AppRunner

    @property
    def base_url(self) -> str:
        """The OpenAI-format root."""
        return f"{self.anthropic_url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The Anthropic-format root, to which `/v1/messages` is added."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def stop(self) -> None:
        """Closes the port, gives open answers `SHUTDOWN_S` to end, then closes their connections."""
        await self.runner.cleanup()


async def start(
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], float] = time.time,
    pace_s: float = PACE_S,
) -> DemoServer:
    """A demo provider listening on `host` and `port`; port 0 takes a free one. Raises OSError when it cannot."""
    # No access log: the proxy in front logs each request, and stdout belongs to that log.
    runner = web.AppRunner(app(clock, pace_s), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    return DemoServer(host, int(runner.addresses[0][1]), runner)


def app(
    clock: Callable[[], float] = time.time,
    pace_s: float = PACE_S,
    *,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    models: tuple[str, ...] = MODELS,
) -> web.Application:
    """The demo provider as an application.

    `clock`: seconds since 1970. `pace_s`: seconds between two words of a stream, waited with `pause`. `models`: the
    names it lists; it answers for any.
    """
    stage = Stage(clock, pace_s, pause, models)
    openai, anthropic = OpenAI(stage), Anthropic(stage)

    async def models_list(request: web.Request) -> web.Response:
        return anthropic.models() if is_anthropic(request) else openai.models()

    async def model_card(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return anthropic.model(name) if is_anthropic(request) else openai.model(name)

    application = web.Application(middlewares=[shape_errors], client_max_size=BODY_LIMIT_BYTES)
    application.add_routes([*openai.routes(), *Responses(stage).routes(), *anthropic.routes()])
    application.add_routes([web.get("/v1/models", models_list), web.get("/v1/models/{name:.+}", model_card)])
    return application


# Errors


@web.middleware
async def shape_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal in the shape of the client's format, aiohttp's own (404, 405, 413) included."""
    try:
        return await handler(request)
    except Refused as refused:
        return shaped(request, refused)
    except web.HTTPRequestEntityTooLarge:
        return shaped(request, Refused(413, f"The request is larger than {BODY_LIMIT_BYTES} bytes."))
    except web.HTTPMethodNotAllowed:
        return shaped(request, Refused(405, f"Cannot {request.method} {request.path}.", "method_not_supported"))
    except web.HTTPNotFound:
        return shaped(request, Refused(404, f"Invalid URL ({request.method} {request.path}).", "unknown_url"))


def shaped(request: web.Request, refused: Refused) -> web.Response:
    """The error response for `refused`."""
    shape = anthropic_error if is_anthropic(request) else openai_error
    return json_answer(shape(refused), refused.status)


def is_anthropic(request: web.Request) -> bool:
    """Whether the client speaks Anthropic format: by its path, or by the header that format demands."""
    return request.path.startswith("/v1/messages") or "anthropic-version" in request.headers
