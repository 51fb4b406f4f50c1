"""A client that hangs up, in every phase: the provider's connection closes at once, and nobody is blamed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.harness import Client, Exchange, Fusebox, Upstream, chat, ok, request

HANGING_UP: dict[str, Callable[[Client], None]] = {"FIN": Client.close, "RST": Client.reset}

LONG = "/v1/files"


@pytest.fixture(params=list(HANGING_UP))
def hang_up(request: pytest.FixtureRequest) -> Callable[[Client], None]:
    """One way to hang up."""
    return HANGING_UP[str(request.param)]


async def assert_gone(
    fusebox: Fusebox, exchange: Exchange, identity: str, since: float, record: Callable[[str, object], None]
) -> None:
    """The provider's connection has closed; the log says 499. How long it took goes into the test report."""
    await exchange.hung_up()
    record("upstream_closed_after_ms", round((time.perf_counter() - since) * 1000, 2))
    line = await fusebox.line(event="request", request_id=identity)
    assert (line["status"], line["error_code"]) == (499, "client_closed_request")


async def test_before_the_body_is_complete(
    fusebox: Fusebox, upstream: Upstream, hang_up: Callable[[Client], None]
) -> None:
    """The provider never hears of a request that was not finished, and the log says who ended it."""
    before = upstream.requests
    async with Client(fusebox.port) as client:
        await client.send(
            chat(headers=[("x-fusebox-request-id", "half-" + hang_up.__name__), ("Expect", "100-continue")])[:-5]
        )
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")  # the request is under way
        hang_up(client)
    line = await fusebox.line(event="request", request_id="half-" + hang_up.__name__)
    assert line["status"] == 499
    assert upstream.requests == before


async def test_during_the_wait_for_the_head(
    fusebox: Fusebox,
    upstream: Upstream,
    hang_up: Callable[[Client], None],
    record_property: Callable[[str, object], None],
) -> None:
    """The provider is still thinking: its connection closes and it may stop."""
    async with Client(fusebox.port) as client:
        identity = f"head-{hang_up.__name__}"
        await client.send(chat(headers=[("x-fusebox-request-id", identity)]))
        exchange = await upstream.next()
        await exchange.body.rest()
        since = time.perf_counter()
        hang_up(client)
        await assert_gone(fusebox, exchange, identity, since, record_property)


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n", b"\r\ndata: x\n\n"])
async def test_in_the_middle_of_a_stream(
    fusebox: Fusebox,
    upstream: Upstream,
    hang_up: Callable[[Client], None],
    framing: bytes,
    record_property: Callable[[str, object], None],
) -> None:
    """The provider is told by the close; it need not send anything first."""
    async with Client(fusebox.port) as client:
        identity = f"stream-{hang_up.__name__}-{len(framing)}"
        await client.send(chat(stream=True, headers=[("x-fusebox-request-id", identity)]))
        exchange = await upstream.next()
        await exchange.body.rest()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing)
        _, body = await client.begin()
        assert await body.take(9) == b"data: x\n\n"
        since = time.perf_counter()
        hang_up(client)
        await assert_gone(fusebox, exchange, identity, since, record_property)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
async def test_during_an_upload(
    fusebox: Fusebox,
    upstream: Upstream,
    hang_up: Callable[[Client], None],
    chunked: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """A half upload is never made to look whole: the provider sees the connection close before the body's end."""
    async with Client(fusebox.port) as client:
        identity = f"upload-{hang_up.__name__}-{chunked}"
        headers = [("x-fusebox-request-id", identity), ("Content-Type", "audio/wav")]
        part = b"u" * 200_000
        if chunked:
            await client.send(request("POST", LONG, b"", [*headers, ("Transfer-Encoding", "chunked")]))
            await client.send(b"%x\r\n%b\r\n" % (len(part), part))
        else:
            await client.send(
                request("POST", LONG, b"", [*headers, ("Content-Length", "900000")]).replace(
                    b"Content-Length: 0\r\n", b""
                )
                + part
            )
        exchange = await upstream.next()
        assert await exchange.body.take(len(part)) == part
        since = time.perf_counter()
        hang_up(client)
        assert await exchange.hung_up() == b""
        record_property("upstream_closed_after_ms", round((time.perf_counter() - since) * 1000, 2))
    line = await fusebox.line(event="request", request_id=identity)
    assert line["status"] == 499


async def test_with_an_answer_and_an_upload_under_way(fusebox: Fusebox, upstream: Upstream) -> None:
    """Both directions at once: both end."""
    async with Client(fusebox.port) as client:
        headers = [("Content-Type", "audio/wav"), ("Transfer-Encoding", "chunked")]
        await client.send(request("POST", LONG, b"%x\r\n%b\r\n" % (70_000, b"u" * 70_000), headers))
        exchange = await upstream.next()
        await exchange.body.take(70_000)
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        head, body = await client.begin()
        assert await body.take(1) == b"a"
        client.close()
        await exchange.hung_up()
    assert (await fusebox.request_line(head))["status"] == 499


async def test_the_next_request_does_not_notice(fusebox: Fusebox, upstream: Upstream) -> None:
    """Twenty clients leave in a row; the provider answers the next one as if nothing had been."""
    for _ in range(20):
        async with Client(fusebox.port) as client:
            await client.send(chat())
            exchange = await upstream.next()
            client.reset()
            await exchange.hung_up()
    async with Client(fusebox.port) as client:
        await client.send(chat())
        await (await upstream.next()).answer(ok())
        assert (await client.response()).status == 200


async def test_a_queue_of_clients_that_leave_together(fusebox: Fusebox, upstream: Upstream) -> None:
    """A hundred waiting clients vanish at once: each of their connections to the provider closes."""
    clients = [Client(fusebox.port) for _ in range(100)]
    for client in clients:
        await client.__aenter__()
        await client.send(chat())
    exchanges = [await upstream.next() for _ in clients]
    for client in clients:
        client.reset()
    await asyncio.gather(*(exchange.hung_up() for exchange in exchanges))
    assert all(exchange.reader.at_eof() or exchange.reader.exception() for exchange in exchanges)
