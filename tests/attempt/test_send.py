"""One attempt over real sockets: what is written, what is tried again, what ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from proxy.attempt.send import AT_ONCE_MAX, SLICE, compose
from proxy.config.schema import Seconds, Timeouts
from proxy.errors import (
    AnswerTimeout,
    BadAnswer,
    BadRequest,
    ConnectFailed,
    ConnectionLost,
    NoKey,
    UpstreamFault,
)
from proxy.exchange import Carrier, Endpoint, Format, Target
from proxy.upstream.egress import Egress
from proxy.wire.body import RequestBody
from tests.attempt.sending import BODY, OWN, Here, pieces, post, recording
from tests.scripted import Peer, Scripted, Seen, always, response, turns, within
from tests.upstream.support import limits, whole

# What is composed.


async def test_the_head_of_a_request(here: Callable[..., Here]) -> None:
    """Method, mapped path, query, the provider's Host, the client's lines, the length of the body that goes out."""
    root, head, body = compose(here(80).provider, Target("here", "o4"), post(query="a=%20"))
    assert head == (
        b"POST /v1/chat/completions?a=%20 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 31\r\n\r\n"
    )
    assert b"".join(body) == b'{"model": "o4", "messages": []}'
    assert root.where.origin == "http://127.0.0.1"


@pytest.mark.parametrize(
    ("body", "framing"),
    [
        (RequestBody(), b""),
        (RequestBody(length=0), b"Content-Length: 0\r\n"),
        (RequestBody(b"ab", length=2), b"Content-Length: 2\r\n"),
        (RequestBody(b"ab", rest=pieces(), length=9), b"Content-Length: 9\r\n"),
        (RequestBody(b"ab", rest=pieces()), b"Transfer-Encoding: chunked\r\n"),
    ],
    ids=["none", "empty", "held", "streamed with length", "streamed"],
)
async def test_how_a_body_is_delimited(body: RequestBody, framing: bytes, here: Callable[..., Here]) -> None:
    """As the client said it: no body is not an empty body."""
    _, head, _ = compose(here(80).provider, Target("here"), post(body))
    assert head.endswith(b"Content-Type: application/json\r\n" + framing + b"\r\n")


async def test_the_model_in_path_and_query(here: Callable[..., Here]) -> None:
    """Replaced where the endpoint carries it; an asked-for upgrade takes the place of the body's framing."""
    realtime = Endpoint("realtime", Format.OPENAI, Carrier.QUERY)
    request = post(RequestBody(), endpoint=realtime, method="GET", path="/v1/realtime", query="model=a&x=1")
    _, head, _ = compose(here(80).provider, Target("here", "b/c"), request, b"Upgrade: websocket\r\n")
    assert head.startswith(b"GET /v1/realtime?model=b%2Fc&x=1 HTTP/1.1\r\n")
    assert head.endswith(b"\r\nUpgrade: websocket\r\n\r\n")
    one = Endpoint("models.one", Format.OPENAI, Carrier.PATH)
    request = post(RequestBody(), endpoint=one, method="GET", path="/v1/models/a")
    _, head, _ = compose(here(80).provider, Target("here", "b"), request)
    assert head.startswith(b"GET /v1/models/b HTTP/1.1\r\n")


async def test_a_path_of_the_providers_own(here: Callable[..., Here]) -> None:
    """Nothing in it is mapped, and no model is replaced."""
    _, head, body = compose(here(80).provider, Target("here", "o4"), post(path="/api/v6/x", passthrough=True))
    assert head.startswith(b"POST /api/v6/x HTTP/1.1\r\n")
    assert b"".join(body) == BODY


async def test_no_key(here: Callable[..., Here]) -> None:
    """Nothing is dialled for a request that cannot be signed."""
    async with Scripted(always(response())) as server:
        with pytest.raises(NoKey, match="environment variable KEY is not set"):
            await here(server.port, keys=OWN).send(post())
        assert server.connections == 0


# Bodies.


