"""A fault, played: what an attempt at a provider meets in place of what that provider would do.

Each fault is played where a real one would happen, and by the same parts, so that nobody further on can tell them apart:

- a status, and silence: on a `Connection` whose other end is nobody. Its parser reads the answer, its deadlines strike.
- latency: before the real attempt, whose deadlines have run on meanwhile.
- a cut: between the real answer and the one that is handed on, which hears what a broken connection would have said.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus

import msgspec
import orjson

from proxy.attempt.faults import Fault, Faults
from proxy.attempt.send import Request, Send, Sent, arrive, begin, compose
from proxy.config.schema import Seconds, Timeouts
from proxy.config.secrets import Key
from proxy.errors import AnswerCut, AnswerTimeout, FuseboxError, UpstreamFault
from proxy.exchange import Format, Target
from proxy.upstream.answer import Answer, Lines
from proxy.upstream.connection import Connection, Limits
from proxy.upstream.provider import Provider
from proxy.wire.sse import Watch

PHASE_MIN_S = 0.001
"""What is left of a phase's time at the least: a deadline in the past is none."""


def played(faults: Faults, send: Send) -> Send:
    """`send` for as long as there are faults: an attempt that none of them strikes is an ordinary one."""

    async def attempt(
        provider: Provider,
        target: Target,
        request: Request,
        timeouts: Timeouts,
        total_at_s: float,
        key: Key | None = None,
    ) -> Sent:
        fault = faults.strikes(provider.name)
        if fault is None:
            return await send(provider, target, request, timeouts, total_at_s, key)
        if fault.latency_s is not None:
            return await _late(send, fault.latency_s, provider, target, request, timeouts, total_at_s, key)
        if fault.cut_after is not None:
            sent = await send(provider, target, request, timeouts, total_at_s, key)
            return _cut(sent, fault.cut_after, provider)
        return await _alone(fault, provider, target, request, Limits(timeouts, request.streamed, total_at_s), key)

    return attempt


# A status, and silence


async def _alone(
    fault: Fault, provider: Provider, target: Target, request: Request, limits: Limits, key: Key | None
) -> Sent:
    """The attempt without the provider."""
    root, head, pieces = compose(provider, target, request, key=key)  # raises what a real attempt would: NoKey, say
    connection = Connection(asyncio.get_running_loop(), Connection.abort)
    connection.connection_made(_Nobody())
    try:
        sent = begin(connection, head, pieces, request, limits, reused=False)
        if fault.status is not None:
            connection.data_received(_error(fault, provider.name, request))
        await arrive(sent)
    except UpstreamFault as late:
        raise late.at(root.where) from None
    return sent


class _Nobody(asyncio.Transport):
    """The other end takes everything, and says nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Gone."""

    def is_closing(self) -> bool:
        """It is there until its connection forgets it."""
        return False

    def pause_reading(self) -> None:
        """There is nothing to read."""

    def resume_reading(self) -> None:
        """There is nothing to read."""

    def abort(self) -> None:
        """There is nothing to close."""


def _error(fault: Fault, provider: str, request: Request) -> bytes:
    """The whole answer, as providers of the request's format word theirs."""
    status = fault.status
    assert status is not None
    message = f"`fusebox fault` has {provider} answer {status}; the provider itself was not asked."
    openai, anthropic = _WORDS.get(status) or (_SERVER if status >= 500 else _CLIENT)
    body: dict[str, object]
    if request.endpoint.format is Format.ANTHROPIC:
        body = {"type": "error", "error": {"type": anthropic, "message": message}}
    else:
        kind, code = openai
        body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    written = orjson.dumps(body)
    wait = b"" if fault.retry_after_s is None else b"Retry-After: %d\r\n" % fault.retry_after_s
    head = b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
    return head % (status, _phrase(status), len(written), wait) + (b"" if request.method == "HEAD" else written)


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:  # one of a provider's own, as 529
        return b"Error"


_CLIENT = ("invalid_request_error", None), "invalid_request_error"
_SERVER = ("server_error", None), "api_error"

_WORDS: dict[int, tuple[tuple[str, str | None], str]] = {
    401: (("invalid_request_error", "invalid_api_key"), "authentication_error"),
    402: (("insufficient_quota", "insufficient_quota"), "billing_error"),
    403: (("request_forbidden", None), "permission_error"),
    404: (("invalid_request_error", None), "not_found_error"),
    429: (("requests", "rate_limit_exceeded"), "rate_limit_error"),
    503: (("service_unavailable_error", "server_is_overloaded"), "api_error"),
    529: (("service_unavailable_error", "server_is_overloaded"), "overloaded_error"),
}
"""By status: OpenAI's type and code (platform.openai.com/docs/guides/error-codes), and Anthropic's type
(docs.anthropic.com/en/api/errors)."""


# Latency


