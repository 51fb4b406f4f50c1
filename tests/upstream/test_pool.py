"""Connections that wait for their next exchange: the last one first, none that is old, closed, or one too many."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import ConnectFailed
from proxy.upstream import pool as pool_module
from proxy.upstream.connection import Connection
from proxy.upstream.dial import Origin
from proxy.upstream.pool import AGE_MAX_S, IDLE_CONNECTIONS_MAX, IDLE_MAX_S, Pool
from tests.scripted import Peer, Scripted, always, response, turns, within
from tests.upstream.support import HandLoop, Wire, ask, limits, whole


class Still:
    """A pool on a clock that the test moves, with connections that lead nowhere."""

    def __init__(self, pool: Pool) -> None:
        self.loop = HandLoop()
        self.pool = pool
        self.pool._loop = self.loop  # type: ignore[assignment] # what a pool uses of it: the time

    def connection(self) -> tuple[Connection, Wire]:
        """One that is in its first exchange."""
        made = Connection(self.loop, self.pool._give_back)  # type: ignore[arg-type]
        wire = Wire()
        made.connection_made(wire)
        return made, wire

    def exchange(self, connection: Connection) -> None:
        """A whole exchange; the connection comes back to the pool."""
        connection.begin(limits(now=self.loop.now), head_only=False, interim=None)
        connection.sent()
        connection.data_received(response())

    def returned(self) -> tuple[Connection, Wire]:
        """One that has come back."""
        connection, wire = self.connection()
        self.exchange(connection)
        return connection, wire


@pytest.fixture
async def still() -> Still:
    """An empty pool."""
    return Still(Pool(Origin("http", "api.test", 80), None, None))


async def test_the_last_used_is_taken_first(still: Still) -> None:
    """So that those that are not needed grow old and go."""
    first, second, third = (still.returned()[0] for _ in range(3))
    assert still.pool.idle == 3
    assert [still.pool.take() for _ in range(4)] == [third, second, first, None]


async def test_a_taken_connection_is_nobody_elses(still: Still) -> None:
    """It comes back with the end of its exchange, and not before."""
    connection, _ = still.returned()
    assert still.pool.take() is connection
    assert still.pool.take() is None
    still.exchange(connection)
    assert still.pool.take() is connection


async def test_idle_for_too_long(still: Still) -> None:
    """A connection is closed before a load balancer would close it."""
    _, wire = still.returned()
    still.loop.advance(IDLE_MAX_S - 0.1)
    assert not wire.aborted
    still.loop.advance(0.2)
    assert wire.aborted
    assert still.pool.take() is None


async def test_too_old(still: Still) -> None:
    """However busy, a connection is not reused beyond its age, so that a provider's new address is taken up."""
    connection, wire = still.returned()
    while still.loop.now + 40 < connection.born_at + AGE_MAX_S:
        still.loop.advance(40)
        assert still.pool.take() is connection
        still.exchange(connection)
    assert not wire.aborted
    still.loop.advance(connection.born_at + AGE_MAX_S - still.loop.now + 0.1)
    assert wire.aborted, "it does not wait for its whole idle time"
    assert still.pool.take() is None

    connection, wire = still.connection()
    connection.begin(limits(now=still.loop.now), head_only=False, interim=None)
    connection.sent()
    still.loop.advance(AGE_MAX_S + 1)
    connection.data_received(response())
    assert wire.aborted, "an exchange that took it beyond its age was its last"


async def test_closed_from_the_other_side(still: Still) -> None:
    """Those are never handed out, wherever they lie."""
    connections = [still.returned() for _ in range(4)]
    for closed in (0, 2, 3):
        connections[closed][0].connection_lost(None)
    assert still.pool.take() is connections[1][0]
    assert still.pool.take() is None


async def test_no_more_than_so_many(still: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one too many is closed; those that were closed meanwhile make room."""
    monkeypatch.setattr(pool_module, "IDLE_CONNECTIONS_MAX", 3)
    kept = [still.returned() for _ in range(3)]
    _, wire = still.returned()
    assert wire.aborted
    assert still.pool.idle == 3
    assert IDLE_CONNECTIONS_MAX > 3
    kept[0][0].connection_lost(None)
    late, wire = still.returned()
    assert not wire.aborted
    assert still.pool.take() is late


async def test_a_closed_pool(still: Still) -> None:
    """What is idle is closed, and what comes back later, too."""
    busy, busy_wire = still.connection()
    _, wire = still.returned()
    still.pool.close()
    assert wire.aborted
    assert not busy_wire.aborted
    still.exchange(busy)
    assert busy_wire.aborted
    assert still.pool.take() is None
    assert still.loop.pending == []


async def test_over_sockets() -> None:
    """One connection serves requests in a row; two at a time take two."""
    async with Scripted(always(response(b"hello"))) as server:
        pool = Pool(Origin("http", "127.0.0.1", server.port), None, None)
        first = await within(pool.connect(20))
        assert await whole(ask(first)) == b"hello"
        assert pool.take() is first
        second = await within(pool.connect(20))
        answers = ask(first), ask(second)
        assert [await whole(answer) for answer in answers] == [b"hello", b"hello"]
        assert pool.idle == 2
        assert server.connections == 2
        assert repr(pool) == f"<Pool http://127.0.0.1:{server.port}, 2 idle>"
        pool.close()
        await turns()


async def test_a_server_that_closes_what_is_idle() -> None:
    """`take` finds nothing to hand out."""

    async def once(peer: Peer) -> None:
        await peer.request()
        await peer.send(response())
        peer.fin()

    async with Scripted(once) as server:
        pool = Pool(Origin("http", "127.0.0.1", server.port), None, None)
        connection = await within(pool.connect(20))
        await whole(ask(connection))
        async with asyncio.timeout(20):
            while connection.usable:
                await turns(1)
        assert pool.take() is None


async def test_a_connection_that_does_not_come_about() -> None:
    """The pool holds nothing of it."""

    pool = Pool(Origin("http", "127.0.0.1", 1), None, None)
    with pytest.raises(ConnectFailed):
        await within(pool.connect(20))
    assert pool.idle == 0
