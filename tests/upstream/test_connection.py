"""A connection over real sockets, on both event loops: answers, ends, reuse, and pace."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import AnswerCut, BadAnswer, BadRequest, ConnectionLost
from tests.scripted import Peer, Scripted, always, response, turns, within
from tests.upstream.answers import BROKEN, CHUNKED_HEAD, COMPLETE, HEAD_OK, Bad, Given
from tests.upstream.scripts import CUT, CUT_CHUNKED, CUT_STREAM, answering
from tests.upstream.support import Dialled, Kept, ask, limits, whole


@pytest.mark.parametrize("case", COMPLETE, ids=str)
async def test_answers_over_a_socket(case: Given, dialled: Dialled) -> None:
    """The same as from bytes alone."""
    async with Scripted(answering(case.raw, closes=case.closes)) as server:
        connection = await dialled(server.port)
        answer = ask(connection, b"%b / HTTP/1.1\r\nHost: x\r\n\r\n" % (b"HEAD" if case.head_only else b"GET"))
        assert await whole(answer) == case.body
        assert (answer.status, answer.reason, answer.trailers) == (case.status, case.reason, case.trailers)
        await turns()
        assert connection.usable is case.reusable
        assert dialled.idle == ([connection] if case.reusable else [])


@pytest.mark.parametrize("case", [case for case in COMPLETE if len(case.raw) < 150], ids=str)
async def test_answers_a_byte_at_a_time(case: Given, dialled: Dialled) -> None:
    """A server that sends a byte per segment says the same, in TLS too, where each is a record."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*(case.raw[at : at + 1] for at in range(len(case.raw))))
        if case.closes:
            peer.fin()

    async with Scripted(script) as server:
        connection = await dialled(server.port)
        answer = ask(connection, b"%b / HTTP/1.1\r\nHost: x\r\n\r\n" % (b"HEAD" if case.head_only else b"GET"))
        assert await whole(answer) == case.body
        assert answer.status == case.status


@pytest.mark.parametrize("case", BROKEN, ids=str)
async def test_bytes_that_are_no_answer(case: Bad, dialled: Dialled) -> None:
    """The fault is raised and the socket is closed at once: the server sees its end."""
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        try:
            await peer.send(case.raw)
        except ConnectionError:
            pass  # closed before it could take all
        await peer.gone()
        closed.set()

    async with Scripted(script) as server:
        connection = await dialled(server.port)
        with pytest.raises(case.fault, match=case.says):
            await whole(ask(connection))
        await within(closed.wait())
        assert not connection.usable


@pytest.mark.parametrize(
    ("raw", "reset", "fault"),
    [
        (b"", False, ConnectionLost),
        (b"", True, ConnectionLost),
        (b"HTTP/1.1 200 OK\r\nContent-", False, ConnectionLost),
        (CUT, False, AnswerCut),
        (CUT, True, AnswerCut),
        (CUT_CHUNKED, False, AnswerCut),
        (CUT_CHUNKED, True, AnswerCut),
        (CUT_STREAM, False, AnswerCut),
        (CUT_STREAM, True, AnswerCut),
        (HEAD_OK + b"\r\nhello", True, AnswerCut),
    ],
)
async def test_ends_before_the_end(raw: bytes, reset: bool, fault: type[Exception], dialled: Dialled) -> None:
    """FIN or RST in the middle is never an end; what came before it was handed on."""
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if raw:
            await peer.send(raw)
        if raw.startswith(HEAD_OK) and b"\r\n\r\n" in raw:
            await within(seen.wait())  # a RST destroys what has not been read yet
        if reset:
            peer.reset()
        else:
            peer.fin()

    async with Scripted(script) as server:
        connection = await dialled(server.port)
        answer = ask(connection)
        if fault is ConnectionLost:
            with pytest.raises(ConnectionLost) as lost:
                await whole(answer)
            assert not lost.value.reused
            return
        await within(answer.ready())
        kept = Kept()
        answer.attach(kept)
        assert b"".join(answer.held) == raw.partition(b"\r\n\r\n")[2] or raw == CUT_CHUNKED
        seen.set()
        await within(kept.over.wait())
        assert isinstance(kept.fault, fault)
        assert not answer.complete


async def test_one_connection_for_many_exchanges(dialled: Dialled) -> None:
    """Keep-alive: the server sees one connection."""
    async with Scripted(always(response(b"hello"))) as server:
        connection = await dialled(server.port)
        for number in range(5):
            assert await whole(ask(connection)) == b"hello"
            assert len(dialled.idle) == number + 1
        assert server.connections == 1
        assert connection.exchanges == 5


