"""Traces through a real process: what the OTLP receiver gets, and what the providers saw of it in their headers."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness import ROOT, Client, Cut, Exchange, Fusebox, Upstream, chat, ok, request
from tests.observe.receiver import Mode, Received, Receiver
from tests.sdk.gateway import free_ports

KEY, CLIENT_KEY, PROMPT, TOKEN = "sk-key-of-the-provider", "sk-key-of-the-client", "planted-prompt", "planted-token"
STATE = "vendor=planted-state"

CONFIG = """
retry: {{attempts: 0}}
breaker: {{mode: disabled}}
timeouts: {{connect: 2s, head: 30s}}
traces: {{otlp: "http://127.0.0.1:{receiver}", headers: {{authorization: {{env: OTLP_TOKEN}}}}}}
providers:
  openai: {{base_url: "http://127.0.0.1:{first}/v1", anthropic_url: "http://127.0.0.1:{first}", keys: [{{env: KEY}}]}}
  mistral: {{base_url: "http://127.0.0.1:{second}/v1", keys: client}}
  dead: {{base_url: "http://127.0.0.1:{dead}/v1", keys: none}}
models:
  openai/gpt-x: {{price: {{input: 1, output: 2}}}}
routes:
  - {{name: dead, match: {{model: dead}}, to: [dead/none]}}
  - {{name: hedged, match: {{model: hedged}}, to: [openai/gpt-x, mistral/large], hedge: {{after: 50ms, extra_load: 1}}}}
  - {{name: mirrored, match: {{model: mirrored}}, to: [openai/gpt-x], mirror: {{to: mistral/large}}}}
  - {{name: main, match: {{model: auto}}, to: [openai/gpt-x, mistral/large]}}
  - {{name: lists, match: {{path: ["/v1/models*", "/v1/realtime"]}}, to: [openai]}}
"""

UNAVAILABLE = b"HTTP/1.1 503 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST = b'data: {"id":"1","object":"chat.completion.chunk","model":"gpt-x-2026-01","choices":[{"delta":{"content":"hi"}}]}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,'
    b'"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":2}}}\n\n'
    b"data: [DONE]\n\n"
)
ANSWER = (
    b'{"id": "1", "object": "chat.completion", "model": "gpt-x-2026-01",'
    b' "choices": [{"message": {"content": "planted-prompt"}}],'
    b' "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}'
)

_numbers = itertools.count(1)


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding; of nothing, the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True, slots=True)
class Parts:
    """Fusebox in front of two providers, beside a receiver."""

    fusebox: Fusebox
    first: Upstream
    second: Upstream
    receiver: Receiver


class Caller:
    """A client's place in a trace of its own."""

    def __init__(self, flags: str = "01") -> None:
        self.trace_id, self.span_id, self.flags = f"{next(_numbers):032x}", f"{next(_numbers):016x}", flags

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What it sends."""
        given = f"00-{self.trace_id}-{self.span_id}-{self.flags}"
        return [("Traceparent", given), ("tracestate", STATE), ("Authorization", f"Bearer {CLIENT_KEY}")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parts]:
    """All of it, once; nothing that was planted may have come out in any span, nor in the log."""
    async with Upstream() as first, Upstream() as second:
        with Receiver() as receiver:
            config = CONFIG.format(first=first.port, second=second.port, dead=free_ports(1)[0], receiver=receiver.port)
            environment = {
                "KEY": KEY,
                "OTLP_TOKEN": f"Bearer {TOKEN}",
                "OTEL_BSP_SCHEDULE_DELAY": "20",
                "OTEL_SERVICE_NAME": "checkout",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
                "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
                "HTTP_PROXY": "http://127.0.0.1:1",  # never between this machine and itself
                "NO_PROXY": "",
            }
            async with Fusebox(config, tmp_path_factory.mktemp("traces"), environment) as fusebox:
                yield Parts(fusebox, first, second, receiver)
            assert fusebox.errors == b""
            assert [line for line in fusebox.lines if line["event"] == "internal_error"] == []
            sent = b"".join(receiver.bodies) + fusebox.raw_log
            planted = (KEY, CLIENT_KEY, PROMPT, TOKEN, STATE)
            assert receiver.spans and [one for one in planted if one.encode() in sent] == []


@pytest_asyncio.fixture(loop_scope="session")
async def parts(running: Parts) -> Parts:
    """The same, nothing left over from the test before."""
    running.first.forget()
    running.second.forget()
    running.receiver.mode = "ok"
    return running


@pytest_asyncio.fixture(loop_scope="session")
async def client(parts: Parts) -> AsyncIterator[Client]:
    """A client's connection."""
    async with Client(parts.fusebox.port) as connection:
        yield connection


