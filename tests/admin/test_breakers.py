"""``/api/breakers``: what it shows, what each order does, and whose orders it does not take."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient, TestServer

from proxy.admin.api import application
from proxy.attempt.cooldown import Reason
from proxy.attempt.guards import Guards
from proxy.config import schema
from proxy.observe.health import Health
from proxy.observe.logs import configure
from tests.harness import Client, Fusebox, Upstream, chat, ok, request

SECRET = "sk-a-key-that-nobody-may-read"


class Port:
    """The admin port over real guards, with a clock and a log of the test's own."""

    client: TestClient[Any, Any]

    def __init__(self, config: schema.Config) -> None:
        self.now_s = 100.0
        self._log: list[bytes] = []
        self.logger = configure(self._log.append, "info")
        self.guards = Guards(config, clock=lambda: self.now_s, rng=lambda: 0.5)

    async def get(self, path: str = "", status: int = 200) -> Any:
        """What is shown under ``/api/breakers``."""
        response = await self.client.get(f"/api/breakers{path}")
        assert (response.status, response.content_type) == (status, "application/json")
        return await response.json()

    async def order(self, provider: str = "one", status: int = 200, **wanted: object) -> Any:
        """Give an order; what is shown then."""
        return await self.post(json.dumps(wanted), provider=provider, status=status)

    async def post(
        self, text: str | bytes, *, provider: str = "one", status: int = 200, headers: dict[str, str] | None = None
    ) -> Any:
        """The same in raw text."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        response = await self.client.post(f"/api/breakers/{provider}", data=text, headers=headers)
        assert (response.status, response.content_type) == (status, "application/json")
        return await response.json()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What was logged."""
        return [json.loads(line) for line in self._log]

    def state(self) -> tuple[str, bool]:
        """Of the first provider's breaker: as a request would find it, and whether it is held."""
        snapshot = self.guards["one"].breaker(None).snapshot()
        return snapshot.state, snapshot.held


@pytest_asyncio.fixture
async def port(request: pytest.FixtureRequest) -> AsyncIterator[Port]:
    """The admin port of a configuration with two providers; a test may state the breakers' scope."""
    scope: Literal["provider", "target"] = getattr(request, "param", "provider")
    providers = {name: schema.Provider(base_url=f"http://{name}.test/v1") for name in ("one", "two")}
    made = Port(schema.Config(providers=providers, routes=(), breaker=schema.Breaker(scope=scope)))
    app = application(Health(), lambda: made.guards, made.logger)
    async with TestClient(TestServer(app)) as made.client:
        yield made


FIELDS = {
    "name",
    "mode",
    "state",
    "held",
    "why",
    "since_s",
    "last_failure",
    "counts",
    "trips",
    "probes_out",
    "probes_ok",
}


async def test_reading(port: Port) -> None:
    """All breakers, and one provider's, say the same: state, counts, why and until when."""
    for _ in range(5):
        port.guards["one"].breaker(None).acquire().failure("overloaded")
    shown = await port.get()
    assert [one["name"] for one in shown["breakers"]] == ["one", "two"]
    assert (shown["cooldowns"], shown["uplink_down"]) == ([], False)
    one, two = shown["breakers"]
    assert FIELDS | {"retry_in_s", "refused", "until"} == set(one)
    assert (one["state"], one["why"], one["last_failure"], one["trips"]) == ("open", "streak", "overloaded", 1)
    assert one["counts"] == {"ok": 0, "failed": 5, "slow": 0, "recent_ok": 0, "recent_failed": 5, "streak": 5}
    assert (one["retry_in_s"], one["until"].endswith("+00:00")) == (5.0, True)
    assert (two["state"], two["why"], two["retry_in_s"], two["until"]) == ("closed", None, 0.0, None)
    alone = await port.get("/one")
    assert {**alone["breakers"][0], "until": ""} == {**one, "until": ""}
    assert (alone["cooldowns"], alone["under_way"], alone["max_concurrency"]) == ([], 0, None)
    port.now_s += 5
    assert (await port.get("/one"))["breakers"][0]["state"] == "half-open"


async def test_cool_downs_are_shown_by_key_id(port: Port) -> None:
    """A provider shows its own keys' cool-downs only, by the digest that names a key."""
    port.guards.cooldowns.cool("one:ab12", "m", Reason.RATE, 30.0)
    port.guards.cooldowns.cool("two:cd34", None, Reason.MONEY)
    expected = {"key": "one:ab12", "model": "m", "reason": "rate", "left_s": 30.0, "times": 1}
    assert (await port.get("/one"))["cooldowns"] == [expected]
    assert [one["key"] for one in (await port.get())["cooldowns"]] == ["two:cd34", "one:ab12"]


# Orders


