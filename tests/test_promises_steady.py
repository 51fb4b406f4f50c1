"""Promise "Steady": thousands of clients that break off, flood, drip or talk nonsense leave nothing behind in the process."""

from __future__ import annotations

import asyncio
import random
import resource
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness import HANG_S, Client, Exchange, Fusebox, Upstream, chat, ok, request

CONFIG = """
providers:
  main: {{base_url: "http://127.0.0.1:{port}/base/v1", keys: [{{env: MAIN_KEY}}]}}
limits: {{body: 256KiB, headers: 16KiB}}
breaker: {{mode: disabled}}
routes: [{{name: all, match: {{}}, to: [main]}}]
"""

KEY = "sk-of-the-provider"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A provider."""
    async with Upstream() as provider:
        yield provider


@pytest_asyncio.fixture
async def fusebox(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Fusebox]:
    """Fusebox in front of it. At its end nothing may be under way, and it may have logged no fault of its own."""
    process = Fusebox(CONFIG.format(port=upstream.port), tmp_path, {"MAIN_KEY": KEY})
    await process.start()
    yield process
    assert process.process.returncode is None, process.errors.decode()
    assert await process.stop() == 0
    assert (await process.line(event="draining"))["active"] == 0
    assert process.errors == b""
    assert [line for line in process.lines if line["event"] == "internal_error"] == []
    assert KEY.encode() not in process.raw_log


async def settled(fusebox: Fusebox, upstream: Upstream, base: int) -> None:
    """Serve good requests until the process has no more descriptors than `base` beside those of its pool."""
    upstream.script = healthy
    async with asyncio.timeout(HANG_S):
        while True:
            async with Client(fusebox.port) as client:
                assert (await client.exchange(chat())).status == 200
                # Its connection and those that its pool keeps for the next request are meant to be there.
                if fusebox.descriptors() - 1 - upstream.connections <= base:
                    return


async def healthy(exchange: Exchange) -> None:
    """A provider as it should be."""
    await exchange.answer(ok())


class Moody:
    """A provider that does one of many things, each a little late or never."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    async def __call__(self, exchange: Exchange) -> None:
        mood = self._random.randrange(8)
        if mood == 0:
            exchange.reset()
            return
        if mood == 1:
            await exchange.send(ok())  # before the body was read
        await exchange.body.rest()
        if mood == 2:
            await exchange.hung_up()
        elif mood == 3:
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            exchange.close()
        elif mood == 4:
            await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense")
            exchange.close()
        elif mood == 5:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            await exchange.send(head)
            for _ in range(20):
                await exchange.send(b"8\r\ndata: x\n\r\n")
                await asyncio.sleep(0)
            await exchange.send(b"0\r\n\r\n")
            exchange.finish()
        elif mood == 1:
            exchange.finish()
        else:
            await exchange.send(ok(b"x" * self._random.randrange(200_000)))
            exchange.finish()


async def rude(fusebox: Fusebox, dice: random.Random) -> None:
    """A client that sends some of a request, reads some of an answer, and leaves in its own way."""
    data = dice.choice(
        [
            chat(),
            chat(stream=True),
            chat(filler="x" * 100_000),
            request("GET", "/v1/files"),
            request("POST", "/v1/files", b"u" * 150_000, [("Content-Type", "audio/wav")]),
            request(
                "POST",
                "/v1/files",
                b"5\r\nhello\r\n0\r\n\r\n",
                [("Transfer-Encoding", "chunked"), ("Content-Type", "a/b")],
            ),
            b"GARBAGE\r\n\r\n",
            chat() * 3,
        ]
    )
    async with Client(fusebox.port) as client:
        try:
            cut = dice.choice([len(data), dice.randrange(len(data) + 1)])
            await client.send(data[:cut])
            way = dice.randrange(5)
            if way == 0:
                client.reset()
            elif way == 1:
                client.writer.write_eof()
                await client.ended()
            elif way == 2 and cut == len(data):
                await asyncio.wait_for(client.reader.read(dice.randrange(1, 2000)), 0.2)
                client.reset()
            elif way == 3:
                for _ in range(dice.randrange(30)):
                    await asyncio.sleep(0)
        except (ConnectionError, TimeoutError):
            pass


async def crowd(fusebox: Fusebox, upstream: Upstream, seed: int, count: int, side_by_side: int) -> None:
    """`count` rude clients, so many at a time."""
    upstream.script = Moody(seed)
    dice = random.Random(seed)
    seats = asyncio.Semaphore(side_by_side)

    async def one(own: random.Random) -> None:
        async with seats:
            await rude(fusebox, own)

    await asyncio.gather(*(one(random.Random(dice.random())) for _ in range(count)))


async def test_a_crowd_of_rude_clients_leaves_nothing_behind(fusebox: Fusebox, upstream: Upstream) -> None:
    """Descriptors fall back to where they were, the second crowd costs no more memory than the first."""
    await settled(fusebox, upstream, 10**6)
    base = fusebox.descriptors() - upstream.connections
    await crowd(fusebox, upstream, 1, 600, 60)
    await settled(fusebox, upstream, base)
    after_first = fusebox.memory()
    await crowd(fusebox, upstream, 2, 600, 60)
    await settled(fusebox, upstream, base)
    assert fusebox.memory() - after_first < 8_000_000


async def test_connections_that_say_nothing(fusebox: Fusebox, upstream: Upstream) -> None:
    """Five hundred silent, half-closed and dripping connections: a good request is served between them, and all are let go."""
    await settled(fusebox, upstream, 10**6)
    base = fusebox.descriptors() - upstream.connections
    clients = [Client(fusebox.port) for _ in range(500)]
    for number, client in enumerate(clients):
        await client.__aenter__()
        if number % 3 == 1:
            await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost:")
        elif number % 3 == 2:
            await client.send(chat()[:-3])
    async with Client(fusebox.port) as good:
        assert (await good.exchange(chat())).status == 200
    for number, client in enumerate(clients):
        if number % 2:
            client.writer.write_eof()
            assert await client.ended() == b""
        client.reset()
    await settled(fusebox, upstream, base)


