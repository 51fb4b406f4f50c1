"""A kept-alive connection that turns out to be closed: the request goes once more, where that is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.attempt.send import AT_ONCE_MAX
from proxy.errors import (
    ConnectionLost,
)
from proxy.wire.body import RequestBody
from tests.attempt.sending import Here, pieces, post
from tests.scripted import Peer, Scripted, response, turns
from tests.upstream.support import whole


def closing_after(first: int, *, how: str, later: bytes = response(b"again")) -> Callable[[Peer], Any]:
    """A script: the first connection answers `first` requests, and dies on the next one; the others answer all."""

    async def script(peer: Peer) -> None:
        try:
            answered = 0
            while True:
                if peer.number == 1 and answered == first:
                    await peer.head()
                    if how == "some bytes":
                        await peer.send(b"HTTP/1.1 200")
                    if how == "reset":
                        peer.reset()
                    else:
                        peer.fin()
                    return
                await peer.request()
                await peer.send(response(b"hello") if peer.number == 1 else later)
                answered += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the proxy has gone

    return script


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("size", [100, AT_ONCE_MAX * 4])
async def test_a_stale_connection(how: str, size: int, here: Callable[..., Here]) -> None:
    """Closed under the request: it goes once more, over a fresh connection, and nobody hears of it."""
    data = b"a" * size
    async with Scripted(closing_after(1, how=how)) as server:
        one = here(server.port)
        assert await one.ask(post()) == b"hello"
        sent = await one.send(post(RequestBody(data, length=size)))
        assert await whole(sent.answer) == b"again"
        assert not sent.reused
        assert server.connections == 2
        assert one.pool.idle == 1


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_stale_connection_closed_before_the_request(how: str, here: Callable[..., Here]) -> None:
    """Whether the loop has seen the end already or not."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response(b"%d" % peer.number))
        if peer.number == 1:
            if how == "reset":
                peer.reset()
            else:
                peer.fin()
        else:
            await peer.gone()

    for rounds in (0, 1, 10):
        async with Scripted(script) as server:
            one = here(server.port)
            assert await one.ask(post()) == b"1"
            await turns(rounds)
            assert await one.ask(post()) == b"2"
            assert server.connections == 2


async def test_a_stale_connection_that_had_begun_to_answer(here: Callable[..., Here]) -> None:
    """Then the provider has seen the request: it is not sent again behind the client's back."""
    async with Scripted(closing_after(1, how="some bytes")) as server:
        one = here(server.port)
        await one.ask(post())
        with pytest.raises(ConnectionLost) as raised:
            await one.ask(post())
        assert not raised.value.reused
        assert raised.value.where is not None
        assert server.connections == 1


async def test_a_body_that_cannot_be_sent_again(here: Callable[..., Here]) -> None:
    """It is not risked on a kept-alive socket, which the provider may be closing just now: it gets a fresh one."""
    async with Scripted(closing_after(1, how="fin")) as server:
        one = here(server.port)
        await one.ask(post())
        assert await one.ask(post(RequestBody(b"held", rest=pieces(b"more")))) == b"again"
        assert server.connections == 2


async def test_a_fresh_connection_that_is_closed(here: Callable[..., Here]) -> None:
    """That is the provider's failure, and tried no second time here."""
    async with Scripted(closing_after(0, how="fin")) as server:
        with pytest.raises(ConnectionLost, match=r"provider 'here' \(http://127.0.0.1:\d+\): it closed") as raised:
            await here(server.port).ask(post())
        assert not raised.value.reused
        assert raised.value.received
        assert server.connections == 1


async def test_stale_twice(here: Callable[..., Here]) -> None:
    """The fresh connection's failure counts: there is no third try."""

    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await peer.request()
            await peer.send(response(b"hello"))
        await peer.head()
        peer.fin()

    async with Scripted(script) as server:
        one = here(server.port)
        await one.ask(post())
        with pytest.raises(ConnectionLost) as raised:
            await one.ask(post())
        assert not raised.value.reused
        assert server.connections == 2
