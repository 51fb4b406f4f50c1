"""Promise "Steady": the policy is changed under load, in every way that files are changed, and no request notices.

Each version of the policy says its number in its route and in its targets, so an answer tells by which it was decided.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from pathlib import Path

from proxy.config.problems import ConfigError
from proxy.config.store import load_document
from tests.harness import HANG_S, Client, Exchange, Fusebox, Response, Upstream, chat, ok, request
from tests.reloading import OFTEN, SECRET, SIMPLE, STREAM, Files, digest, healthy, post, running, status

POLICY = """
providers:
  held: {{base_url: "http://127.0.0.1:{port}/held/v1", keys: none}}
  weak: {{base_url: "http://127.0.0.1:{port}/weak/v1", keys: none}}
  good: {{base_url: "http://127.0.0.1:{port}/good/v1", keys: none}}
retry: {{attempts: 0}}
breaker: {{min_requests: 100000}}
routes:
  - {{name: stream-{version}, match: {{stream: true}}, to: [held/m-{version}, good/m-{version}]}}
  - {{name: v-{version}, match: {{}}, to: [held/m-{version}, weak/m-{version}, good/m-{version}]}}
"""


async def order(fusebox: Fusebox, provider: str, action: str) -> None:
    """Have a breaker changed by hand."""
    async with Client(fusebox.admin_port) as admin:
        body = json.dumps({"action": action}).encode()
        assert (
            await admin.exchange(request("POST", f"/api/breakers/{provider}", body, host="localhost"))
        ).status == 200


class Provider:
    """Answers with the model that it was asked for. ``weak`` fails where it is told to; streams last beyond a reload."""

    def __init__(self) -> None:
        self.reloaded = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        asked = json.loads(await exchange.body.rest())
        model = asked["model"].encode()
        assert not exchange.target.startswith(b"/held/"), "its circuit was held open before the first reload"
        if asked.get("stream"):
            event = b"data: %b\n\n" % model
            await exchange.send(STREAM + b"%x\r\n%b\r\n" % (len(event), event))
            await self.reloaded.wait()
            await exchange.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event))
        elif exchange.target.startswith(b"/weak/") and asked.get("fail"):
            await exchange.send(b"HTTP/1.1 500 Not Today\r\nContent-Length: 0\r\n\r\n")
        else:
            await exchange.send(ok(json.dumps({"model": asked["model"]}).encode()))
        exchange.finish()

    def next_version(self, *, last: bool = False) -> None:
        """Streams that began before may end; after the `last` all that come, too."""
        self.reloaded.set()
        if not last:
            self.reloaded = asyncio.Event()


class Crowd:
    """Clients that ask and ask. `answers`: by version, how many; every one of them is judged."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.stopping = False
        self.answers: Counter[str] = Counter()

    def judge(self, response: Response, stream: bool) -> str:
        """The version of an answer, of which every part must speak. Raises AssertionError."""
        assert response.status == 200, response
        head = response.head
        route, target = head.one("x-fusebox-route"), head.one("x-fusebox-target")
        assert route is not None and target is not None
        kind, _, version = route.decode().partition("-")
        assert kind == ("stream" if stream else "v") and target.endswith(f"/m-{version}".encode()), (route, target)
        model = f"m-{version}"
        said = response.body.decode() if stream else response.json["model"]
        assert said == (f"data: {model}\n\n" * 2 if stream else model), (route, target, response.body)
        self.answers[version] += 1
        return version

    async def one(self, client: Client, *, stream: bool = False, fail: bool = False) -> str:
        """One request; the version that answered it."""
        return self.judge(await client.exchange(chat(stream=stream, fail=fail)), stream)

    async def ask(self, number: int) -> None:
        """One client, until all is over: every third streams, every fourth has its first target fail."""
        async with Client(self._port) as client:
            while not self.stopping:
                await (self.one(client, stream=True) if number % 3 == 0 else self.one(client, fail=number % 4 == 1))


BROKEN = [
    "{text}  - {{name: more, match: {{}}, to: [nobody]}}\n",
    "{text}unknown: 1\n",
    "providers: {{x: [\n",
    "providers: {{good: {{base_url: 'http://127.0.0.1:1/v1', keys: [" + SECRET + "]}}}}\n",
    "\x00\x01{text}",
    "{text}routes: []\n",
]