# Fuzz

SEEDS = [
    chat(),
    chat(stream=True),
    request("GET", "/v1/files?a=b"),
    request("POST", "/v1/chat/completions", b'5\r\n{"mod\r\n0\r\n\r\n', [("Transfer-Encoding", "chunked")]),
    request(
        "POST",
        "/v1/audio/transcriptions",
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n',
        [("Content-Type", "multipart/form-data; boundary=b")],
    ),
    request(
        "POST", "/v1/messages", b'{"model": "m"}', [("anthropic-version", "2023-06-01"), ("Expect", "100-continue")]
    ),
    request("GET", "/p/main/x/y", None, [("Connection", "Upgrade"), ("Upgrade", "websocket")]),
]

TOKENS = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"http://evil.example",
    b"/../",
    b"%2e%2e/",
    b"\xff\xfe",
    b"0\r\n\r\n",
    b"ffffffff\r\n",
    b"{",
    b"}",
    b'"',
    b"\\",
    b"CONNECT ",
    b"TRACE ",
    b"Host: y\r\n",
    b"-1",
    b"Upgrade: h2c\r\n",
    b"Connection: close\r\n",
    b"\xc3\x28",
    b";",
    b"?",
    b"#",
    b"Expect: x\r\n",
]


def mutated(dice: random.Random) -> bytes:
    """A request with some of its bytes flipped, cut, doubled or replaced by what parsers stumble over."""
    data = bytearray(dice.choice(SEEDS))
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(5)
        if kind == 0:
            data[at:at] = dice.choice(TOKENS)
        elif kind == 1:
            end = at + dice.randrange(20)
            data[at:end] = b""
        elif kind == 2 and at < len(data):
            data[at] = dice.randrange(256)
        elif kind == 3:
            end = at + dice.randrange(40)
            data[at:at] = data[at:end]
        else:
            data[at:] = dice.choice(SEEDS)[-dice.randrange(1, 60) :]
    return bytes(data)


async def test_mutated_requests_are_never_forwarded_wrongly(fusebox: Fusebox, upstream: Upstream) -> None:
    """Whatever reaches the provider is a request for it: below its own path or of /p/, with its host and its key alone."""
    wrong: list[str] = []

    async def judge(exchange: Exchange) -> None:
        head = exchange.head
        method, target, version = head.start.split(b" ", 2)
        path = target.partition(b"?")[0]
        if (
            head.all("host") != [f"127.0.0.1:{upstream.port}".encode()]
            or head.all("authorization") != [f"Bearer {KEY}".encode()]
            or len(head.all("content-length")) + len(head.all("transfer-encoding")) > 1
            or version != b"HTTP/1.1"
            or method in (b"CONNECT", b"TRACE")
            or not path.startswith(b"/")
            or b"/../" in path + b"/"
            or b"\x00" in b"".join(name + value for name, value in head.headers)
        ):
            wrong.append(repr(head))
        await healthy(exchange)

    upstream.script = judge
    dice = random.Random(20260722)
    statuses: set[bytes] = set()

    async def one(data: bytes, clock: Client) -> None:
        async with Client(fusebox.port) as client:
            try:
                await client.send(data)
                for _ in range(2):  # as long as these two take, the answer, if there will be one, has its time, too
                    assert (await clock.exchange(chat())).status == 200
                client.writer.write_eof()
                answer = await client.ended()
            except ConnectionError:
                return
            statuses.add(answer[:12])

    async def worker(count: int) -> None:
        async with Client(fusebox.port) as clock:
            for _ in range(count):
                await one(mutated(dice), clock)

    await asyncio.gather(*(worker(150) for _ in range(8)))
    assert {b"HTTP/1.1 200", b"HTTP/1.1 400", b"HTTP/1.1 404"} <= statuses
    assert [status for status in statuses if status[9:10] not in (b"", b"1", b"2", b"4")] == []
    assert wrong == []
    async with Client(fusebox.port) as client:
        assert (await client.exchange(chat())).status == 200


async def test_no_descriptors_left(fusebox: Fusebox, upstream: Upstream) -> None:
    """Out of descriptors: 503 and Fusebox's own fault, nobody's else; as soon as there are some, all is well again."""
    await settled(fusebox, upstream, 10**6)
    limit = fusebox.descriptors() + 20
    before = resource.prlimit(fusebox.process.pid, resource.RLIMIT_NOFILE)
    assert before[0] == before[1], "the soft limit was to be raised at the start"
    async with Client(fusebox.port) as first:
        upstream.script = None
        async with Client(fusebox.port) as other:  # holds the pool's connection, so that `first` needs a new one
            await other.send(chat())
            held = await upstream.next()
            resource.prlimit(fusebox.process.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
            crowd = [Client(fusebox.port) for _ in range(30)]
            for client in crowd:
                await client.__aenter__()
            async with asyncio.timeout(HANG_S):
                while (response := await first.exchange(request("GET", "/v1/nothing/../x"))).status == 400:
                    if fusebox.descriptors() >= limit:
                        break
            response = await first.exchange(chat())
            assert (response.status, response.error_code) == (503, "no_room")
            for client in crowd:
                client.reset()
            await held.answer(ok())
            assert (await other.response()).status == 200
    async with asyncio.timeout(HANG_S):
        # Until then a new client may be turned away with the crowd. It is another process: there is no event to wait for.
        while fusebox.descriptors() > limit - 10:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await settled(fusebox, upstream, 10**6)