def assert_seen(exchange: Exchange, span: Received) -> None:
    """The provider was told of that span, once; and what else belongs to the trace came as the client sent it."""
    assert exchange.head.all("traceparent") == [f"00-{span.trace_id}-{span.span_id}-01".encode()]
    assert exchange.head.all("tracestate") == [STATE.encode()]


async def test_a_request_continues_its_clients_trace(parts: Parts, client: Client) -> None:
    """The request is a child of the client's span, the attempt one of the request's, and the provider sees the attempt's."""
    caller, before = Caller(), time.time_ns()
    await client.send(chat("auto", [*caller.headers, ("x-fusebox-request-id", "id-of-this")], user=PROMPT))
    exchange = await parts.first.next()
    await exchange.answer(ok(ANSWER))
    line = await parts.fusebox.request_line((await client.response()).head)
    after = time.time_ns()
    whole, attempt = await parts.receiver.trace(caller.trace_id)
    assert_seen(exchange, attempt)
    assert line["trace_id"] == caller.trace_id
    assert (whole.kind, whole.name, whole.parent_id, whole.error) == (
        "server",
        "POST chat.completions",
        caller.span_id,
        None,
    )
    assert (attempt.kind, attempt.name, attempt.parent_id, attempt.error) == (
        "client",
        "chat gpt-x",
        whole.span_id,
        None,
    )
    assert before <= whole.start_ns <= attempt.start_ns <= attempt.end_ns <= whole.end_ns <= after
    told = dict(whole.attributes)
    assert told.pop("fusebox.first_event_ms") > 0 and told.pop("fusebox.overhead_us") > 0
    assert told.pop("fusebox.cost_usd") == pytest.approx(20e-6)
    assert told == {
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "http.response.status_code": 200,
        "fusebox.request_id": "id-of-this",
        "fusebox.endpoint": "chat.completions",
        "fusebox.stream": False,
        "fusebox.attempts": 1,
        "fusebox.route": "main",
        "fusebox.target": "openai/gpt-x",
        "fusebox.client_model": "auto",
    }
    assert attempt.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": parts.first.port,
        "fusebox.provider": "openai",
        "fusebox.outcome": "ok",
        "fusebox.class": "OK",
        "fusebox.verdict": "success",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.request.stream": False,
        "gen_ai.response.model": "gpt-x-2026-01",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
    }
    assert whole.resource["service.name"] == "checkout"
    assert whole.resource["deployment.environment.name"] == "test"
    assert parts.receiver.heads[-1]["authorization"] == f"Bearer {TOKEN}"


async def test_a_trace_begins_here(parts: Parts, client: Client) -> None:
    """Without a ``traceparent``, or with one that is not valid, a new trace begins; a state without its trace goes."""
    for headers in ([], [("traceparent", "00-what-is-this-01"), ("tracestate", STATE)]):
        await client.send(chat("auto", headers))
        exchange = await parts.first.next()
        await exchange.answer(ok(ANSWER))
        line = await parts.fusebox.request_line((await client.response()).head)
        whole, attempt = await parts.receiver.trace(line["trace_id"])
        assert exchange.head.all("traceparent") == [f"00-{whole.trace_id}-{attempt.span_id}-01".encode()]
        assert exchange.head.all("tracestate") == []
        assert whole.parent_id == ""


async def test_a_client_that_does_not_record(parts: Parts, client: Client) -> None:
    """Its trace passes as it came, and nothing is recorded of it."""
    caller, recorded = Caller("00"), Caller()
    await client.send(chat("auto", caller.headers))
    exchange = await parts.first.next()
    await exchange.answer(ok(ANSWER))
    line = await parts.fusebox.request_line((await client.response()).head)
    assert exchange.head.all("traceparent") == [caller.headers[0][1].encode()]
    assert exchange.head.all("tracestate") == [STATE.encode()]
    assert line["trace_id"] == caller.trace_id
    await client.send(chat("auto", recorded.headers))
    await (await parts.first.next()).answer(ok(ANSWER))
    await client.response()
    await parts.receiver.trace(recorded.trace_id)  # sent in the order in which requests end
    assert [one for one in parts.receiver.spans if one.trace_id == caller.trace_id] == []


