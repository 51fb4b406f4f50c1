"""``fusebox fault``: what it takes and says; and what a real process makes of each fault."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from proxy.cli import main, parser
from proxy.dev.completion import bash, read
from proxy.dev.ports import free_port
from tests.commands.dev_process import local_servers_here, read_until, running
from tests.harness import Client, Cut, Exchange, Fusebox, Upstream, ok, request

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

CONFIG = """
faults: true
retry: {{attempts: 0}}
providers:
  first: {{base_url: "http://127.0.0.1:{first}/v1", anthropic_url: "http://127.0.0.1:{first}", keys: none}}
  second: {{base_url: "http://127.0.0.1:{second}/v1", anthropic_url: "http://127.0.0.1:{second}", keys: none}}
routes:
  - {{name: brief, match: {{model: brief}}, to: [first, second], timeouts: {{total: 300ms}}}}
  - {{name: hasty, match: {{model: hasty}}, to: [first, second], timeouts: {{head: 700ms}}}}
  - {{name: copied, match: {{model: copied}}, to: [second], mirror: {{to: first}}}}
  - {{name: all, match: {{}}, to: [first, second]}}
"""


class Said:
    """How a command ended, and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


def fault(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    """The command, in this process."""
    capsys.readouterr()
    try:
        code = main(["fault", *words])
    except SystemExit as wrong:
        code = int(wrong.code or 0)
    return Said(code, *capsys.readouterr())


# What is written.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name the provider, as in: fusebox fault openai --status 503"),
        (("--status", "503"), "name the provider"),
        (("openai",), "nothing is said of how it is to fail: write one of --status, --latency, --cut-after, --silence"),
        (("openai", "--status", "503", "--silence"), "--status and --silence are 2: write one of"),
        (("openai", "--cut-after", "0", "--silence"), "--cut-after and --silence are 2"),
        (("openai", "--for", "5s"), "nothing is said of how it is to fail"),
        (("openai", "--silence", "--retry-after", "5"), "--retry-after goes with --status alone"),
        (("openai", "--status", "200"), "'200' is no error's status: write a number from 400 to 599"),
        (("openai", "--status", "5xx"), "'5xx' is no error's status"),
        (("openai", "--latency", "2"), "is not a duration: write a number with ms, s, m or h"),
        (("openai", "--latency", "0s"), "0s is out of bounds: write more than 0s, at most 1h"),
        (("openai", "--silence", "--for", "2h"), "2h is out of bounds"),
        (("openai", "--cut-after", "-1"), "'-1' is no number of events"),
        (("openai", "--cut-after", "many"), "'many' is no number of events"),
        (("openai", "--silence", "--share", "0"), "'0' is no share: write a number above 0, at most 1"),
        (("openai", "--silence", "--share", "half"), "'half' is no share"),
        (("openai", "--silence", "--share", "nan"), "'nan' is no share"),
        (("openai", "--clear", "--status", "503"), "--clear takes no --status"),
        (("--list", "--clear"), "--list takes no --clear"),
        (("--list", "--for", "5s"), "--list takes no --for"),
        (("--list", "--admin", "https://localhost:4011"), "is no address: write it as in 127.0.0.1:4011"),
        (("--list", "--admin", "4011"), "is no address"),
        (("--list", "--admin", "localhost:99999"), "is no address"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with what is wrong and what to write; nobody is asked."""
    ended = fault(capsys, *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in " ".join(ended.err.split())


def test_completion_offers_its_options() -> None:
    """Every one of them, in the shell."""
    _, commands = read(parser())
    (fault,) = (one for one in commands if one.name == "fault")
    wanted = {
        "--status",
        "--retry-after",
        "--latency",
        "--cut-after",
        "--silence",
        "--for",
        "--share",
        "--list",
        "--clear",
    }
    assert wanted | {"--admin", "--help"} <= set(fault.flags)
    assert f"fault) words='' flags='{' '.join(fault.flags)}'" in bash(parser())


@pytest.mark.parametrize("words", [("openai", "--status", "503"), ("--list",), ("--clear",)])
def test_nobody_there(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, with what to start."""
    port = free_port()
    ended = fault(capsys, *words, "--admin", f"http://localhost:{port}/")
    assert (ended.code, ended.out) == (1, "")
    assert f"nothing to talk to at localhost:{port}" in ended.err
    assert "Start `fusebox dev`" in ended.err and "--admin HOST:PORT" in ended.err


class _Other(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'["no", "object"]' if self.path == "/api/faults" else b'{"another": "object"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 the name that the class above wants

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_somebody_else_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A web server, or whatever speaks no HTTP: not Fusebox."""
    with HTTPServer(("127.0.0.1", 0), _Other) as server:
        for words in (["--list"], ["one", "--silence"]):
            asked = threading.Thread(target=server.handle_request)
            asked.start()
            ended = fault(capsys, *words, "--admin", f"127.0.0.1:{server.server_port}")
            asked.join()
            assert ended.code == 1 and "is no admin port of Fusebox" in ended.err
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            taken, _ = listening.accept()
            with taken:
                taken.recv(65536)
                taken.sendall(b"220 mail ready\r\n")

        asked = threading.Thread(target=answer)
        asked.start()
        ended = fault(capsys, "--list", "--admin", f"127.0.0.1:{listening.getsockname()[1]}")
        asked.join()
    assert ended.code == 1 and "is no admin port of Fusebox" in ended.err


# A real process.


def openai(text: str) -> bytes:
    """An event of a chat."""
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def anthropic(text: str) -> bytes:
    """An event of a message."""
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return b"event: content_block_delta\ndata: " + json.dumps(delta).encode() + b"\n\n"


EVENTS = {
    "openai": [*(openai(f"word {number}") for number in range(9)), b"data: [DONE]\n\n"],
    "anthropic": [
        b'event: message_start\ndata: {"type": "message_start"}\n\n',
        *(anthropic(f"word {number}") for number in range(9)),
        b'event: message_stop\ndata: {"type": "message_stop"}\n\n',
    ],
}
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
WHOLE = json.dumps({"id": "x", "choices": [], "content": [{"type": "text", "text": "word " * 400}]}).encode()


async def provider(exchange: Exchange) -> None:
    """Answers either format, streamed or not."""
    asked = json.loads(await exchange.body.rest())
    if asked.get("stream"):
        events = EVENTS["anthropic" if exchange.target.endswith(b"/messages") else "openai"]
        await exchange.send(STREAM + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in events) + b"0\r\n\r\n")
    else:
        await exchange.send(ok(WHOLE))
    exchange.finish()


class Both:
    """Fusebox in front of two providers, and the command beside it."""

    def __init__(self, fusebox: Fusebox, first: Upstream, second: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
        self.fusebox, self.first, self.second = fusebox, first, second
        self._capsys = capsys

    async def fault(self, *words: str, code: int = 0) -> str:
        """What the command says."""
        done = await asyncio.to_thread(fault, self._capsys, *words, "--admin", f"127.0.0.1:{self.fusebox.admin_port}")
        assert done.code == code, (done.out, done.err)
        return done.out + done.err

    def asking(self, wire: str, streamed: bool, model: str = "m") -> bytes:
        """A request."""
        body = json.dumps({"model": model, "stream": streamed, "messages": [], "max_tokens": 9}).encode()
        return request("POST", PATHS[wire], body)

    async def state(self) -> str:
        """Of the first provider's breaker."""
        async with Client(self.fusebox.admin_port) as admin:
            shown = (await admin.exchange(request("GET", "/api/breakers/first"))).json
        return str(shown["breakers"][0]["state"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Fusebox, Upstream, Upstream]]:
    """All of it, once; at the end the log must be free of Fusebox's own faults."""
    async with Upstream() as first, Upstream() as second:
        first.script = second.script = provider
        config = CONFIG.format(first=first.port, second=second.port)
        async with Fusebox(config, tmp_path_factory.mktemp("faults")) as fusebox:
            yield fusebox, first, second
        assert fusebox.errors == b""
        assert [line for line in fusebox.lines if line["event"] == "internal_error"] == []


@pytest_asyncio.fixture(loop_scope="module")
async def both(process: tuple[Fusebox, Upstream, Upstream], capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Both]:
    """The same, without any fault, and with nothing learnt."""
    made = Both(*process, capsys)
    made.first.requests = made.second.requests = 0
    await made.fusebox.forget()
    yield made
    await made.fault("--clear")


CALLS = [(wire, streamed) for wire in PATHS for streamed in (False, True)]
in_module = pytest.mark.asyncio(loop_scope="module")
each_call = pytest.mark.parametrize(("wire", "streamed"), CALLS)


@in_module
@each_call
async def test_a_status_goes_to_the_next(both: Both, wire: str, streamed: bool) -> None:
    """The second answers, the first was not asked; log and metrics take the failure for real; then all is as before."""
    assert (await both.fault("first", "--status", "503")).startswith("first answers 503, for 60 s. To end it now: ")
    async with Client(both.fusebox.port) as client:
        answer = await client.exchange(both.asking(wire, streamed))
        assert (answer.status, answer.head.one("x-fusebox-target")) == (200, b"second/m")
        assert (both.first.requests, both.second.requests) == (0, 1)
        line = await both.fusebox.request_line(answer.head)
        tried = [(one["target"], one["class"], one["verdict"], one["status"]) for one in line["tried"]]
        assert tried == [("first/m", "OVERLOAD", "failure", 503), ("second/m", "OK", "success", 200)]
        assert "attempts so far: 1" in await both.fault("--list")
        assert await both.fault("first", "--clear") == "ended: first\n"
        answer = await client.exchange(both.asking(wire, streamed))
        assert answer.head.one("x-fusebox-target") == b"first/m" and both.first.requests == 1


@in_module
@each_call
async def test_without_a_second_the_client_gets_the_error(both: Both, wire: str, streamed: bool) -> None:
    """In its own format, with the wait."""
    for name in ("first", "second"):
        await both.fault(name, "--status", "429", "--retry-after", "7")
    async with Client(both.fusebox.port) as client:
        answer = await client.exchange(both.asking(wire, streamed))
    assert answer.status == 429 and answer.head.one("retry-after") == b"7"
    kind = answer.json["error"]["type"]
    assert kind == ("rate_limit_error" if wire == "anthropic" else "requests")
    assert ("type" in answer.json) is (wire == "anthropic")


@in_module
@pytest.mark.parametrize("wire", list(PATHS))
async def test_a_stream_is_cut(both: Both, wire: str) -> None:
    """After its events the client's stream breaks off, too, and the attempt is a failure."""
    assert "first breaks off after 3 events, for 9 s" in await both.fault("first", "--cut-after", "3", "--for", "9s")
    async with Client(both.fusebox.port) as client:
        await client.send(both.asking(wire, streamed=True))
        head, body = await client.begin()
        with pytest.raises(Cut) as cut:
            await body.rest()
    assert cut.value.got == b"".join(EVENTS[wire][:3])
    line = await both.fusebox.request_line(head)
    assert line["error_code"] == "upstream_answer_cut" and line["broke"] and both.second.requests == 0
    assert [(one["class"], one["verdict"]) for one in line["tried"]] == [("TRANSPORT", "failure")]


@in_module
@pytest.mark.parametrize("wire", list(PATHS))
async def test_an_unstreamed_answer_is_cut(both: Both, wire: str) -> None:
    """Half of it comes."""
    await both.fault("first", "--cut-after", "3")
    async with Client(both.fusebox.port) as client:
        await client.send(both.asking(wire, streamed=False))
        _, body = await client.begin()
        with pytest.raises(Cut) as cut:
            await body.rest()
    assert cut.value.got == WHOLE[: len(WHOLE) // 2]


@in_module
async def test_a_cut_before_the_first_event(both: Both) -> None:
    """The second answers."""
    await both.fault("first", "--cut-after", "0")
    async with Client(both.fusebox.port) as client:
        answer = await client.exchange(both.asking("openai", streamed=True))
    assert answer.body == b"".join(EVENTS["openai"]) and both.second.requests == 1


@in_module
@each_call
async def test_silence(both: Both, wire: str, streamed: bool) -> None:
    """A stream's head is waited for as long as the policy says, then the second answers; an unstreamed answer may take
    all the time there is.
    """
    await both.fault("first", "--silence")
    async with Client(both.fusebox.port) as client:
        answer = await client.exchange(both.asking(wire, streamed, "hasty" if streamed else "brief"))
    line = await both.fusebox.request_line(answer.head)
    assert both.first.requests == 0
    if streamed:
        assert answer.head.one("x-fusebox-target") == b"second/hasty"
        assert [one["class"] for one in line["tried"]] == ["TRANSPORT", "OK"]
    else:
        assert (answer.status, answer.error_code) == (504, "upstream_timeout")


@in_module
@each_call
async def test_latency(both: Both, wire: str, streamed: bool) -> None:
    """A little is borne by the client; for a stream more than the head may take is a timeout. None of it is Fusebox's own."""
    await both.fault("first", "--latency", "50ms")
    async with Client(both.fusebox.port) as client:
        answer = await client.exchange(both.asking(wire, streamed))
        assert answer.head.one("x-fusebox-target") == b"first/m"
        line = await both.fusebox.request_line(answer.head)
        assert line["overhead_us"] <= line["total_ms"] * 1000 - 50_000
        if streamed:
            await both.fault("first", "--latency", "1h")
            answer = await client.exchange(both.asking(wire, streamed, "hasty"))
            assert answer.head.one("x-fusebox-target") == b"second/hasty" and both.first.requests == 1


@in_module
async def test_the_breaker_opens(both: Both) -> None:
    """And says so in the log; an order closes it again when the fault is over (by the clock: tests/attempt)."""
    await both.fault("first", "--status", "500")
    async with Client(both.fusebox.port) as client:
        while await both.state() == "closed":
            assert (await client.exchange(both.asking("openai", streamed=False))).status == 200
        assert await both.state() == "open" and both.first.requests == 0
        await both.fault("--clear")
        await both.fusebox.forget()
        answer = await client.exchange(both.asking("openai", streamed=False))
        assert answer.head.one("x-fusebox-target") == b"first/m"


@in_module
async def test_a_fault_ends_in_time(both: Both) -> None:
    """By itself, with a line in the log."""
    since = len(both.fusebox.lines)
    await both.fault("first", "--silence", "--for", "50ms")
    ended = await both.fusebox.line(since, event="fault_ended", fault="silence")
    assert (ended["provider"], ended["why"], ended["struck"]) == ("first", "its time is over", 0)
    assert await both.fault("--list") == "no faults\n"


@in_module
async def test_a_handshake_meets_the_fault_as_well(both: Both) -> None:
    """A WebSocket's: it is refused as the provider would."""
    await both.fault("first", "--status", "503")
    await both.fault("second", "--status", "503")
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    upgrade.append(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))
    async with Client(both.fusebox.port) as client:
        answer = await client.exchange(request("GET", "/v1/realtime?model=m", headers=upgrade))
    assert answer.status == 503 and (both.first.requests, both.second.requests) == (0, 0)


@in_module
async def test_a_copy_meets_the_fault_as_well(both: Both) -> None:
    """One that a route's `mirror` sends."""
    await both.fault("first", "--status", "503")
    async with Client(both.fusebox.port) as client:
        answer = await client.exchange(both.asking("openai", False, "copied"))
    identity = answer.head.one("x-fusebox-request-id")
    assert answer.status == 200 and identity is not None
    line = await both.fusebox.line(event="mirror", request_id=identity.decode())
    assert (line["status"], both.first.requests) == (503, 0)


@in_module
async def test_an_unknown_provider(both: Both) -> None:
    """Exit code 1, with those there are."""
    said = await both.fault("frist", "--status", "503", code=1)
    assert said == "fusebox: no provider 'frist': there are first, second\n"
    assert await both.fault("frist", "--clear", code=1) == said
    assert await both.fault("frist", "--list", code=1) == said
    assert "first is 2 s late, in 0.5 of the attempts, for 3600 s." in await both.fault(
        *("first", "--latency", "2s", "--share", "0.5", "--for", "1h")
    )


async def test_serve_refuses_it_unless_its_configuration_allows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """403 with what to write; a reload allows it, and another one ends what there is."""
    async with Upstream() as first:
        first.script = provider
        plain = CONFIG.format(first=first.port, second=first.port).replace("faults: true\n", "")
        async with Fusebox(plain, tmp_path, more=["--watch", "off"]) as fusebox:
            both = Both(fusebox, first, first, capsys)
            said = await both.fault("first", "--status", "503", code=1)
            assert "`fusebox dev`" in said and "`faults: true`" in said
            assert "not allowed here" in await both.fault("--list")
            text = fusebox.config.read_text()
            for number, (written, outcome) in enumerate([(f"{text}faults: true\n", 503), (text, 200)]):
                fusebox.config.write_text(written)
                since = len(fusebox.lines)
                fusebox.signal(signal.SIGHUP)
                await fusebox.line(since, event="reloaded")
                if number == 0:
                    await both.fault("first", "--status", "503")
                    await both.fault("second", "--status", "503")
                async with Client(fusebox.port) as client:
                    assert (await client.exchange(both.asking("openai", streamed=False))).status == outcome
            for name in ("first", "second"):
                ended = await fusebox.line(event="fault_ended", provider=name)
                assert ended["why"] == "the configuration no longer allows it"


@pytest.mark.skipif(local_servers_here(), reason="a model server of this machine would be found")
def test_dev_allows_it(capsys: pytest.CaptureFixture[str]) -> None:
    """As a developer without any key sees it: the fault, and the answer of the one to fall back to."""
    port, admin = free_port(), free_port()
    with running("dev", "--port", str(port), "--admin-port", str(admin)) as dev:
        read_until(dev, "The page:")
        done = fault(capsys, "demo", "--status", "503", "--for", "1m", "--admin", f"localhost:{admin}")
        assert (done.code, done.err) == (0, "")
        assert f"fusebox fault demo --clear --admin localhost:{admin}" in done.out
        assert 'fault_begun  provider=demo  fault="status 503"' in read_until(dev, "fault_begun")
        assert asyncio.run(_asked(port))["choices"][0]["message"]["role"] == "assistant"
        told = read_until(dev, "POST")
        assert "m -> demo-spare/m  200" in told and "2 attempts: demo/m overloaded (503)" in told


async def _asked(port: int) -> Any:
    async with Client(port) as client:
        return (
            await client.exchange(
                request("POST", PATHS["openai"], b'{"model": "m", "messages": [{"role": "user", "content": "a"}]}')
            )
        ).json
