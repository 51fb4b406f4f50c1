"""Fusebox as a process between a raw client and a raw provider: every byte on both sides is the test's.

    async with Upstream() as upstream, Fusebox(POLICY.format(...)) as fusebox, Client(fusebox.port) as client:
        await client.send(request("POST", "/v1/files", b"..."))
        exchange = await upstream.next()
        await exchange.answer(b"HTTP/1.1 200 OK\\r\\n...")
        response = await client.response()

Nothing here parses more than it must, and nothing waits by the clock: `HANG_S` only turns a hang into a failure.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.sdk.gateway import free_ports

ROOT = Path(__file__).parent.parent

HANG_S = 20.0
"""Seconds after which anything awaited here counts as hung. Far above what a busy machine needs."""

Headers = list[tuple[bytes, bytes]]


class Cut(Exception):
    """A message ended before its framing said so. `got` is the body up to there, `reset` says how."""

    def __init__(self, got: bytes, *, reset: bool) -> None:
        super().__init__(f"cut after {len(got)} bytes, {'reset' if reset else 'closed'}")
        self.got = got
        self.reset = reset


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a message: its start line and its header lines, as they came."""

    start: bytes
    headers: Headers

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        """From the bytes up to and with the empty line."""
        start, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
        pairs = [line.split(b":", 1) for line in lines]
        return cls(start, [(name, value.strip(b" \t")) for name, value in pairs])

    def all(self, name: str) -> list[bytes]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]

    def one(self, name: str) -> bytes | None:
        """The value of a header that must not come twice."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def status(self) -> int:
        """The status code of a response."""
        return int(self.start.split(b" ", 2)[1])

    def without(self, *names: str) -> Headers:
        """The header lines but for those of `names`."""
        dropped = {name.encode() for name in names}
        return [(name, value) for name, value in self.headers if name.lower() not in dropped]


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response, cleanly ended."""

    head: Head
    body: bytes
    framing: str

    @property
    def status(self) -> int:
        """The status code."""
        return self.head.status

    @property
    def error_code(self) -> str | None:
        """The value of ``x-fusebox-error``."""
        value = self.head.one("x-fusebox-error")
        return None if value is None else value.decode()

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class Body:
    """The body of a message, as it comes in."""

    def __init__(self, reader: asyncio.StreamReader, framing: str, length: int = 0) -> None:
        self.framing = framing
        self.trailers: Headers = []
        self.chunks: list[int] = []
        self._reader = reader
        self._left = length
        self._ended = framing == "none" or (framing == "length" and length == 0)
        self._kept = b""
        self._seen = bytearray()

    async def some(self) -> bytes:
        """The next bytes; empty at the clean end. Raises Cut."""
        if self._ended:
            return b""
        try:
            async with asyncio.timeout(HANG_S):
                got = await self._next()
        except asyncio.IncompleteReadError:
            raise Cut(bytes(self._seen), reset=False) from None
        except ConnectionError:
            raise Cut(bytes(self._seen), reset=True) from None
        self._seen += got
        return got

    async def take(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises Cut, also when the body ends before them."""
        while len(self._kept) < size:
            more = await self.some()
            if not more:
                raise Cut(self._kept, reset=False)
            self._kept += more
        taken, self._kept = self._kept[:size], self._kept[size:]
        return taken

    async def rest(self) -> bytes:
        """All up to the clean end. Raises Cut."""
        parts = [self._kept]
        self._kept = b""
        while part := await self.some():
            parts.append(part)
        return b"".join(parts)

    async def _next(self) -> bytes:
        if self.framing == "close":
            got = await self._reader.read(65536)
            self._ended = not got
            return got
        if self.framing == "chunked" and self._left == 0:
            size = await self._reader.readuntil(b"\r\n")
            self._left = int(size.split(b";")[0], 16)
            if self._left == 0:
                while (line := await self._reader.readuntil(b"\r\n")) != b"\r\n":
                    name, value = line.split(b":", 1)
                    self.trailers.append((name, value.strip()))
                self._ended = True
                return b""
            self.chunks.append(self._left)
        got = await self._reader.read(min(self._left, 65536))
        if not got:
            raise asyncio.IncompleteReadError(b"", self._left)
        self._left -= len(got)
        if self._left == 0:
            if self.framing == "chunked":
                assert await self._reader.readexactly(2) == b"\r\n"
            else:
                self._ended = True
        return got


async def read_head(reader: asyncio.StreamReader) -> Head:
    """The next head. Raises Cut when the connection ends before one is whole."""
    try:
        async with asyncio.timeout(HANG_S):
            return Head.parse(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as error:
        raise Cut(error.partial, reset=False) from None
    except ConnectionError:
        raise Cut(b"", reset=True) from None


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a TCP reset."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# The client


class Client:
    """One raw connection to Fusebox."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self._port = port
        self._receive_buffer = receive_buffer
        self.interim: list[Head] = []

    async def __aenter__(self) -> Self:
        sock = socket.socket()
        if self._receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
        except OSError:
            sock.close()
            raise
        limit = 2**16 if self._receive_buffer is None else self._receive_buffer
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=limit)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        # What is still to be sent would keep the socket open beyond the test.
        self.writer.transport.abort()
        await asyncio.sleep(0)

    def close(self) -> None:
        """Hang up."""
        self.writer.close()

    def reset(self) -> None:
        """Hang up rudely."""
        reset(self.writer)

    async def send(self, data: bytes) -> None:
        """Send bytes; returns once the kernel has taken most of them. Raises ConnectionError."""
        self.writer.write(data)
        async with asyncio.timeout(HANG_S):
            await self.writer.drain()

    async def begin(self, *, head_only: bool = False) -> tuple[Head, Body]:
        """The head of the next final response, and its body to come; 1xx ones are kept in `interim`."""
        while (head := await read_head(self.reader)).status < 200 and head.status != 101:
            self.interim.append(head)
        if head_only or head.status in (101, 204, 304):
            return head, Body(self.reader, "none")
        if head.all("transfer-encoding"):
            assert head.all("transfer-encoding") == [b"chunked"] and not head.all("content-length")
            return head, Body(self.reader, "chunked")
        length = head.one("content-length")
        return head, Body(self.reader, "close") if length is None else Body(self.reader, "length", int(length))

    async def response(self, *, head_only: bool = False) -> Response:
        """The next whole response. Raises Cut."""
        head, body = await self.begin(head_only=head_only)
        return Response(head, await body.rest(), body.framing)

    async def exchange(self, data: bytes, *, head_only: bool = False) -> Response:
        """Send and wait for the whole response."""
        await self.send(data)
        return await self.response(head_only=head_only)

    async def ended(self) -> bytes:
        """Everything until the server closes the connection (or resets it)."""
        async with asyncio.timeout(HANG_S):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""


