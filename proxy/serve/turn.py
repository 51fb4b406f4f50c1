"""One request and the client it is answered to: everything that is written to that client is written here."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import msgspec
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from proxy.attempt.classify import classify
from proxy.attempt.outcomes import Verdict
from proxy.attempt.walk import Won
from proxy.errors import FuseboxError, Refused, UpstreamFault
from proxy.exchange import Carrier, Endpoint, Format
from proxy.observe.health import Health
from proxy.observe.record import Record
from proxy.serve.client import ClientConnection
from proxy.serve.relay import Relay, whole
from proxy.serve.reply import error_body, error_head, json_response, status_line
from proxy.serve.snapshot import Snapshot
from proxy.upstream.answer import Answer, Lines
from proxy.wire.headers import block
from proxy.wire.usage import UsageWatch, of_body, watch
from proxy.wire.usage_fields import metered

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_UNREAD = Endpoint("", Format.OPENAI, Carrier.NONE)


class Turn(msgspec.Struct, eq=False):
    """The client's side of one request. `format` is the client's, once its path has been read; `endpoint`, too.

    `slow`: what will tell the answer's usage, when that takes so long that it must be asked elsewhere.
    """

    head: RawRequestMessage
    content: StreamReader
    connection: ClientConnection
    transport: asyncio.Transport
    snapshot: Snapshot
    record: Record
    http10: bool
    _health: Health
    format: Format = Format.OPENAI
    endpoint: Endpoint = _UNREAD
    slow: UsageWatch | None = None
    _began: bool = False

    @property
    def keep_alive(self) -> bool:
        """Whether the client's connection may go on after this answer."""
        return not self.head.should_close and not self._health.draining

    @property
    def body_is_here(self) -> bool:
        """Whether the client has sent its whole request."""
        return self.content.is_eof()

    def _write(self, data: bytes) -> None:
        """Write to a client that may have hung up in this very turn; then the cancellation is on its way."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def ask_for_body(self, expectation: str) -> None:
        """Answer ``Expect``: the routing needs the body, so nobody further on could refuse it unseen (RFC 9110 section 10.1.1)."""
        if expectation.lower() != "100-continue":
            raise Refused(
                417, "expectation_failed", f"the expectation {expectation[:40]!r} cannot be met; only 100-continue can"
            )
        if not self.http10:
            self._write(_CONTINUE)

    def interim(self, status: int, reason: bytes, lines: Lines) -> None:
        """Pass a 1xx response on (RFC 9110 section 15.2). 100 is not: it has been said."""
        if status != 100 and not self.http10:
            self._write(status_line(status, reason) + block(lines) + b"\r\n")

    async def relay(self, won: Won, *, error_event: bool = False) -> bool:
        """Hand an answer on, to its end; whether the connection may be kept. Raises the fault that cut it.

        `error_event`: before a cut stream is cut here, too, an event says so, if it falls between two others.
        """
        sent, record = won.sent, self.record
        answer = sent.answer
        record.status = answer.status
        keep_alive = self.keep_alive and self.content.is_eof()
        head_only = self.head.method == "HEAD"
        used = self._usage_watch(won)
        relay = Relay(
            self.transport,
            answer,
            http10=self.http10,
            keep_alive=keep_alive,
            head_only=head_only,
            last_event=partial(self._error_event, won) if error_event and answer.watch is not None else None,
            usage=used,
        )
        broke: str | None = None
        self._health.streams += 1
        try:
            if not answer.complete:
                self.connection.flow = relay
            self._began = True
            relay.begin(self.own_lines(), http10=self.http10)
            record.written_at = time.perf_counter()
            if not answer.complete:
                if self.connection.writing_paused:
                    relay.pause()
                await relay.finished()
        except UpstreamFault as fault:
            outcome = classify(fault, sent=True)
            if outcome.verdict is Verdict.FAILURE:
                broke = record.broke = outcome.reason
            raise fault.at(won.leave.provider.where) from None
        finally:
            self._health.streams -= 1
            won.finish(broke)
            record.body_out = relay.body_bytes
            if used is not None:
                self._read_usage(used, answer)
            answer.drop()
            if sent.upload is not None:
                await sent.release()
        return relay.keep_alive and not self._health.draining  # which may have begun since the head said otherwise

    def write_whole(self, won: Won) -> bool:
        """Write an answer that is all there, as one that is not streamed usually is; whether the connection may be kept."""
        self._began = True
        answer, record = won.sent.answer, self.record
        record.status = answer.status
        data, size, keep_alive = whole(
            answer,
            self.own_lines(),
            http10=self.http10,
            keep_alive=self.keep_alive and self.content.is_eof(),
            head_only=self.head.method == "HEAD",
        )
        self._write(data)
        record.written_at = time.perf_counter()
        record.body_out = size
        if won.holds and metered(self.endpoint):
            self._read_usage_of_whole(answer)
        won.finish()
        return keep_alive and not self._health.draining

    def _usage_watch(self, won: Won) -> UsageWatch | None:
        """What reads the usage of an answer on its way; None for one that costs no tokens, or does not tell."""
        if not won.holds or not metered(self.endpoint):
            return None
        self.record.bills = self.endpoint.inference
        answer = won.sent.answer
        return watch(self.endpoint, answer.content_type, answer.coding)

    def _read_usage(self, watching: UsageWatch, answer: Answer) -> None:
        """The answer is over. A stream that broke off used what it had told by then; of another body nothing is known."""
        if answer.complete or answer.watch is not None:
            if watching.slow:
                self.slow = watching
            else:
                self.record.usage = watching.usage()

    def _read_usage_of_whole(self, answer: Answer) -> None:
        """The same for an answer that was all there."""
        record, held = self.record, answer.held
        record.bills = self.endpoint.inference
        body = held[0] if len(held) == 1 else b"".join(held)
        if not answer.coding:
            record.usage = of_body(self.endpoint, answer.content_type, b"", body)
            return
        watching = watch(self.endpoint, answer.content_type, answer.coding)
        if watching is not None:
            watching.feed(body)
            self._read_usage(watching, answer)

    def _error_event(self, won: Won, fault: FuseboxError) -> bytes:
        """`fault` as an event of the client's format."""
        if isinstance(fault, UpstreamFault):
            fault.at(won.leave.provider.where)
        data = error_body(fault, self.format, self.record.request_id)
        name = b"event: error\n" if self.format is Format.ANTHROPIC else b""
        return b"%bdata: %b\n\n" % (name, data)

    def own_lines(self) -> bytes:
        """The ``x-fusebox-*`` lines of a provider's answer."""
        record = self.record
        identity = b"x-fusebox-request-id: %b\r\n" % record.request_id.encode("ascii")
        if not self.snapshot.config.response_headers:
            return identity
        way = record.route, record.target, record.attempts
        return (_WAYS.get(way) or _way_lines(*way)) + identity

    def send_json(self, status: int, body: bytes) -> bool:
        """Answer with JSON of Fusebox's own making, which is no error; whether the connection may be kept."""
        self._began = True
        record, keep_alive = self.record, self.keep_alive and not self.http10
        record.status, record.body_out = status, len(body)
        lines = [(b"x-fusebox-request-id", record.request_id.encode("ascii"))]
        self._write(json_response(status, body, lines, close=not keep_alive, head_only=self.head.method == "HEAD"))
        return keep_alive

    def refuse(self, error: FuseboxError) -> bool:
        """Answer with an error of Fusebox's own, unless an answer has begun: then there is no second one."""
        record = self.record
        record.error_code, record.error = error.code, str(error)
        if self._began:
            return False
        self._began = True
        record.status = error.status
        keep_alive = self.keep_alive and self.body_is_here and not self.http10
        body = error_body(error, self.format, record.request_id)
        head = error_head(error, length=len(body), request_id=record.request_id, close=not keep_alive)
        self._write(head if self.head.method == "HEAD" else head + body)
        return keep_alive

    def upgraded(self, answer_lines: Lines, reason: bytes) -> bytes:
        """The head of a 101 response: the one place where Connection and Upgrade are the provider's to say."""
        self._began = True
        dropped = (b"connection", b"upgrade", b"transfer-encoding", b"content-length")
        lines = [line for line in answer_lines if line[0].lower() not in dropped]
        protocol = next((value for name, value in answer_lines if name.lower() == b"upgrade"), b"websocket")
        return b"".join(
            (
                status_line(101, reason),
                block(lines),
                self.own_lines(),
                b"Connection: Upgrade\r\nUpgrade: ",
                protocol,
                b"\r\n\r\n",
            )
        )


_WAYS: dict[tuple[str | None, str | None, int], bytes] = {}
_WAYS_MAX = 1024
"""How many ways are remembered: a target may hold the client's model, so there is no end to them."""


def _way_lines(route: str | None, target: str | None, attempts: int) -> bytes:
    """The lines that say which way a request went. Most requests go one of a few."""
    lines = b"x-fusebox-route: %b\r\nx-fusebox-target: %b\r\nx-fusebox-attempts: %d\r\n" % (
        (route or "").encode("ascii"),
        _header_text(target or ""),
        attempts,
    )
    if len(_WAYS) < _WAYS_MAX:
        _WAYS[route, target, attempts] = lines
    return lines


def _header_text(text: str) -> bytes:
    """`text` fit for a header line: a client's model name may hold anything that JSON can."""
    if text.isascii() and text.isprintable():
        return text.encode("ascii")
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text).encode("ascii")
