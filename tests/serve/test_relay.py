"""The relay without sockets: an answer cut anywhere into reads arrives as the same bytes, and a cut one never ends."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
import pytest

from proxy.config.schema import Timeouts
from proxy.errors import AnswerCut, FuseboxError
from proxy.serve.relay import Relay
from proxy.upstream.connection import Connection, Limits

BODY = b': c\n\nevent: x\r\ndata: {"a": 1}\r\n\r\ndata: [DONE]'
EVENT_STREAM = b"HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\nX-A: b\r\n"


class Wire(asyncio.Transport):
    """A transport that keeps what is written; it stands for either side."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed: str | None = None

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert self.closed is None
        self.written += data

    def is_closing(self) -> bool:
        return self.closed is not None

    def close(self) -> None:
        self.closed = self.closed or "closed"

    def abort(self) -> None:
        self.closed = self.closed or "aborted"


class Parsed:
    """What a client makes of the bytes it got."""

    def __init__(self, data: bytes) -> None:
        self.body = b""
        self.complete = False
        self.headers: list[tuple[bytes, bytes]] = []
        httptools.HttpResponseParser(self).feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, span: bytes) -> None:
        self.body += span

    def on_message_complete(self) -> None:
        self.complete = True


def chunked(body: bytes, size: int) -> bytes:
    """`body` in chunks of `size`."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def wire_form(framing: str) -> bytes:
    """`BODY` as an answer in a framing."""
    if framing == "length":
        return EVENT_STREAM + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    if framing == "close":
        return EVENT_STREAM + b"\r\n" + BODY
    return EVENT_STREAM + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY, 9)


class Play:
    """One answer on its way from a provider's reads to a client's transport."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, http10: bool = False) -> None:
        self.client = Wire()
        self._connection = Connection(loop, lambda connection: None)
        self._connection.connection_made(Wire())
        limits = Limits(Timeouts(), True, loop.time() + 60)
        self.answer = self._connection.begin(limits, head_only=False, interim=None)
        self._connection.sent()
        self._relay: Relay | None = None
        self._http10 = http10

    def read(self, data: bytes) -> None:
        """The provider's next bytes arrive; the relay begins as soon as it may, as the handler would."""
        self._connection.data_received(data)
        if self._relay is None and (self.answer.first_event_s or self.answer.complete):
            wire = cast(asyncio.Transport, self.client)
            self._relay = Relay(wire, self.answer, http10=self._http10, keep_alive=True, head_only=False)
            self._relay.begin(b"x-own: 1\r\n", http10=self._http10)

    def lost(self, error: Exception | None = None) -> FuseboxError | None:
        """The provider's connection ends; the fault that the handler will see."""
        self._connection.connection_lost(error)
        return self.answer.fault

    def stop(self) -> None:
        """Let go of timers."""
        self._connection.abort()


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_an_answer_cut_into_any_three_reads(framing: str) -> None:
    """Head and body cut at every pair of positions: the client gets the same body, once and complete."""
    loop = asyncio.get_running_loop()
    wire = wire_form(framing)
    for first in range(1, len(wire) - 1):
        for second in range(first + 1, len(wire), 1 + first % 3):
            play = Play(loop)
            for part in (wire[:first], wire[first:second], wire[second:]):
                play.read(part)
            if framing == "close":
                assert play.lost() is None
            play.stop()
            parsed = Parsed(bytes(play.client.written))
            assert (parsed.body, parsed.complete) == (BODY, True), (first, second)
            assert parsed.headers[:2] == [(b"Content-Type", b"text/event-stream"), (b"X-A", b"b")]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_an_answer_byte_by_byte(framing: str) -> None:
    """A read per byte: the same bytes, and an end that is recognised as one."""
    play = Play(asyncio.get_running_loop())
    for byte in wire_form(framing):
        play.read(bytes([byte]))
    if framing == "close":
        assert play.lost() is None
    play.stop()
    parsed = Parsed(bytes(play.client.written))
    assert (parsed.body, parsed.complete) == (BODY, True)


@pytest.mark.parametrize("error", [None, ConnectionResetError("reset")], ids=["FIN", "RST"])
@pytest.mark.parametrize("http10", [False, True], ids=["1.1", "1.0"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_an_answer_that_ends_early_anywhere(framing: str, http10: bool, error: Exception | None) -> None:
    """Whatever the byte after which the provider is gone: the client is never told that the body is complete."""
    loop = asyncio.get_running_loop()
    wire = wire_form(framing)
    complete_from = len(wire) if framing != "close" else wire.index(b"data: [DONE]") + len(b"data: [DONE]")
    for cut in range(1, complete_from):
        play = Play(loop, http10=http10)
        play.read(wire[:cut])
        fault = play.lost(error)
        play.stop()
        assert fault is not None, cut
        written = bytes(play.client.written)
        if not written:
            continue  # nothing had gone out: the client gets an error of its own
        assert isinstance(fault, AnswerCut)
        assert play.client.closed == ("aborted" if http10 and framing != "length" else "closed")
        if not http10:
            assert not Parsed(written).complete, cut
