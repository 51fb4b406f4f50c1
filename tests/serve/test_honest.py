"""A stream that is cut upstream never ends cleanly downstream, whatever cut it."""

from __future__ import annotations

import pytest

from tests.harness import Client, Cut, Fusebox, Upstream, chat, ok

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
EVENT = b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": null}]}\n\n'

CUT_ANSWERS = {
    "chunked stream between chunks": SSE + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(EVENT), EVENT),
    "chunked stream inside a chunk": SSE + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b" % (len(EVENT) + 9, EVENT),
    "chunked stream in the last chunk": SSE
    + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(EVENT), EVENT),
    "stream of a stated length": SSE + b"Content-Length: 999\r\n\r\n" + EVENT,
    "stream until close without its end": SSE + b"\r\n" + EVENT,
    "JSON of a stated length": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + EVENT,
    "chunked JSON": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(EVENT), EVENT),
}


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("name", list(CUT_ANSWERS))
async def test_a_cut_answer_has_no_clean_end(fusebox: Fusebox, upstream: Upstream, name: str, how: str) -> None:
    """The client gets what there was, then a connection that ends short of its framing; the log names the fault."""
    async with Client(fusebox.port) as client:
        await client.send(chat(stream=True))
        exchange = await upstream.next()
        await exchange.body.rest()
        await exchange.send(CUT_ANSWERS[name])
        head, body = await client.begin()
        assert await body.take(len(EVENT)) == EVENT
        if how == "FIN":
            exchange.close()
        else:
            exchange.reset()
        with pytest.raises(Cut) as cut:
            await body.rest()
        assert cut.value.got == EVENT
    line = await fusebox.request_line(head)
    assert (line["error_code"], line["status"], line["level"]) == ("upstream_answer_cut", 200, "warning")
    assert line["target"] == "main/kept"


@pytest.mark.parametrize("name", ["stream until close without its end", "chunked JSON"])
async def test_a_client_of_http_1_0_gets_a_reset(fusebox: Fusebox, upstream: Upstream, name: str) -> None:
    """Such a client takes any close for the end of the body; only a reset tells it otherwise."""
    async with Client(fusebox.port) as client:
        await client.send(chat(stream=True).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        exchange = await upstream.next()
        await exchange.body.rest()
        await exchange.send(CUT_ANSWERS[name])
        _, body = await client.begin()
        assert body.framing == "close"
        assert await body.take(len(EVENT)) == EVENT
        exchange.close()
        with pytest.raises(Cut) as cut:
            await body.rest()
        assert cut.value.reset


@pytest.mark.parametrize(
    "junk", [b"zz\r\nhello\r\n", b"-5\r\nhello\r\n", b"fffffffffffffffff\r\nhello\r\n", b"5\r\nhelloX\r\n"]
)
async def test_bad_chunks_in_a_stream_cut_it(fusebox: Fusebox, upstream: Upstream, junk: bytes) -> None:
    """Framing that cannot be read ends the answer as a break, not as an end."""
    async with Client(fusebox.port) as client:
        await client.send(chat(stream=True))
        exchange = await upstream.next()
        await exchange.body.rest()
        await exchange.send(SSE + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(EVENT), EVENT))
        _, body = await client.begin()
        assert await body.take(len(EVENT)) == EVENT
        await exchange.send(junk)
        with pytest.raises(Cut):
            await body.rest()
        await exchange.hung_up()


async def test_a_complete_stream_until_close_is_complete(fusebox: Fusebox, upstream: Upstream) -> None:
    """An event stream that the close delimits, and that had said its last word, ends cleanly."""
    for last in (
        b"data: [DONE]\n\n",
        b'data: {"type":"message_stop"}\n\n',
        b'data: {"choices":[{"finish_reason":"stop"}]}\n\n',
    ):
        async with Client(fusebox.port) as client:
            await client.send(chat(stream=True))
            exchange = await upstream.next()
            await exchange.body.rest()
            await exchange.send(SSE + b"\r\n" + EVENT + last)
            exchange.close()
            assert (await client.response()).body == EVENT + last


async def test_nothing_is_invented_when_the_answer_never_began(
    fusebox: Fusebox, upstream: Upstream, client: Client
) -> None:
    """A stream that is cut before its first event is still an error with a status of its own."""
    await client.send(chat(stream=True))
    exchange = await upstream.next()
    await exchange.body.rest()
    await exchange.send(SSE + b"Transfer-Encoding: chunked\r\n\r\n7\r\n: ping\n\r\n")
    exchange.close()
    response = await client.response()
    assert (response.status, response.error_code) == (502, "upstream_answer_cut")


@pytest.mark.parametrize("half", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_a_lost_connection_before_the_head(
    fusebox: Fusebox, upstream: Upstream, client: Client, half: bytes
) -> None:
    """A fresh connection that ends without a head: 502, said once, and the request went out once."""
    async with Client(fusebox.port) as other:  # empties the pool of kept connections: they would be tried first
        await other.send(chat())
        busy = await upstream.next()
        await client.send(chat())
        exchange = await upstream.next()
        await exchange.body.rest()
        if half:
            await exchange.send(half)
        before = upstream.requests
        exchange.close()
        response = await client.response() if exchange.writer is not busy.writer else None
        assert response is not None
        assert (response.status, response.error_code) == (502, "upstream_connection_lost")
        assert upstream.requests == before
        await busy.answer(ok())
        assert (await other.response()).status == 200
