"""What goes in comes out, byte for byte, in both directions, but for the model and the credentials."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.harness import Client, Exchange, Fusebox, Upstream, chat, ok, request
from tests.serve.conftest import CLIENT_KEY, OWN_KEY

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.just("model"), inner, max_size=4)
    ),
    max_leaves=20,
)
"""Any JSON; `model` is a likely key at every depth."""

NAME = st.from_regex(r"x-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True).filter(
    lambda name: not name.lower().startswith("x-fusebox-") and name.lower() != "x-api-key"
)
VALUE = st.from_regex(r"[!-~\x80-\xff](?:[ -~\x80-\xff]{0,40}[!-~\x80-\xff])?", fullmatch=True)
HEADERS = st.lists(st.tuples(NAME, VALUE), max_size=10)
"""Header lines with any token and any bytes that RFC 9110 section 5.5 allows, duplicates included."""


async def passed(client: Client, upstream: Upstream, data: bytes) -> tuple[Exchange, bytes]:
    """Send a request through; what the provider received, and its body."""
    await client.send(data)
    exchange = await upstream.next()
    body = await exchange.answer(ok())
    assert (await client.response()).status == 200
    return exchange, body


def dumped(value: Any, draw: st.DataObject) -> bytes:
    """`value` as JSON in one of the spellings that writers use."""
    separators = draw.draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")]))
    return json.dumps(value, ensure_ascii=draw.draw(st.booleans()), separators=separators).encode(
        "utf-8", "surrogatepass"
    )


@given(data=st.data(), rest=st.dictionaries(st.text(max_size=10), JSON, max_size=5))
@QUICK
async def test_a_json_body_passes_unchanged_when_the_model_is_kept(
    client: Client, upstream: Upstream, data: st.DataObject, rest: dict[str, Any]
) -> None:
    """Any JSON object with any spelling arrives as it was sent."""
    value = {**rest, "model": data.draw(st.text(max_size=20).map(lambda tail: "kept" + tail))}
    text = dumped(value, data)
    try:
        text.decode()
    except UnicodeDecodeError:  # a lone surrogate, unescaped, is no UTF-8
        text = json.dumps(value).encode()
    _, body = await passed(client, upstream, request("POST", "/v1/chat/completions", text))
    assert body == text


@given(data=st.data(), before=st.dictionaries(st.text(max_size=10), JSON, max_size=4), after=JSON)
@QUICK
async def test_only_the_models_bytes_differ_when_it_is_replaced(
    client: Client, upstream: Upstream, data: st.DataObject, before: dict[str, Any], after: Any
) -> None:
    """The top-level model is replaced; every other byte is as sent, whatever `model` means deeper down."""
    before.pop("model", None)
    before.pop("after", None)
    spelling = data.draw(st.sampled_from([b'"alias"', b'"al\\u0069as"', b'"alias-\\ud83d\\ude00 \\"x\\""']))
    key = data.draw(st.sampled_from([b'"model"', b'"mo\\u0064el"']))
    head, tail = (
        json.dumps(before).encode().removesuffix(b"}"),
        json.dumps({"after": after}).encode().removeprefix(b"{"),
    )
    comma = b"," if before else b""
    text = head + comma + key + b" :\n" + spelling + b" ," + tail
    _, body = await passed(client, upstream, request("POST", "/v1/chat/completions", text))
    assert body == head + comma + key + b' :\n"vendor/real-model" ,' + tail


@given(content=st.binary(max_size=3000), filename=st.text("abc ü\U0001f600.'", max_size=10), chunked=st.booleans())
@QUICK
async def test_only_the_models_bytes_differ_in_a_form(
    client: Client, upstream: Upstream, content: bytes, filename: str, chunked: bool
) -> None:
    """A multipart body with any file in it: the value of `model` changes, and the length with it."""
    mark = "b0undary-not-in-the-file"
    parts = (
        f'--{mark}\r\nContent-Disposition: form-data; name="model"\r\n\r\n',
        f'\r\n--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\nX-Model: alias\r\n\r\n',
        f"\r\n--{mark}--\r\n",
    )
    first, second, last = (part.encode() for part in parts)
    sent = first + b"alias" + second + content + last
    headers = [("Content-Type", f"multipart/form-data; boundary={mark}")]
    if chunked:
        headers.append(("Transfer-Encoding", "chunked"))
    wire = in_chunks(sent, 700) if chunked else sent
    exchange, body = await passed(client, upstream, request("POST", "/v1/audio/transcriptions", wire, headers))
    assert body == first + b"vendor/real-model" + second + content + last
    assert exchange.head.one("content-type") == f"multipart/form-data; boundary={mark}".encode()


def in_chunks(body: bytes, size: int) -> bytes:
    """`body` in the chunked coding, in chunks of `size`, with an extension on each."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%X;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@given(
    content=st.binary(max_size=2000),
    method=st.sampled_from(["POST", "PUT", "PATCH", "DELETE", "GET", "PURGE", "M-SEARCH"]),
)
@QUICK
async def test_binary_bodies_on_unknown_paths_pass(
    client: Client, upstream: Upstream, content: bytes, method: str
) -> None:
    """A path that means nothing to Fusebox: method and body go on as they are, an empty body too."""
    headers = [("Content-Type", "application/octet-stream")]
    exchange, body = await passed(client, upstream, request(method, "/v1/anything/else", content, headers))
    assert (exchange.method, body) == (method, content)
    assert exchange.head.one("content-length") == str(len(content)).encode()


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 300_000])
async def test_a_chunked_request_keeps_its_bytes(client: Client, upstream: Upstream, size: int) -> None:
    """A chunked body arrives whole, whether it was held (with a length then) or streamed (chunked again)."""
    content = bytes(range(256)) * (size // 256 + 1)
    headers = [("Content-Type", "audio/wav"), ("Transfer-Encoding", "chunked")]
    wire = request("PUT", "/v1/anything", in_chunks(content[:size], 5000), headers)
    await client.send(wire)
    exchange = await upstream.next()
    assert await exchange.answer(ok()) == content[:size]
    assert (await client.response()).status == 200
    assert len(exchange.head.all("content-length")) + len(exchange.head.all("transfer-encoding")) == 1


async def test_a_request_without_a_body_gets_none(client: Client, upstream: Upstream) -> None:
    """A GET has no framing of any kind at the provider."""
    exchange, body = await passed(client, upstream, request("GET", "/v1/files"))
    assert body == b""
    assert exchange.head.start == b"GET /base/v1/files HTTP/1.1"
    assert exchange.head.all("content-length") + exchange.head.all("transfer-encoding") == []


TARGET = st.from_regex(
    r"/v1/any(?:[A-Za-z0-9/_~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}){0,30}(?:\?(?:[A-Za-z0-9/?_~!$&'()*+,;=:@.-]|%[0-9a-fA-F]{2}){0,40})?",
    fullmatch=True,
)


@given(target=TARGET)
@QUICK
async def test_path_and_query_arrive_with_their_encoding(client: Client, upstream: Upstream, target: str) -> None:
    """Nothing in a target is decoded, encoded, merged or put in order."""
    path = re.split(r"[?]", target)[0]
    hidden = re.sub(r"%25", "%", path)
    if re.search(r"%2e|%5c|%25", hidden, re.IGNORECASE):
        return  # encoded dots, backslashes and percent signs have their own test
    exchange, _ = await passed(client, upstream, request("GET", target))
    assert exchange.target == b"/base" + target.encode()


@given(headers=HEADERS)
@QUICK
async def test_request_headers_keep_order_case_and_duplicates(
    client: Client, upstream: Upstream, headers: list[tuple[str, str]]
) -> None:
    """End-to-end header lines arrive as they were written."""
    exchange, _ = await passed(client, upstream, request("GET", "/v1/files", None, headers))
    own = [(b"Host", f"127.0.0.1:{upstream.port}".encode()), (b"Authorization", b"Bearer " + OWN_KEY.encode())]
    assert [line for line in exchange.head.headers if line not in own] == [
        (name.encode(), value.encode("latin-1")) for name, value in headers
    ]
    assert exchange.head.headers[0] == own[0]


async def test_hop_by_hop_and_own_headers_end_here(client: Client, upstream: Upstream) -> None:
    """Lines for one connection, lines that Connection names, the client's key and Fusebox's own lines do not go on."""
    gone = [
        ("Connection", "keep-alive, X-Named"),
        ("X-Named", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic abc"),
        ("TE", "trailers"),
        ("Trailer", "X-T"),
        ("Upgrade", "h2c"),
        ("Authorization", f"Bearer {CLIENT_KEY}"),
        ("X-Api-Key", CLIENT_KEY),
        ("Cookie", "session=1"),
        ("X-Fusebox-Complexity", "simple"),
        ("x-fusebox-request-id", "mine"),
    ]
    exchange, _ = await passed(client, upstream, request("GET", "/v1/files", None, [*gone, ("Accept", "*/*")]))
    assert exchange.head.headers == [
        (b"Host", f"127.0.0.1:{upstream.port}".encode()),
        (b"Accept", b"*/*"),
        (b"Authorization", b"Bearer " + OWN_KEY.encode()),
    ]


async def test_the_real_host_is_named(client: Client, upstream: Upstream) -> None:
    """Whatever host the client names, the provider sees its own."""
    exchange, _ = await passed(client, upstream, request("GET", "/v1/files", host="made-up.localhost:9"))
    assert exchange.head.all("host") == [f"127.0.0.1:{upstream.port}".encode()]


# Responses

FRAMINGS = ["length", "chunked", "close"]


def framed(framing: str, head: bytes, body: bytes, cuts: list[int]) -> bytes:
    """A response with `head` lines and `body` in the given framing; `cuts`: where chunks end."""
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if framing == "close":
        return head + b"Connection: close\r\n\r\n" + body
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(body)}), len(body)]
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (end - start, body[start:end]) for start, end in itertools.pairwise(edges) if end > start
    )
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@given(
    status=st.sampled_from([200, 201, 202, 206, 301, 400, 401, 404, 418, 429, 500, 503, 599]),
    reason=st.from_regex(r"[A-Za-z'][ -~]{0,20}", fullmatch=True),
    headers=st.lists(st.tuples(NAME, VALUE), max_size=8),
    body=st.binary(max_size=2000),
    framing=st.sampled_from(FRAMINGS),
    cuts=st.lists(st.integers(0, 2000), max_size=5),
)
@QUICK
async def test_any_response_arrives_as_it_was(
    client: Client,
    fusebox: Fusebox,
    upstream: Upstream,
    status: int,
    reason: str,
    headers: list[tuple[str, str]],
    body: bytes,
    framing: str,
    cuts: list[int],
) -> None:
    """Status, reason, end-to-end header lines and body bytes, in every framing.

    But for a success with nothing but white space in it: it is none for an inference call (docs/failure-modes.md).
    """
    assume(body.strip() or status not in (200, 201, 202))
    await fusebox.forget()  # what this status made of the provider or its key
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"HTTP/1.1 {status} {reason}\r\n{lines}".encode("latin-1")
    async with Client(fusebox.port) as own:
        await own.send(chat())
        exchange = await upstream.next()
        await exchange.body.rest()
        await exchange.send(framed(framing, head, body, cuts))
        if framing == "close":
            exchange.close()
        else:
            exchange.finish()
        response = await own.response()
    assert response.head.start.rstrip() == f"HTTP/1.1 {status} {reason}".rstrip().encode()
    assert response.body == body
    assert response.framing == ("length" if framing == "length" else "chunked")
    mine = ("transfer-encoding", "content-length", "x-fusebox-route", "x-fusebox-target", "x-fusebox-attempts")
    assert [
        line
        for line in response.head.without()
        if line[0].lower().decode("latin-1") not in (*mine, "x-fusebox-request-id")
    ] == [(name.encode(), value.encode("latin-1")) for name, value in headers]


