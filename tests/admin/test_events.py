"""``/api/events`` at its edges: nothing new, nothing at all, and somebody who does not read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.admin import events
from proxy.observe import recent as recent_room
from proxy.observe.recent import Recent, TooMany
from proxy.observe.record import Record
from tests.harness import HANG_S, Client, request


def ended(recent: Recent, path: str = "/") -> None:
    """A request."""
    record = Record("POST", path, started_at=1.0)
    record.ended_at = 2.0
    recent.add(record, 1_700_000_000.0)


def test_the_state_is_made_once_for_all_who_ask() -> None:
    """However many pages are open; and it is the very same object until something has changed."""
    now_s, made = 0.0, 0
    shown = {"a": 1}

    def state() -> dict[str, Any]:
        nonlocal made
        made += 1
        return dict(shown)

    glance = events.Glance(state, lambda: now_s)
    first = glance.now()
    shown["a"] = 2
    assert glance.now() is first and made == 1
    now_s = 1.0
    second = glance.now()
    assert (second, made) == (b'{"a":2}', 2)
    now_s = 2.0
    assert glance.now() is second and made == 3


@asynccontextmanager
async def serving(recent: Recent, state: events.State) -> AsyncIterator[int]:
    """The port of an application that has nothing else."""
    app = web.Application()
    events.add_routes(app, recent, state)
    async with TestServer(app) as server:
        assert server.port is not None
        yield server.port


async def test_what_has_not_changed_is_not_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment comes instead, so that nobody takes the stream for dead; then what is new, once."""
    monkeypatch.setattr(events, "EVERY_S", 0.01)
    monkeypatch.setattr(events, "QUIET_S", 0.05)
    shown = {"a": 1}
    async with serving(Recent(), lambda: dict(shown)) as port, Client(port) as client:
        await client.send(request("GET", "/api/events"))
        _, body = await client.begin()
        got = b""
        while got.count(b": still here\n\n") < 2:
            got += await body.some()
        assert got.count(b"event: ") == 1
        shown["a"] = 2
        while b'{"a":2}' not in got:
            got += await body.some()
        while not got.endswith(b": still here\n\n"):
            got += await body.some()
        assert got.count(b"event: state\n") == 2


async def test_who_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser whose tab sleeps keeps neither memory nor a place for ever."""
    monkeypatch.setattr(events, "SLOW_S", 0.2)
    monkeypatch.setattr(events, "BATCH_S", 0.0)
    monkeypatch.setattr(recent_room, "WATCHED_MAX", 1)
    recent = Recent()
    async with serving(recent, dict) as port, Client(port, receive_buffer=4096) as client:
        client.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await client.send(request("GET", "/api/events"))
        await client.begin()
        with pytest.raises(TooMany):
            recent.watch()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(HANG_S):
            while True:
                for _ in range(200):
                    ended(recent, "/" * 1000)
                await asyncio.sleep(0.01)
                try:
                    recent.watch()
                except TooMany:
                    continue
                break
