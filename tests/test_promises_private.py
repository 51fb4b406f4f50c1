"""The promise "Private": a secret that a client, a provider or a policy puts anywhere comes out nowhere.

One process with everything on. Every place that can hold a secret holds one of its own, so that a leak tells its origin; then
all that the process has ever said is searched: log, stderr, metrics, each path of the admin port, the errors that clients
get, the headers that other providers get, what is exported of traces.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.harness import Client, Cut, Exchange, Fusebox, Upstream, request
from tests.observe.receiver import Receiver

ADMIN_PATHS = (
    *("/", "/livez", "/readyz", "/metrics", "/api/status", "/api/breakers", "/api/breakers/first", "/api/requests"),
    *("/api/overview", "/api/faults", "/page.js", "/page.css", "/api/nothing"),
)
"""All that the admin port says to somebody who reads."""

PLACES = (
    *("provider key in env", "provider key in file", "egress proxy password", "admin token"),
    "header for traces",
    *(
        "authorization",
        "x-api-key",
        "api-key",
        "basic",
        "cookie",
        "proxy-authorization",
        "matched header",
        "header unnamed",
    ),
    *("query", "websocket protocol", "prompt", "prompt in form", "user of body", "idempotency key", "traceparent"),
    *("error of provider", "header of provider", "cookie of provider", "reason phrase", "bad header line", "bad chunk"),
    *("location", "event of provider", "html of provider", "service tier", "usage", "authenticate", "trailer"),
)

KEYS = ("provider key in env", "provider key in file", "admin token", "egress proxy password", "header for traces")
"""Those of the configuration: each goes to its own place and to no provider but that."""

SECRET = {place: f"sk-{number:02d}-{place.replace(' ', '-')}-7f3a9c" for number, place in enumerate(PLACES)}

CONFIG = """
admin_token: {{env: ADMIN_TOKEN}}
traces: {{otlp: "http://127.0.0.1:{otlp}", headers: {{x-receiver: {{env: TRACES_HEADER}}}}}}
faults: true

providers:
  first: {{base_url: "http://127.0.0.1:{first}/v1", anthropic_url: "http://127.0.0.1:{first}", keys: [{{env: FIRST_KEY}}]}}
  second: {{base_url: "http://127.0.0.1:{second}/v1", anthropic_url: "http://127.0.0.1:{second}", keys: [{{file: "{file}"}}]}}
  own: {{base_url: "http://127.0.0.1:{second}/v1", anthropic_url: "http://127.0.0.1:{second}", keys: client}}
  outside: {{base_url: "http://outside.invalid/v1", keys: none}}
models:
  first/m: {{price: {{input: 1, output: 2}}}}
routes:
  - {{name: by-header, match: {{header: {{x-auth-token: "*"}}}}, to: [first/m, second/n], sticky: "header:x-session-token"}}
  - {{name: own, match: {{model: own}}, to: [own/m]}}
  - {{name: outside, match: {{model: outside}}, to: [outside/m]}}
  - {{name: classed, match: {{complexity: simple, model: classed}}, to: [first/m]}}
  - {{name: all, match: {{}}, to: [first/m, second/n], on_broken_stream: error_event}}
"""


def said(status: str, body: bytes, *lines: str, kind: str = "application/json") -> bytes:
    """An answer."""
    more = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def error(place: str) -> bytes:
    """A provider's error that quotes a secret, as some do with keys."""
    text = f"Incorrect API key provided: {SECRET[place]}"
    return json.dumps({"error": {"message": text, "code": SECRET[place], "type": SECRET[place]}}).encode()


ANSWERS = {
    "401": said(
        "401 Unauthorized", error("error of provider"), f"WWW-Authenticate: Bearer realm={SECRET['authenticate']}"
    ),
    "429": said(
        "429 Too Many Requests", error("error of provider"), f"X-Ratelimit-Key: {SECRET['header of provider']}"
    ),
    "500": said(
        f"500 {SECRET['reason phrase']}", error("error of provider"), f"Set-Cookie: a={SECRET['cookie of provider']}"
    ),
    "301": said("301 Moved", b"{}", f"Location: http://x/?key={SECRET['location']}"),
    "html": said("200 OK", f"<html>{SECRET['html of provider']}</html>".encode(), kind="text/html"),
    "no http": f"{SECRET['reason phrase']} is no answer\r\n\r\n".encode(),
    "bad line": f"HTTP/1.1 200 OK\r\n{SECRET['bad header line']}\r\n\r\n".encode(),
    "bad length": f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET['bad header line']}\r\n\r\n".encode(),
    "bad coding": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {SECRET['bad header line']}\r\n\r\n".encode(),
    "bad chunk": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"8\r\ndata: x\n\r\n" + SECRET["bad chunk"].encode() + b"\r\n\r\n"
    ),
    "cut": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (lambda event: b"%x\r\n%b\r\n" % (len(event), event))(b"data: %b\n\n" % SECRET["event of provider"].encode())
    ),
    "error event": said(
        "200 OK", b"event: error\ndata: " + error("event of provider") + b"\n\n", kind="text/event-stream"
    ),
    "ok": said(
        "200 OK",
        json.dumps(
            {
                "choices": [{"message": {"content": SECRET["event of provider"]}}],
                "service_tier": SECRET["service tier"],
                "usage": {
                    "prompt_tokens": SECRET["usage"],
                    "completion_tokens": 1,
                    "total_tokens": 1,
                    SECRET["usage"]: 1,
                },
            }
        ).encode(),
    ),
    "trailer": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Key: "
        + SECRET["trailer"].encode()
        + b"\r\n\r\n"
    ),
}
"""What the first provider answers, by the value of the request's ``x-answer``."""

