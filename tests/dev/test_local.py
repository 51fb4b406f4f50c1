"""Servers of this machine being asked for their models, each of them real."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web

from proxy.dev import demo
from proxy.dev.local import models_of, servers

LONG_S = 30.0
"""A bound that is never reached."""


async def test_models_are_listed(server: demo.DemoServer) -> None:
    """A server in OpenAI format is found with its models; nobody behind a port is nobody."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    urls = {"nobody": f"http://127.0.0.1:{port}/v1", "demo": server.base_url}
    assert await asyncio.to_thread(servers, urls, LONG_S) == {"demo": demo.MODELS}


async def test_another_kind_of_server_is_none() -> None:
    """A web page on vLLM's usual port, or an error, is no model server."""
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    assert await asyncio.to_thread(servers, {"vllm": url}, LONG_S) == {}
    await runner.cleanup()


def test_a_server_that_stays_silent_is_given_up() -> None:
    """The bound holds though the connection stands. The clock says when; nothing is measured."""
    times = iter([0.0, 0.01, 0.02])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        assert servers({"vllm": url}, 0.02, lambda: next(times, 1.0)) == {}


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"object": "list", "data": [{"id": "a"}, {"id": "b/c:d"}, {"id": "a"}]}', ("a", "b/c:d")),
        (b'{"data": []}', ()),
        (b'{"data": null}', ()),
        (b'1c\r\n{"data": [{"id": "a"}]}\r\n0\r\n\r\n', ("a",)),
        (b'{"data": [{"id": ""}, {"id": 5}, {"id": "g*"}, {"id": "w\\u001b[2J"}, {"id": "ok"}]}', ("ok",)),
        (b'{"data": [{"id": "' + b"x" * 201 + b'"}]}', ()),
        (b'{"data": [{"id": "a"}', None),
        (b'{"data": [{"name": "a"}]}', None),
        (b'{"models": []}', None),
        (b"[]", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_what_is_an_answer(body: bytes, models: tuple[str, ...] | None) -> None:
    """The list of models in any framing; names that no policy can hold are left out; anything else is none."""
    assert models_of(body) == models
