"""``GET /api/events``: the requests that ended last and the state of everything, then what ends and what changes, as it
happens. ``GET /api/overview``: that state once.

A browser that reads slowly is never waited for: what waits for it has a bound (``observe/recent``), and when it has taken
nothing for a while it is let go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import hdrs, web

from proxy.admin.caller import refusal
from proxy.observe.recent import Ended, Recent, TooMany, Watcher

EVERY_S = 1.0
"""How often the state is looked at; it is sent when it has changed."""

BATCH_S = 0.1
"""Requests that end within this time are told at once: a flood of them is a few events a second."""

QUIET_S = 15.0
"""After so long without anything a comment is sent: whoever is in between must not take the stream for dead."""

SLOW_S = 30.0
"""Who has not taken one event by then is let go."""

HEADERS = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    hdrs.X_CONTENT_TYPE_OPTIONS: "nosniff",
    "X-Accel-Buffering": "no",
}

State = Callable[[], dict[str, Any]]


def add_routes(app: web.Application, recent: Recent, state: State) -> None:
    """Add the paths to the admin application. `state`: all that the page shows beside the requests."""
    glance = Glance(state)
    streams = Streams(recent, glance)

    async def overview(request: web.Request) -> web.Response:
        return web.Response(body=glance.now(), content_type="application/json")

    app.router.add_get("/api/overview", overview)
    app.router.add_get("/api/events", streams.serve)
    app.on_shutdown.append(streams.end)


class Glance:
    """The state as JSON; however many pages are open, it is made once for all that ask within half a second."""

    def __init__(self, state: State, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self._clock = clock
        self._made = b""
        self._made_at_s: float | None = None

    def now(self) -> bytes:
        """What stands; the very same object as long as nothing has changed."""
        now_s = self._clock()
        if self._made_at_s is None or now_s - self._made_at_s >= EVERY_S / 2:
            made = msgspec.json.encode(self._state())
            if made != self._made:
                self._made = made
            self._made_at_s = now_s
        return self._made


class Streams:
    """Those who listen now."""

    def __init__(self, recent: Recent, glance: Glance) -> None:
        self._recent = recent
        self._glance = glance
        self._open: set[asyncio.Task[Any]] = set()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One who listens, to the end. With ``?from=now`` without the requests that have ended before."""
        begin = self._recent.all() if request.query.get("from") != "now" else []
        try:
            watcher = self._recent.watch()
        except TooMany as error:
            raise refusal(409, str(error)) from None
        stream = asyncio.current_task()
        assert stream is not None
        self._open.add(stream)
        response = web.StreamResponse(headers=HEADERS)
        try:
            await response.prepare(request)
            await _tell(Out(request, response), watcher, begin, self._glance)
        except (ConnectionError, TimeoutError):
            pass  # the other end has hung up, or does not read
        finally:
            watcher.close()
            self._open.discard(stream)
        return response

    async def end(self, app: web.Application) -> None:
        """The process ends: a page that is open must not hold it up."""
        for stream in self._open:
            stream.cancel()


class Out:
    """Where one who listens is written to. `at_s`: when last."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self.at_s = time.monotonic()

    async def event(self, name: str, data: bytes) -> None:
        """One event. Raises ConnectionError or TimeoutError when the other end does not take it."""
        await self.write(b"event: %b\ndata: %b\n\n" % (name.encode(), data))

    async def requests(self, ended: list[Ended]) -> None:
        """The event of requests that have ended. Raises as `event` does."""
        await self.event("requests", msgspec.json.encode([one.line for one in ended]))

    async def write(self, data: bytes) -> None:
        """Raises as `event` does."""
        try:
            async with asyncio.timeout(SLOW_S):
                await self._response.write(data)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()  # else closing would wait for it again
            raise
        self.at_s = time.monotonic()


async def _tell(out: Out, watcher: Watcher, begin: list[Ended], glance: Glance) -> None:
    """What has ended and the state, then what ends and what changes, for ever. Raises ConnectionError and TimeoutError."""
    if begin:
        await out.requests(begin)
    told = glance.now()
    await out.event("state", told)
    looked_at_s = time.monotonic()
    while True:
        ended = await watcher.next(max(looked_at_s + EVERY_S - time.monotonic(), 0.0))
        if ended:
            await out.requests(ended)
            await asyncio.sleep(BATCH_S)
        now_s = time.monotonic()
        if now_s - looked_at_s >= EVERY_S:
            looked_at_s, now = now_s, glance.now()
            if now is not told:
                await out.event("state", now)
                told = now
        if now_s - out.at_s >= QUIET_S:
            await out.write(b": still here\n\n")
