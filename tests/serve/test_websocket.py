"""A WebSocket through Fusebox: an ordinary library at either end, and raw bytes where the library would hide something."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import websockets.asyncio.client as ws_client
import websockets.asyncio.server as ws_server
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.harness import HANG_S, Client, Fusebox, Head, Upstream, request
from tests.serve.conftest import CLIENT_KEY, OWN_KEY

Serve = Callable[[ws_server.ServerConnection], Awaitable[None]]

CONFIG = """
providers:
  spoken: {{base_url: "http://127.0.0.1:{port}/api/v1", keys: [{{env: MAIN_KEY}}]}}
routes:
  - {{name: aliases, match: {{model: "alias*"}}, to: [spoken/real model]}}
  - {{name: all, match: {{}}, to: [spoken]}}
"""


class Far:
    """The provider's end: what it does with a connection is the test's to say."""

    def __init__(self) -> None:
        self.serve: Serve = echo
        self.port = 0
        self.requests: list[tuple[str, list[tuple[str, str]]]] = []

    async def __call__(self, connection: ws_server.ServerConnection) -> None:
        assert connection.request is not None
        self.requests.append((connection.request.path, list(connection.request.headers.raw_items())))
        await self.serve(connection)


async def echo(connection: ws_server.ServerConnection) -> None:
    """Send back what comes."""
    async for message in connection:
        await connection.send(message)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Fusebox, Far]]:
    """Fusebox in front of a WebSocket server."""
    made = Far()
    async with ws_server.serve(made, "127.0.0.1", 0, max_size=None) as server:
        made.port = next(iter(server.sockets)).getsockname()[1]
        config = CONFIG.format(port=made.port)
        async with Fusebox(config, tmp_path_factory.mktemp("ws"), {"MAIN_KEY": OWN_KEY}) as fusebox:
            yield fusebox, made
        assert fusebox.errors == b""
        assert all(line["event"] != "internal_error" for line in fusebox.lines)


@pytest.fixture
def far(both: tuple[Fusebox, Far]) -> Far:
    """The server, which echoes unless the test says otherwise."""
    both[1].serve = echo
    both[1].requests.clear()
    return both[1]


@pytest.fixture
def spoken(both: tuple[Fusebox, Far]) -> Fusebox:
    """Fusebox in front of it."""
    return both[0]


def connect(fusebox: Fusebox, query: str = "model=alias-1") -> ws_client.connect:
    """A client's connection through Fusebox."""
    return ws_client.connect(
        f"ws://127.0.0.1:{fusebox.port}/v1/realtime?{query}",
        additional_headers={"Authorization": f"Bearer {CLIENT_KEY}", "OpenAI-Beta": "realtime=v1"},
        max_size=None,
        proxy=None,
        open_timeout=HANG_S,
    )


async def test_messages_of_every_size_both_ways(spoken: Fusebox, far: Far) -> None:
    """Text and binary, empty to megabytes, come back as they were; the model in the query is replaced, the key too."""
    async with connect(spoken, "a=%20b&model=alias-1&model2=alias") as connection:
        for message in (
            "",
            "hé\U0001f600",
            b"",
            b"\x00\xff",
            os.urandom(65536),
            os.urandom(5_000_000),
            "x" * 3_000_000,
        ):
            await connection.send(message)
            assert await asyncio.wait_for(connection.recv(), HANG_S) == message
    path, headers = far.requests[0]
    assert path == "/api/v1/realtime?a=%20b&model=real%20model&model2=alias"
    named = {name.lower(): value for name, value in headers}
    assert named["authorization"] == f"Bearer {OWN_KEY}"
    assert named["openai-beta"] == "realtime=v1"
    assert CLIENT_KEY not in str(headers)
    line = await spoken.line(event="request", path="/v1/realtime")
    assert (line["status"], line["route"], line["target"], line["endpoint"]) == (
        101,
        "aliases",
        "spoken/real model",
        "realtime",
    )
    assert 0 <= line["overhead_us"] < 10_000_000
    assert line["bytes_in"] > 5_000_000 and line["bytes_out"] > 5_000_000


async def test_both_ends_may_talk_at_once(spoken: Fusebox, far: Far) -> None:
    """Neither waits for the other: a thousand messages each way, in order."""

    async def talk(connection: ws_server.ServerConnection) -> None:
        for number in range(1000):
            await connection.send(str(number))
        await echo(connection)

    far.serve = talk
    async with connect(spoken) as connection:
        for number in range(1000):
            await connection.send(str(-number))
        expected = {str(number) for number in range(-999, 1000)}
        got = [await asyncio.wait_for(connection.recv(), HANG_S) for _ in range(2000)]
        assert set(got) == expected
        assert [int(number) for number in got if int(number) > 0] == list(range(1, 1000))


@pytest.mark.parametrize("side", ["client", "provider"])
async def test_close_codes_arrive(spoken: Fusebox, far: Far, side: str) -> None:
    """Code and reason of a close pass, whoever closes."""
    closed: asyncio.Future[tuple[int | None, str | None]] = asyncio.get_running_loop().create_future()

    async def serve(connection: ws_server.ServerConnection) -> None:
        if side == "provider":
            await connection.close(4321, "enough")
        await connection.wait_closed()
        closed.set_result((connection.close_code, connection.close_reason))

    far.serve = serve
    async with connect(spoken) as connection:
        if side == "client":
            await connection.close(4321, "enough")
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), HANG_S)
        assert (connection.close_code, connection.close_reason) == (4321, "enough")
    assert await asyncio.wait_for(closed, HANG_S) == (4321, "enough")


