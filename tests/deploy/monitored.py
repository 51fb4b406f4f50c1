"""A Fusebox that has seen everything that the rules and the dashboard ask for, and a Prometheus of Debian's to watch it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import pytest
import yaml

from tests.harness import HANG_S, ROOT, Client, Cut, Exchange, Fusebox, Upstream, chat, ok, request
from tests.sdk.gateway import free_ports

DEPLOY = ROOT / "deploy" / "prometheus"
RULE_FILES = ("fusebox.rules.yaml", "fusebox.alerts.yaml")

KEYS = {"MAIN_KEY": "sk-of-the-provider"}

POLICY = """
breaker: {{open_for: 60s}}
retry: {{attempts: 0}}
shadow: candidate.yaml
providers:
  main: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: MAIN_KEY}}]}}
  sick: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: MAIN_KEY}}]}}
  small: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: MAIN_KEY}}]}}
  poor: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: MAIN_KEY}}]}}
  revoked: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: MAIN_KEY}}]}}
  bare: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: NO_SUCH_KEY}}]}}
  narrow: {{base_url: "http://127.0.0.1:{port}/v1", keys: none, max_concurrency: 1}}
models: {{main/fine: {{price: {{input: 1000, output: 2000}}}}}}
routes:
  - {{name: sick, match: {{model: sick}}, to: [sick/dying, main/fine], mirror: {{to: main/fine}}}}
  - {{name: dead, match: {{model: dead}}, to: [sick/dying]}}
  - {{name: small, match: {{model: small}}, to: [small/limited, main/fine]}}
  - {{name: poor, match: {{model: poor}}, to: [poor/unpaid, main/fine]}}
  - {{name: revoked, match: {{model: revoked}}, to: [revoked/refused, main/fine]}}
  - {{name: old, match: {{model: old}}, to: [main/gone, main/fine]}}
  - {{name: bare, match: {{model: bare}}, to: [bare/any, main/fine]}}
  - {{name: narrow, match: {{model: narrow}}, to: [narrow/hanging, main/fine]}}
  - {{name: rest, match: {{}}, to: [main/fine]}}
"""

CANDIDATE = "routes: [{name: rest, match: {}, to: [main/fine]}]\n"

SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'1d\r\ndata: {"choices":[{"x":0}]}\n\n\r\n'

ANSWERS = {
    "dying": (b"500 Internal Server Error", b'{"error": {"message": "oh"}}'),
    "limited": (b"429 Too Many Requests\r\nRetry-After: 60", b'{"error": {"code": "rate_limit_exceeded"}}'),
    "unpaid": (b"402 Payment Required", b'{"error": {"message": "pay"}}'),
    "refused": (b"401 Unauthorized", b'{"error": {"code": "invalid_api_key"}}'),
    "gone": (b"404 Not Found", b'{"error": {"code": "model_not_found"}}'),
}
"""What the provider says, by the model that it is asked for."""

GOOD = ok(b'{"choices": [{}], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}')


class Provider(Upstream):
    """The provider of `POLICY`. `held`: a request has come that is never answered."""

    def __init__(self) -> None:
        super().__init__()
        self.script = self._play
        self.held = asyncio.Event()

    def policy(self, directory: Path) -> str:
        """`POLICY` for this provider; its candidate is written beside it."""
        (directory / "candidate.yaml").write_text(CANDIDATE)
        return POLICY.format(port=self.port)

    async def _play(self, exchange: Exchange) -> None:
        asked = json.loads(await exchange.body.rest())
        if asked["model"] in ANSWERS:
            status, body = ANSWERS[asked["model"]]
            await exchange.send(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        elif asked["model"] == "hanging":
            self.held.set()
            await exchange.hung_up()
            return
        elif asked.get("stream"):
            await exchange.send(SSE + EVENT)
            exchange.close()
            return
        else:
            await exchange.send(GOOD)
        exchange.finish()


ASKED = {"sick": 8, "dead": 3, "small": 2, "poor": 1, "revoked": 1, "old": 1, "bare": 1, "plain": 5}
"""How many whole requests `traffic` sends, by the client's model."""

REQUESTS = sum(ASKED.values()) + 3
"""All of them: with one that is held, one that finds no place for that, and one stream that breaks off."""


async def traffic(fusebox: Fusebox, provider: Provider) -> None:
    """Requests after which every family of metrics has a sample; the one that was held has ended, too."""
    async with Client(fusebox.port) as held:
        await held.send(chat("narrow"))
        async with asyncio.timeout(HANG_S):
            await provider.held.wait()
        async with Client(fusebox.port) as client:
            for model, count in {**ASKED, "narrow": 1}.items():
                for _ in range(count):
                    await client.exchange(chat(model))
        async with Client(fusebox.port) as client:
            await client.send(chat("stream", stream=True))
            _, body = await client.begin()
            with pytest.raises(Cut):
                await body.rest()
    await fusebox.line(event="request", status=499)
    await fusebox.line(event="request", model="stream")
    await fusebox.line(event="mirror")


async def exposition(fusebox: Fusebox) -> str:
    """What ``/metrics`` says now."""
    async with Client(fusebox.admin_port) as admin:
        return (await admin.exchange(request("GET", "/metrics"))).body.decode()


def example(name: str) -> dict[str, Any]:
    """An example of the folder, as it is."""
    config: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return config


class Prometheus:
    """A Prometheus on a free loopback port, as a context manager."""

    def __init__(self, config: dict[str, Any], directory: Path) -> None:
        self._config = directory / "prometheus.yaml"
        self._config.write_text(yaml.safe_dump(config))
        self._data = directory / "prometheus-data"
        (self.port,) = free_ports(1)
        self.said = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._data}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read())
        self._ready = asyncio.Event()
        async with asyncio.timeout(HANG_S):
            await self._ready.wait()
        assert self._process.returncode is None and "ready to receive web requests" in self.said, self.said
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()  # its data are the test's: there is nothing to save
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.said += line.decode()
            if b"ready to receive web requests" in line:
                self._ready.set()
        self._ready.set()

    async def get(self, path: str) -> Any:
        """The `data` of the API's answer. Raises AssertionError with its error."""
        async with Client(self.port) as client:
            answer = (await client.exchange(request("GET", path))).json
        assert answer["status"] == "success", (path, answer)
        return answer["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query, now; of a scalar one."""
        data = await self.get(f"/api/v1/query?query={quote(expression)}")
        return data["result"] if data["resultType"] == "vector" else [{"metric": {}, "value": data["result"]}]

    async def until(self, expression: str) -> list[dict[str, Any]]:
        """The samples of `expression` once there are any."""
        async with asyncio.timeout(HANG_S):
            while not (samples := await self.query(expression)):  # noqa: ASYNC110 - it tells nobody when it has scraped
                await asyncio.sleep(0.05)
        return samples
