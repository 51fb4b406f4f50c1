"""Promise "Bounded": what passes through does not pile up, whoever is slow. Memory is the process's own, as Linux counts it."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness import Client, Cut, Exchange, Fusebox, Upstream, chat, ok, request

MB = 1_000_000

CONFIG = """
providers:
  main: {{base_url: "http://127.0.0.1:{port}/v1", keys: none}}
routes:
  - {{name: aliases, match: {{model: alias}}, to: [main/real-model]}}
  - {{name: all, match: {{}}, to: [main]}}
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A provider."""
    async with Upstream() as provider:
        yield provider


@pytest_asyncio.fixture
async def fusebox(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Fusebox]:
    """Fusebox in front of it, warm: its first request has been."""
    process = Fusebox(CONFIG.format(port=upstream.port), tmp_path)
    await process.start()
    await turns(process, upstream, 20)
    process.reset_peak()
    yield process
    assert await process.stop() == 0
    assert process.errors == b""


async def turns(fusebox: Fusebox, upstream: Upstream, count: int) -> None:
    """`count` ordinary requests, one after the other: time in which a full buffer would show."""
    async with Client(fusebox.port) as client:
        for _ in range(count):
            await client.send(chat())
            await (await upstream.next()).answer(ok(b"x" * 20_000))
            assert (await client.response()).status == 200


async def digest(exchange: Exchange) -> tuple[int, str]:
    """Length and hash of a request's body, taken as it comes and not kept."""
    seen, size = hashlib.blake2b(), 0
    exchange.body._seen = Forgetful()
    while part := await exchange.body.some():
        seen.update(part)
        size += len(part)
    return size, seen.hexdigest()


class Forgetful(bytearray):
    """Keeps nothing of what is added to it."""

    def __iadd__(self, other: object) -> Forgetful:
        return self


def pieces(total: int) -> list[bytes]:
    """A body of `total` bytes in pieces, of which memory holds one."""
    piece = bytes(range(250)) * 1000
    return [piece] * (total // len(piece))


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/v1/files", b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n', None),
        (
            "/v1/audio/transcriptions",
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nalias\r\n',
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nreal-model\r\n',
        ),
    ],
    ids=["files", "transcriptions"],
)
async def test_an_upload_of_200_mb(
    fusebox: Fusebox, upstream: Upstream, path: str, before: bytes, after: bytes | None
) -> None:
    """It passes as it comes, whether its model is replaced or not: under 20 MB of memory, no byte wrong."""
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    body = pieces(200 * MB)
    last = b"\r\n--b--\r\n"
    length = len(before) + len(file) + 200 * MB + len(last)
    headers = [("Content-Type", "multipart/form-data; boundary=b"), ("Content-Length", str(length))]
    start = fusebox.memory()
    async with Client(fusebox.port) as client:
        await client.send(request("POST", path, None, headers) + before + file)
        sending = asyncio.create_task(send_all(client, [*body, last]))
        exchange = await upstream.next()
        size, seen = await digest(exchange)
        await sending
        await exchange.send(ok())
        exchange.finish()
        assert (await client.response()).status == 200
    expected = hashlib.blake2b((before if after is None else after) + file)
    for piece in [*body, last]:
        expected.update(piece)
    assert (size, seen) == (length + len(after or before) - len(before), expected.hexdigest())
    assert fusebox.memory("VmHWM") - start < 20 * MB


async def send_all(client: Client, parts: list[bytes]) -> None:
    """Send the parts as fast as they are taken."""
    for part in parts:
        await client.send(part)


async def test_a_json_body_of_50_mb_is_not_copied(fusebox: Fusebox, upstream: Upstream) -> None:
    """It has to be held whole, since its model stands at its end; replacing that makes no second one."""
    head, tail = b'{"messages": "', b'", "model": "alias"}'
    body = pieces(50 * MB)
    body = [piece.replace(b'"', b"a").replace(b"\\", b"a").translate(PRINTABLE) for piece in body]
    length = len(head) + 50 * MB + len(tail)
    start = fusebox.memory()
    async with Client(fusebox.port) as client:
        headers = [("Content-Type", "application/json"), ("Content-Length", str(length))]
        await client.send(request("POST", "/v1/chat/completions", None, headers) + head)
        sending = asyncio.create_task(send_all(client, [*body, tail]))
        exchange = await upstream.next()
        await sending
        size, seen = await digest(exchange)
        await exchange.send(ok())
        exchange.finish()
        assert (await client.response()).status == 200
    expected = hashlib.blake2b(head)
    for piece in [*body, tail.replace(b"alias", b"real-model")]:
        expected.update(piece)
    assert (size, seen) == (length + 5, expected.hexdigest())
    assert fusebox.memory("VmHWM") - start < 75 * MB