async def test_force_open_until_released(port: Port) -> None:
    """Without a time it holds until somebody releases it; the next request is then a probe."""
    shown = (await port.order(action="force_open"))["breakers"][0]
    assert (shown["state"], shown["held"], shown["why"]) == ("open", True, "forced")
    assert (shown["retry_in_s"], shown["until"]) == (None, None)
    port.now_s += 1e6
    assert port.state() == ("open", True)
    assert (await port.order(action="release"))["breakers"][0]["state"] == "half-open"
    assert port.guards["one"].breaker(None).acquire().is_probe
    assert (await port.get("/two"))["breakers"][0]["state"] == "closed"


async def test_force_open_for_a_time(port: Port) -> None:
    """With a time it ends by itself, in probes."""
    shown = (await port.order(action="force_open", for_s=7.5))["breakers"][0]
    assert (shown["state"], shown["held"], shown["retry_in_s"]) == ("open", True, 7.5)
    assert shown["until"] is not None
    port.now_s += 7.4
    assert port.state() == ("open", True)
    port.now_s += 0.2
    assert port.state() == ("half-open", False)


async def test_force_open_for_the_longest_time(port: Port) -> None:
    """A year has an end that can be shown."""
    shown = (await port.order(action="force_open", for_s=366 * 86_400))["breakers"][0]
    assert (shown["state"], shown["until"] is not None) == ("open", True)


async def test_release_of_what_is_not_held(port: Port) -> None:
    """A conflict, also where the circuit is open for reasons of its own: nothing changes."""
    assert "not forced open" in (await port.order(action="release", status=409))["error"]
    for _ in range(5):
        port.guards["one"].breaker(None).acquire().failure("overloaded")
    await port.order(action="release", status=409)
    assert port.state() == ("open", False)


async def test_disable_and_enable(port: Port) -> None:
    """Disabled it judges nothing and lets everything through, whatever it was; enabled it starts from the beginning."""
    await port.order(action="force_open")
    shown = (await port.order(action="disable"))["breakers"][0]
    assert (shown["mode"], shown["state"], shown["held"]) == ("disabled", "closed", False)
    breaker = port.guards["one"].breaker(None)
    for _ in range(20):
        breaker.acquire().failure("overloaded")
    assert port.state() == ("closed", False)
    shown = (await port.order(action="enable"))["breakers"][0]
    assert (shown["mode"], set(shown["counts"].values())) == ("enforce", {0})
    for _ in range(5):
        breaker.acquire().failure("overloaded")
    assert port.state() == ("open", False)


async def test_reset(port: Port) -> None:
    """The circuit closes on a clean sheet, and the provider's cool-downs are over; nobody else's are."""
    for _ in range(5):
        port.guards["one"].breaker(None).acquire().failure("overloaded")
    for key in ("one:ab12", "two:cd34"):
        port.guards.cooldowns.cool(key, None, Reason.MONEY)
    shown = await port.order(action="reset")
    assert (shown["breakers"][0]["state"], shown["breakers"][0]["why"], shown["cooldowns"]) == ("closed", "reset", [])
    assert set(shown["breakers"][0]["counts"].values()) == {0}
    assert [one["key"] for one in (await port.get())["cooldowns"]] == ["two:cd34"]


@pytest.mark.parametrize("port", ["target"], indirect=True)
async def test_an_order_for_one_model_or_for_all(port: Port) -> None:
    """With a breaker for each target an order is for the model that it names, or else for all of the provider's."""
    breakers = [port.guards["one"].breaker(model) for model in (None, "m", "n")]
    for model, held in (("m", [False, True, False]), (None, [True, True, True])):
        await port.order(action="force_open", model=model)
        assert [breaker.held for breaker in breakers] == held
    shown = (await port.order(action="release"))["breakers"]
    assert {one["name"]: one["state"] for one in shown} == dict.fromkeys(("one", "one/m", "one/n"), "half-open")


async def test_a_model_where_there_is_one_breaker_for_all(port: Port) -> None:
    """A conflict: to open the whole provider is not what was asked for."""
    assert "one breaker for all its models" in (await port.order(action="force_open", model="m", status=409))["error"]
    assert (port.state(), port.lines) == (("closed", False), [])


async def test_an_order_is_logged(port: Port) -> None:
    """Who looks for the reason of an open circuit finds the order; a refused one is none."""
    await port.order(action="force_open", for_s=3)
    await port.order(action="nonsense", status=400)
    [line] = port.lines
    assert (line["event"], line["level"]) == ("breaker_order", "warning")
    assert (line["provider"], line["action"], line["for_s"], line["model"]) == ("one", "force_open", 3.0, None)


# What is refused