@pytest.mark.parametrize("size", [0, 1, AT_ONCE_MAX, AT_ONCE_MAX + 1, SLICE, SLICE + 1, 3 * SLICE + 7])
@pytest.mark.parametrize("held_as", [bytes, bytearray])
async def test_bodies_of_every_size(size: int, held_as: Callable[[bytes], Any], here: Callable[..., Here]) -> None:
    """The provider gets the bytes that are held, whether they go in one write or in slices; so does a second one."""
    seen: list[Seen] = []
    data = bytes(range(256)) * (size // 256 + 1)
    body = RequestBody(held_as(data[:size]), length=size)
    async with Scripted(recording(seen, response(b"hello"))) as server:
        one = here(server.port)
        for _ in range(2):
            assert await one.ask(post(body)) == b"hello"
        assert [one.body for one in seen] == [data[:size]] * 2
        assert seen[0].all(b"content-length") == [b"%d" % size]
        assert server.connections == 1
        assert len(body.held) == size


@pytest.mark.parametrize("known", [True, False], ids=["with length", "chunked"])
async def test_a_body_that_still_comes_in(known: bool, here: Callable[..., Here]) -> None:
    """What is held goes first, then each piece as it comes; an empty piece is not the end."""
    seen: list[Seen] = []
    held = b'{"model":"gpt-5",' + b"a" * (SLICE + 10)
    body = RequestBody(held, rest=pieces(b"b" * 10, b"", b"c" * 100_000), length=len(held) + 100_010 if known else None)
    async with Scripted(recording(seen, response(b"hello"))) as server:
        one = here(server.port)
        assert await one.ask(post(body)) == b"hello"
        assert seen[0].body == held + b"b" * 10 + b"c" * 100_000
        assert bool(seen[0].all(b"transfer-encoding")) is not known
        assert bool(seen[0].all(b"content-length")) is known
        assert one.pool.idle == 1, "the upload was whole, so the connection goes on"


async def test_the_answer_comes_while_the_upload_goes_on(here: Callable[..., Here]) -> None:
    """Both go on side by side; `release` ends the upload when the answer has ended."""
    more = asyncio.Event()

    async def rest() -> AsyncIterator[bytes]:
        yield b"first"
        await more.wait()
        yield b"never wanted"

    async def script(peer: Peer) -> None:
        await peer.head()
        assert await peer.chunk() == b"held"
        assert await peer.chunk() == b"first"
        await peer.send(response(b"enough", status=b"413 Content Too Large"))
        assert b"never wanted" not in await peer.gone()

    async with Scripted(script) as server:
        one = here(server.port)
        sent = await one.send(post(RequestBody(b"held", rest=rest())))
        assert sent.upload is not None
        assert not sent.upload.done()
        assert (sent.answer.status, await whole(sent.answer)) == (413, b"enough")
        await within(sent.release())
        assert sent.upload.done()
        assert one.pool.idle == 0
        await within(sent.release())


async def test_the_clients_upload_breaks_off(here: Callable[..., Here]) -> None:
    """Its own fault is what is raised, without a provider's name; the provider's connection is closed."""
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()
        closed.set()

    async with Scripted(script) as server:
        body = RequestBody(b"held", rest=pieces(b"more", error=BadRequest("the upload broke off")))
        with pytest.raises(BadRequest, match=r"^the upload broke off$"):
            await here(server.port).send(post(body))
        await within(closed.wait())


async def test_cancelled_while_waiting(here: Callable[..., Here]) -> None:
    """A client that hangs up: the provider sees the end at once, and the upload's task is gone."""
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()
        closed.set()

    async with Scripted(script) as server:
        for body in (RequestBody(BODY, length=len(BODY)), RequestBody(b"a" * 20_000_000, length=20_000_000)):
            closed.clear()
            before = asyncio.all_tasks()
            sending = asyncio.ensure_future(here(server.port).send(post(body)))
            await server.accepted(1 if body.length == len(BODY) else 2)
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await within(closed.wait())
            await turns()
            leftover = {task for task in asyncio.all_tasks() - before if "_upload" in repr(task.get_coro())}
            assert leftover == set()


async def test_cancelled_in_the_turn_of_the_answer(here: Callable[..., Here]) -> None:
    """The answer had come, and its connection was another's already: that one's exchange is left alone."""
    async with Scripted(always(response(b"hello"))) as server:
        one = here(server.port)
        await one.ask(post())
        [kept] = one.pool._idle
        first = asyncio.ensure_future(one.send(post()))
        await turns(1)
        answer = kept._answer
        assert answer is not None, "the first request is under way"
        kept.data_received(response(b"first"))
        assert answer.complete
        second = one.pool.take()
        assert second is kept
        busy = second.begin(limits(), head_only=False, interim=None)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert second._answer is busy
        assert not second._closed
        second.abort()


# Faults.


async def test_a_server_that_speaks_first(here: Callable[..., Here]) -> None:
    """A base URL that leads to something else than HTTP is the provider's fault, not an error of ours."""

    async def banner(peer: Peer) -> None:
        await peer.send(b"220 mail.test ESMTP\r\n")
        await peer.gone()

    async with Scripted(banner) as server:
        with pytest.raises((BadAnswer, ConnectFailed, ConnectionLost)) as raised:
            await here(server.port).ask(post())
        assert isinstance(raised.value, UpstreamFault)
        assert raised.value.where is not None


@pytest.mark.parametrize("reset", [False, True])
async def test_a_server_that_closes_what_it_accepts(reset: bool, here: Callable[..., Here]) -> None:
    """An overloaded server may do that."""

    async def script(peer: Peer) -> None:
        if reset:
            peer.reset()
        else:
            peer.fin()

    async with Scripted(script) as server:
        with pytest.raises((ConnectFailed, ConnectionLost)) as raised:
            await here(server.port).ask(post())
        assert raised.value.where is not None


async def test_no_time_left_to_connect(here: Callable[..., Here]) -> None:
    """The connect timeout does not reach beyond the request's own end, and the error names what has ended."""
    timeouts = Timeouts(connect=Seconds(3), total=Seconds(0))
    async with Scripted(always(response())) as server:
        with pytest.raises(AnswerTimeout) as raised:
            await here(server.port).send(post(), timeouts=timeouts)
        assert raised.value.phase == "total"
        assert raised.value.where is not None


async def test_a_streamed_answer_that_does_not_come(here: Callable[..., Here]) -> None:
    """The head's timeout holds for it over sockets, too, and its connection is closed."""
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()
        closed.set()

    async with Scripted(script) as server:
        timeouts = Timeouts(head=Seconds(0.02))
        with pytest.raises(AnswerTimeout, match=r"provider 'here' .* no response head within 0.02 s \(timeouts.head\)"):
            await here(server.port).send(post(streamed=True), timeouts=timeouts)
        await within(closed.wait())


async def test_interim_responses_reach_the_client(here: Callable[..., Here]) -> None:
    """In order, before the answer."""
    got: list[int] = []

    def interim(status: int, reason: bytes, lines: list[tuple[bytes, bytes]]) -> None:
        got.append(status)

    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    async with Scripted(always(early, early, response(b"hello"))) as server:
        assert await here(server.port).ask(post(interim=interim)) == b"hello"
        assert got == [103, 103]


async def test_through_a_plain_proxy(here: Callable[..., Here]) -> None:
    """An http origin behind a proxy: absolute form, and the proxy's own credentials."""
    seen: list[Seen] = []
    async with Scripted(recording(seen, response(b"hello"))) as hop:
        way = Egress({"HTTP_PROXY": f"http://user:hunter2@127.0.0.1:{hop.port}"}).proxy_for("http", "api.test", 8080)
        assert await here(8080, proxy=way).ask(post()) == b"hello"
        assert seen[0].start == b"POST http://api.test:8080/v1/chat/completions HTTP/1.1"
        assert seen[0].all(b"host") == [b"api.test:8080"]
        assert seen[0].all(b"proxy-authorization") == [b"Basic dXNlcjpodW50ZXIy"]


async def test_head(here: Callable[..., Here]) -> None:
    """An answer to HEAD ends with its head, whatever its length says."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    async with Scripted(always(head)) as server:
        one = here(server.port)
        for _ in range(2):
            sent = await one.send(post(RequestBody(), method="HEAD", path="/v1/models"))
            assert (sent.answer.content_length, await whole(sent.answer)) == (5, b"")
