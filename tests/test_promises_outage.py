"""Promises "Bounded" and "Neutral" in an outage: what dead providers cost, and who may close a circuit again."""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from tests.harness import HANG_S, Client, Exchange, Fusebox, Response, Upstream, chat, ok, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
retry: {{attempts: {attempts}, max_wait: 100ms}}
breaker: {{open_for: {open_for}}}
timeouts: {{connect: 2s, head: 30s}}
providers:
  one: {{base_url: "http://127.0.0.1:{one}/v1", anthropic_url: "http://127.0.0.1:{one}", keys: none}}
  two: {{base_url: "http://127.0.0.1:{two}/v1", anthropic_url: "http://127.0.0.1:{two}", keys: none}}
  three: {{base_url: "http://127.0.0.1:{three}/v1", anthropic_url: "http://127.0.0.1:{three}", keys: none}}
  refuses1: {{base_url: "http://127.0.0.1:{r1}/v1", anthropic_url: "http://127.0.0.1:{r1}", keys: none}}
  refuses2: {{base_url: "http://127.0.0.1:{r2}/v1", anthropic_url: "http://127.0.0.1:{r2}", keys: none}}
  refuses3: {{base_url: "http://127.0.0.1:{r3}/v1", anthropic_url: "http://127.0.0.1:{r3}", keys: none}}
routes:
  - {{name: refused, match: {{model: refused}}, to: [refuses1, refuses2, refuses3]}}
  - {{name: silent, match: {{model: silent}}, to: [one, two, three], timeouts: {{head: 150ms}}}}
  - {{name: impatient, match: {{model: impatient}}, to: [one, two, three], timeouts: {{total: 100ms}}}}
  - {{name: alone, match: {{model: alone}}, to: [one]}}
  - {{name: pair, match: {{model: pair}}, to: [one, two]}}
  - {{name: all, match: {{}}, to: [one, two, three]}}
"""

CROWD = 500
PROBES = 3
"""The probes that a half-open circuit permits (docs/breaker.md)."""

STREAK = 5
"""Failures in a row that open a circuit (docs/breaker.md)."""

AT_MOST = 6
"""Research 3.3: three dead providers, each tried twice at the most, and the SDK's own two retries spared."""

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three() -> AsyncIterator[dict[str, Upstream]]:
    """Three providers by name."""
    async with Upstream() as one, Upstream() as two, Upstream() as three:
        yield {"one": one, "two": two, "three": three}


@asynccontextmanager
async def running(
    three: dict[str, Upstream], directory: Path, *, attempts: int, open_for: str
) -> AsyncIterator[Fusebox]:
    """Fusebox in front of them, and of three ports that refuse."""
    with ExitStack() as stack:
        bound = [stack.enter_context(socket.socket()) for _ in range(3)]
        for sock in bound:
            sock.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else can
        ports = {name: upstream.port for name, upstream in three.items()}
        refused = {f"r{number}": sock.getsockname()[1] for number, sock in enumerate(bound, start=1)}
        config = CONFIG.format(attempts=attempts, open_for=open_for, **ports, **refused)
        async with Fusebox(config, directory) as fusebox:
            yield fusebox
        assert fusebox.errors == b""
        assert [line for line in fusebox.lines if line["event"] == "internal_error"] == []


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[0, 1], ids=["no retry", "one retry"])
async def retrying(
    request: pytest.FixtureRequest, three: dict[str, Upstream], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Fusebox, int]]:
    """Fusebox, and its `retry.attempts`. A circuit that opens stays open."""
    directory = tmp_path_factory.mktemp("outage")
    async with running(three, directory, attempts=request.param, open_for="60s") as fusebox:
        yield fusebox, request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def steady(three: dict[str, Upstream], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fusebox]:
    """Fusebox whose circuits change by the admin API or by verdicts, but not by the clock."""
    async with running(three, tmp_path_factory.mktemp("outage"), attempts=0, open_for="60s") as fusebox:
        yield fusebox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quick(three: dict[str, Upstream], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fusebox]:
    """Fusebox that lets a probe through soon after a failure."""
    async with running(three, tmp_path_factory.mktemp("outage"), attempts=0, open_for="50ms") as fusebox:
        yield fusebox