async def test_a_lost_end_closes_the_other(spoken: Fusebox, far: Far) -> None:
    """No close frame, just a connection that breaks: the other side learns it, in both directions."""
    lost = asyncio.Event()

    async def serve(connection: ws_server.ServerConnection) -> None:
        await connection.wait_closed()
        lost.set()

    far.serve = serve
    async with connect(spoken) as connection:
        connection.transport.abort()
        await asyncio.wait_for(lost.wait(), HANG_S)

    async def abort(connection: ws_server.ServerConnection) -> None:
        connection.transport.abort()

    far.serve = abort
    async with connect(spoken) as connection:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), HANG_S)
        assert connection.close_code == 1006


async def test_a_refused_upgrade_is_the_providers_word(fusebox: Fusebox, upstream: Upstream, client: Client) -> None:
    """A 401 instead of a 101 comes back whole, and as an ordinary response."""
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ]
    await client.send(request("GET", "/v1/realtime?model=kept", None, headers))
    exchange = await upstream.next()
    assert exchange.head.one("upgrade") == b"websocket"
    assert exchange.head.one("sec-websocket-key") == b"dGhlIHNhbXBsZSBub25jZQ=="
    await exchange.send(b"HTTP/1.1 401 No Entry\r\nWWW-Authenticate: Bearer\r\nContent-Length: 4\r\n\r\nno!\n")
    response = await client.response()
    assert (response.head.start, response.body) == (b"HTTP/1.1 401 No Entry", b"no!\n")
    assert response.head.one("www-authenticate") == b"Bearer"
    assert response.head.all("x-fusebox-error") == []
    exchange.close()


async def test_what_the_library_sees_of_a_refusal(spoken: Fusebox, far: Far) -> None:
    """No route's fault, no tunnel: Fusebox's own refusal is a response as well."""
    with pytest.raises(InvalidStatus) as raised:
        async with ws_client.connect(f"ws://127.0.0.1:{spoken.port}/realtime?model=x", proxy=None):
            pass
    assert raised.value.response.status_code == 404
    assert raised.value.response.headers["x-fusebox-error"] == "no_route"
    assert far.requests == []


async def test_bytes_that_come_too_early_are_kept(fusebox: Fusebox, upstream: Upstream, client: Client) -> None:
    """The provider's first bytes in one packet with its 101, the client's before it: both arrive, in order."""
    headers = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket")]
    await client.send(request("GET", "/v1/realtime?model=kept", None, headers) + b"client-early")
    exchange = await upstream.next()
    await exchange.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: b\r\n\r\nprovider-early"
    )
    head, _ = await client.begin()
    assert (head.status, head.one("upgrade"), head.one("connection"), head.one("x-a")) == (
        101,
        b"websocket",
        b"Upgrade",
        b"b",
    )
    assert await client.reader.readexactly(14) == b"provider-early"
    assert await exchange.reader.readexactly(12) == b"client-early"
    await client.send(b"GET / HTTP/1.1\r\n\r\n\x00\xff")
    assert await exchange.reader.readexactly(20) == b"GET / HTTP/1.1\r\n\r\n\x00\xff"
    exchange.close()
    assert await client.ended() == b""


async def test_an_upgrade_to_a_dead_provider(fusebox: Fusebox) -> None:
    """502 with the marker, like any other request."""
    headers = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    async with Client(fusebox.port) as client:
        response = await client.exchange(request("GET", "/p/dead/v1/live", None, headers))
        assert (response.status, response.error_code) == (502, "upstream_connect_failed")


async def test_a_slow_end_makes_the_other_wait(fusebox: Fusebox, upstream: Upstream) -> None:
    """A tunnel holds little: when the client stops reading, the provider's writes stop being taken, and go on later."""
    async with Client(fusebox.port, receive_buffer=8192) as client:
        headers = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        await client.send(request("GET", "/v1/realtime?model=kept", None, headers))
        exchange = await upstream.next()
        await exchange.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        head, _ = await client.begin()
        assert isinstance(head, Head)
        before = fusebox.memory()
        total = 40 * 2**20
        writing = asyncio.create_task(flood(exchange.writer, total))
        got = len(await client.reader.readexactly(2**20))
        assert not writing.done()
        assert fusebox.memory() - before < 10 * 2**20
        while got < total:
            got += len(await client.reader.readexactly(min(2**20, total - got)))
        await asyncio.wait_for(writing, HANG_S)
        exchange.close()
        assert await client.ended() == b""


async def flood(writer: asyncio.StreamWriter, total: int) -> None:
    """Write `total` bytes as fast as they are taken."""
    for _ in range(total // 65536):
        writer.write(b"f" * 65536)
        await writer.drain()


async def test_a_tunnel_outlives_the_beginning_of_a_drain(far: Far, tmp_path: Path) -> None:
    """SIGTERM: the running conversation goes on to its own end; then the process ends with 0."""
    async with Fusebox(CONFIG.format(port=far.port), tmp_path, {"MAIN_KEY": OWN_KEY}) as ending:
        async with connect(ending) as connection:
            await connection.send("before")
            assert await asyncio.wait_for(connection.recv(), HANG_S) == "before"
            ending.signal(15)
            assert (await ending.line(event="draining"))["active"] == 1
            await connection.send("after")
            assert await asyncio.wait_for(connection.recv(), HANG_S) == "after"
        assert await ending.wait() == 0
        assert await ending.line(event="stopped")
