"""The three providers in one process: they stream as the traffic asks, and fail as they are told.

Run as ``python -m drill.providers --control PORT --ports A,B,C --compression X --seed N``. A connection to the control
port sends lines of JSON, ``{"provider": "a", "mode": "silent"}``, each answered when the change is made with
``{"at": SECONDS, "seen": N}``: the monotonic clock, and the requests that came to this provider in the mode before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import time
from dataclasses import dataclass

import uvloop

from drill.outages import PROVIDERS, Mode

FIRST_S, PREFILL_PER_S, TOKEN_S = 0.25, 8_000.0, 0.015
"""A provider's pace in the time of the trace: first token after so long, and more for a long prompt; then a token."""

TOKENS_PER_EVENT, EVENTS_MAX = 40, 12
"""Tokens are sent in lumps: what is measured is outages, and not events."""

CHARS_PER_TOKEN = 4
BROWNOUT_SHARE, CUT_SHARE = 0.6, 0.6
SLOW_S = (10.0, 90.0)
"""Of the first token, in the time of the trace."""

RETRY_AFTER_S = 2
"""In the time of the drill: the header has no smaller unit than a second."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_OVERLOADED = b'{"error":{"message":"The server is overloaded","type":"server_error","code":"server_is_overloaded"}}'
_LIMITED = b'{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}'
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for. Sizes in tokens."""

    model: str
    context: int
    generated: int


def asked(body: bytes) -> Asked:
    """Read from a request's body."""
    wanted = json.loads(body)
    return Asked(wanted["model"], len(body) // CHARS_PER_TOKEN, wanted["max_completion_tokens"])


def events(wanted: Asked) -> list[bytes]:
    """The stream's events as chunks of a chunked body, the end of the stream among them but not that of the body."""
    lumps = min(max(1, round(wanted.generated / TOKENS_PER_EVENT)), EVENTS_MAX)
    share, rest = divmod(wanted.generated, lumps)
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"content": "word " * (share + (lump < rest))}, None) for lump in range(lumps)
    ]
    deltas.append(({}, "stop"))
    chunks = [
        {
            "id": "chatcmpl-drill",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": wanted.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }
        for delta, reason in deltas
    ]
    texts = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    return [b"%x\r\n%b\r\n" % (len(text), text) for text in (*texts, b"data: [DONE]\n\n")]


def error(status: bytes, body: bytes, *lines: bytes) -> bytes:
    """A whole answer that is an error."""
    head = (b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Content-Length: %d" % len(body), *lines)
    return b"\r\n".join((*head, b"", body))


class Provider:
    """One provider. `turn_to` changes its mode."""

    def __init__(self, port: int, compression: float, chance: random.Random) -> None:
        self.mode = Mode.WELL
        self.seen = 0
        self._port = port
        self._compression = compression
        self._chance = chance
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._spoken = asyncio.Event()
        self._place = self._reserve()

    def _reserve(self) -> socket.socket:
        """Hold the port without listening on it: connections to it are refused, and nobody else can take it."""
        place = socket.socket()
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(("127.0.0.1", self._port))
        place.setblocking(False)
        return place

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, sock=self._place, limit=1 << 20)

    async def turn_to(self, mode: Mode) -> int:
        """Behave so from now on; the number of requests seen in the mode before."""
        was, self.mode = self.mode, mode
        seen, self.seen = self.seen, 0
        if mode is Mode.REFUSING or was is Mode.SILENT:
            self._cut_all()  # it has died, or is started anew
        if mode is Mode.SILENT:
            self._spoken.clear()
        else:
            self._spoken.set()
        if mode is Mode.REFUSING and self._server is not None:
            self._server.close()
            self._server = None
            self._place = self._reserve()
        elif was is Mode.REFUSING and mode is not Mode.REFUSING:
            await self.start()
        return seen

    def _cut_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side has gone, or this one was told to go
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection may be kept."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        self.seen += 1
        mode, chance = self.mode, self._chance
        if mode is Mode.BROWNOUT and chance.random() < BROWNOUT_SHARE:
            writer.write(error(b"503 Service Unavailable", _OVERLOADED))
            return True
        if mode is Mode.LIMITING:
            writer.write(error(b"429 Too Many Requests", _LIMITED, b"Retry-After: %d" % RETRY_AFTER_S))
            return True
        wanted = asked(body)
        await self._wait(0.0, writer)
        writer.write(_STREAM_HEAD)
        wait_s = chance.uniform(*SLOW_S) if mode is Mode.SLOW else FIRST_S + wanted.context / PREFILL_PER_S
        parts = events(wanted)
        cut_before = len(parts) // 2 if mode is Mode.CUTTING and chance.random() < CUT_SHARE else len(parts)
        for number, part in enumerate(parts):
            await self._wait(wait_s, writer)
            if number == max(cut_before, 1):
                writer.close()
                return False
            writer.write(part)
            wait_s = (
                TOKEN_S * min(wanted.generated / (len(parts) - 2), TOKENS_PER_EVENT) if number < len(parts) - 3 else 0
            )
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _wait(self, trace_s: float, writer: asyncio.StreamWriter) -> None:
        """Let the time of the trace go by; while silent, until the silence is over. Raises when the connection is gone."""
        if trace_s:
            await asyncio.sleep(trace_s / self._compression)
        if self.mode is Mode.SILENT:
            await self._spoken.wait()
        if writer.is_closing():
            raise ConnectionResetError


async def serve(control: int, ports: list[int], compression: float, seed: int) -> None:
    """Run until the process is ended."""
    providers = {
        name: Provider(port, compression, random.Random(f"{seed}{name}"))
        for name, port in zip(PROVIDERS, ports, strict=True)
    }
    for provider in providers.values():
        await provider.start()

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            told = json.loads(line)
            seen = await providers[told["provider"]].turn_to(Mode(told["mode"]))
            writer.write(json.dumps({"at": time.monotonic(), "seen": seen}).encode() + b"\n")
        writer.close()

    server = await asyncio.start_server(obey, "127.0.0.1", control)
    await server.serve_forever()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m drill.providers")
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--ports", required=True)
    parser.add_argument("--compression", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    ports = [int(port) for port in given.ports.split(",")]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(given.control, ports, given.compression, given.seed))


if __name__ == "__main__":
    main()