def request(
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Sequence[tuple[str, str]] = (),
    *,
    host: str = "127.0.0.1",
) -> bytes:
    """The bytes of a request; `body` given: with its Content-Length, as JSON unless `headers` say otherwise."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    names = {name.lower() for name, _ in headers}
    if body is not None and "content-type" not in names:
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None and "transfer-encoding" not in names:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chat(model: str = "kept", headers: Sequence[tuple[str, str]] = (), **more: object) -> bytes:
    """A chat completion request."""
    body = json.dumps({"model": model, "messages": [], **more}).encode()
    return request("POST", "/v1/chat/completions", body, headers)


# The provider


@dataclass(slots=True, eq=False)
class Exchange:
    """One request as the provider sees it; the body is read when the test asks for it."""

    head: Head
    body: Body
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    done: asyncio.Event = field(default_factory=asyncio.Event)
    reusable: bool = False

    @property
    def method(self) -> str:
        """The method."""
        return self.head.start.split(b" ")[0].decode()

    @property
    def target(self) -> bytes:
        """The request target, as it came."""
        return self.head.start.split(b" ")[1]

    async def send(self, data: bytes) -> None:
        """Send bytes of the answer, whatever they are."""
        self.writer.write(data)
        async with asyncio.timeout(HANG_S):
            await self.writer.drain()

    async def answer(self, data: bytes) -> bytes:
        """Read the request's body, send a whole answer and take the next request; the body."""
        body = await self.body.rest()
        await self.send(data)
        self.finish()
        return body

    def finish(self) -> None:
        """The answer is complete: the connection may take another request."""
        self.reusable = True
        self.done.set()

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        self.done.set()

    def reset(self) -> None:
        """Reset the connection."""
        reset(self.writer)
        self.done.set()

    async def hung_up(self) -> bytes:
        """Wait until Fusebox has closed the connection; what it sent until then."""
        async with asyncio.timeout(HANG_S):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""
            finally:
                self.done.set()


Script = Callable[[Exchange], Awaitable[None]]