async def test_an_unknown_provider(port: Port) -> None:
    """404 to whoever reads and whoever orders, with the names that there are."""
    for refused in (await port.get("/three", 404), await port.order("three", 404, action="reset")):
        assert refused["error"] == "no provider 'three': there are one, two"


BAD = [
    *(b"", b"{", b"[]", b"null", b'"reset"', b"{}", b"\xff", b'{"action": "reset"} x'),
    *(
        b'{"action": "open"}',
        b'{"action": null}',
        b'{"action": "reset", "more": 1}',
        b'{"action": "reset", "model": 1}',
    ),
    *(b'{"action": "force_open", "for_s": %b}' % text for text in (b"0", b"-1", b'"5"', b"true", b"[1]", b"NaN")),
    *(
        b'{"action": "force_open", "for_s": %b}' % text
        for text in (b"Infinity", b"-Infinity", b"1e999", b"1e308", b"4e7", b"{}")
    ),
]


@pytest.mark.parametrize("text", BAD)
async def test_an_order_that_is_none(port: Port, text: bytes) -> None:
    """400 with what is wrong, in JSON; nothing changes."""
    assert "not understood" in (await port.post(text, status=400))["error"]
    assert (port.state(), port.lines) == (("closed", False), [])
    assert (await port.get("/one"))["breakers"][0]["mode"] == "enforce"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "fusebox.example"}, 403),
        ({"Host": "rebound.example:4011"}, 403),
        ({"Host": "127.0.0.1.example"}, 403),
        ({"Host": "10.0.0.7:4011"}, 403),
        ({"Origin": "https://page.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1.example:4011"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Host": "localhost:4011"}, 200),
        ({"Host": "[::1]:4011"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Origin": "http://localhost:4011"}, 403),  # a page of another port
        ({"Origin": "http://localhost:4011", "Host": "localhost:4011"}, 200),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ],
)
async def test_whose_orders_are_taken(port: Port, headers: dict[str, str], status: int) -> None:
    """Those of a caller on this machine that names it, in JSON: what no page of another site can send together."""
    shown = await port.post(b'{"action": "force_open"}', headers=headers, status=status)
    assert ("error" in shown) is (status != 200)
    assert port.state() == (("open", True) if status == 200 else ("closed", False))


# In a process

CONFIG = """
providers:
  main: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: MAIN_KEY}}]}}
  spare: {{base_url: "http://127.0.0.1:{port}/spare/v1", keys: client}}
retry: {{attempts: 0}}
breaker: {{scope: target}}
routes:
  - {{name: all, match: {{}}, to: [main, spare]}}
"""


async def test_in_a_process(tmp_path: Path) -> None:
    """An order holds for the very next request; each change of state is logged; keys are named by their digests, in the
    port's answers and in the log. With `scope: target` an order may name a model.
    """
    limited = b"HTTP/1.1 429 No\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"
    keys = [("Authorization", f"Bearer {SECRET}-of-the-client")]
    async with (
        Upstream() as upstream,
        Fusebox(CONFIG.format(port=upstream.port), tmp_path, {"MAIN_KEY": SECRET}) as box,
    ):
        async with Client(box.port) as client, Client(box.admin_port) as admin:

            async def order(**wanted: object) -> Any:
                body = json.dumps(wanted).encode()
                response = await admin.exchange(request("POST", "/api/breakers/main", body, host="127.0.0.1"))
                assert response.status == 200
                return response.json

            async def answered(model: str, *answers: bytes) -> bytes | None:
                await client.send(chat(model, keys))
                for answer in answers:
                    await (await upstream.next()).answer(answer)
                return (await client.response()).head.one("x-fusebox-target")

            await order(action="force_open", model="m")
            assert await answered("m", ok()) == b"spare/m"
            assert await answered("n", ok()) == b"main/n"
            await order(action="release", model="m")
            assert await answered("m", ok()) == b"main/m"
            assert await answered("n", limited, limited) == b"spare/n"
            everything = await admin.exchange(request("GET", "/api/breakers"))
            one = await admin.exchange(request("GET", "/api/breakers/main"))
            assert [cooling["model"] for cooling in one.json["cooldowns"]] == ["n"]
            assert len(everything.json["cooldowns"]) == 2
            for text in (everything.body, one.body):
                assert SECRET.encode() not in text
            assert (await order(action="reset"))["cooldowns"] == []
            assert await answered("n", ok()) == b"main/n"
        for now, why in (("open", "forced"), ("half-open", "time_passed")):
            assert (await box.line(event="breaker", breaker="main/m", now=now, why=why))["level"] == (
                "warning" if now == "open" else "info"
            )
        assert (await box.line(event="breaker_order", action="force_open"))["model"] == "m"
        assert (await box.line(event="cooldown", reason="rate"))["key"].startswith("main:")
    assert SECRET.encode() not in box.raw_log
    assert box.errors == b""
