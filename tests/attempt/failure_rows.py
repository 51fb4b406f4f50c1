"""Every way in which a provider fails, as a script for a real socket: what is played for each row of the failure table.

A row says what the provider does, and nothing of what must follow: that stands in docs/failure-modes.md, and
test_failure_table.py holds the two together.
"""

from __future__ import annotations

import http
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.attempt.provider_errors import CASES, JSON, SSE, Case
from tests.harness import Exchange

Script = Callable[[Exchange, int], Awaitable[None]]
"""What is done with a request that has been read; the number counts the requests of one play, from 1."""

UNPLAYABLE = {
    "upstream failed": "every fault of a socket has a row of its own; this one is for those that nobody thought of",
    "internal error": "a fault in Fusebox itself: no provider can bring it about",
}
"""Reasons that no socket can play, and why."""

CHAT = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    }
).encode()
FILTERED = CHAT.replace(b'"stop"', b'"content_filter"')
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = STREAM_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

CONNECT, IDLE, TOTAL = (f"timeouts: {{{phase}: 150ms}}" for phase in ("connect", "idle", "total"))
HEAD, FIRST_EVENT = (f"timeouts: {{{phase}: 300ms}}" for phase in ("head", "first_event"))
"""Short where nothing but Fusebox must be in time; a little longer where the next target must be, too."""

WHOLE = "deliver: whole"


def chunk(data: bytes) -> bytes:
    """One chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One failure. `provider`: who plays it, of the policy in failure_stage.py; `settings`: of its routes.

    Either `answer` is given, as status, media type and body, or a `script`; neither for whoever is never reached.
    `breaks`: what follows once the client has the beginning of the answer.
    `shown`: the client's status for an error inside a 200. `ask`: how the client behaves, when it is not as clients do.
    """

    reason: str
    name: str = ""
    provider: str = "first"
    settings: str = ""
    stream: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    answer: tuple[int, bytes, bytes] | None = None
    script: Script | None = None
    breaks: Script | None = None
    shown: int | None = None
    ask: str = "whole"

    def __str__(self) -> str:
        return f"{self.reason}: {self.name}" if self.name else self.reason

    @property
    def reached(self) -> bool:
        """Whether the provider sees the request."""
        return self.answer is not None or self.script is not None

    def plays(self, *lines: bytes) -> Script:
        """The script, `lines` added to the head of its answer."""
        if self.answer is not None:
            return answering(*self.answer, *lines)
        assert self.script is not None
        return self.script


def answering(status: int, media: bytes, body: bytes, *lines: bytes) -> Script:
    """A whole answer. The connection ends with it, so that none is left over for the next play."""
    phrase = next((one.phrase for one in http.HTTPStatus if one == status), "Odd").encode()
    head = [b"HTTP/1.1 %d %b" % (status, phrase), b"Connection: close", *lines]
    if status not in (204, 304):
        head += [b"Content-Type: " + media, b"Content-Length: %d" % len(body)]

    async def script(exchange: Exchange, number: int) -> None:
        await exchange.send(b"\r\n".join(head) + b"\r\n\r\n" + body)
        exchange.close()

    return script


def sending(*parts: bytes, end: Callable[[Exchange], None] | None = None) -> Script:
    """Bytes, whatever they are; then `end`, or silence until Fusebox hangs up."""

    async def script(exchange: Exchange, number: int) -> None:
        for part in parts:
            await exchange.send(part)
        if end is None:
            await exchange.hung_up()
        else:
            end(exchange)

    return script


def stale(then: Script) -> Script:
    """The connection that was kept alive closes under the request; on a fresh one `then` is played."""

    async def script(exchange: Exchange, number: int) -> None:
        if number == 1:
            exchange.reset()
        else:
            await then(exchange, number - 1)

    return script


def of_case(case: Case) -> Row:
    """A provider's error, worded as providers do."""
    return Row(
        reason=case.reason,
        name=case.name,
        stream=case.media == SSE,
        answer=(case.status, case.media, case.body),
        shown=case.shown,
    )


def go_on(exchange: Exchange) -> None:
    """No end yet: the row's `breaks` follows."""


SILENCE = sending()
CLOSE, RESET = Exchange.close, Exchange.reset
BEGINS = sending(CHUNKED, chunk(EVENT), end=go_on)
COMMENT = chunk(b": still thinking\n\n")
LONG = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"text": "' + b"x" * 2000
SHORTENED = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"text": "'