async def test_a_stream_lasts_until_its_end(parts: Parts, client: Client) -> None:
    """Both spans end when the stream does; the usage at its end belongs to the attempt."""
    caller = Caller()
    await client.send(chat("auto", caller.headers, stream=True))
    exchange = await parts.first.next()
    await exchange.body.rest()
    await exchange.send(STREAM + chunk(FIRST))
    _, body = await client.begin()
    assert await body.some() == FIRST
    seen_ns = time.time_ns()
    await exchange.send(chunk(USAGE) + chunk(b""))
    exchange.finish()
    await body.rest()
    whole, attempt = await parts.receiver.trace(caller.trace_id)
    assert_seen(exchange, attempt)
    assert min(whole.end_ns, attempt.end_ns) >= seen_ns
    assert (whole.error, attempt.error) == (None, None)
    assert whole.attributes["fusebox.stream"] is attempt.attributes["gen_ai.request.stream"] is True
    assert attempt.attributes["gen_ai.response.model"] == "gpt-x-2026-01"
    assert 0 < attempt.attributes["gen_ai.response.time_to_first_chunk"] * 1e9 < attempt.end_ns - attempt.start_ns
    used = {name: value for name, value in attempt.attributes.items() if name.startswith("gen_ai.usage.")}
    assert used == {
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 2,
    }


async def test_a_broken_stream_is_an_error(parts: Parts, client: Client) -> None:
    """Of the request and of the attempt; the status that went out stays."""
    caller = Caller()
    await client.send(chat("auto", caller.headers, stream=True))
    exchange = await parts.first.next()
    await exchange.body.rest()
    await exchange.send(STREAM + chunk(FIRST))
    _, body = await client.begin()
    assert await body.some() == FIRST
    exchange.reset()
    with pytest.raises(Cut):
        await body.rest()
    whole, attempt = await parts.receiver.trace(caller.trace_id)
    assert_seen(exchange, attempt)
    assert whole.attributes["http.response.status_code"] == attempt.attributes["http.response.status_code"] == 200
    assert whole.error == attempt.error == whole.attributes["fusebox.broke"] == attempt.attributes["error.type"]
    assert (attempt.attributes["fusebox.verdict"], attempt.attributes["fusebox.class"]) == ("failure", "TRANSPORT")


async def test_a_fallback_has_two_attempts(parts: Parts, client: Client) -> None:
    """Each is a span with its own id, which its own provider saw, and its own vendor and model."""
    caller = Caller()
    await client.send(chat("auto", caller.headers))
    one = await parts.first.next()
    await one.answer(UNAVAILABLE)
    other = await parts.second.next()
    await other.answer(ok(ANSWER))
    assert (await client.response()).status == 200
    whole, first, second = await parts.receiver.trace(caller.trace_id)
    assert_seen(one, first)
    assert_seen(other, second)
    assert first.parent_id == second.parent_id == whole.span_id
    assert whole.start_ns <= first.start_ns <= first.end_ns
    assert first.start_ns < second.start_ns <= second.end_ns <= whole.end_ns
    assert (first.error, first.attributes["error.type"], first.attributes["http.response.status_code"]) == (
        "503",
        "503",
        503,
    )
    assert (first.attributes["fusebox.class"], first.attributes["fusebox.verdict"]) == ("OVERLOAD", "failure")
    assert "gen_ai.usage.input_tokens" not in first.attributes and "gen_ai.response.model" not in first.attributes
    assert (second.error, second.name) == (None, "chat large")
    assert second.attributes["gen_ai.provider.name"] == "mistral_ai"
    assert second.attributes["gen_ai.usage.output_tokens"] == 5
    assert (whole.error, whole.attributes["fusebox.target"], whole.attributes["fusebox.attempts"]) == (
        None,
        "mistral/large",
        2,
    )


async def test_a_hedge_has_two_at_once(parts: Parts, client: Client) -> None:
    """The one that lost ends without an error, before the request does."""
    caller = Caller()
    await client.send(chat("hedged", caller.headers))
    slow = await parts.first.next()
    quick = await parts.second.next()
    await quick.answer(ok(ANSWER))
    assert (await client.response()).status == 200
    await slow.body.rest()
    await slow.hung_up()
    whole, first, second = await parts.receiver.trace(caller.trace_id)
    assert_seen(slow, first)
    assert_seen(quick, second)
    assert first.start_ns < second.start_ns < first.end_ns <= whole.end_ns
    assert (first.error, second.error) == (None, None)
    assert (first.attributes["fusebox.outcome"], second.attributes["fusebox.outcome"]) == ("let go", "ok")