async def _late(
    send: Send,
    latency_s: float,
    provider: Provider,
    target: Target,
    request: Request,
    timeouts: Timeouts,
    total_at_s: float,
    key: Key | None,
) -> Sent:
    """The attempt, begun late; all of it counts as the provider's time."""
    limit_s, phase = total_at_s - asyncio.get_running_loop().time(), "total"
    if request.streamed:
        limit_s, phase = min((limit_s, phase), (timeouts.head, "head"), (timeouts.first_event, "first_event"))
    if limit_s <= latency_s:
        await asyncio.sleep(limit_s)
        raise AnswerTimeout(phase, getattr(timeouts, phase)).at(provider.where)
    await asyncio.sleep(latency_s)
    left = msgspec.structs.replace(
        timeouts,
        head=Seconds(max(timeouts.head - latency_s, PHASE_MIN_S)),
        first_event=Seconds(max(timeouts.first_event - latency_s, PHASE_MIN_S)),
    )
    try:
        sent = await send(provider, target, request, left, total_at_s, key)
    except AnswerTimeout as late:
        if late.phase not in ("head", "first_event"):
            raise
        # It has waited as long as the policy says, not what was left of that.
        raise AnswerTimeout(late.phase, getattr(timeouts, late.phase)).at(late.where or provider.where) from None
    sent.written_at -= latency_s
    if sent.answer.asked_s:
        sent.answer.asked_s -= latency_s
    return sent


# A cut


def _cut(sent: Sent, events: int, provider: Provider) -> Sent:
    """`sent` with an answer that breaks off. Raises AnswerCut when that is before its first byte.

    Errors, switched protocols and answers without a body come whole: there is nothing that could be cut in them.
    """
    real = sent.answer
    if not 200 <= real.status < 300 or (real.complete and not real.held):
        return sent
    sent.answer = answer = _Cutter(real, events).answer
    if answer.fault is not None and not answer.held:
        raise AnswerCut(_BROKEN).at(provider.where)
    return sent


_BROKEN = "it closed the connection before its answer was complete"


class _Cutter:
    """Between the real answer, whose sink it is, and the one that is handed on, whose source it is."""

    def __init__(self, real: Answer, events: int) -> None:
        self._real = real
        self.answer = Answer(
            self,
            status=real.status,
            reason=real.reason,
            lines=real.lines,
            block=real.block,
            content_type=real.content_type,
            coding=real.coding,
            content_length=real.content_length,
            watch=None if real.watch is None else Watch(),
            asked_s=real.asked_s,
            head_s=real.head_s,
        )
        self._counter = _Events(events) if real.watch is not None else None
        # A stream without a watch is a compressed one, whose events nobody sees: each span counts as one.
        stream = real.watch is not None or real.content_type.lower().startswith(b"text/event-stream")
        self._spans_left = events
        self._bytes_left = None if stream else self._half()
        self._loop = asyncio.get_running_loop()
        if stream and events == 0:
            self._break()
        for span in real.held:
            self._feed(span, real.first_event_s or real.head_s)
        if self._over:
            return
        if real.complete:
            self.end(real.trailers)
        else:
            real.attach(self)

    def _half(self) -> int:
        """How much of an answer that is no stream still goes out. One of unknown length breaks in what is here of it."""
        real = self._real
        here = sum(map(len, real.held))
        return (real.content_length if real.content_length is not None else here) // 2

    @property
    def _over(self) -> bool:
        return self.answer.fault is not None or self.answer.complete

    # As a sink.

    def feed(self, span: bytes) -> None:
        """The next bytes of the real answer."""
        self._feed(span, self._loop.time())

    def end(self, trailers: Lines) -> None:
        """The real answer was shorter than the cut."""
        if not self._over:
            self.answer.on_end(trailers)

    def broken(self, fault: FuseboxError) -> None:
        """The real answer has broken off first."""
        if not self._over:
            self.answer.on_fault(fault)

    def _feed(self, span: bytes, now_s: float) -> None:
        if self._over:
            return
        end = self._end_in(span)
        part = span if end is None else span[:end]
        if part:
            self.answer.on_body(part, now_s)
        if end is not None:
            self._break()

    def _end_in(self, span: bytes) -> int | None:
        """Where in `span` the answer breaks off; None: behind it."""
        if self._counter is not None:
            return self._counter.end_in(span)
        if self._bytes_left is None:
            self._spans_left -= 1
            return None if self._spans_left else len(span)
        if len(span) >= self._bytes_left:
            return self._bytes_left
        self._bytes_left -= len(span)
        return None

    def _break(self) -> None:
        self._real.drop()
        if not self._over:
            self.answer.on_fault(AnswerCut(_BROKEN))

    # As a source.

    def pause(self) -> None:
        """Read no more until `resume`."""
        self._real.pause()

    def resume(self) -> None:
        """Read on."""
        self._real.resume()

    def abort(self) -> None:
        """Nobody wants the answer."""
        self._real.drop()

    def future(self) -> asyncio.Future[None]:
        """A future of the loop."""
        return self._loop.create_future()


_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class _Events:
    """Finds the end of the event with data number `count` of a stream (WHATWG HTML section 9.2), cut anywhere."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._line = b""
        self._has_data = False
        self._after_cr = False

    def end_in(self, span: bytes) -> int | None:
        """Behind which byte of `span` that event ends; None: not in this one."""
        at = 1 if self._after_cr and span.startswith(b"\n") else 0
        for found in _LINE_END.finditer(span, at):
            line = (self._line + span[at : found.start()]).removeprefix(_BOM)
            self._line, at = b"", found.end()
            if line:
                self._has_data = self._has_data or line.startswith(b"data:") or line == b"data"
            elif self._has_data:
                self._has_data = False
                self._left -= 1
                if not self._left:
                    return at
        self._line = (self._line + span[at:])[:64]  # its name is all that counts
        self._after_cr = span.endswith(b"\r")
        return None
