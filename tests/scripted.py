"""A hostile HTTP server: a script says, connection by connection, which bytes are sent when, and how it ends.

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhel")
        peer.reset()

    async with Scripted(script) as server:
        ...  # ask http://127.0.0.1:{server.port}

Nothing is read but what the script asks for (beyond a small buffer), and nothing is sent but what it says. A script that
raises fails the test when the server is left. A script that returns leaves its connection open until then.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

HANG_S = 20.0
"""Seconds after which anything awaited in a test counts as hung: far above what a busy machine needs."""

Got = TypeVar("Got")


async def within(awaitable: Awaitable[Got]) -> Got:
    """What `awaitable` gives; TimeoutError when it hangs."""
    async with asyncio.timeout(HANG_S):
        return await awaitable


async def turns(count: int = 4) -> None:
    """Let the event loop go round: everything that is ready, sockets too, is handled."""
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came: its start line, its header lines, its body without chunk framing."""

    start: bytes
    lines: list[tuple[bytes, bytes]]
    body: bytes = b""

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a header; `name` in lower case."""
        return [value for key, value in self.lines if key.lower() == name]


def parse_head(raw: bytes) -> Seen:
    """A head, with its empty line, as start line and header lines."""
    start, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    pairs = (line.partition(b":") for line in lines)
    return Seen(start, [(name, value.strip(b" \t")) for name, _, value in pairs])


class Peer:
    """One connection that was accepted; `number` counts them from 1."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer

    async def head(self) -> Seen:
        """The next request head."""
        return parse_head(await within(self._reader.readuntil(b"\r\n\r\n")))

    async def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        return await within(self._reader.readexactly(size))

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty for the last one."""
        size = int(await within(self._reader.readline()), 16)
        data = await self.read(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def request(self) -> Seen:
        """The next request, whole."""
        seen = await self.head()
        body = b""
        if seen.all(b"transfer-encoding"):
            while chunk := await self.chunk():
                body += chunk
        elif seen.all(b"content-length"):
            body = await self.read(int(seen.all(b"content-length")[0]))
        return Seen(seen.start, seen.lines, body)

    async def send(self, *parts: bytes) -> None:
        """Send each of `parts` such that a reader who reads at once sees them in reads of their own."""
        for part in parts:
            self._writer.write(part)
            await within(self._writer.drain())
            await turns()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Go on inside TLS, as a proxy's tunnel does behind its answer to CONNECT."""
        await within(self._writer.start_tls(context))

    async def pipe_to(self, port: int) -> None:
        """Be a tunnel: bytes both ways between this connection and a port of this machine, until either side ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            done, pending = await asyncio.wait(
                [
                    asyncio.ensure_future(_pump(self._reader, writer)),
                    asyncio.ensure_future(_pump(reader, self._writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in pending:
                task.cancel()
            await asyncio.gather(*done, *pending, return_exceptions=True)
        finally:
            writer.close()

    def fin(self) -> None:
        """Close in good order, after what was sent."""
        self._writer.close()

    def half_close(self) -> None:
        """Send no more, but keep what can still be read (plain TCP only)."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Close with a RST: the other side's read fails, with whatever it had not read yet."""
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def gone(self) -> bytes:
        """Wait until the other side has closed; what it had still sent before."""
        rest = b""
        try:
            while part := await within(self._reader.read(65536)):
                rest += part
        except ConnectionError:
            pass
        return rest

    def _socket(self) -> socket.socket:
        found: socket.socket = self._writer.get_extra_info("socket")
        return found


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(65536):
        writer.write(part)
        await writer.drain()


Script = Callable[[Peer], Awaitable[None]]


class Scripted:
    """The server as a context manager. `port` is where it listens; `peers` are the connections so far."""

    def __init__(
        self, script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", small_window: bool = False
    ) -> None:
        self._script = script
        self._tls = tls
        self._host = host
        self._small_window = small_window
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._errors: list[BaseException] = []
        self._accepted = asyncio.Condition()
        self.peers: list[Peer] = []
        self.port = 0

    @property
    def connections(self) -> int:
        """How many connections were accepted so far."""
        return len(self.peers)

    async def accepted(self, number: int) -> Peer:
        """Wait for a connection; `number` counts from 1."""

        async def wait() -> Peer:
            async with self._accepted:
                await self._accepted.wait_for(lambda: len(self.peers) >= number)
            return self.peers[number - 1]

        return await within(wait())

    async def __aenter__(self) -> Self:
        sock = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._small_window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)  # what is accepted inherits it
        sock.bind((self._host, 0))
        self.port = sock.getsockname()[1]
        # The stream's own buffer holds twice this before it stops reading.
        limit = 16 * 1024 if self._small_window else 1024 * 1024
        self._server = await asyncio.start_server(self._serve, sock=sock, ssl=self._tls, limit=limit)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await turns()
        if self._errors and error is None:
            raise self._errors[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.append(writer)
        peer = Peer(len(self.peers) + 1, reader, writer)
        self.peers.append(peer)
        async with self._accepted:
            self._accepted.notify_all()
        try:
            await self._script(peer)
        except asyncio.CancelledError:
            pass  # the server is being left
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._tasks.discard(task)


def always(*parts: bytes) -> Script:
    """A script that answers every request of every connection with `parts`, until the client goes."""

    async def script(peer: Peer) -> None:
        try:
            while True:
                await peer.request()
                await peer.send(*parts)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone

    return script


def response(body: bytes = b"hello", *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """A response with a Content-Length."""
    head = (b"HTTP/1.1 " + status, *lines, b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(chunks: Iterable[bytes], trailers: bytes = b"") -> bytes:
    """A chunked body, whole."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"