async def test_bytes_on_an_idle_connection(dialled: Dialled) -> None:
    """A farewell nobody asked for ends the connection: the next answer could not be told from it."""
    farewell = asyncio.Event()
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response(b"hello"))
        await within(farewell.wait())
        await peer.send(response(b"", status=b"408 Request Timeout"))
        await peer.gone()
        closed.set()

    async with Scripted(script) as server:
        connection = await dialled(server.port)
        assert await whole(ask(connection)) == b"hello"
        assert connection.usable
        farewell.set()
        await within(closed.wait())
        assert not connection.usable


@pytest.mark.parametrize("reset", [False, True])
async def test_an_idle_connection_that_is_closed(reset: bool, dialled: Dialled) -> None:
    """It is not usable once the loop has seen the end."""
    close = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response())
        await within(close.wait())
        if reset:
            peer.reset()
        else:
            peer.fin()

    async with Scripted(script) as server:
        connection = await dialled(server.port)
        await whole(ask(connection))
        assert connection.usable
        close.set()
        async with asyncio.timeout(20):
            while connection.usable:
                await turns(1)  # nothing is told of an idle connection's end
        await turns()
        assert "closed" in repr(connection)


async def test_early_answer_during_an_upload(dialled: Dialled) -> None:
    """The answer is whole; the writer is told that no more is wanted, and the connection is closed."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(response(b"too large", b"Connection: close", status=b"413 Content Too Large"))
        await peer.gone()

    async with Scripted(script, small_window=True) as server:
        connection = await dialled(server.port)
        answer = connection.begin(limits(), head_only=False, interim=None)
        connection.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        while await within(connection.flush()):
            connection.write(b"a" * 100_000)
            await turns(1)
        assert (answer.status, answer.complete, await whole(answer)) == (413, True, b"too large")
        assert not connection.usable
        connection.write(b"nothing comes of this")


async def test_an_early_answer_that_ends_with_its_side(dialled: Dialled) -> None:
    """A server that has said all, and closes its side while it does not read: the end counts when it comes."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(HEAD_OK + b"\r\nno more, please")
        peer.half_close()
        await asyncio.Event().wait()  # it never reads the rest

    async with Scripted(script, small_window=True) as server:
        connection = await dialled(server.port)
        answer = connection.begin(limits(), head_only=False, interim=None)
        connection.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        connection.write(b"a" * 10_000_000)
        assert await whole(answer) == b"no more, please"


async def test_answer_and_upload_side_by_side(dialled: Dialled) -> None:
    """An answer that begins early does not end the upload."""

    async def script(peer: Peer) -> None:
        seen = await peer.head()
        await peer.send(CHUNKED_HEAD + b"5\r\nbegun\r\n")
        body = await peer.read(int(seen.all(b"content-length")[0]))
        await peer.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    async with Scripted(script) as server:
        connection = await dialled(server.port)
        answer = connection.begin(limits(), head_only=False, interim=None)
        connection.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n")
        await within(answer.ready())
        assert answer.held == [b"begun"]
        connection.write(b"foobar")
        connection.sent()
        assert await whole(answer) == b"begunfoobar"
        assert connection.usable


async def test_writing_waits_for_a_server_that_does_not_read(dialled: Dialled) -> None:
    """`flush` returns when the transport takes more, and what is held meanwhile does not grow."""
    read_on = asyncio.Event()
    size = 4_000_000

    async def script(peer: Peer) -> None:
        await peer.head()
        await within(read_on.wait())
        body = await peer.read(size)
        await peer.send(response(b"%d" % body.count(b"a")))

    async with Scripted(script, small_window=True) as server:
        connection = await dialled(server.port)
        answer = connection.begin(limits(), head_only=False, interim=None)
        connection.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        written = 0

        async def upload() -> None:
            nonlocal written
            while written < size:
                connection.write(b"a" * 50_000)
                written += 50_000
                assert await connection.flush()
            connection.sent()

        task = asyncio.ensure_future(upload())
        before = -1
        while before != written:
            before = written
            await turns(50)
        assert written < size, "more than any buffer between the two was written"
        assert not task.done()
        read_on.set()
        await within(task)
        assert await whole(answer) == b"%d" % size