LINES = [
    ("Authorization", f"Bearer {SECRET['authorization']}"),
    ("x-api-key", SECRET["x-api-key"]),
    ("api-key", SECRET["api-key"]),
    ("Cookie", f"session={SECRET['cookie']}"),
    ("Proxy-Authorization", f"Bearer {SECRET['proxy-authorization']}"),
    ("x-auth-token", SECRET["matched header"]),
    ("x-session-token", SECRET["matched header"]),
    ("x-anything", SECRET["header unnamed"]),
    ("idempotency-key", SECRET["idempotency key"]),
    ("traceparent", SECRET["traceparent"]),
    ("tracestate", f"v={SECRET['traceparent']}"),
]

BODY = {
    "messages": [{"role": "user", "content": SECRET["prompt"]}],
    "user": SECRET["user of body"],
    "metadata": {"key": SECRET["prompt"]},
    "temperature": SECRET["prompt"],
}


class Stage:
    """The process, its providers, and all that clients and providers have got."""

    def __init__(self, fusebox: Fusebox, receiver: Receiver) -> None:
        self.fusebox = fusebox
        self.receiver = receiver
        self.errors: list[bytes] = []
        self.seen: dict[str, list[bytes]] = {"first": [], "second": []}

    async def ask(
        self, path: str, body: bytes, answer: str = "ok", kind: str = "application/json", alone: bool = False
    ) -> None:
        """One request with a secret in every header; what Fusebox itself answers is kept."""
        lines = [*LINES, ("x-answer", answer), ("Content-Type", kind)]
        if alone:
            lines.append(("x-fusebox-no-fallback", "true"))
        async with Client(self.fusebox.port) as client:
            await client.send(request("POST", path, body, lines))
            try:
                got = await client.response()
            except Cut as broken:
                self.errors.append(broken.got)
                return
        if got.head.one("x-fusebox-error") is not None:
            self.errors.append(got.body + b"".join(b"%b: %b\n" % line for line in got.head.headers))


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """With keys from both sources, an egress proxy with a password, a token for the admin port, traces, all that there is."""
    with Receiver() as receiver:
        async with staged(tmp_path, receiver) as made:
            yield made


@asynccontextmanager
async def staged(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Stage]:
    """The same with a receiver for the traces."""
    file = tmp_path / "key"
    file.write_text(SECRET["provider key in file"] + "\n")
    async with Upstream() as first, Upstream() as second, Upstream() as proxy:
        environment = {
            "FIRST_KEY": SECRET["provider key in env"],
            "ADMIN_TOKEN": SECRET["admin token"],
            "TRACES_HEADER": SECRET["header for traces"],
            "HTTP_PROXY": f"http://user:{SECRET['egress proxy password']}@127.0.0.1:{proxy.port}",
        }

        async def refusing(exchange: Exchange) -> None:
            await exchange.answer(said("407 Proxy Authentication Required", error("error of provider")))

        proxy.script = refusing
        config = CONFIG.format(first=first.port, second=second.port, file=file, otlp=receiver.port)
        async with Fusebox(config, tmp_path, environment) as fusebox:
            fusebox.admin_lines = [("Authorization", f"Bearer {SECRET['admin token']}")]
            made = Stage(fusebox, receiver)

            async def one(exchange: Exchange) -> None:
                made.seen["first"].append(b"".join(value for _, value in exchange.head.headers))
                await exchange.body.rest()
                await exchange.send(ANSWERS[(exchange.head.one("x-answer") or b"ok").decode()])
                exchange.close()

            async def other(exchange: Exchange) -> None:
                made.seen["second"].append(b"".join(value for _, value in exchange.head.headers))
                await exchange.body.rest()
                await exchange.send(ANSWERS["429"])
                exchange.finish()

            first.script, second.script = one, other
            yield made


