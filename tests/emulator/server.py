"""The emulator as a running server that remembers every request as it came.

    with Emulator() as emulator:
        ...  # call emulator.base_url
    [request] = emulator.take()

It runs in its own thread with its own event loop, so synchronous and asynchronous tests use it alike.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.dev import demo
from proxy.dev.demo_stage import Stage
from tests.emulator.media import Media
from tests.emulator.objects import MessageBatches, OpenAIObjects
from tests.emulator.realtime import Realtime

NOW = 1_700_000_000.0
"""The emulator's time stands still."""

MODELS = ("real-model", "kept-model")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as it arrived: nothing decoded, header names as written; the body is empty for a WebSocket."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header that must not come twice; None when it did not come."""
        found = [value for key, value in self.headers if key.lower() == name.lower().encode()]
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0].decode() if found else None

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


def application(requests: list[Recorded]) -> web.Application:
    """The emulator as an application that appends to `requests`."""

    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        body = b"" if request.headers.get("Upgrade") else await request.read()
        requests.append(Recorded(request.method, request.raw_path, list(request.raw_headers), body))
        return await handler(request)

    def clock() -> float:
        return NOW

    built = demo.app(clock, pace_s=0, models=MODELS)
    stage = Stage(clock, 0, asyncio.sleep, MODELS)
    built.middlewares.append(record)
    built.add_routes([*Media(stage).routes(), *OpenAIObjects(stage).routes(), *MessageBatches(stage).routes()])
    built.add_routes([web.get("/v1/realtime", Realtime(stage).connect)])
    return built


class Emulator:
    """A context manager around the server's thread. `requests` grows as they come; `take` empties it."""

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.port = 0

    @property
    def base_url(self) -> str:
        """The OpenAI-format root."""
        return f"{self.anthropic_url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The Anthropic-format root."""
        return f"http://127.0.0.1:{self.port}"

    def take(self) -> list[Recorded]:
        """The requests since the last call. One is recorded before it is answered, so none is missed."""
        taken = self.requests[:]
        del self.requests[: len(taken)]
        return taken

    def __enter__(self) -> Emulator:
        started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name="emulator")
        self._thread.start()
        self.port = started.result()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self, started: Future[int]) -> None:
        """Serves until `_stop` is set; `started` gets the port, or the error that kept it from starting."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # Bodies are recorded as they travelled, so nothing may be decompressed on the way in.
        runner = web.AppRunner(application(self.requests), access_log=None, auto_decompress=False, shutdown_timeout=1.0)
        try:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            started.set_result(int(runner.addresses[0][1]))
            await self._stop.wait()
        except Exception as error:
            started.set_exception(error)
        finally:
            await runner.cleanup()