async def test_a_paused_connection_is_not_read(dialled: Dialled) -> None:
    """The server's writes fill the buffers between the two, and wait there; later all of it comes."""
    body = b"0123456789" * 1_000_000
    stopped: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response(body))

    async with Scripted(script) as server:
        connection = await dialled(server.port)
        answer = ask(connection)
        await within(answer.ready())
        kept = Kept()
        kept.spans += answer.held
        answer.attach(kept)
        connection.pause()
        await turns(5)
        stopped.append(len(kept.body))
        await turns(100)
        stopped.append(len(kept.body))
        assert stopped[0] == stopped[1] < len(body)
        connection.resume()
        await within(kept.over.wait())
        assert kept.body == body
        assert connection.usable


@pytest.mark.parametrize("reset", [False, True])
async def test_a_server_that_goes_while_the_upload_waits(reset: bool, dialled: Dialled) -> None:
    """The one who writes is woken, and told that no more is wanted."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await within(go.wait())
        if reset:
            peer.reset()
        else:
            peer.fin()

    async with Scripted(script, small_window=True) as server:
        connection = await dialled(server.port)
        answer = connection.begin(limits(), head_only=False, interim=None)
        connection.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"a" * 20_000_000)
        flushing = asyncio.ensure_future(connection.flush())
        await turns()
        assert not flushing.done()
        go.set()
        assert await within(flushing) is False
        with pytest.raises(ConnectionLost):
            await whole(answer)


async def test_an_abort_is_seen_by_the_server(dialled: Dialled) -> None:
    """The socket closes at once, even with unsent bytes of the request; the answer hears no more."""
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()
        closed.set()

    async with Scripted(script) as server:
        connection = await dialled(server.port)
        answer = ask(connection)
        connection.abort()
        connection.abort()
        await within(closed.wait())
        assert (answer.fault, answer.complete) == (None, False)


async def test_a_fault_of_the_clients_side(dialled: Dialled) -> None:
    """It is what the answer hears, and the server loses its connection."""
    async with Scripted(lambda peer: _until_gone(peer)) as server:
        connection = await dialled(server.port)
        answer = ask(connection)
        connection.fail(BadRequest("the upload broke off"))
        with pytest.raises(BadRequest, match="broke off"):
            await whole(answer)
        assert not connection.usable


async def _until_gone(peer: Peer) -> None:
    await peer.gone()


async def test_a_switch_of_protocols(dialled: Dialled) -> None:
    """The transport goes to the new protocol, with the bytes behind the head; the connection is out of it."""

    class Echo(asyncio.Protocol):
        """What takes the transport over."""

        def __init__(self) -> None:
            self.got = bytearray()
            self.lost = asyncio.Event()

        def data_received(self, data: bytes) -> None:
            self.got += data

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set()

    async def script(peer: Peer) -> None:
        await peer.head()
        head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        await peer.send(head + b"early")
        assert await peer.read(4) == b"ping"
        await peer.send(b", late")
        peer.fin()

    async with Scripted(script) as server:
        connection = await dialled(server.port)
        echo = Echo()
        behind: list[bytes] = []
        transports: list[asyncio.Transport] = []

        def switch(transport: asyncio.Transport, early: bytes) -> Echo:
            behind.append(early)
            transports.append(transport)
            return echo

        answer = connection.begin(limits(streamed=True), head_only=False, interim=None)
        connection.on_upgrade(switch)
        connection.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        connection.sent()
        await within(answer.ready())
        assert (answer.status, answer.complete, behind) == (101, True, [b"early"])
        assert not connection.usable
        connection.abort()
        assert not transports[0].is_closing(), "the transport is not the connection's any more"
        transports[0].write(b"ping")
        await within(echo.lost.wait())
        assert echo.got == b", late"


async def test_a_refused_switch_is_forgotten(dialled: Dialled) -> None:
    """The answer is an ordinary one; a later 101 on the same connection was not asked for."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(response(b"no", status=b"403 Forbidden"))
        await peer.head()
        await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")

    def never(transport: asyncio.Transport, early: bytes) -> asyncio.Protocol:
        raise AssertionError("nobody asked")

    async with Scripted(script) as server:
        connection = await dialled(server.port)
        answer = connection.begin(limits(), head_only=False, interim=None)
        connection.on_upgrade(never)
        connection.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        connection.sent()
        assert (await whole(answer), answer.status) == (b"no", 403)
        with pytest.raises(BadAnswer, match="not asked to"):
            await whole(ask(connection))