PRINTABLE = bytes(byte if 32 <= byte < 127 and byte not in b'"\\' else 97 for byte in range(256))
"""Every byte as one that stands for itself in a JSON string."""


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n"], ids=["chunked", "until close"])
@pytest.mark.parametrize("kind", [b"text/event-stream", b"audio/mpeg"])
async def test_a_slow_reader_makes_the_provider_wait(
    fusebox: Fusebox, upstream: Upstream, framing: bytes, kind: bytes
) -> None:
    """An endless answer that nobody reads: the provider's writes are no longer taken, and memory stays where it was."""
    event = b"data: " + b"x" * 9992 + b"\n\n"
    part = b"%x\r\n%b\r\n" % (len(event), event) if b"chunked" in framing else event
    start = fusebox.memory()
    async with Client(fusebox.port, receive_buffer=16384) as client:
        await client.send(chat(stream=True))
        exchange = await upstream.next()
        await exchange.body.rest()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n" + framing)
        written = [0]
        writing = asyncio.create_task(endless(exchange, part, written))
        _, body = await client.begin()
        for _ in range(50):
            assert await body.take(len(event)) == event
        stalled = -1
        while stalled != written[0]:  # until not a byte more is taken: the kernel's buffers fill as slowly as it likes
            stalled = written[0]
            await turns(fusebox, upstream, 50)
            assert stalled < 30 * MB  # what the buffers of two pairs of sockets hold
        assert fusebox.memory("VmHWM") - start < 10 * MB
        while written[0] < stalled + 20 * MB:  # and it goes on when the client does
            assert await body.take(len(event)) == event
        assert fusebox.memory("VmHWM") - start < 10 * MB
        assert not writing.done()
        client.close()
        await asyncio.wait((writing,))


async def endless(exchange: Exchange, part: bytes, written: list[int]) -> None:
    """Write `part` until nobody takes it any more; `written` counts the bytes that were taken."""
    try:
        while True:
            exchange.writer.write(part)
            await exchange.writer.drain()
            written[0] += len(part)
    except ConnectionError:
        exchange.close()


async def test_a_slow_provider_makes_the_client_wait(fusebox: Fusebox, upstream: Upstream) -> None:
    """An endless upload that nobody takes: the client's writes are no longer taken."""
    start = fusebox.memory()
    async with Client(fusebox.port) as client:
        headers = [("Content-Type", "application/octet-stream"), ("Content-Length", str(500 * MB))]
        await client.send(request("POST", "/v1/files", None, headers))
        sent = [0]

        async def upload() -> None:
            while True:
                client.writer.write(b"u" * 65536)
                await client.writer.drain()
                sent[0] += 65536

        uploading = asyncio.create_task(upload())
        exchange = await upstream.next()
        assert await exchange.body.take(MB) == b"u" * MB
        await turns(fusebox, upstream, 50)
        stalled = sent[0]
        await turns(fusebox, upstream, 50)
        assert sent[0] - stalled < 2 * MB
        assert fusebox.memory("VmHWM") - start < 10 * MB
        exchange.body._seen = Forgetful()
        while sent[0] < stalled + 20 * MB:
            await exchange.body.some()
        assert fusebox.memory("VmHWM") - start < 10 * MB
        uploading.cancel()
        await asyncio.wait((uploading,))
        client.reset()
        with pytest.raises(Cut):
            await exchange.body.rest()
        exchange.close()


async def test_headers_without_end_cost_no_memory(fusebox: Fusebox, upstream: Upstream) -> None:
    """A hundred connections, each with as much of a head as is taken: bounded, and refused where the bound is."""
    start = fusebox.memory()
    clients = [Client(fusebox.port) for _ in range(100)]
    for client in clients:
        await client.__aenter__()
        await client.send(
            b"GET /v1/files HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 500) for n in range(120))
        )
    await turns(fusebox, upstream, 5)
    for client in clients:
        try:
            await client.send(b"X: " + b"a" * 100_000)
            response = await client.response()
        except (Cut, ConnectionError):
            pass
        else:
            assert response.status == 431
        client.close()
    assert upstream.unseen == 0
    assert fusebox.memory("VmHWM") - start < 40 * MB