async def provoke(stage: Stage) -> None:
    """Everything that a client and a provider can do to have a secret shown."""
    for answer in ANSWERS:
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
            await stage.fusebox.forget()
            body = json.dumps({"model": "m", "stream": answer in ("cut", "bad chunk", "error event"), **BODY}).encode()
            asked = f"{path}?key={SECRET['query']}&api_key={quote(SECRET['query'])}"
            await stage.ask(asked, body, answer)
            await stage.ask(asked, body, answer, alone=True)  # so that the answer is Fusebox's own
    await stage.fusebox.forget()
    for model in ("own", "outside", "classed", "nobody"):
        await stage.ask("/v1/chat/completions", json.dumps({"model": model, **BODY}).encode())
    form = (
        f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; name="file"; '
        f'filename="{SECRET["prompt in form"]}"\r\n\r\n{SECRET["prompt in form"]}\r\n--b--\r\n'
    ).encode()
    await stage.ask("/v1/audio/transcriptions", form, kind="multipart/form-data; boundary=b")
    # Bodies that cannot be read, each broken where the secret stands.
    for broken in (
        b'{"model": "m", "messages": ' + SECRET["prompt"].encode(),
        SECRET["prompt"].encode(),
        b'{"model": {"' + SECRET["prompt"].encode() + b'": 1}}',
        b'{"stream": "' + SECRET["prompt"].encode() + b'"}',
    ):
        await stage.ask("/v1/chat/completions", broken)
    await stage.ask(
        "/v1/chat/completions", gzip.compress(b"{}" + SECRET["prompt"].encode())[:-4], kind="application/json"
    )
    for path in (
        f"/p/first/x?key={SECRET['query']}",
        f"/p/nobody/x?key={SECRET['query']}",
        f"/nothing?key={SECRET['query']}",
    ):
        await stage.ask(path, b"{}")
    basic = base64.b64encode(f"user:{SECRET['basic']}".encode()).decode()
    async with Client(stage.fusebox.port) as client:
        protocols = f"realtime, openai-insecure-api-key.{SECRET['websocket protocol']}"
        lines = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
        lines += [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Protocol", protocols)]
        refused = await client.exchange(
            request(
                "GET", "/v1/realtime?model=m", None, [*lines, ("Authorization", f"Basic {basic}"), ("x-answer", "401")]
            )
        )
        assert refused.status in (401, 429, 503)


async def admin_says(stage: Stage) -> dict[str, bytes]:
    """Every path of the admin port, with the token and without."""
    told: dict[str, bytes] = {}
    for path in ADMIN_PATHS:
        for token in (None, SECRET["admin token"], SECRET["admin token"] + "x"):
            lines = [] if token is None else [("Authorization", f"Bearer {token}")]
            async with Client(stage.fusebox.admin_port) as admin:
                answer = await admin.exchange(request("GET", path, None, lines, host="127.0.0.1"))
            told[f"{path} {'' if token is None else 'with a token'}"] = answer.body + answer.head.start
    return told


@pytest.mark.parametrize("reload", [False, True])
async def test_no_secret_comes_out(stage: Stage, reload: bool) -> None:
    """Not in the log, nor stderr, nor metrics, nor the page and the API, nor errors; and to no other provider."""
    await provoke(stage)
    if reload:
        # A policy that is refused, with secrets where its report quotes the file; then a good one again.
        good = stage.fusebox.config.read_text()
        url = f'base_url: "http://user:{SECRET["provider key in env"]}@127.0.0.1/v1"'
        stage.fusebox.config.write_text(good.replace('base_url: "http://outside.invalid/v1"', url))
        await stage.fusebox.line(event="reload_failed")
    told = await admin_says(stage)
    assert await stage.fusebox.stop() == 0  # so that all spans have been sent
    told["traces"] = b"".join(stage.receiver.bodies)
    assert len(stage.receiver.spans) > 100
    told["log"], told["stderr"] = stage.fusebox.raw_log, stage.fusebox.errors
    for number, one in enumerate(stage.errors):
        told[f"error {number}"] = one
    assert len(stage.errors) > 10 and len(stage.fusebox.lines) > 50
    leaks = [
        (surface, place)
        for surface, text in told.items()
        for place, secret in SECRET.items()
        if secret.encode() in text and (surface, place) not in allowed(told)
    ]
    assert leaks == []
    own = {"first": "provider key in env", "second": "provider key in file"}
    for name, heads in stage.seen.items():
        assert heads
        for head in heads:
            for place in KEYS:
                assert place == own[name] or SECRET[place].encode() not in head, (name, place)


def allowed(told: dict[str, bytes]) -> set[tuple[str, str]]:
    """A stream that breaks off hands on what it has: the provider's own words are the client's to see."""
    return {(surface, place) for surface in told if surface.startswith("error ") for place in ("event of provider",)}
