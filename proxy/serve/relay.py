"""The answer's bytes to the client, in the event-loop turn in which they came from the provider.

The relay chooses a framing for the client's connection (RFC 9112 section 6), writes head and held bytes in one go, and
is from then on the answer's sink. When the client reads slowly, its transport tells `pause`, and the provider waits.
An answer that breaks is never ended: the client's connection is aborted, so that no truncated answer can look whole.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Literal

from proxy.errors import FuseboxError
from proxy.serve.reply import status_line
from proxy.upstream.answer import Answer, Lines
from proxy.wire.headers import end_to_end
from proxy.wire.usage import UsageWatch

Framing = Literal["none", "length", "chunked", "close"]


class Relay:
    """Hands one answer to one client."""

    __slots__ = (
        "_answer",
        "_chunked",
        "_done",
        "_end",
        "_last_event",
        "_transport",
        "_usage",
        "body_bytes",
        "fault",
        "framing",
        "keep_alive",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        answer: Answer,
        *,
        http10: bool,
        keep_alive: bool,
        head_only: bool,
        last_event: Callable[[FuseboxError], bytes] | None = None,
        usage: UsageWatch | None = None,
    ) -> None:
        self._transport = transport
        self._answer = answer
        self._done: asyncio.Future[None] | None = None
        self._last_event = last_event
        self._usage = usage
        self._end = b""
        self.framing = _framing(answer, http10=http10, head_only=head_only)
        self._chunked = self.framing == "chunked"
        self.keep_alive = keep_alive and self.framing != "close"
        self.body_bytes = 0
        self.fault: FuseboxError | None = None

    def begin(self, own_lines: bytes, *, http10: bool) -> None:
        """Write the head and what of the body is there; take the rest as it comes.

        No await between here and the last line: a span must not come between what is held and what is attached.
        """
        answer = self._answer
        head = _head(answer, own_lines, chunked=self._chunked, http10=http10, keep_alive=self.keep_alive)
        body = b"" if self.framing == "none" else answer.held[0] if len(answer.held) == 1 else b"".join(answer.held)
        answer.held.clear()
        self.body_bytes = len(body)
        if self._last_event is not None:
            self._end = body[-4:]
        if self._transport.is_closing():
            pass  # the client has hung up; the cancellation is on its way
        elif self._chunked:
            end = _last_chunk(answer.trailers) if answer.complete else b""
            self._transport.write(b"%b%x\r\n%b\r\n%b" % (head, len(body), body, end) if body else head + end)
        else:
            self._transport.write(head + body)
        if self._usage is not None and body:
            self._usage.feed(body)
        if not answer.complete:
            self._done = asyncio.get_running_loop().create_future()
            answer.attach(self)

    async def finished(self) -> None:
        """Wait for the end of an answer that was not complete at `begin`.

        Raises the fault that broke it; the client's connection is gone then.
        """
        assert self._done is not None
        await self._done
        if self.fault is not None:
            raise self.fault

    # Sink: what the answer's connection calls, inside its data_received.

    def feed(self, span: bytes) -> None:
        """Pass on bytes of the body."""
        if self._transport.is_closing():
            self.gone()
            return
        self.body_bytes += len(span)
        if self._last_event is not None:
            self._end = (self._end + span[-4:])[-4:]
        if self._chunked:
            self._transport.write(b"%x\r\n%b\r\n" % (len(span), span))
        elif self.framing != "none":
            self._transport.write(span)
        if self._usage is not None:
            self._usage.feed(span)  # after the client has got it

    def end(self, trailers: Lines) -> None:
        """The body is complete."""
        if self._chunked and not self._transport.is_closing():
            self._transport.write(_last_chunk(trailers))
        self._wake()

    def broken(self, fault: FuseboxError) -> None:
        """The body is cut: cut the client's too, without the bytes that would end it."""
        self.fault = fault
        # First of all: the close below cancels whoever waits, which must not be taken for the client's hanging up.
        self._wake()
        # An error event only between two others: inside one, SDKs fail to parse the pieces instead of reporting it.
        between = self._end.endswith(_BOUNDARIES) and self._chunked and not self._transport.is_closing()
        if self._last_event is not None and between:
            event = self._last_event(fault)
            self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        # What was passed on already should still arrive; then the connection ends short of its framing.
        if self.framing == "close":
            # A close would look like the end of such a body. Only a reset says otherwise.
            _reset(self._transport)
        else:
            self._transport.close()

    def _wake(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    # What the client's connection calls.

    def gone(self) -> None:
        """The client has hung up: the provider need not go on. The handler is cancelled by the client's connection."""
        self._answer.drop()

    def pause(self) -> None:
        """The client is slow: read no more from the provider."""
        self._answer.pause()

    def resume(self) -> None:
        """The client reads again."""
        self._answer.resume()


_BOUNDARIES = (b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r\r")
"""What may end an event (WHATWG HTML section 9.2.6)."""


def whole(
    answer: Answer, own_lines: bytes, *, http10: bool, keep_alive: bool, head_only: bool
) -> tuple[bytes, int, bool]:
    """A complete answer as it goes on the wire, the size of its body, and whether the connection may be kept."""
    if answer.content_length is not None and not http10 and not head_only and answer.status == 200 and keep_alive:
        # Nearly all of them.
        held = answer.held
        body = held[0] if len(held) == 1 else b"".join(held)
        reason = answer.reason
        start = b"HTTP/1.1 200 OK\r\n" if reason == b"OK" else status_line(200, reason)
        return b"".join((start, answer.block, own_lines, b"\r\n", body)), len(body), True
    framing = _framing(answer, http10=http10, head_only=head_only)
    keep_alive = keep_alive and framing != "close"
    chunked = framing == "chunked"
    head = _head(answer, own_lines, chunked=chunked, http10=http10, keep_alive=keep_alive)
    body = b"" if framing == "none" else b"".join(answer.held)
    if chunked:
        end = _last_chunk(answer.trailers)
        return (b"%b%x\r\n%b\r\n%b" % (head, len(body), body, end) if body else head + end), len(body), keep_alive
    return head + body, len(body), keep_alive


def _head(answer: Answer, own_lines: bytes, *, chunked: bool, http10: bool, keep_alive: bool) -> bytes:
    """The head of an answer, for this client's connection."""
    connection = b"Connection: close\r\n" if not keep_alive else b"Connection: keep-alive\r\n" if http10 else b""
    transfer = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    return b"".join((status_line(answer.status, answer.reason), answer.block, own_lines, transfer, connection, b"\r\n"))


def _framing(answer: Answer, *, http10: bool, head_only: bool) -> Framing:
    """RFC 9112 section 6.3: how the client will know the end of the body."""
    if head_only or answer.status in (204, 304):
        return "none"
    if answer.content_length is not None:
        return "length"
    return "close" if http10 else "chunked"


def _reset(transport: asyncio.Transport) -> None:
    """Close with a TCP reset. `abort` alone drops what is unsent and then says FIN, like any close."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _last_chunk(trailers: Lines) -> bytes:
    return b"0\r\n\r\n" if not trailers else b"0\r\n" + end_to_end(trailers) + b"\r\n"
