"""Tables of what a provider may send: answers with what they mean, and bytes that are none."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field

from proxy.errors import AnswerCut, BadAnswer, UpstreamFault
from proxy.upstream.answer import Lines
from tests.scripted import chunked, response

HEAD_OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED_HEAD = HEAD_OK + b"Transfer-Encoding: chunked\r\n\r\n"
EVENTS_HEAD = HEAD_OK + b"Content-Type: text/event-stream\r\n"

EVENTS = b': ping\r\n\r\ndata: {"n":1}\n\n: ping\n\ndata: {"n":2}\n\ndata: [DONE]\n\n'


@dataclass(frozen=True)
class Given:
    """An answer in bytes, and what it means. `closes`: its body is delimited by the connection's end."""

    name: str
    raw: bytes
    body: bytes = b""
    status: int = 200
    reason: bytes = b"OK"
    head_only: bool = False
    closes: bool = False
    reusable: bool = True
    trailers: Lines = field(default_factory=list)
    interim: tuple[int, ...] = ()
    content_length: int | None = None

    def __str__(self) -> str:
        return self.name


COMPLETE = [
    Given("length", response(b"hello"), b"hello", content_length=5),
    Given("length zero", response(b""), content_length=0),
    Given("length with white space", HEAD_OK + b"Content-Length: 5  \r\n\r\nhello", b"hello", content_length=5),
    Given("chunked", CHUNKED_HEAD + chunked([b"he", b"l", b"lo" * 20]), b"hel" + b"lo" * 20),
    Given("chunked, empty", CHUNKED_HEAD + chunked([])),
    Given(
        "chunked, odd sizes",
        CHUNKED_HEAD + b"000A\r\n0123456789\r\nb\r\nabcdefghijk\r\n000\r\n\r\n",
        b"0123456789abcdefghijk",
    ),
    Given(
        "chunked, white space in the header",
        HEAD_OK + b"Transfer-Encoding: Chunked \r\n\r\n" + chunked([b"a"]),
        b"a",
    ),
    Given("chunk extensions", CHUNKED_HEAD + b'3;a=b;c="d e";f\r\nabc\r\n0;last\r\n\r\n', b"abc"),
    Given(
        "trailers",
        CHUNKED_HEAD + chunked([b"abc"], b"X-Sum: 1\r\nX-Empty:\r\n"),
        b"abc",
        trailers=[(b"X-Sum", b"1"), (b"X-Empty", b"")],
    ),
    Given("closed", HEAD_OK + b"\r\nhello", b"hello", closes=True, reusable=False),
    Given("closed, empty", HEAD_OK + b"\r\n", closes=True, reusable=False),
    Given("closed, said so", HEAD_OK + b"Connection: close\r\n\r\nhello", b"hello", closes=True, reusable=False),
    Given("length, then closing", response(b"hello", b"Connection: close"), b"hello", reusable=False, content_length=5),
    Given(
        "1.0 with length",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"hi",
        reusable=False,
        content_length=2,
    ),
    Given(
        "1.0 kept",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
        b"hi",
        content_length=2,
    ),
    Given("1.0 closed", b"HTTP/1.0 200 OK\r\n\r\nhi", b"hi", closes=True, reusable=False),
    Given("204", b"HTTP/1.1 204 No Content\r\n\r\n", status=204, reason=b"No Content"),
    Given(
        "304 with a length",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        status=304,
        reason=b"Not Modified",
        content_length=99,
    ),
    Given("HEAD with a length", response(b"")[:-5] + b"7\r\n\r\n", head_only=True, reusable=False, content_length=7),
    Given("HEAD, chunked", CHUNKED_HEAD, head_only=True, reusable=False),
    Given("HEAD, neither", HEAD_OK + b"\r\n", head_only=True, reusable=False),
    Given("100 before", b"HTTP/1.1 100 Continue\r\n\r\n" + response(b"a"), b"a", interim=(100,), content_length=1),
    Given(
        "several before",
        b"HTTP/1.1 102 Processing\r\n\r\n"
        + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2
        + CHUNKED_HEAD
        + chunked([b"a"]),
        b"a",
        interim=(102, 103, 103),
    ),
    Given("no reason", b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", b"a", reason=b"", content_length=1),
    Given(
        "odd reason",
        b"HTTP/1.1 200 \xc3\xa9 (1)\r\nContent-Length: 1\r\n\r\na",
        b"a",
        reason=b"\xc3\xa9 (1)",
        content_length=1,
    ),
    Given(
        "error",
        response(b'{"error":{}}', status=b"529 Overloaded"),
        b'{"error":{}}',
        529,
        b"Overloaded",
        content_length=12,
    ),
    Given(
        "another protocol offered",
        response(b"hello", b"Connection: Upgrade", b"Upgrade: h2,h2c"),
        b"hello",
        content_length=5,
    ),
    Given(
        "event stream",
        EVENTS_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked([EVENTS[:9], EVENTS[9:30], EVENTS[30:]]),
        EVENTS,
    ),
    Given("event stream, closed", EVENTS_HEAD + b"\r\n" + EVENTS, EVENTS, closes=True, reusable=False),
    Given(
        "event stream, compressed, closed",
        EVENTS_HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(EVENTS, mtime=0),
        gzip.compress(EVENTS, mtime=0),
        closes=True,
        reusable=False,
    ),
]


@dataclass(frozen=True)
class Bad:
    """Bytes that are no answer, the fault they are, and words of its message."""

    name: str
    raw: bytes
    fault: type[UpstreamFault]
    says: str

    def __str__(self) -> str:
        return self.name


FLOOD = b"X-Flood: " + b"a" * 1013 + b"\r\n"
"""A header line of 1 KiB."""

BROKEN = [
    Bad("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n", BadAnswer, "did not answer in HTTP/1.1"),
    Bad("garbage", b"\x15\x03\x03\x00\x02\x02\x28", BadAnswer, "did not answer in HTTP/1.1"),
    Bad("status 000", b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n", BadAnswer, "status 0"),
    Bad("status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n", BadAnswer, "HTTP/1.1"),
    Bad("lines ended by LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", BadAnswer, "HTTP/1.1"),
    Bad("folded header", HEAD_OK + b"X-A: b\r\n  c\r\nContent-Length: 0\r\n\r\n", BadAnswer, "HTTP/1.1"),
    Bad("NUL in a header", HEAD_OK + b"X-A: b\x00c\r\nContent-Length: 0\r\n\r\n", BadAnswer, "HTTP/1.1"),
    Bad("bare CR in a header", HEAD_OK + b"X-A: b\rX-B: c\r\nContent-Length: 0\r\n\r\n", BadAnswer, "HTTP/1.1"),
    Bad(
        "length and chunked",
        HEAD_OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        BadAnswer,
        "Content-Length",
    ),
    Bad(
        "chunked and length",
        HEAD_OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        BadAnswer,
        "Content-Length",
    ),
    Bad("two lengths", HEAD_OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", BadAnswer, "Content-Length"),
    Bad("list of lengths", HEAD_OK + b"Content-Length: 3, 4\r\n\r\nabcd", BadAnswer, "Content-Length"),
    Bad("length below zero", HEAD_OK + b"Content-Length: -1\r\n\r\n", BadAnswer, "Content-Length"),
    Bad(
        "length beyond counting",
        HEAD_OK + b"Content-Length: 99999999999999999999\r\n\r\n",
        BadAnswer,
        "Content-Length",
    ),
    Bad(
        "transfer coding",
        HEAD_OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        BadAnswer,
        "nobody asked for",
    ),
    Bad(
        "101",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00",
        BadAnswer,
        "not asked to",
    ),
    Bad("101 to nothing", b"HTTP/1.1 101 Switching Protocols\r\n\r\nabc", BadAnswer, "not asked to"),
    Bad("flood of header lines", HEAD_OK + FLOOD * 257, BadAnswer, "larger than 256 KiB"),
    Bad("endless header line", HEAD_OK + b"X-A: " + b"a" * (257 * 1024), BadAnswer, "larger than 256 KiB"),
    Bad("flood of interim responses", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10000, BadAnswer, "larger than 256 KiB"),
    Bad("flood of trailers", CHUNKED_HEAD + b"1\r\na\r\n0\r\n" + FLOOD * 400, AnswerCut, "without a byte of the body"),
    Bad("chunk size that is none", CHUNKED_HEAD + b"3\r\nabc\r\nxyz\r\n", AnswerCut, "not HTTP/1.1"),
    Bad("chunk longer than its size", CHUNKED_HEAD + b"3\r\nabcdef\r\n0\r\n\r\n", AnswerCut, "not HTTP/1.1"),
    Bad("chunk size beyond counting", CHUNKED_HEAD + b"fffffffffffffffff\r\na", AnswerCut, "not HTTP/1.1"),
]
