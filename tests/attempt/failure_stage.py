"""The stage on which failures are played: Fusebox as a process between a scripted client and scripted providers."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import trustme

from tests.attempt.failure_rows import CHAT, LONG_ANSWER, ROWS, STALE, Row, Script
from tests.harness import HANG_S, Client, Cut, Exchange, Fusebox, Head, Upstream, chat, request
from tests.scripted import Peer, Scripted
from tests.sdk.gateway import free_ports

Got = TypeVar("Got")

FIRST_KEY, SECOND_KEY, CLIENT_KEY = "sk-own-key-of-the-first", "sk-own-key-of-the-second", "sk-key-of-the-client"

POLICY = """
breaker: {{min_requests: 1000}}
retry: {{attempts: {attempts}, max_wait: 1s, budget: 1}}
providers:
  first: {{base_url: "http://127.0.0.1:{first}/v1", keys: [{{env: FIRST_KEY}}]}}
  second: {{base_url: "http://127.0.0.1:{second}/v1", keys: [{{env: SECOND_KEY}}]}}
  theirs: {{base_url: "http://127.0.0.1:{first}/v1", keys: client}}
  keyless: {{base_url: "http://127.0.0.1:{first}/v1", keys: [{{env: NOT_SET_ANYWHERE}}]}}
  unknown: {{base_url: "http://nowhere.invalid/v1", keys: [{{env: FIRST_KEY}}]}}
  elsewhere: {{base_url: "http://elsewhere.invalid/v1", keys: [{{env: SECOND_KEY}}]}}
  proxied: {{base_url: "https://behind-the-proxy.invalid/v1", keys: [{{env: FIRST_KEY}}]}}
  refusing: {{base_url: "http://127.0.0.1:{refusing}/v1", keys: [{{env: FIRST_KEY}}]}}
  full: {{base_url: "http://127.0.0.1:{full}/v1", keys: [{{env: FIRST_KEY}}]}}
  plain: {{base_url: "https://127.0.0.1:{plain}/v1", keys: [{{env: FIRST_KEY}}]}}
  closing: {{base_url: "https://127.0.0.1:{closing}/v1", keys: [{{env: FIRST_KEY}}]}}
  mute: {{base_url: "https://127.0.0.1:{mute}/v1", keys: [{{env: FIRST_KEY}}]}}
  untrusted: {{base_url: "https://127.0.0.1:{untrusted}/v1", keys: [{{env: FIRST_KEY}}]}}
models:
  second/large: {{context: 2000}}
{models}
routes:
{routes}
"""
"""No circuit opens by itself: `min_requests` is out of reach, and no play has five failures in a row."""

SHAPES = {
    "pair": "to: [{0}/a, second/b]",
    "alone": "to: [{0}/a]",
    "same_key": "to: [{0}/a, {0}/b]",
    "larger": "to: [{0}/a, second/large]",
    "past_filter": "to: [{0}/a, second/b], on_content_filter: fallback",
}
"""The chains in which rows are played, by name."""

PLACES = sorted({(row.provider, row.settings) for row in (*ROWS, STALE, LONG_ANSWER)})
PROVIDERS = sorted({provider for provider, _ in PLACES})


def policy(attempts: int, ports: dict[str, int]) -> str:
    """The policy: each chain for each provider and settings of a row, chosen by the client's model."""
    routes = [
        f"  - {{name: r{number}-{shape}, match: {{model: r{number}-{shape}}}, "
        + ", ".join(part for part in (chain.format(provider), settings) if part)
        + "}"
        for number, (provider, settings) in enumerate(PLACES)
        for shape, chain in SHAPES.items()
    ]
    routes.append("  - {name: elsewhere, match: {model: elsewhere}, to: [elsewhere/b]}")
    models = [f"  {provider}/a: {{context: 1000}}" for provider in PROVIDERS]
    return POLICY.format(attempts=attempts, models="\n".join(models), routes="\n".join(routes), **ports)


