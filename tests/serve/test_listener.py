"""The data port by itself: it is empty only when the last client has read the last byte."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from proxy.config.schema import Limits, Listen
from proxy.serve import client
from proxy.serve import listener as listening
from proxy.serve.handler import Handler
from proxy.serve.listener import Listener, bind
from tests.harness import HANG_S, Client, request

SIZE = 2**19

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % SIZE


async def large(connection: Any, transport: asyncio.Transport, head: Any, content: Any) -> bool:
    """A handler whose whole answer goes into the transport at once."""
    transport.write(HEAD + b"x" * SIZE)
    return False


async def started(handle: Callable[..., Awaitable[bool]]) -> tuple[Listener, int]:
    """A listener with small buffers in the kernel, and its port."""
    [sock] = bind(Listen("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # its connections inherit it
    port = sock.getsockname()[1]
    listener = Listener([sock], cast(Handler, handle), Limits(), lambda error: None)
    await listener.start()
    return listener, port


async def test_it_is_empty_once_a_slow_reader_has_read_everything() -> None:
    """The handler is done long before the client is; the listener waits for the client."""
    listener, port = await started(large)
    async with Client(port, receive_buffer=4096) as client:
        await client.send(request("GET", "/"))
        _, body = await client.begin()
        listener.stop_accepting()
        emptied = asyncio.create_task(listener.emptied())
        assert await body.take(SIZE // 2) == b"x" * (SIZE // 2)
        assert not emptied.done() and listener.connections == 1
        assert await body.rest() == b"x" * (SIZE // 2)
    await asyncio.wait_for(emptied, HANG_S)
    assert listener.connections == 0
    await listener.stop()


async def test_it_is_empty_without_clients_and_lets_idle_ones_go() -> None:
    """A connection without a request is closed by the end of accepting."""
    listener, port = await started(large)
    await asyncio.wait_for(listener.emptied(), HANG_S)
    async with Client(port) as client:
        await client.send(
            request("GET", "/")
        )  # answered with a close, so the idle one below is accepted before it ends
        async with Client(port) as other:
            await other.send(b"GET /half")
            assert len(await (await client.begin())[1].rest()) == SIZE
            assert listener.connections >= 1
            listener.stop_accepting()
            assert await other.ended() == b""
        assert await client.ended() == b""
        await asyncio.wait_for(listener.emptied(), HANG_S)
    await listener.stop()


async def test_stop_cuts_what_is_left() -> None:
    """Whoever never reads is cut when the time is up."""
    listener, port = await started(large)
    async with Client(port, receive_buffer=4096) as client:
        await client.send(request("GET", "/"))
        _, _ = await client.begin()
        await asyncio.wait_for(listener.stop(), HANG_S)


async def test_addresses_of_both_kinds() -> None:
    """`localhost` is both loopback addresses, and a port in use is named with its address."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1 port {port}"):
            bind(Listen("localhost", port))
    sockets = bind(Listen("localhost", port))
    try:
        assert {sock.getsockname()[0] for sock in sockets} <= {"127.0.0.1", "::1"}
        assert {sock.getsockname()[1] for sock in sockets} == {port}
    finally:
        for sock in sockets:
            sock.close()


async def test_the_second_address_may_not_be_another_s(port_held_on_ipv6: int) -> None:
    """Programs that mean ::1 by `localhost` would send to whoever has it, with their prompts."""
    with pytest.raises(OSError, match=f"cannot listen on ::1 port {port_held_on_ipv6}") as refused:
        bind(Listen("localhost", port_held_on_ipv6))
    assert refused.value.errno == errno.EADDRINUSE
    for sock in bind(Listen("127.0.0.1", port_held_on_ipv6)):  # of the first one nothing was kept
        sock.close()


@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Slow: "])
async def test_a_first_head_that_never_ends(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a connection is closed; a drip of bytes does not keep it open."""
    monkeypatch.setattr(client, "FIRST_HEAD_S", 0.02)
    listener, port = await started(large)
    async with Client(port) as slow:
        await slow.send(sent)
        assert await slow.ended() == b""
    await asyncio.wait_for(listener.emptied(), HANG_S)
    await listener.stop()


async def test_an_idle_connection_is_closed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its last answer it is kept for `KEEP_ALIVE_S`, and no longer."""
    monkeypatch.setattr(listening, "KEEP_ALIVE_S", 0.02)

    async def small(connection: Any, transport: asyncio.Transport, head: Any, content: Any) -> bool:
        transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        return True

    # The first timer is the one for the head; the one after it is that for idling.
    monkeypatch.setattr(client, "FIRST_HEAD_S", 0.02)
    listener, port = await started(small)
    async with Client(port) as idle:
        await idle.send(request("GET", "/"))
        assert await idle.ended() == b"HTTP/1.1 204 No Content\r\n\r\n"
    await listener.stop()
