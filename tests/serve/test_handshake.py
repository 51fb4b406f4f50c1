"""Asking a provider to switch protocols, apart from the client's side of it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from proxy.exchange import Carrier, Endpoint, Format, Target
from proxy.serve.realtime import _Handshake
from proxy.upstream.connection import Connection
from proxy.wire.body import RequestBody
from tests.attempt.sending import Here, post
from tests.scripted import Scripted, always, response, within
from tests.upstream.support import TIMEOUTS, limits

REALTIME = Endpoint("realtime", Format.OPENAI, Carrier.QUERY)


async def test_cancelled_in_the_turn_of_a_refusal() -> None:
    """A provider that answers without switching gives its connection to the pool: who gives up just then leaves it alone."""
    async with Scripted(always(response(b"no"))) as server:
        one = Here(server.port)
        taken: list[Connection] = []
        busy: list[Any] = []
        request = post(RequestBody(), endpoint=REALTIME, method="GET", path="/v1/realtime", query="model=a")
        handshake = _Handshake(cast(asyncio.Transport, None))
        total_at = asyncio.get_running_loop().time() + TIMEOUTS.total

        def another_takes_it(connection: Connection) -> None:
            asking.cancel()
            taken.append(connection)
            busy.append(connection.begin(limits(), head_only=False, interim=None))

        one.pool._give_back = another_takes_it  # type: ignore[method-assign]
        asking = asyncio.ensure_future(
            handshake.send(one.provider, Target("here"), request, TIMEOUTS, total_at),
        )
        with pytest.raises(asyncio.CancelledError):
            await within(asking)
        [connection], [answer] = taken, busy
        assert connection._answer is answer
        assert not connection._closed
        connection.abort()
        one.pool.close()