async def test_a_compressed_body_stays_compressed(client: Client, upstream: Upstream) -> None:
    """Content-Encoding is between the ends: the bytes and the header line pass."""
    packed = gzip.compress(b'{"choices": []}' * 50, mtime=0)
    await client.send(chat())
    exchange = await upstream.next()
    await exchange.answer(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)
    )
    response = await client.response()
    assert response.body == packed
    assert response.head.one("content-encoding") == b"gzip"


async def test_hop_by_hop_lines_of_a_response_end_here(client: Client, upstream: Upstream) -> None:
    """Lines for the provider's connection do not reach the client; duplicates of others do, in order."""
    await client.send(chat())
    exchange = await upstream.next()
    await exchange.answer(
        b"HTTP/1.1 200 OK\r\nConnection: X-Gone, keep-alive\r\nX-Gone: 1\r\nKeep-Alive: timeout=9\r\nSet-Cookie: a=1\r\n"
        b"set-cookie: b=2\r\nSet-Cookie: a=1\r\nContent-Length: 1\r\n\r\n1"
    )
    response = await client.response()
    assert response.head.headers[:4] == [
        (b"Set-Cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"Set-Cookie", b"a=1"),
        (b"Content-Length", b"1"),
    ]
    assert {name.lower() for name, _ in response.head.headers[4:]} == {
        b"x-fusebox-route",
        b"x-fusebox-target",
        b"x-fusebox-attempts",
        b"x-fusebox-request-id",
    }


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(client: Client, upstream: Upstream, status: int) -> None:
    """204 and 304 end with their head, and the connection goes on."""
    await client.send(request("GET", "/v1/files/1"))
    exchange = await upstream.next()
    await exchange.answer(b"HTTP/1.1 %d Fine\r\nETag: x\r\n\r\n" % status)
    response = await client.response()
    assert (response.status, response.framing) == (status, "none")
    assert response.head.all("transfer-encoding") == []
    exchange, _ = await passed(client, upstream, chat())
    assert exchange.method == "POST"


async def test_head_keeps_the_length_without_a_body(client: Client, upstream: Upstream) -> None:
    """The length that a HEAD answer states is passed on, and no body is waited for or made."""
    await client.send(request("HEAD", "/v1/files/1/content"))
    exchange = await upstream.next()
    await exchange.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
    response = await client.response(head_only=True)
    assert response.head.one("content-length") == b"12345"
    await passed(client, upstream, chat())


async def test_trailers_and_early_hints_pass(client: Client, upstream: Upstream) -> None:
    """A 103 goes out before the answer; trailers come at its end."""
    await client.send(chat())
    exchange = await upstream.next()
    await exchange.body.rest()
    await exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 9\r\n\r\n")
    exchange.finish()
    _, body = await client.begin()
    assert await body.rest() == b"hi"
    assert body.trailers == [(b"X-Sum", b"9")]
    assert [head.start for head in client.interim] == [b"HTTP/1.1 103 Early Hints"]
    assert client.interim[0].headers == [(b"Link", b"</a>")]


async def test_requests_in_a_row_share_connections(client: Client, upstream: Upstream) -> None:
    """Both sides are kept alive: ten requests, one connection each."""
    first, _ = await passed(client, upstream, chat())
    for _ in range(9):
        exchange, _ = await passed(client, upstream, chat())
        assert exchange.writer is first.writer


async def test_pipelined_requests_are_answered_in_order(client: Client, upstream: Upstream) -> None:
    """Requests sent at once are answered one after the other, each with its own answer."""
    await client.send(b"".join(chat(f"kept-{number}") for number in range(5)))
    for number in range(5):
        exchange = await upstream.next()
        body = await exchange.body.rest()
        assert json.loads(body)["model"] == f"kept-{number}"
        assert upstream.unseen == 0
        await exchange.send(ok(b"%d" % number))
        exchange.finish()
        assert (await client.response()).body == b"%d" % number