async def test_refused_requests(parts: Parts, client: Client) -> None:
    """Fusebox's own errors: a client's mistake is no error of the span, a failed chain is. Nobody was asked, or in vain."""
    caller = Caller()
    assert (await client.exchange(chat("nothing takes this", caller.headers))).status == 404
    (whole,) = await parts.receiver.trace(caller.trace_id)
    assert (whole.error, whole.attributes["fusebox.error_code"]) == (None, "no_route")
    assert whole.attributes["http.response.status_code"] == 404
    caller = Caller()
    assert (await client.exchange(chat("dead", caller.headers))).status == 502
    whole, attempt = await parts.receiver.trace(caller.trace_id)
    assert whole.error == whole.attributes["error.type"] == whole.attributes["fusebox.error_code"]
    assert (attempt.error, attempt.attributes["fusebox.class"]) == (attempt.attributes["fusebox.outcome"], "TRANSPORT")
    assert "http.response.status_code" not in attempt.attributes


async def test_a_client_that_leaves(parts: Parts, client: Client) -> None:
    """Its request ends there, and so does the attempt; neither is an error."""
    caller = Caller()
    await client.send(chat("auto", caller.headers))
    exchange = await parts.first.next()
    await exchange.body.rest()
    client.reset()
    await exchange.hung_up()
    whole, attempt = await parts.receiver.trace(caller.trace_id)
    assert_seen(exchange, attempt)
    assert (whole.error, attempt.error) == (None, None)
    assert whole.attributes["http.response.status_code"] == 499
    assert attempt.attributes["fusebox.outcome"] == "client left"


