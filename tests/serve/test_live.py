"""Bytes go on in the turn in which they came: the client sees each event before the provider sends the next."""

from __future__ import annotations

import pytest

from tests.harness import Body, Client, Exchange, Head, Upstream, chat

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"

EVENTS = [
    b': a comment\n\ndata: {"choices": [{"delta": {"content": "a"}}]}\n\n',
    b"event: unknown\nid: 7\nretry: 10\ndata: two\ndata: lines\n\n",
    b": ping\n\n",
    b"data:\r\n\r\n",
    b'\xef\xbb\xbfdata: "\xc3\xa9\xf0\x9f\x98\x80"\r\r',
    b"field without a colon\n\n",
    b"data: [DONE]",
]
"""A stream with all that the standard allows, and no line end at its end."""


async def opened(client: Client, upstream: Upstream) -> Exchange:
    """A streamed request under way, its body read."""
    await client.send(chat(stream=True))
    exchange = await upstream.next()
    await exchange.body.rest()
    return exchange


async def first_event(client: Client, exchange: Exchange, framing: bytes, first: bytes) -> tuple[Head, Body]:
    """Send the head and the first event; what the client has of it."""
    await exchange.send(STREAM + framing + first)
    return await client.begin()


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until close"])
async def test_each_event_arrives_before_the_next_is_sent(client: Client, upstream: Upstream, chunked: bool) -> None:
    """The provider waits for the test, and the test for the client: a byte held back anywhere would hang."""
    exchange = await opened(client, upstream)
    framing = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"\r\n"
    await exchange.send(STREAM + framing)
    body: Body | None = None
    for event in EVENTS:
        await exchange.send(chunk(event) if chunked else event)
        if body is None:
            head, body = await client.begin()
            assert head.one("content-type") == b"text/event-stream; charset=utf-8"
        assert await body.take(len(event)) == event
    assert body is not None
    if chunked:
        await exchange.send(b"0\r\n\r\n")
        exchange.finish()
    else:
        exchange.close()
    assert await body.rest() == b""


async def test_a_comment_waits_for_the_first_event_and_goes_first(client: Client, upstream: Upstream) -> None:
    """Until the first data event the head is held back, so that a fallback is possible; nothing is lost by it."""
    exchange = await opened(client, upstream)
    await exchange.send(STREAM + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b": one\n\n") + chunk(b": two\n\nda"))
    await exchange.send(chunk(b"ta: x\n\n"))
    _, body = await client.begin()
    assert await body.take(21) == b": one\n\n: two\n\ndata: x"
    await exchange.send(b"0\r\n\r\n")
    exchange.finish()
    assert await body.rest() == b"\n\n"


async def test_a_stream_written_byte_by_byte(client: Client, upstream: Upstream) -> None:
    """From the first event on every single byte is passed on before the next one is sent; so is the clean end."""
    exchange = await opened(client, upstream)
    _, body = await first_event(client, exchange, b"\r\n", EVENTS[0])
    assert await body.take(len(EVENTS[0])) == EVENTS[0]
    for byte in b"".join(EVENTS[1:]) + b"\n\n":
        await exchange.send(bytes([byte]))
        assert await body.take(1) == bytes([byte])
    exchange.close()
    assert await body.rest() == b""


async def test_a_stream_cut_anywhere_into_two_reads(client: Client, upstream: Upstream) -> None:
    """Every cut of a stream behind its first event, each half seen by the client before the other is sent."""
    first, rest = EVENTS[0], b"".join(EVENTS[1:])
    for cut in range(1, len(rest)):
        exchange = await opened(client, upstream)
        _, body = await first_event(client, exchange, b"Transfer-Encoding: chunked\r\n\r\n", chunk(first + rest[:cut]))
        assert await body.take(len(first) + cut) == first + rest[:cut]
        await exchange.send(chunk(rest[cut:]) + b"0\r\n\r\n")
        exchange.finish()
        assert await body.rest() == rest[cut:]


async def test_a_body_that_is_no_stream_of_events_is_live_too(client: Client, upstream: Upstream) -> None:
    """Audio as it is spoken, say: each piece of a body of known length is passed on at once."""
    await client.send(chat())
    exchange = await upstream.next()
    await exchange.body.rest()
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 6\r\n\r\nab")
    head, body = await client.begin()
    assert head.one("content-length") == b"6"
    assert await body.take(2) == b"ab"
    await exchange.send(b"cd")
    assert await body.take(2) == b"cd"
    await exchange.send(b"ef")
    exchange.finish()
    assert await body.rest() == b"ef"


async def test_an_answer_may_begin_before_the_request_has_ended(client: Client, upstream: Upstream) -> None:
    """A provider that answers while it still reads: both directions go on side by side."""
    await client.send(
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    await client.send(chunk(b"u" * 70_000))
    exchange = await upstream.next()
    assert await exchange.body.take(70_000) == b"u" * 70_000
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"early"))
    _, body = await client.begin()
    assert await body.take(5) == b"early"
    await client.send(chunk(b"more") + b"0\r\n\r\n")
    assert await exchange.body.rest() == b"more"
    await exchange.send(chunk(b"late") + b"0\r\n\r\n")
    exchange.finish()
    assert await body.rest() == b"late"