@dataclass(frozen=True, slots=True)
class Played:
    """What was seen of one play. `asked`: the models that the first provider was asked for; `own`: x-fusebox-error."""

    asked: list[str]
    connections: int
    second: int
    head: Head | None
    body: bytes
    cut: bool
    read_line: Callable[[], dict[str, Any]]
    breaker: dict[str, Any]
    cooling: list[dict[str, Any]]

    @property
    def line(self) -> dict[str, Any]:
        """The request's line in the log, which comes a moment after the answer."""
        return self.read_line()

    @property
    def status(self) -> int | None:
        """The status that the client got."""
        return None if self.head is None else self.head.status

    @property
    def own(self) -> str | None:
        """The code of an error of Fusebox's own."""
        return self.header("x-fusebox-error")

    def header(self, name: str) -> str | None:
        """A header line of the client's answer."""
        value = None if self.head is None else self.head.one(name)
        return None if value is None else value.decode()

    @property
    def tried(self) -> list[tuple[str, str, str]]:
        """Target, outcome and class of each attempt, as logged."""
        return [(one["target"], one["outcome"], one["class"]) for one in self.line.get("tried", ())]

    @property
    def verdict(self) -> str:
        """What the breaker counted of the first provider's attempts."""
        counts = self.breaker["counts"]
        assert not (counts["ok"] and counts["failed"]), "attempts of one kind are judged alike"
        return "success" if counts["ok"] else "failure" if counts["failed"] else "ignore"

    @property
    def verdict_of_probe(self) -> str:
        """What the half-open breaker of the first provider made of its probe."""
        if self.breaker["state"] == "open":
            assert self.breaker["why"] == "probe_failed"
            return "failure"
        assert self.breaker["state"] == "half-open" and self.breaker["probes_out"] == 0
        return "success" if self.breaker["probes_ok"] else "ignore"

    @property
    def cools(self) -> str:
        """What cools now of the first provider, in the page's words."""
        found = [(one["reason"], one["model"]) for one in self.cooling]
        return {(): "nothing", (("rate", "a"),): "key and model", (("model", "a"),): "target"}.get(
            tuple(found), "key" if [model for _, model in found] == [None] else f"{found}"
        )

    @property
    def attempts(self) -> int:
        """How many attempts went to the first provider: as it saw them, or by the log if it cannot see any."""
        return len(self.asked) or int(self.line["attempts"]) - self.second


class Cues:
    """`arrived`: the first provider has a request; `begun`: the client has the beginning of an answer."""

    def __init__(self) -> None:
        self.arrived, self.begun = asyncio.Event(), asyncio.Event()


