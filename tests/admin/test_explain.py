"""``/api/explain``: by the real state, changing nothing; and whose questions it answers."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from proxy.admin import explain
from proxy.admin.explain import ASKED_MAX
from proxy.attempt.cooldown import Reason
from proxy.attempt.guards import Guards
from proxy.cli import main
from proxy.config.parse import parse
from proxy.config.secrets import key_id
from proxy.observe.logs import configure
from proxy.serve.build import build_snapshot
from proxy.serve.snapshot import Snapshot
from proxy.upstream.dial import Origin
from proxy.upstream.pool import Pool
from tests.harness import Client, Fusebox, Upstream, chat, ok, request

SECRET = "sk-a-key-that-nobody-may-read"
CONFIG = """
providers:
  one: {base_url: "http://one.test/v1", keys: [{env: ONE}], max_concurrency: 1}
  two: {base_url: "http://two.test/v1", keys: client}
routes:
  - {name: quick, match: {model: quick}, to: [one/a, two/b], order: latency}
  - {name: all, match: {}, to: [one, two]}
"""


class Port:
    """The path alone over a real snapshot, with a clock of the test's own."""

    client: TestClient[Any, Any]

    def __init__(self) -> None:
        self.now_s = 100.0
        self.snapshot = self.built(CONFIG)
        self.guards = self.snapshot.ground.guards

    def built(self, text: str) -> Snapshot:
        """A snapshot of the configuration in `text`."""
        config = parse(text)
        guards = Guards(config, clock=lambda: self.now_s, rng=lambda: 0.5)
        logger = configure(lambda line: None, "error")
        return build_snapshot(config, {"ONE": SECRET}, _pool, lambda: guards, logger)

    async def ask(self, status: int = 200, **asked: object) -> Any:
        """What is told."""
        return await self.post(json.dumps(asked).encode(), status)

    async def post(self, text: bytes, status: int, headers: dict[str, str] | None = None) -> Any:
        """The same in raw text."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        response = await self.client.post("/api/explain", data=io.BytesIO(text), headers=headers)
        assert (response.status, response.content_type) == (status, "application/json")
        return await response.json()


def _pool(origin: Origin, ca: str | None) -> Pool:
    """Nothing is sent, so an origin is all that is needed of it."""
    return cast(Pool, type("NoPool", (), {"origin": origin, "proxy": None}))


@pytest_asyncio.fixture
async def port() -> AsyncIterator[Port]:
    """The path on a port of its own."""
    made, app = Port(), web.Application()
    explain.add_routes(app, lambda: made.snapshot)
    async with TestClient(TestServer(app)) as made.client:
        yield made


async def test_the_state_counts(port: Port) -> None:
    """Breakers, cool-downs and places as they stand, each with its reason."""
    assert (await port.ask(model="m"))["target"] == "one/m"
    port.guards["one"].breaker(None).force_open(60.0)
    told = await port.ask(model="m")
    assert (told["live"], told["target"]) == (True, "two/m")
    assert [(one["asked"], one["reason"]) for one in told["targets"]] == [
        ("not", "breaker forced open"),
        ("first", None),
    ]
    assert told["targets"][0]["hindrances"][0]["left_s"] == 60.0
    port.guards["one"].breaker(None).reset()
    assert port.guards["one"].places.take()
    assert (await port.ask(model="m"))["targets"][0]["reason"] == "full: 1 under way"
    port.guards["one"].places.leave()
    cooldowns = port.guards.cooldowns
    cooldowns.cool(key_id("one", SECRET.encode()), "m", Reason.RATE, 30.0)
    told = await port.ask(model="m")
    assert told["targets"][0]["reason"] == "cooling (rate), 30 s left"
    assert SECRET not in json.dumps(told)
    assert (await port.ask(model="other"))["target"] == "one/other"


async def test_the_client_s_own_key(port: Port) -> None:
    """Its cool-down counts for a question that has the key's header, which is not shown."""
    port.guards.cooldowns.cool(key_id("two", f"Bearer {SECRET}".encode()), "m", Reason.RATE, 30.0)
    port.guards["one"].breaker(None).force_open()
    assert (await port.ask(model="m"))["target"] == "two/m"
    told = await port.ask(model="m", headers={"Authorization": f"Bearer {SECRET}"})
    assert told["target"] is None and told["error"]["status"] == 503
    assert SECRET not in json.dumps(told)


async def test_latencies_count(port: Port) -> None:
    """As they were measured; what is unknown is asked first."""
    latencies = port.guards.latencies
    assert latencies is not None
    latencies.add("one/a", 0.5)
    latencies.add("two/b", 0.25)
    told = await port.ask(model="quick")
    assert [(one["target"], one["order_value"]) for one in told["targets"]] == [("two/b", 0.25), ("one/a", 0.5)]
    assert told["notes"] == []