def ok(body: bytes = b'{"ok": true}', content_type: bytes = b"application/json") -> bytes:
    """A whole 200 answer."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (content_type, len(body), body)


class Upstream:
    """A provider on a free port. Each request goes to `script`, or without one to whoever awaits `next`."""

    def __init__(self) -> None:
        self.script: Script | None = None
        self.port = 0
        self.requests = 0
        self._waiting: asyncio.Queue[Exchange] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: weakref.WeakSet[asyncio.StreamWriter] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
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
        await asyncio.sleep(0)

    async def next(self) -> Exchange:
        """The next request."""
        async with asyncio.timeout(HANG_S):
            return await self._waiting.get()

    @property
    def unseen(self) -> int:
        """How many requests came that no test has asked for."""
        return self._waiting.qsize()

    def forget(self) -> None:
        """Drop what an earlier test left."""
        self.script = None
        self.requests = 0
        while not self._waiting.empty():
            self._waiting.get_nowait().reset()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._tasks)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writers.add(writer)
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = Head.parse(await reader.readuntil(b"\r\n\r\n"))
                length = head.one("content-length")
                chunked = bool(head.all("transfer-encoding"))
                body = Body(reader, "chunked") if chunked else Body(reader, "length", int(length or 0))
                exchange = Exchange(head, body, reader, writer)
                self.requests += 1
                if self.script is not None:
                    await self.script(exchange)
                else:
                    self._waiting.put_nowait(exchange)
                    await exchange.done.wait()
                if not exchange.reusable:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, Cut):
            pass
        finally:
            writer.close()


# The process


class Fusebox:
    """``python -m proxy serve`` with a configuration, and its log. The ports are chosen here; `more`: arguments."""

    def __init__(
        self, config: str, directory: Path, environment: dict[str, str] | None = None, more: Sequence[str] = ()
    ) -> None:
        self.port, self.admin_port = free_ports(2)
        self.config = directory / f"fusebox-{self.port}.yaml"
        self.config.write_text(f"listen: 127.0.0.1:{self.port}\nadmin: 127.0.0.1:{self.admin_port}\n{config}")
        self._environment = environment or {}
        self._more = more
        self.admin_lines: list[tuple[str, str]] = []  # what proves this process's right at the admin port, if it asks
        self.lines: list[dict[str, Any]] = []
        self.raw_log = b""
        self.errors = b""
        self._grown = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start and wait until it is ready. Raises AssertionError with what it said when it ends before."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "proxy", "serve", "--config", str(self.config), *self._more),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", **self._environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        self._readers = [asyncio.create_task(self._read_log()), asyncio.create_task(self._read_errors())]
        await self.line(event="ready")

    async def forget(self) -> None:
        """Have it forget what it has learnt of its providers, by the admin API."""
        async with Client(self.admin_port) as admin:
            known = (await admin.exchange(request("GET", "/api/breakers", None, self.admin_lines))).json["breakers"]
            for name in {one["name"].partition("/")[0] for one in known}:
                lines = [*self.admin_lines, ("Content-Type", "application/json")]
                order = request("POST", f"/api/breakers/{name}", b'{"action": "reset"}', lines)
                assert (await admin.exchange(order)).status == 200

    async def _read_log(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._grown:
                self.raw_log += line
                self.lines.append(json.loads(line))
                self._grown.notify_all()
        async with self._grown:
            self.lines.append({"event": "end of log"})
            self._grown.notify_all()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.errors += line

    async def line(self, since: int = 0, **wanted: object) -> dict[str, Any]:
        """The first log line from number `since` on that holds all of `wanted`; waits for it."""

        def found() -> dict[str, Any] | None:
            for line in self.lines[since:]:
                if wanted.items() <= {key: value for key, value in line.items() if key in wanted}.items():
                    return line
            assert self.lines[-1:] != [{"event": "end of log"}] or self.lines[-1].items() >= wanted.items(), (
                f"it ended before it logged {wanted}: {self.lines} {self.errors.decode()}"
            )
            return None

        async with asyncio.timeout(HANG_S), self._grown:
            await self._grown.wait_for(lambda: found() is not None)
        line = found()
        assert line is not None
        return line

    async def request_line(self, head: Head) -> dict[str, Any]:
        """The log line of the request that was answered with `head`."""
        identity = head.one("x-fusebox-request-id")
        assert identity is not None
        return await self.line(event="request", request_id=identity.decode())

    def signal(self, number: int) -> None:
        """Send a signal. Raises ProcessLookupError when the process has ended."""
        if self.process.returncode is not None:
            raise ProcessLookupError
        # Not by `send_signal`: that waits for the process first, and then asyncio does not learn its exit code.
        os.kill(self.process.pid, number)

    async def wait(self) -> int:
        """Wait for the end; the exit code."""
        async with asyncio.timeout(HANG_S):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def stop(self) -> int:
        """SIGTERM, and again for whoever does not listen; the exit code."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(5):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
        return await self.wait()

    async def readyz(self) -> int:
        """The status of the admin port's ``/readyz``."""
        async with Client(self.admin_port) as client:
            return (await client.exchange(request("GET", "/readyz", headers=[("Connection", "close")]))).status

    def memory(self, name: str = "VmRSS") -> int:
        """A figure of the process's memory in bytes, as Linux gives it: VmRSS now, VmHWM its peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{name}:"))

    def reset_peak(self) -> None:
        """Begin a new peak (proc(5), clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        """How many descriptors the process has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))
