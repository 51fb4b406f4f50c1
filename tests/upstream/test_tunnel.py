"""A tunnel: bytes both ways in order, each side at the other's pace, until either ends."""

from __future__ import annotations

import asyncio

import pytest

from proxy.upstream.tunnel import Far, Tunnel
from tests.scripted import Peer, Scripted, turns, within
from tests.upstream.support import Wire

HEAD = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


class Closing(Wire):
    """A wire that says when it was closed in good order."""

    def close(self) -> None:
        self.aborted = True


async def opened() -> tuple[Tunnel, Far, Closing, Closing]:
    """A tunnel that is open, its far end, the client's wire and the provider's."""
    client, far = Closing(), Closing()
    tunnel = Tunnel(client)
    end = tunnel.switch(far, b"")
    tunnel.open(HEAD)
    return tunnel, end, client, far


async def test_bytes_both_ways() -> None:
    """As they come; both directions are counted."""
    tunnel, end, client, far = await opened()
    end.data_received(b"one")
    assert tunnel.feed_data(b"ping") == (False, b"")
    end.data_received(b"two")
    assert client.written == [HEAD, b"one", b"two"]
    assert far.written == [b"ping"]
    assert (tunnel.bytes_in, tunnel.bytes_out) == (4, 6)


async def test_bytes_that_come_before_the_client_is_told() -> None:
    """They wait for the head of the switch, and come behind it in order."""
    client, far = Closing(), Closing()
    tunnel = Tunnel(client)
    end = tunnel.switch(far, b"behind the head, ")
    end.data_received(b"in the next read")
    assert client.written == []
    tunnel.open(HEAD)
    end.data_received(b", later")
    assert b"".join(client.written) == HEAD + b"behind the head, in the next read, later"
    assert tunnel.bytes_out == len(b"behind the head, in the next read, later")


async def test_a_provider_that_goes_before_the_client_is_told() -> None:
    """What it had said still arrives, then the tunnel ends."""
    client, far = Closing(), Closing()
    tunnel = Tunnel(client)
    end = tunnel.switch(far, b"goodbye")
    end.connection_lost(None)
    assert not client.is_closing()
    tunnel.open(HEAD)
    assert client.written == [HEAD + b"goodbye"]
    assert client.is_closing()
    await within(tunnel.ended())


async def test_each_side_waits_for_the_other() -> None:
    """Who does not take bytes stops the other's reading."""
    tunnel, end, client, far = await opened()
    tunnel.pause()
    assert (far.reading, client.reading) == (False, True)
    tunnel.resume()
    assert far.reading
    end.pause_writing()
    assert (far.reading, client.reading) == (True, False)
    end.resume_writing()
    assert client.reading


async def test_the_client_ends_it() -> None:
    """The provider's side is closed, and whoever waits for the end is told."""
    tunnel, _, client, far = await opened()
    waiting = asyncio.ensure_future(tunnel.ended())
    await turns(2)
    assert not waiting.done()
    tunnel.feed_eof()
    await within(waiting)
    assert far.is_closing()
    assert client.is_closing()


@pytest.mark.parametrize("error", [None, ConnectionResetError("reset")])
async def test_the_provider_ends_it(error: Exception | None) -> None:
    """The client's side is closed; what still comes and goes is dropped without harm."""
    tunnel, end, client, far = await opened()
    end.connection_lost(error)
    await within(tunnel.ended())
    assert client.is_closing()
    before = (list(client.written), list(far.written))
    far.aborted = True
    end.data_received(b"late")
    tunnel.feed_data(b"late")
    tunnel.pause()
    tunnel.resume()
    end.pause_writing()
    tunnel.close()
    assert (client.written, far.written) == before


async def test_over_sockets() -> None:
    """Much more than any buffer, both ways at once, and the end after the last byte."""
    size = 3_000_000
    out, back = b"o" * size, b"b" * size

    class Client(asyncio.Protocol):
        """The client's end, which feeds the tunnel."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
            self.tunnel = Tunnel(transport)  # type: ignore[arg-type]
            accepted.set_result(self)

        def data_received(self, data: bytes) -> None:
            self.tunnel.feed_data(data)

        def pause_writing(self) -> None:
            self.tunnel.pause()

        def resume_writing(self) -> None:
            self.tunnel.resume()

        def connection_lost(self, exc: Exception | None) -> None:
            self.tunnel.feed_eof()

    async def far(peer: Peer) -> None:
        sending = asyncio.ensure_future(peer.send(back))
        assert await peer.read(size) == out
        await sending
        peer.fin()

    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Client] = loop.create_future()
    front = await loop.create_server(Client, "127.0.0.1", 0)
    async with Scripted(far, small_window=True) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.sockets[0].getsockname()[1])
        client = await within(accepted)
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", server.port)
        transport.set_protocol(client.tunnel.switch(transport, b""))
        client.tunnel.open(HEAD)
        writer.write(out)
        assert await within(reader.readexactly(len(HEAD))) == HEAD
        assert await within(reader.read(-1)) == back
        await within(client.tunnel.ended())
        assert (client.tunnel.bytes_in, client.tunnel.bytes_out) == (size, size)
        writer.close()
    front.close()
    await front.wait_closed()
    await turns()