async def fresh(fusebox: Fusebox, three: dict[str, Upstream]) -> None:
    """Have everybody forget the test before."""
    for upstream in three.values():
        upstream.forget()
    await fusebox.forget()


async def breaker(fusebox: Fusebox, provider: str) -> dict[str, Any]:
    """A provider's breaker, as the admin port shows it."""
    async with Client(fusebox.admin_port) as admin:
        response = await admin.exchange(request("GET", f"/api/breakers/{provider}"))
    return dict(response.json["breakers"][0])


async def half_open(fusebox: Fusebox, provider: str) -> None:
    """Have the circuit's next request be a probe."""
    async with Client(fusebox.admin_port) as admin:
        for action in ("force_open", "release"):
            body = json.dumps({"action": action}).encode()
            order = request("POST", f"/api/breakers/{provider}", body, host="127.0.0.1")
            assert (await admin.exchange(order)).status == 200
    assert (await breaker(fusebox, provider))["state"] == "half-open"


async def logged(fusebox: Fusebox, since: int) -> list[dict[str, Any]]:
    """The request lines from number `since` on, once all that has been answered is in the log."""
    identity = f"last-{next(_numbers)}"
    async with Client(fusebox.port) as client:
        await client.exchange(request("GET", "/nowhere", headers=[("x-fusebox-request-id", identity)]))
    await fusebox.line(since, event="request", request_id=identity)
    lines = [line for line in fusebox.lines[since:] if line["event"] == "request"]
    return [line for line in lines if line["request_id"] != identity]


# Retry multiplication

Script = Callable[[Exchange], Awaitable[None]]


def saying(status: bytes, *lines: bytes) -> Script:
    """A provider that answers everything with an error."""
    body = b'{"error": {"message": "no", "type": "server_error", "code": null}}'
    head = b"\r\n".join((b"HTTP/1.1 " + status, b"Content-Type: application/json", *lines))

    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body))

    return script


async def silence(exchange: Exchange) -> None:
    """A provider that takes the request and never says a word."""
    await exchange.body.rest()
    await exchange.hung_up()


async def ask_openai(fusebox: Fusebox, model: str, streamed: bool) -> int:
    """The status of what the SDK raises in the end, with its own number of retries."""
    http = openai.DefaultAsyncHttpxClient(trust_env=False, verify=False)
    url = f"http://127.0.0.1:{fusebox.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="k", http_client=http) as client:
        assert client.max_retries == 2
        create = client.chat.completions.create
        with pytest.raises(openai.APIStatusError) as raised:
            await create(model=model, messages=[{"role": "user", "content": "hi"}], stream=streamed)
    return raised.value.status_code


async def ask_anthropic(fusebox: Fusebox, model: str, streamed: bool) -> int:
    """The same, of the other SDK."""
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False, verify=False)  # no trust store to load for each
    url = f"http://127.0.0.1:{fusebox.port}"
    async with anthropic.AsyncAnthropic(base_url=url, api_key="k", http_client=http) as client:
        assert client.max_retries == 2
        create = client.messages.create
        with pytest.raises(anthropic.APIStatusError) as raised:
            await create(model=model, messages=[{"role": "user", "content": "hi"}], max_tokens=1, stream=streamed)
    return raised.value.status_code


DEAD: dict[str, tuple[Script, str, int, tuple[int, int]]] = {
    # how: script, model, status in the end, requests at providers without and with a retry
    "refused": (silence, "refused", 502, (3, 3)),
    "503": (saying(b"503 Service Unavailable", b"x-should-retry: true"), "m", 503, (3, 3)),
    "500": (saying(b"500 Internal Server Error"), "m", 500, (3, 4)),
    "429": (saying(b"429 Too Many Requests", b"Retry-After: 30"), "m", 429, (3, 3)),
    "silent": (silence, "silent", 504, (3, 3)),
}