class Stage:
    """Fusebox, twice: with a retry of the same target and without; the scripted providers; and the plays so far."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()
        self._numbers = itertools.count()
        self._played: dict[object, Played] = {}

    def run(self, doing: Coroutine[Any, Any, Got]) -> Got:
        """Run `doing` in the loop in which everything here lives."""
        return self._runner.run(doing)

    async def open(self) -> None:
        """Start everything."""
        enter = self._open.enter_async_context
        self.first, self.second = await enter(Upstream()), await enter(Upstream())
        certificate = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(certificate)
        hostile = {
            "plain": Scripted(_says(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            "closing": Scripted(_says(b"")),
            "mute": Scripted(_mute),
            "untrusted": Scripted(_mute, tls=certificate),
        }
        ports = {name: (await enter(server)).port for name, server in hostile.items()}
        proxy = await enter(Scripted(_says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")))
        ports |= {"first": self.first.port, "second": self.second.port, "refusing": free_ports(1)[0]}
        ports["full"] = self._full()
        environment = {
            **dict.fromkeys(("ALL_PROXY", "all_proxy", "http_proxy", "https_proxy", "no_proxy"), ""),
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}",
            "HTTP_PROXY": f"http://127.0.0.1:{self.second.port}",  # the second provider is `elsewhere`, too
            "NO_PROXY": "nowhere.invalid",
            "FIRST_KEY": FIRST_KEY,
            "SECOND_KEY": SECOND_KEY,
        }
        self.fusebox = await enter(Fusebox(policy(1, ports), self._directory, environment))
        self.patient = await enter(Fusebox(policy(0, ports), self._directory, environment))

    def close(self) -> None:
        """Stop everything; both processes must end well, without a fault of their own or a key in the log."""
        processes = (self.fusebox, self.patient)
        codes = [self.run(fusebox.stop()) for fusebox in processes]
        self.run(self._open.aclose())
        self._runner.close()
        assert codes == [0, 0]
        for fusebox in processes:
            assert fusebox.errors == b""
            assert [line for line in fusebox.lines if line["event"] == "internal_error"] == []
            assert not any(key.encode() in fusebox.raw_log for key in (FIRST_KEY, SECOND_KEY, CLIENT_KEY))

    def played(self, row: Row, shape: str, **options: Any) -> Played:
        """What is seen of a row in a chain of SHAPES; it is played once, however many tests ask."""
        key = (str(row), shape, *sorted(options.items()))
        if key not in self._played:
            self._played[key] = self.run(self.play(row, shape, **options))
        return self._played[key]

    async def play(
        self,
        row: Row,
        shape: str,
        *,
        lines: tuple[bytes, ...] = (),
        retries: bool = True,
        probe: bool = False,
        warm: bool = False,
        calm: bool = True,
        second: Script | None = None,
    ) -> Played:
        """Play a row once.

        `lines`: more header lines of its answer. `probe`: the first provider's circuit is half-open. `warm`: a connection
        to it is kept alive from before. `calm`: no other host has just been out of reach. `second`: what the second
        provider does, instead of answering.
        """
        fusebox = self.fusebox if retries else self.patient
        model = f"r{PLACES.index((row.provider, row.settings))}-{shape}"
        if warm:
            self.first.script = _good
            async with Client(fusebox.port) as client:
                assert (await client.exchange(chat(model))).status == 200
        if calm and row.provider in ("unknown", "proxied"):
            # An answer from another machine: two such failures in a row would be the fault of this one's network.
            self.second.script = _good
            async with Client(fusebox.port) as client:
                assert (await client.exchange(chat("elsewhere"))).status == 200
        await self._order(fusebox, "second", "reset")
        await self._order(fusebox, row.provider, "reset", *(("force_open", "release") if probe else ()))
        asked: list[str] = []
        writers: set[asyncio.StreamWriter] = set()
        cues = Cues()

        async def first(exchange: Exchange) -> None:
            writers.add(exchange.writer)
            key = CLIENT_KEY if row.provider == "theirs" else FIRST_KEY
            assert exchange.head.one("authorization") == f"Bearer {key}".encode()
            asked.append("")
            if row.ask != "break_upload":
                asked[-1] = json.loads(await exchange.body.rest())["model"]
            cues.arrived.set()
            await row.plays(*lines)(exchange, len(asked))
            if row.breaks is not None:
                await cues.begun.wait()
                await row.breaks(exchange, len(asked))

        async def other(exchange: Exchange) -> None:
            assert exchange.head.one("authorization") == f"Bearer {SECOND_KEY}".encode()
            await exchange.body.rest()
            await (_good(exchange) if second is None else second(exchange, 1))

        before = self.second.requests
        self.first.script, self.second.script = first, other
        identity = f"play-{next(self._numbers)}"
        headers = [("x-fusebox-request-id", identity), ("Authorization", f"Bearer {CLIENT_KEY}"), *row.headers]
        async with Client(fusebox.port) as client:
            async with asyncio.timeout(HANG_S):
                head, body, cut = await _ASKING[row.ask](client, model, headers, row.stream, cues)
                if row.reached:
                    await cues.arrived.wait()  # after a timeout, it may be on its way still
            if head is None:
                await fusebox.line(event="request", request_id=identity)  # nothing else says that it has noticed
        async with Client(fusebox.admin_port) as admin:
            state = (await admin.exchange(request("GET", f"/api/breakers/{row.provider}"))).json
        return Played(
            asked=asked,
            connections=len(writers),
            second=self.second.requests - before,
            head=head,
            body=body,
            cut=cut,
            read_line=lambda: self.run(fusebox.line(event="request", request_id=identity)),
            breaker=state["breakers"][0],
            cooling=state["cooldowns"],
        )

    async def _order(self, fusebox: Fusebox, provider: str, *actions: str) -> None:
        async with Client(fusebox.admin_port) as admin:
            for action in actions:
                body = json.dumps({"action": action}).encode()
                order = request("POST", f"/api/breakers/{provider}", body, host="127.0.0.1")
                assert (await admin.exchange(order)).status == 200

    def _full(self) -> int:
        """The port of a socket that takes no further connection: its queue is full, and nobody accepts."""
        listening = self._open.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            waiting = self._open.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        port: int = listening.getsockname()[1]
        return port


# The client, and providers that are not what they seem.

Reply = tuple[Head | None, bytes, bool]
Headers = list[tuple[str, str]]


async def _whole(client: Client, model: str, headers: Headers, stream: bool, cues: Cues) -> Reply:
    """Ask, and take all of the answer that there is."""
    await client.send(chat(model, headers, **({"stream": True} if stream else {})))
    head, body = await client.begin()
    cues.begun.set()
    try:
        return head, await body.rest(), False
    except Cut as cut:
        return head, cut.got, True


async def _hang_up(client: Client, model: str, headers: Headers, stream: bool, cues: Cues) -> Reply:
    """Ask, and leave as soon as the provider has the request."""
    await client.send(chat(model, headers))
    await cues.arrived.wait()
    client.reset()
    return None, b"", True


async def _break_upload(client: Client, model: str, headers: Headers, stream: bool, cues: Cues) -> Reply:
    """Ask with a form too long to be held, and break off in the middle of it."""
    part = b"--x\r\nContent-Disposition: form-data; name=model\r\n\r\n%b\r\n" % model.encode()
    part += b"--x\r\nContent-Disposition: form-data; name=file; filename=a.wav\r\n\r\n" + b" " * 300_000
    framed = [*headers, ("Content-Type", "multipart/form-data; boundary=x"), ("Transfer-Encoding", "chunked")]
    await client.send(request("POST", "/v1/audio/transcriptions", b"%x\r\n%b\r\n" % (len(part), part), framed))
    await cues.arrived.wait()
    await client.send(b"no chunk\r\n")
    head, body = await client.begin()
    return head, await body.rest(), False


_ASKING: dict[str, Callable[[Client, str, Headers, bool, Cues], Coroutine[Any, Any, Reply]]] = {
    "whole": _whole,
    "hang_up": _hang_up,
    "break_upload": _break_upload,
}


async def _good(exchange: Exchange) -> None:
    await exchange.answer(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(CHAT) + CHAT
    )


def _says(data: bytes) -> Callable[[Peer], Coroutine[Any, Any, None]]:
    async def script(peer: Peer) -> None:
        await peer.read(1)
        await peer.send(data)
        peer.fin()

    return script


async def _mute(peer: Peer) -> None:
    await peer.gone()