async def test_a_tunnel_lasts_until_its_end(parts: Parts) -> None:
    """A realtime conversation is one request with one attempt, from its handshake until it is hung up."""
    caller = Caller()
    async with Client(parts.fusebox.port) as client:
        upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "a"), *caller.headers]
        await client.send(request("GET", "/v1/realtime?model=rt-1", headers=upgrade))
        exchange = await parts.first.next()
        await exchange.send(b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        head, _ = await client.begin()
        assert head.status == 101
        seen_ns = time.time_ns()
    exchange.close()
    whole, attempt = await parts.receiver.trace(caller.trace_id)
    assert_seen(exchange, attempt)
    assert min(whole.end_ns, attempt.end_ns) >= seen_ns
    assert (whole.name, attempt.name) == ("GET realtime", "realtime rt-1")
    assert (whole.attributes["http.response.status_code"], whole.error, attempt.error) == (101, None, None)


async def test_calls_that_are_no_models(parts: Parts, client: Client) -> None:
    """``/p/`` and merged lists are traced like any call; what is said of generative AI is left out."""
    for path, name in (("/p/openai/any/thing", "GET openai"), ("/v1/models", "GET openai")):
        caller = Caller()
        await client.send(request("GET", path, headers=caller.headers))
        exchange = await parts.first.next()
        await exchange.answer(ok(b'{"object": "list", "data": []}'))
        assert (await client.response()).status == 200
        whole, attempt = await parts.receiver.trace(caller.trace_id)
        assert_seen(exchange, attempt)
        assert (attempt.name, attempt.attributes["server.port"]) == (name, parts.first.port)
        assert [one for one in attempt.attributes if one.startswith("gen_ai.")] == []
        assert whole.attributes["url.path"] == path


async def test_a_copy_belongs_to_the_request(parts: Parts, client: Client) -> None:
    """A mirrored copy is no attempt: it is no span, and tells its provider the request's."""
    caller = Caller()
    await client.send(chat("mirrored", caller.headers))
    exchange, copy = await parts.first.next(), await parts.second.next()
    await copy.answer(ok(ANSWER))
    await exchange.answer(ok(ANSWER))
    assert (await client.response()).status == 200
    whole, attempt = await parts.receiver.trace(caller.trace_id)
    assert_seen(exchange, attempt)
    assert_seen(copy, whole)


@pytest.mark.parametrize("mode", ["500", "503", "garbage", "cut", "trickle", "hang"])
async def test_a_bad_receiver_harms_nobody(parts: Parts, client: Client, mode: Mode) -> None:
    """However it behaves, each request is answered."""
    parts.receiver.mode = mode
    asked = len(parts.receiver.bodies)
    for wait in (True, False, False, False):
        await client.send(chat("auto"))
        await (await parts.first.next()).answer(ok(ANSWER))
        assert (await client.response()).status == 200
        if wait:
            await parts.receiver.asked(asked + 1)
    if mode == "500":
        line = await parts.fusebox.line(event="traces_dropped")
        assert line["why"] == f"http://127.0.0.1:{parts.receiver.port} answered 500"


async def test_a_receiver_that_is_not_there(tmp_path: Path, parts: Parts) -> None:
    """Requests are answered, the end comes in good time, and the log says what was lost."""
    config = CONFIG.format(first=parts.first.port, second=parts.second.port, dead=1, receiver=free_ports(1)[0])
    async with Fusebox(config, tmp_path, {"KEY": KEY, "OTEL_BSP_SCHEDULE_DELAY": "20"}) as fusebox:
        missing = await fusebox.line(event="traces_headers_missing")
        assert missing["missing"] == ["authorization: environment variable OTLP_TOKEN is not set"]
        async with Client(fusebox.port) as client:
            for _ in range(3):
                await client.send(chat("auto"))
                await (await parts.first.next()).answer(ok(ANSWER))
                assert (await client.response()).status == 200
        fusebox.signal(15)
        assert await fusebox.wait() == 0
        dropped = [line for line in fusebox.lines if line["event"] == "traces_dropped"]
        assert sum(line["requests"] for line in dropped) == dropped[-1]["all"] == 3
        assert fusebox.errors == b""


def test_without_traces_nothing_is_imported() -> None:
    """Whoever does not ask for traces does not wait for their library."""
    code = "import sys, proxy.app; print([one for one in sys.modules if one.startswith(('opentelemetry', 'requests'))])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_extra_is_missing(tmp_path: Path) -> None:
    """A configuration that asks for what is not installed is refused before a port is bound; the error names the cure."""
    absent = tmp_path / "opentelemetry" / "__init__.py"
    absent.parent.mkdir()
    absent.write_text("raise ModuleNotFoundError(\"No module named 'opentelemetry'\")\n")
    config = tmp_path / "fusebox.yaml"
    config.write_text("providers: {demo: }\nroutes: [{name: r, match: {}, to: [demo]}]\ntraces:\n")
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "serve", "--config", str(config)],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (64, "")
    assert "pip install 'llm-fusebox[otel]'" in done.stderr and "Traceback" not in done.stderr


async def test_turned_off(tmp_path: Path, parts: Parts) -> None:
    """Without `traces` a client's trace passes as it came, valid or not, and the log names it; a share of 0 records none."""
    config = CONFIG.format(first=parts.first.port, second=parts.second.port, dead=1, receiver=parts.receiver.port)
    plain = "\n".join(line for line in config.splitlines() if not line.startswith("traces:"))
    async with Fusebox(plain, tmp_path, {"KEY": KEY}) as fusebox, Client(fusebox.port) as client:
        caller = Caller()
        for headers, trace_id in (
            (caller.headers, caller.trace_id),
            ([("traceparent", "nonsense"), ("tracestate", STATE)], None),
            ([], None),
        ):
            await client.send(chat("auto", headers))
            exchange = await parts.first.next()
            await exchange.answer(ok(ANSWER))
            line = await fusebox.request_line((await client.response()).head)
            assert line.get("trace_id") == trace_id
            given = dict(headers)
            assert [one.decode() for one in exchange.head.all("traceparent")] == [
                value for name, value in given.items() if name.lower() == "traceparent"
            ]
    none = config.replace("traces: {", "traces: {sample: 0, ")
    environment = {"KEY": KEY, "OTEL_BSP_SCHEDULE_DELAY": "20"}
    async with Fusebox(none, tmp_path, environment) as fusebox, Client(fusebox.port) as client:
        await client.send(chat("auto"))
        exchange = await parts.first.next()
        await exchange.answer(ok(ANSWER))
        line = await fusebox.request_line((await client.response()).head)
        (given_on,) = exchange.head.all("traceparent")
        assert given_on.decode().startswith(f"00-{line['trace_id']}-") and given_on.endswith(b"-00")
        assert await fusebox.stop() == 0
    assert [one for one in parts.receiver.spans if one.trace_id == line["trace_id"]] == []