@pytest.mark.parametrize("ask", [ask_openai, ask_anthropic], ids=["openai", "anthropic"])
@pytest.mark.parametrize("how", list(DEAD))
async def test_retries_do_not_multiply(
    retrying: tuple[Fusebox, int],
    three: dict[str, Upstream],
    how: str,
    ask: Callable[[Fusebox, str, bool], Awaitable[int]],
) -> None:
    """The SDK tries once, as the last error tells it to; each provider is asked once, or twice where that is configured."""
    fusebox, attempts = retrying
    script, model, status, expected = DEAD[how]
    await fresh(fusebox, three)
    for upstream in three.values():
        upstream.script = script
    since = len(fusebox.lines)
    assert await ask(fusebox, model, how == "silent") == status
    lines = await logged(fusebox, since)
    assert len(lines) == 1, "the SDK tried again"
    assert lines[0]["attempts"] == expected[attempts] <= AT_MOST
    if how != "refused":
        assert sum(upstream.requests for upstream in three.values()) == expected[attempts]
        assert min(upstream.requests for upstream in three.values()) == 1
    assert [one["target"].split("/")[0] for one in lines[0]["tried"]][-1] == (
        "refuses3" if how == "refused" else "three"
    )


async def test_a_deadline_that_passes_is_not_multiplied_either(steady: Fusebox, three: dict[str, Upstream]) -> None:
    """An unstreamed answer that never comes takes all the time there is: no second target, and each try of the SDK's
    reaches one provider.
    """
    await fresh(steady, three)
    for upstream in three.values():
        upstream.script = silence
    since = len(steady.lines)
    assert await ask_openai(steady, "impatient", False) == 504
    lines = await logged(steady, since)
    assert [line["attempts"] for line in lines] == [1, 1, 1]
    assert sum(upstream.requests for upstream in three.values()) == 3 <= AT_MOST


