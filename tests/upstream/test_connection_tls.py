"""A connection in TLS over real sockets, on both event loops: nothing of what an answer is changes."""

from __future__ import annotations

import ssl

import pytest

from proxy.errors import AnswerCut, ConnectionLost
from proxy.upstream import tls as client_tls
from proxy.upstream.connection import Connection
from tests.scripted import Scripted, always, chunked, turns, within
from tests.upstream.answers import CHUNKED_HEAD, COMPLETE, Given
from tests.upstream.scripts import CUT, CUT_CHUNKED, CUT_STREAM, answering
from tests.upstream.support import Dialled, Kept, ask, whole


async def secure(dialled: Dialled, server: Scripted, ca_file: str) -> Connection:
    """A connection in TLS to a scripted server."""
    return await dialled(server.port, host="localhost", tls=client_tls.context(ca_file))


@pytest.mark.parametrize("case", COMPLETE, ids=str)
async def test_answers_in_tls(case: Given, dialled: Dialled, ca_file: str, server_tls: ssl.SSLContext) -> None:
    """TLS changes nothing of what an answer is."""
    async with Scripted(answering(case.raw, closes=case.closes), tls=server_tls) as server:
        connection = await secure(dialled, server, ca_file)
        answer = ask(connection, b"%b / HTTP/1.1\r\nHost: x\r\n\r\n" % (b"HEAD" if case.head_only else b"GET"))
        assert await whole(answer) == case.body
        assert (answer.status, answer.trailers) == (case.status, case.trailers)
        await turns()
        assert connection.usable is case.reusable


@pytest.mark.parametrize("raw", [b"", CUT, CUT_CHUNKED, CUT_STREAM], ids=["head", "length", "chunked", "stream"])
@pytest.mark.parametrize("reset", [False, True], ids=["close_notify", "reset"])
async def test_ends_before_the_end_in_tls(
    raw: bytes, reset: bool, dialled: Dialled, ca_file: str, server_tls: ssl.SSLContext
) -> None:
    """As without TLS, whether the end was announced or not."""
    async with Scripted(answering(raw, closes=not reset, reset=reset), tls=server_tls) as server:
        connection = await secure(dialled, server, ca_file)
        with pytest.raises((AnswerCut, ConnectionLost)):
            await whole(ask(connection))
        assert not connection.usable


async def test_pace_in_tls(dialled: Dialled, ca_file: str, server_tls: ssl.SSLContext) -> None:
    """A paused connection is not read; then everything comes, and the connection goes on."""
    body = b"0123456789" * 1_000_000
    async with Scripted(always(CHUNKED_HEAD + chunked([body])), tls=server_tls) as server:
        connection = await secure(dialled, server, ca_file)
        for _ in range(2):
            answer = ask(connection)
            await within(answer.ready())
            kept = Kept()
            kept.spans += answer.held
            answer.attach(kept)
            connection.pause()
            await turns(20)
            assert not answer.complete
            before = len(kept.body)
            await turns(100)
            assert len(kept.body) == before
            connection.resume()
            await within(kept.over.wait())
            assert kept.body == body
            assert connection.usable
