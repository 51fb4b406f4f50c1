"""Requests that are wrong, hostile or no requests at all: a clear 4xx or a closed connection, and never anything forwarded."""

from __future__ import annotations

import json

import pytest

from tests.harness import Client, Cut, Exchange, Fusebox, Response, Upstream, chat, ok, request

CHAT = "/v1/chat/completions"
HOST = b"Host: x\r\n"


async def assert_serves(fusebox: Fusebox, upstream: Upstream) -> None:
    """A good request on a new connection is answered, and it is the only one that the provider has seen."""
    assert upstream.unseen == 0
    async with Client(fusebox.port) as client:
        await client.send(chat())
        exchange = await upstream.next()
        assert exchange.head.start == b"POST /base/v1/chat/completions HTTP/1.1"
        await exchange.answer(ok())
        assert (await client.response()).status == 200
    assert upstream.unseen == 0


def assert_clear(response: Response, *, status: int | None = None) -> None:
    """A 4xx of Fusebox's own, in OpenAI's shape, that says something."""
    assert 400 <= response.status < 500
    assert status is None or response.status == status
    assert response.error_code
    error = response.json["error"]
    assert error["message"].startswith("Fusebox: ") and len(error["message"]) > 20
    assert error["code"] == response.error_code


BODIES = {
    "empty": (b"", 400),
    "white space": (b" \n", 400),
    "no JSON": (b"hello", 400),
    "cut JSON": (b'{"model": "kept", "mess', 400),
    "two documents": (b'{"model": "kept"}{"model": "kept"}', 400),
    "an array": (b'["model"]', 400),
    "a string": (b'"kept"', 400),
    "a byte order mark": (b'\xef\xbb\xbf{"model": "kept"}', 400),
    "UTF-16": ('{"model": "kept"}'.encode("utf-16"), 400),
    "null bytes": (b'{"model": "kept\x00"}', 400),
    "no UTF-8": (b'{"model": "kept", "a": "\xff"}', None),
    "model a number": (b'{"model": 5}', 400),
    "model an object": (b'{"model": {"name": "kept"}}', 400),
    "model an array": (b'{"model": ["kept"]}', 400),
    "model a boolean": (b'{"model": true}', 400),
    "model empty": (b'{"model": ""}', 400),
    "model null": (b'{"model": null}', 404),
    "model missing": (b'{"messages": []}', 404),
    "model unknown": (b'{"model": "nobody-knows-this"}', 404),
    "model only nested": (b'{"a": {"model": "kept"}}', 404),
    "nested beyond reason": (b'{"model": "alias", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    "nested and never closed": (b'{"model": "alias", "a": ' + b"[" * 300_000, 400),
    "a long model": (b'{"model": "kept' + b"x" * 100_000 + b'"}', None),
    "larger than limits.body": (b'{"model": "kept", "a": "' + b"x" * 2**20 + b'"}', 413),
}


@pytest.mark.parametrize("name", list(BODIES))
async def test_bodies_that_cannot_be_read(fusebox: Fusebox, upstream: Upstream, name: str) -> None:
    """The client is told what is wrong with its body; the provider hears nothing of it."""
    body, status = BODIES[name]
    async with Client(fusebox.port) as client:
        await client.send(request("POST", CHAT, body))
        if status is None:  # either is right, as long as it is one of the two
            upstream.script = answered
            response = await client.response()
            assert response.status == 200 or 400 <= response.status < 500
            upstream.forget()
        else:
            assert_clear(await client.response(), status=status)
    await assert_serves(fusebox, upstream)


async def answered(exchange: Exchange) -> None:
    """The script of a provider that takes anything."""
    await exchange.answer(ok())


async def test_an_anthropic_client_gets_its_own_shape(client: Client) -> None:
    """The same faults as Anthropic's SDK reads them."""
    response = await client.exchange(request("POST", "/v1/messages", b"{", [("anthropic-version", "2023-06-01")]))
    assert (response.status, response.error_code) == (400, "bad_request")
    assert response.json["type"] == "error"
    assert response.json["error"]["type"] == "invalid_request_error"
    assert response.json["request_id"] == (response.head.one("x-fusebox-request-id") or b"").decode()


TARGETS = {
    "absolute form to another host": ("http://evil.example/v1/chat/completions", 421),
    "absolute form with a user": ("http://127.0.0.1@evil.example/v1/chat/completions", 421),
    "absolute form over https": ("https://evil.example/v1/chat/completions", 421),
    "an odd scheme": ("gopher://evil.example/v1/chat/completions", None),
    "dots": ("/v1/chat/../../admin", 400),
    "dots at the end": ("/v1/files/..", 400),
    "encoded dots": ("/v1/files/%2e%2e/x", 400),
    "half encoded dots": ("/v1/files/.%2E/x", 400),
    "doubly encoded dots": ("/v1/files/%252e%252e/x", 400),
    "encoded slashes and dots": ("/v1/files/..%2f..%2fx", 400),
    "encoded backslash": ("/v1/files/..%5c..%5cx", 400),
    "backslash": ("/v1/files/..\\..\\x", 400),
    "dots with a parameter": ("/v1/files/..;a=b/x", 400),
    "dots in a passthrough": ("/p/main/../admin", 400),
    "encoded dots in a passthrough": ("/p/main/%2e%2e/admin", 400),
    "an unknown provider": ("/p/nobody/x", 404),
    "a host for a provider": ("/p/evil.example/x", 404),
    "no /v1": ("/chat/completions", 404),
    "/v1 twice": ("/v1/v1/messages", 404),
    "the root": ("/", 404),
    "a path that only begins like one": ("/v10/files", 404),
    "an authority as a path": ("//evil.example/v1/files", 404),
    "an asterisk": ("*", None),
    "a fragment": ("/v1/files#x", None),
}


@pytest.mark.parametrize("name", list(TARGETS))
async def test_targets_that_are_not_forwarded(fusebox: Fusebox, upstream: Upstream, name: str) -> None:
    """Another host, a climbing path, a path that is none of ours."""
    target, status = TARGETS[name]
    for method, body in (("GET", None), ("POST", b'{"model": "kept"}')):
        async with Client(fusebox.port) as client:
            assert_clear(await client.exchange(request(method, target, body)), status=status)
    await assert_serves(fusebox, upstream)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
@pytest.mark.parametrize("target", ["evil.example:443", "/v1/files", "/p/main/x"])
async def test_methods_that_are_not_forwarded(fusebox: Fusebox, upstream: Upstream, method: str, target: str) -> None:
    """CONNECT is for forward proxies; an answer to TRACE would hold the provider's own key (RFC 9110 section 9.3.8)."""
    async with Client(fusebox.port) as client:
        await client.send(f"{method} {target} HTTP/1.1\r\nHost: evil.example:443\r\n\r\n".encode())
        assert_clear(await client.response())
    await assert_serves(fusebox, upstream)


def post(*lines: bytes, body: bytes = b"") -> bytes:
    """A POST with these header lines, to the letter."""
    return b"".join((b"POST /v1/chat/completions HTTP/1.1\r\n", *(line + b"\r\n" for line in lines), b"\r\n", body))


GOOD = b'{"model": "kept"}'

RAW = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "HTTP/0.9": b"GET /v1/files\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/3.0": b"GET /v1/files HTTP/3.0\r\n" + HOST + b"\r\n",
    "no version": b"GET /v1/files \r\n\r\n",
    "spaces in the target": b"GET /v1/files a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "null byte in the target": b"GET /v1/fi\x00les HTTP/1.1\r\n" + HOST + b"\r\n",
    "null byte in a header": b"GET /v1/files HTTP/1.1\r\n" + HOST + b"X-A: a\x00b\r\n\r\n",
    "null byte in a name": b"GET /v1/files HTTP/1.1\r\n" + HOST + b"X-\x00A: ab\r\n\r\n",
    "bare CR in a header": b"GET /v1/files HTTP/1.1\r\n" + HOST + b"X-A: a\rX-Api-Key: b\r\n\r\n",
    "space before the colon": b"GET /v1/files HTTP/1.1\r\n" + HOST + b"X-A : b\r\n\r\n",
    "a header without a name": b"GET /v1/files HTTP/1.1\r\n" + HOST + b": b\r\n\r\n",
    "a header without a colon": b"GET /v1/files HTTP/1.1\r\n" + HOST + b"hello\r\n\r\n",
    "a folded header": b"GET /v1/files HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n",
    "CL and TE": post(HOST[:-2], b"Content-Length: 17", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + chat()),
    "TE and CL": post(HOST[:-2], b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n" + chat()),
    "two lengths": post(HOST[:-2], b"Content-Length: 17", b"Content-Length: 5", body=GOOD),
    "a list of lengths": post(HOST[:-2], b"Content-Length: 17, 5", body=GOOD),
    "a negative length": post(HOST[:-2], b"Content-Length: -1", body=GOOD),
    "a signed length": post(HOST[:-2], b"Content-Length: +17", body=GOOD),
    "a hexadecimal length": post(HOST[:-2], b"Content-Length: 0x11", body=GOOD),
    "an underscored length": post(HOST[:-2], b"Content-Length: 1_7", body=GOOD),
    "a length beyond 64 bits": post(HOST[:-2], b"Content-Length: 99999999999999999999999", body=GOOD),
    "a length of five thousand digits": post(HOST[:-2], b"Content-Length: " + b"9" * 5000, body=GOOD),
    "TE that is not chunked": post(HOST[:-2], b"Transfer-Encoding: gzip", body=GOOD),
    "TE that chunks twice": post(HOST[:-2], b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "TE that ends otherwise": post(HOST[:-2], b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "TE written oddly": post(HOST[:-2], b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "a chunk size that is none": post(HOST[:-2], b"Transfer-Encoding: chunked", body=b"hello\r\n" + GOOD),
    "a negative chunk size": post(HOST[:-2], b"Transfer-Encoding: chunked", body=b"-11\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    "a chunk size beyond 64 bits": post(HOST[:-2], b"Transfer-Encoding: chunked", body=b"ffffffffffffffff1\r\n" + GOOD),
    "a chunk longer than it says": post(
        HOST[:-2], b"Transfer-Encoding: chunked", body=b"5\r\n" + GOOD + b"\r\n0\r\n\r\n"
    ),
    "a request line beyond the limit": b"GET /v1/files?" + b"a" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "an endless request line": b"GET /v1/files?" + b"a" * 400_000,
    "an endless method": b"G" * 100_000,
    "a header line beyond the limit": b"GET /v1/files HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n",
    "an endless header line": b"GET /v1/files HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 400_000,
    "a flood of headers": b"GET /v1/files HTTP/1.1\r\n"
    + HOST
    + b"".join(b"X-%d: a\r\n" % n for n in range(5000))
    + b"\r\n",
    "headers larger together": b"GET /v1/files HTTP/1.1\r\n"
    + HOST
    + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 400) for n in range(100))
    + b"\r\n",
    "an expectation that is unknown": post(HOST[:-2], b"Content-Length: 17", b"Expect: 200-maybe"),
    "a version that is no number": b"GET /v1/files HTTP/x.y\r\n" + HOST + b"\r\n",
    "a lower-case version": b"GET /v1/files http/1.1\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("name", list(RAW))
async def test_bytes_that_are_no_good_request(fusebox: Fusebox, upstream: Upstream, name: str) -> None:
    """What cannot be read with certainty is refused or dropped; not a byte of it reaches the provider."""
    async with Client(fusebox.port) as client:
        try:
            await client.send(RAW[name])
            response = await client.response()
        except (Cut, ConnectionError):
            pass  # closed without a word
        else:
            assert_clear(response)
    await assert_serves(fusebox, upstream)


async def test_the_second_of_two_requests_is_bad(fusebox: Fusebox, upstream: Upstream) -> None:
    """The first is answered as if alone; the second is refused, and the connection ends."""
    async with Client(fusebox.port) as client:
        await client.send(chat())
        exchange = await upstream.next()
        await client.send(b"GARBAGE\r\n\r\n" + chat())
        await exchange.answer(ok(b"first"))
        assert (await client.response()).body == b"first"
        assert_clear(await client.response(), status=400)
        assert await client.ended() == b""
    await assert_serves(fusebox, upstream)


async def test_two_requests_at_once_and_the_second_is_bad(fusebox: Fusebox, upstream: Upstream) -> None:
    """In one packet with garbage behind it not even the first is trusted: one refusal, then the end."""
    async with Client(fusebox.port) as client:
        await client.send(chat() + b"GARBAGE\r\n\r\n" + chat())
        assert_clear(await client.response(), status=400)
        assert await client.ended() == b""
    await assert_serves(fusebox, upstream)


async def test_a_bad_request_goes_before_a_good_one(fusebox: Fusebox, upstream: Upstream) -> None:
    """After a refusal that leaves the framing intact the connection serves on; after any other it ends."""
    async with Client(fusebox.port) as client:
        assert_clear(await client.exchange(request("POST", CHAT, b'{"model": 5}')), status=400)
        await client.send(chat())
        await (await upstream.next()).answer(ok())
        assert (await client.response()).status == 200
    async with Client(fusebox.port) as client:
        await client.send(b"GARBAGE\r\n\r\n" + chat())
        assert_clear(await client.response(), status=400)
        assert await client.ended() == b""
    await assert_serves(fusebox, upstream)


async def test_a_smuggled_request_is_not_seen(fusebox: Fusebox, upstream: Upstream) -> None:
    """A request inside a body stays a body, whatever its header lines pretend."""
    inner = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    async with Client(fusebox.port) as client:
        headers = [("Content-Type", "text/plain"), ("X-Content-Length", "0"), ("Content_Length", "0")]
        await client.send(request("POST", "/v1/files", inner, headers))
        exchange = await upstream.next()
        assert await exchange.answer(ok()) == inner
        assert (await client.response()).status == 200
    await assert_serves(fusebox, upstream)


async def test_a_chunk_extension_without_end(fusebox: Fusebox, upstream: Upstream) -> None:
    """It is skipped, not kept: megabytes of it cost no memory, and its request never gets anywhere."""
    async with Client(fusebox.port) as client:
        await client.send(post(HOST[:-2], b"Transfer-Encoding: chunked", body=b"1;a"))
        before = fusebox.memory()
        for _ in range(32):
            await client.send(b"a" * 2**20)
        assert fusebox.memory() - before < 16 * 2**20
    await assert_serves(fusebox, upstream)


async def test_a_head_that_comes_slowly(fusebox: Fusebox, upstream: Upstream) -> None:
    """A head that comes byte by byte holds up nobody, and is served once it is whole."""
    data = chat()
    async with Client(fusebox.port) as slow:
        for byte in data[:60]:
            await slow.send(bytes([byte]))
        await assert_serves(fusebox, upstream)
        for byte in data[60:]:
            await slow.send(bytes([byte]))
        await (await upstream.next()).answer(ok())
        assert (await slow.response()).status == 200


async def test_expect_continue(fusebox: Fusebox, upstream: Upstream, client: Client) -> None:
    """The body is asked for once; the expectation does not go on."""
    data = chat(headers=[("Expect", "100-continue")])
    head, body = data.split(b"\r\n\r\n", 1)
    await client.send(head + b"\r\n\r\n")
    assert await client.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(body)
    exchange = await upstream.next()
    assert exchange.head.all("expect") == []
    assert await exchange.answer(ok()) == body
    response = await client.response()
    assert (response.status, client.interim) == (200, [])


async def test_expect_continue_with_the_body_already_there(upstream: Upstream, client: Client) -> None:
    """A client that does not wait gets its answer and no 100 that it would not know what to do with."""
    await client.send(chat(headers=[("Expect", "100-continue")]))
    await (await upstream.next()).answer(ok())
    assert (await client.response()).status == 200
    assert [head.status for head in client.interim] in ([], [100])


@pytest.mark.parametrize("keep", [True, False])
async def test_clients_of_http_1_0(fusebox: Fusebox, upstream: Upstream, keep: bool) -> None:
    """With keep-alive the connection goes on and says so; without it ends with the answer."""
    headers = [("Connection", "keep-alive")] if keep else []
    data = request("POST", CHAT, GOOD, headers).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    async with Client(fusebox.port) as client:
        for _ in range(2 if keep else 1):
            await client.send(data)
            await (await upstream.next()).answer(ok())
            response = await client.response()
            assert (response.status, response.framing) == (200, "length")
            assert response.head.one("connection") == (b"keep-alive" if keep else b"close")
        if not keep:
            assert await client.ended() == b""


async def test_a_chunked_answer_for_http_1_0(fusebox: Fusebox, upstream: Upstream) -> None:
    """Such a client knows no chunks: the close delimits the body, keep-alive or not."""
    data = request("POST", CHAT, GOOD, [("Connection", "keep-alive")]).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    async with Client(fusebox.port) as client:
        await client.send(data)
        await (await upstream.next()).answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        )
        response = await client.response()
        assert (response.framing, response.body) == ("close", b"hi")
        assert response.head.all("transfer-encoding") == []


async def test_a_form_that_names_its_model_twice(fusebox: Fusebox, upstream: Upstream) -> None:
    """Behind a file it is too late to replace: the upload breaks off, and the provider never gets a whole request."""
    field = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nalias\r\n'
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 200_000 + b"\r\n"
    body = field + file + field.replace(b"alias", b"other") + b"--b--\r\n"
    async with Client(fusebox.port) as client:
        await client.send(
            request("POST", "/v1/audio/transcriptions", body, [("Content-Type", "multipart/form-data; boundary=b")])
        )
        exchange = await upstream.next()
        with pytest.raises(Cut):
            await exchange.body.rest()
        exchange.close()
        assert_clear(await client.response(), status=400)
    await assert_serves(fusebox, upstream)


async def test_an_answer_before_the_end_of_a_body_nobody_wants(fusebox: Fusebox, upstream: Upstream) -> None:
    """A refusal that comes early is readable: the rest of the body is taken and forgotten, not answered with a reset."""
    body = json.dumps({"model": "kept", "a": "x" * 3_000_000}).encode()
    async with Client(fusebox.port) as client:
        data = request("POST", CHAT, body)
        await client.send(data[:1000])
        response = await client.response()
        assert_clear(response, status=413)
        assert response.head.one("connection") == b"close"
        await client.send(data[1000:])
        assert await client.ended() == b""
    await assert_serves(fusebox, upstream)