# A half-open circuit


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Room for the sockets of a crowd and of the providers that answer it, all in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def crowd(port: int, number: int = CROWD) -> AsyncIterator[list[Client]]:
    """So many connected clients."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Client(port)) for _ in range(number)]


async def all_but(number: int, answers: list[asyncio.Task[Response]]) -> list[Response]:
    """The answers that have come, once only `number` are missing."""
    async with asyncio.timeout(HANG_S):
        pending = set(answers)
        while len(pending) > number:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    return [answer.result() for answer in answers if answer.done()]


@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("recovered", [True, False], ids=["probes succeed", "probes fail"])
@pytest.mark.parametrize("model", ["alone", "pair"])
async def test_500_clients_at_a_half_open_circuit(
    steady: Fusebox, three: dict[str, Upstream], model: str, recovered: bool
) -> None:
    """Exactly the permitted probes go out. The others are answered while those are still held: by the fallback, or where
    there is none by a 503 at once. What the probes find out then holds for everybody.
    """
    await fresh(steady, three)
    one, two = three["one"], three["two"]
    two.script = answering
    await half_open(steady, "one")
    async with crowd(steady.port) as clients:
        answers = [asyncio.create_task(client.exchange(chat(model))) for client in clients]
        probes = [await one.next() for _ in range(PROBES)]
        others = await all_but(PROBES, answers)
        assert (len(others), one.requests, two.requests) == (
            CROWD - PROBES,
            PROBES,
            0 if model == "alone" else len(others),
        )
        assert (await breaker(steady, "one"))["probes_out"] == PROBES
        for other in others:
            assert (other.status, other.error_code) == ((503, "all_targets_out") if model == "alone" else (200, None))
            if model == "alone":
                assert (other.head.one("retry-after"), other.head.one("x-should-retry")) == (b"1", None)
        for probe in probes:
            if recovered:
                await probe.answer(ok())
            else:
                await saying(b"503 Service Unavailable")(probe)
        last = [(await answer).status for answer in answers]
        assert last.count(200) == (0 if model == "alone" else len(others)) + PROBES * (recovered or model == "pair")
        shown = await breaker(steady, "one")
        assert (shown["state"], shown["why"]) == (
            ("closed", "probes_succeeded") if recovered else ("open", "probe_failed")
        )
        one.script, before = answering, one.requests
        if recovered or model == "pair":
            again = await asyncio.gather(*(client.exchange(chat(model)) for client in clients[:50]))
            assert {response.status for response in again} == {200}
            assert one.requests == before + (50 if recovered else 0)


async def answering(exchange: Exchange) -> None:
    """A healthy provider."""
    await exchange.answer(ok())


SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'10\r\ndata: {"x": 1}\n\n\r\n'


@pytest.mark.parametrize("stage", ["before the head", "after a comment", "after the first event"])
async def test_a_hang_up_during_a_probe_says_nothing(steady: Fusebox, three: dict[str, Upstream], stage: str) -> None:
    """All permitted probes are abandoned by their clients: the circuit neither opens nor closes by that, the provider is
    let go at once, and the next probes may go.
    """
    await fresh(steady, three)
    one = three["one"]
    await half_open(steady, "one")
    abandoned = PROBES - 1 if stage == "after the first event" else PROBES
    for _ in range(abandoned):
        since = len(steady.lines)
        async with Client(steady.port) as client:
            await client.send(chat("alone", stream=True))
            probe = await one.next()
            await probe.body.rest()
            if stage != "before the head":
                await probe.send(SSE + b"8\r\n: wait\n\n\r\n")
            if stage == "after the first event":
                await probe.send(EVENT)
                await client.begin()
            client.reset()
            await probe.hung_up()
        await steady.line(since, event="request", status=499)
    shown = await breaker(steady, "one")
    answered = abandoned if stage == "after the first event" else 0  # an event in time had come: that was a success
    assert (shown["state"], shown["probes_out"], shown["probes_ok"]) == ("half-open", 0, answered)
    one.script = answering
    async with Client(steady.port) as client:
        for _ in range(PROBES - answered):
            assert (await breaker(steady, "one"))["state"] == "half-open"
            assert (await client.exchange(chat("alone"))).status == 200
    assert (await breaker(steady, "one"))["state"] == "closed"


async def test_a_hang_up_while_closed_says_nothing(steady: Fusebox, three: dict[str, Upstream]) -> None:
    """More impatient clients than failures it would take to open the circuit: nothing is counted."""
    await fresh(steady, three)
    for _ in range(2 * STREAK):
        async with Client(steady.port) as client:
            await client.send(chat("alone"))
            exchange = await three["one"].next()
            client.close()
            await exchange.hung_up()
    shown = await breaker(steady, "one")
    assert shown["state"] == "closed"
    assert set(shown["counts"].values()) == {0}


# A flapping primary


async def test_a_flapping_primary(quick: Fusebox, three: dict[str, Upstream]) -> None:
    """Down and up again, twice: every request is answered, while it is down it sees no more than the failures that open
    the circuit and one probe for each time it half-opens, and once it is back it is used again.
    """
    await fresh(quick, three)
    one, two = three["one"], three["two"]
    two.script = answering
    async with Client(quick.port) as client:
        for _ in range(2):
            await logged(quick, 0)
            one.script = saying(b"503 Service Unavailable")
            before, since = one.requests, len(quick.lines)
            while len(probes(quick, since)) < 3:
                response = await client.exchange(chat("pair"))
                assert (response.status, response.head.one("x-fusebox-target")) == (200, b"two/pair")
            seen = one.requests - before
            await logged(quick, since)
            assert seen == STREAK + len(probes(quick, since))
            one.script = answering
            async with asyncio.timeout(HANG_S):
                while (await breaker(quick, "one"))["state"] != "closed":
                    assert (await client.exchange(chat("pair"))).status == 200
            assert (await client.exchange(chat("pair"))).head.one("x-fusebox-target") == b"one/pair"


def probes(fusebox: Fusebox, since: int) -> list[dict[str, Any]]:
    """The times that the primary's circuit half-opened."""
    lines = fusebox.lines[since:]
    return [
        line for line in lines if line["event"] == "breaker" and (line["breaker"], line["now"]) == ("one", "half-open")
    ]