async def test_fifty_reloads_under_load(tmp_path: Path) -> None:
    """Swaps, renames, partial writes, signals and orders, every fifth file broken: no request fails, none sees two versions.

    The circuit that was held open before the first reload is open after the last.
    """
    provider = Provider()
    async with Upstream() as upstream:
        upstream.script = provider
        async with running(POLICY.format(port=upstream.port, version=0), tmp_path, OFTEN) as (fusebox, files):
            await order(fusebox, "held", "force_open")
            crowd = Crowd(fusebox.port)
            async with asyncio.TaskGroup() as clients, Client(fusebox.port) as probe:
                for number in range(36):
                    clients.create_task(crowd.ask(number))
                in_force = "0"
                for version in range(1, 51):
                    is_good = await one_reload(fusebox, files, upstream.port, version)
                    async with asyncio.timeout(HANG_S):
                        while is_good and await crowd.one(probe) == in_force:
                            pass
                    in_force = str(version) if is_good else in_force
                    assert await crowd.one(probe) == in_force
                    provider.next_version()
                while sum(crowd.answers.values()) < 3000:
                    assert await crowd.one(probe) == in_force
                crowd.stopping = True
                provider.next_version(last=True)
            shown = await status(fusebox)
            breakers = {one["name"]: one["breakers"][0] for one in shown["providers"]}
            assert breakers["held"] == {"name": "held", "mode": "enforce", "state": "open", "held": True}
            assert [breakers[name]["state"] for name in ("weak", "good")] == ["closed", "closed"]
            assert shown["reload"]["count"] >= 40 and shown["reload"]["failures"] >= 10
            assert shown["policy"]["routes"] == ["stream-49", "v-49"]
            assert {one["under_way"] for one in shown["providers"]} == {0}
            assert {str(version) for version in range(1, 50) if version % 5} <= crowd.answers.keys()


async def one_reload(fusebox: Fusebox, files: Files, port: int, version: int) -> bool:
    """Bring one version into the file; whether it is a good one. A bad one has been refused then."""
    # A log of tens of thousands of requests would be most of the work here.
    text = files.text(POLICY.format(port=port, version=version)) + "log: {level: error}\n"
    is_good = version % 5 != 0
    if not is_good:
        text = BROKEN[version // 5 % len(BROKEN)].format(text=text)
    since = len(fusebox.lines)
    if version % 3 == 0:
        await files.write(text)
    elif version % 3 == 1:
        files.swap(text)
    else:
        files.rename(text)
    if version % 10 == 3:
        fusebox.signal(signal.SIGHUP)
    elif version % 10 in (5, 7):
        answer = await post(fusebox)
        assert answer.status == (200 if is_good else 422), answer.body
        assert (answer.json["hash"] == digest(text)) == is_good
    if not is_good:
        await fusebox.line(since, event="reload_failed")
    return is_good


SCRAPS = [
    "{",
    "}",
    "[",
    "]",
    ":",
    "\n",
    "  ",
    "- ",
    "\t",
    "#",
    "&a ",
    "*a",
    "!!python/object:os.system ",
    "|",
    "''",
    "\0",
]


def mutated(dice: random.Random, text: str) -> str:
    """A file that somebody has mangled, with a key pasted into it."""
    for _ in range(dice.randrange(1, 4)):
        at, end = sorted((dice.randrange(len(text) + 1), dice.randrange(len(text) + 1)))
        end = min(end, at + 40)
        kind = dice.randrange(5)
        if kind == 0:
            text = text[:at] + dice.choice(SCRAPS) + text[at:]
        elif kind == 1:
            text = text[:at] + text[end:]
        elif kind == 2:
            text = text[:end] + text[at:]
        elif kind == 3:
            text = text[:at] + SECRET + text[at:]
        else:
            text = text[: max(at, 5)]
    return text


async def test_a_mangled_file_never_replaces_a_good_policy(tmp_path: Path) -> None:
    """What `check` refuses is refused here, with the same words and no key in them; requests are answered all the time."""
    dice = random.Random(20261123)
    async with Upstream() as upstream:
        upstream.script = healthy
        config = SIMPLE.format(port=upstream.port, name="one") + f"# {SECRET}\n"
        async with running(config, tmp_path) as (fusebox, files), Client(fusebox.port) as client:
            good = fusebox.config.read_text()
            in_force, outcomes = digest(good), Counter[int]()
            for _ in range(150):
                text = mutated(dice, good)
                files.rename(text)
                try:
                    expected = load_document(fusebox.config).digest
                except ConfigError:
                    expected = in_force
                answer = await post(fusebox)
                outcomes[answer.status] += 1
                assert answer.status == 422 or expected == digest(text)
                assert answer.json["hash"] == expected and SECRET.encode() not in answer.body
                if expected != in_force:
                    files.rename(good)
                    assert (await post(fusebox)).json["hash"] == in_force
                response = await client.exchange(chat())
                assert (response.status, response.head.one("x-fusebox-route")) == (200, b"one")
            assert outcomes.keys() == {200, 422} and min(outcomes.values()) >= 10, outcomes
            assert upstream.requests == 150