NO_ANSWER = [
    Row(reason="name not found", provider="unknown"),
    Row(reason="connection refused", provider="refusing"),
    Row(reason="TLS failed", name="wrong protocol", provider="plain"),
    Row(reason="TLS failed", name="closed in the handshake", provider="closing"),
    Row(reason="TLS failed", name="bad certificate", provider="untrusted"),
    Row(reason="egress proxy failed", provider="proxied"),
    Row(reason="connect timeout", name="TCP", provider="full", settings=CONNECT),
    Row(reason="connect timeout", name="TLS", provider="mute", settings=CONNECT),
    Row(reason="connection lost", name="reset", script=sending(end=RESET)),
    Row(reason="connection lost", name="closed", script=sending(end=CLOSE)),
    Row(reason="connection lost", name="in the head", script=sending(b"HTTP/1.1 200 OK\r\nCont", end=CLOSE)),
    Row(reason="not HTTP", name="another protocol", script=sending(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")),
    Row(reason="not HTTP", name="no such status", answer=(999, JSON, b"{}")),
    Row(reason="head timeout", settings=HEAD, stream=True, script=SILENCE),
    Row(reason="first event timeout", settings=FIRST_EVENT, stream=True, script=sending(CHUNKED, COMMENT, COMMENT)),
    Row(
        reason="stalled",
        settings=f"{WHOLE}, {IDLE}",
        stream=True,
        script=sending(CHUNKED, chunk(EVENT), COMMENT, COMMENT),
    ),
    Row(reason="answer cut", name="JSON", script=sending(SHORTENED, end=CLOSE)),
    Row(
        reason="answer cut",
        name="held whole",
        settings=WHOLE,
        stream=True,
        script=sending(CHUNKED, chunk(EVENT), end=CLOSE),
    ),
    Row(
        reason="answer cut",
        name="bad chunk, held whole",
        settings=WHOLE,
        stream=True,
        script=sending(CHUNKED, chunk(EVENT), b"zz\r\n"),
    ),
    Row(reason="no answer in time", settings=TOTAL, script=SILENCE),
    Row(reason="deadline passed", headers=(("x-fusebox-timeout-ms", "150"),), script=SILENCE),
    Row(reason="client left", script=SILENCE, ask="hang_up"),
    Row(reason="client's fault", script=SILENCE, ask="break_upload"),
    Row(reason="unavailable here", name="no key", provider="keyless"),
]
"""No answer comes, or it breaks while it is still held back."""

MID_ANSWER = [
    Row(reason="stalled mid-answer", settings=IDLE, stream=True, script=BEGINS, breaks=sending(COMMENT, COMMENT)),
    Row(reason="cut mid-answer", name="reset", stream=True, script=BEGINS, breaks=sending(end=RESET)),
    Row(reason="cut mid-answer", name="closed", stream=True, script=BEGINS, breaks=sending(end=CLOSE)),
    Row(reason="cut mid-answer", name="bad chunk", stream=True, script=BEGINS, breaks=sending(b"zz\r\n")),
    Row(reason="cut mid-answer", name="JSON", script=sending(LONG, end=go_on), breaks=sending(end=CLOSE)),
    Row(
        reason="cut mid-answer",
        name="reset where the close is the end",
        stream=True,
        script=sending(STREAM_HEAD + b"\r\n", EVENT, end=go_on),
        breaks=sending(end=RESET),
    ),
]
"""The answer breaks after bytes of it have gone to the client."""

NAMED = {case.name: case for case in CASES}

ANSWERS = [
    Row(reason="ok", answer=(200, JSON, CHAT)),
    Row(reason="ok", name="filtered in the answer", answer=(200, JSON, FILTERED)),
    Row(reason="ok", name="stream", stream=True, answer=(200, SSE, EVENT + b"data: [DONE]\n\n")),
    Row(reason="ok", name="204", answer=(204, JSON, b"")),
    Row(reason="ok", name="304", answer=(304, JSON, b"")),
    *(
        of_case(NAMED[name])
        for name in (
            "openai tokens per minute",
            "openai one request above the limit",
            "openai slow down as 503",
            "openai no credit",
            "openai wrong key",
            "openai unknown model",
            "openai context",
            "openai file of another account",
            "openai server error",
            "openai chat stream: error",
            "anthropic overloaded",
            "anthropic no credit",
            "anthropic permission",
            "anthropic bytes",
            "anthropic bad request",
            "anthropic timeout",
            "anthropic conflict",
            "anthropic stream: overloaded",
            "google key",
            "google bare array in a 200",
            "openrouter error in a 200",
            "openrouter moderation",
            "openrouter credits",
            "openrouter timeout",
            "azure filter",
            "groq one request above the limit",
            "minimax filter in a 200",
            "modelslab key in a 200",
            "cloudflare page",
            "nginx 400 page",
            "portal",
            "nothing",
            "stream of nothing",
            "empty 503",
        )
    ),
    Row(reason="client's key refused", provider="theirs", answer=(401, JSON, NAMED["openai wrong key"].body)),
    Row(reason="not offered", name="501", answer=(501, JSON, b"{}")),
    Row(reason="conflict", name="425", answer=(425, JSON, b"{}")),
    Row(reason="provider unavailable", name="520", answer=(520, JSON, b"{}")),
    Row(reason="redirect", answer=(307, JSON, b"{}")),
]
"""The provider answers."""

STALE = Row(reason="stale connection", script=stale(answering(200, JSON, CHAT)))
STALE_AND_LOST = Row(reason="stale connection", name="and lost", script=stale(sending(end=RESET)))

LONG_ANSWER = Row(
    reason="deadline passed",
    name="in the middle of an answer",
    settings="timeouts: {total: 300ms}",
    stream=True,
    script=BEGINS,
    breaks=SILENCE,
)

ROWS = [*NO_ANSWER, *MID_ANSWER, *ANSWERS]
