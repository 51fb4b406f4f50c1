"""The policy's language through a real process: what requests hold decides, and the log says what was seen."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.harness import Client, Exchange, Fusebox, Response, Upstream, chat, ok, request

CONFIG = """
retry: {{attempts: 0}}
providers:
  a: {{base_url: "http://127.0.0.1:{port}/a/v1", anthropic_url: "http://127.0.0.1:{port}/a", keys: none}}
  b: {{base_url: "http://127.0.0.1:{port}/b/v1", keys: none}}
models:
  a/dear: {{price: {{input: 10, output: 30}}}}
  b/cheap: {{price: {{input: 1, output: 3}}, context: 1000}}
shadow: candidate.yaml
routes:
  - {{name: claude, match: {{format: anthropic}}, to: [a]}}
  - {{name: streams, match: {{model: stream, stream: true}}, to: [a]}}
  - {{name: tools, match: {{model: auto, tools: true}}, to: [a]}}
  - {{name: pictures, match: {{model: auto, images: true}}, to: [a]}}
  - {{name: json, match: {{model: auto, json: true}}, to: [a]}}
  - {{name: long, match: {{model: auto, prompt_tokens: {{over: 2000}}}}, to: [a]}}
  - {{name: creative, match: {{model: auto, complexity: creative}}, to: [a]}}
  - {{name: hard, match: {{model: auto, complexity: complex}}, to: [a]}}
  - {{name: rest, match: {{model: auto}}, to: [b]}}
  - {{name: price, match: {{model: price}}, to: [a/dear, b/cheap], order: cost}}
  - {{name: halves, match: {{model: halves}}, to: [{{a/one: 1, b/two: 1}}], sticky: user}}
  - {{name: over, match: {{}}, to: [a], until: 2001-01-01T00:00:00Z}}
  - {{name: all, match: {{}}, to: [b]}}
"""

CANDIDATE = """
routes:
  - {name: claude, match: {format: anthropic}, to: [a]}
  - {name: all, match: {}, to: [b]}
"""


async def healthy(exchange: Exchange) -> None:
    """A provider as it should be."""
    await exchange.answer(ok())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the configuration stands, beside its candidate."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "candidate.yaml").write_text(CANDIDATE)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(folder: Path) -> AsyncIterator[Fusebox]:
    """Fusebox in front of one provider under two names; at the end the log must be free of faults."""
    async with Upstream() as upstream:
        upstream.script = healthy
        async with Fusebox(CONFIG.format(port=upstream.port), folder) as fusebox:
            yield fusebox
        assert fusebox.errors == b""
        assert [line for line in fusebox.lines if line["event"] == "internal_error"] == []


async def ask(fusebox: Fusebox, data: bytes) -> tuple[Response, dict[str, Any]]:
    """One request, and what was logged of it."""
    async with Client(fusebox.port) as client:
        response = await client.exchange(data)
    assert response.status == 200, response.body
    return response, await fusebox.request_line(response.head)


def said(text: str) -> list[dict[str, str]]:
    """The messages of one question."""
    return [{"role": "user", "content": text}]


PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/i.png"}}]}]
HARD = "Prove the theorem step by step, analyse the trade-offs, compare alternatives and justify the design."


@pytest.mark.parametrize(
    ("data", "route"),
    [
        (chat("stream", stream=True), "streams"),
        (chat("stream"), "all"),
        (chat("auto", tools=[{"type": "function"}]), "tools"),
        (chat("auto", messages=PICTURE), "pictures"),
        (chat("auto", response_format={"type": "json_object"}), "json"),
        (chat("auto", messages=said("word " * 3000)), "long"),
        (chat("auto", messages=said("Write a poem about rain")), "creative"),
        (chat("auto", messages=said(HARD)), "hard"),
        (chat("auto", messages=said("What is the capital of Peru?")), "rest"),
        (chat("auto", [("x-fusebox-complexity", "complex")], messages=said("What is 2 + 2?")), "hard"),
        (chat("auto", [("x-fusebox-complexity", "simple")], messages=said(HARD)), "rest"),
        (
            request(
                "POST", "/v1/messages", b'{"model": "auto", "max_tokens": 1}', [("anthropic-version", "2023-06-01")]
            ),
            "claude",
        ),
    ],
)
async def test_what_a_request_holds_decides(running: Fusebox, data: bytes, route: str) -> None:
    """The header says which route took it; the provider gets the body untouched."""
    response, line = await ask(running, data)
    assert response.head.one("x-fusebox-route") == route.encode()
    assert line["route"] == route


async def test_the_log_says_what_was_seen(running: Fusebox) -> None:
    """Numbers and kinds, never the text."""
    _, line = await ask(running, chat("auto", messages=said(HARD + " Zanzibar")))
    assert line["complexity"] == "complex" and line["format"] == "openai"
    assert line["prompt"]["turns"] == 1 and 20 < line["prompt"]["tokens"] < 60
    assert b"Zanzibar" not in running.raw_log
    _, line = await ask(running, chat("price"))
    assert line.get("complexity") is None


async def test_the_cheapest_first_unless_it_does_not_fit(running: Fusebox) -> None:
    """By price; what is too long for the cheap one's window goes to the other."""
    response, _ = await ask(running, chat("price", messages=said("short")))
    assert response.head.one("x-fusebox-target") == b"b/cheap"
    response, line = await ask(running, chat("price", messages=said("word " * 2000)))
    assert response.head.one("x-fusebox-target") == b"a/dear"
    assert "do not fit its context of 1000" in line["skipped"][0]


async def test_a_user_stays_where_it_was(running: Fusebox) -> None:
    """The same user, the same choice; of forty users both choices get some."""
    seen = {}
    async with Client(running.port) as client:
        for user in range(40):
            first = await client.exchange(chat("halves", user=f"u{user}"))
            again = await client.exchange(chat("halves", user=f"u{user}", temperature=1))
            assert first.head.one("x-fusebox-target") == again.head.one("x-fusebox-target")
            seen[user] = first.head.one("x-fusebox-target")
    assert set(seen.values()) == {b"a/one", b"b/two"}


async def test_a_candidate_decides_beside(running: Fusebox) -> None:
    """Where it would have gone stands in the line, where it differs; the status counts; nothing was sent for it."""
    response, line = await ask(running, chat("auto", messages=said(HARD)))
    assert response.head.one("x-fusebox-target") == b"a/auto"
    assert line["shadow"] == {"route": "all", "target": "b"}
    _, line = await ask(running, chat("anything"))
    assert "shadow" not in line
    async with Client(running.admin_port) as admin:
        status = (await admin.exchange(request("GET", "/api/status"))).json
    assert 0 < status["shadow"]["differing"] < status["shadow"]["compared"], json.dumps(status["shadow"])