async def test_what_is_assumed_comes_on_top(port: Port) -> None:
    """Of the real state nothing is lost."""
    port.guards["one"].breaker(None).force_open()
    told = await port.ask(model="m", down=["two"])
    assert [one["reason"] for one in told["targets"]] == [
        "breaker forced open",
        "its circuit is open (assumed: --down two)",
    ]
    assert (told["target"], told["error"]["code"]) == (None, "all_targets_out")


async def test_the_policy_in_force_is_told_of(port: Port) -> None:
    """After a reload it is the new one."""
    port.snapshot = port.built(CONFIG.replace("name: all", "name: new"))
    assert (await port.ask(model="m"))["route"] == "new"


async def test_past_the_routes(port: Port) -> None:
    """The provider as it stands; one that is not there is told of, too."""
    assert (await port.ask(path="/p/one/x"))["target"] == "one"
    port.guards["one"].breaker(None).force_open()
    assert (await port.ask(path="/p/one/x"))["error"]["message"].endswith("one: breaker forced open")
    assert (await port.ask(path="/p/nobody/x"))["error"]["code"] == "no_route"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not understood"),
        (b"[]", "not understood"),
        (b"\xff", "not understood"),
        (b'{"modle": "m"}', "not understood: Object contains unknown field `modle`"),
        (b'{"roll": 1}', "not understood: Expected `float` < 1.0"),
        (b'{"tokens": -1}', "not understood: Expected `int` >= 0"),
        (b'{"down": ["noe"]}', "--down: there is no provider 'noe': did you mean one?"),
        (b'{"at": "noon"}', "'noon' is not a moment"),
        (b'{"prompt": "%b"}' % (b"x" * ASKED_MAX), "the question has more than 8388608 bytes"),
    ],
)
async def test_questions_that_are_none(port: Port, text: bytes, said: str) -> None:
    """400 with what is wrong, in JSON."""
    assert said in (await port.post(text, 400))["error"]


async def test_a_long_question(port: Port) -> None:
    """A saved request is longer than most that the admin port reads."""
    text = json.dumps({"body": {"model": "m", "messages": [{"role": "user", "content": "word " * 1_000_000}]}})
    assert (await port.post(text.encode(), 200))["target"] == "one/m"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.example:4011"}, 403),
        ({"Origin": "https://page.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Host": "localhost:4011", "Origin": "http://localhost:4011"}, 200),
    ],
)
async def test_whose_questions_are_answered(port: Port, headers: dict[str, str], status: int) -> None:
    """A caller's on this machine, in JSON."""
    told = await port.post(b'{"model": "m"}', status, headers)
    assert ("error" in told and "target" not in told) is (status != 200)


# In a process

PROCESS = """
providers:
  main: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: MAIN_KEY}}]}}
  spare: {{base_url: "http://127.0.0.1:{port}/spare/v1", keys: none}}
retry: {{attempts: 0}}
routes:
  - {{name: all, match: {{}}, to: [main, spare]}}
"""


async def test_in_a_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``fusebox explain --live`` tells beforehand what then happens to a real request; asking often changes nothing."""
    async with (
        Upstream() as upstream,
        Fusebox(PROCESS.format(port=upstream.port), tmp_path, {"MAIN_KEY": SECRET}) as box,
    ):

        async def told(*options: str) -> tuple[int, dict[str, Any]]:
            arguments = ["explain", "--live", f"http://127.0.0.1:{box.admin_port}", "--output", "json", *options]
            code = await asyncio.to_thread(main, arguments)
            return code, json.loads(capsys.readouterr().out)

        async with Client(box.port) as client, Client(box.admin_port) as admin:

            async def happens() -> bytes | None:
                await client.send(chat("m"))
                await (await upstream.next()).answer(ok())
                return (await client.response()).head.one("x-fusebox-target")

            async def order(**wanted: object) -> None:
                body = json.dumps(wanted).encode()
                response = await admin.exchange(request("POST", "/api/breakers/main", body, host="127.0.0.1"))
                assert response.status == 200

            code, story = await told("--model", "m")
            assert (code, story["target"].encode()) == (0, await happens())
            await order(action="force_open")
            for _ in range(3):
                code, story = await told("--model", "m")
                assert (code, story["target"]) == (0, "spare/m")
            assert await happens() == b"spare/m"
            assert story["targets"][0]["reason"] == "breaker forced open"
            await order(action="release")
            for _ in range(5):  # more often than there are probes to lose
                _, story = await told("--model", "m")
                assert story["target"] == "main/m"
            shown = await admin.exchange(request("GET", "/api/breakers/main"))
            assert (shown.json["breakers"][0]["state"], shown.json["breakers"][0]["probes_out"]) == ("half-open", 0)
            assert await happens() == b"main/m"
            code, _ = await told("--model", "m", "--down", "main", "--down", "spare")
            assert code == 1
            assert (
                await asyncio.to_thread(main, ["explain", "--live", f"127.0.0.1:{box.admin_port}", "--down", "mian"])
                == 2
            )
            assert "did you mean main?" in capsys.readouterr().err
    assert SECRET.encode() not in box.raw_log
    assert box.errors == b""
