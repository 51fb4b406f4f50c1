"""A port on loopback is open to every page that a browser shows; only pages of this machine may use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import Client, Exchange, Fusebox, Upstream, ok, request

FOREIGN = [
    [("Origin", "https://evil.example")],
    [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")],
    [("Origin", "null")],
    [("Origin", "http://127.0.0.1.evil.example")],
    [("Origin", "http://localhost.evil.example:4010")],
]

OWN = [
    [],
    [("Origin", "http://localhost:3000")],
    [("Origin", "http://127.0.0.1:8080"), ("Sec-Fetch-Site", "same-site")],
    [("Origin", "http://[::1]:3000")],
    [("Origin", "http://app.localhost")],
]


def ask(lines: list[tuple[str, str]], host: str = "127.0.0.1:4010") -> bytes:
    """A chat request to `host` with further header lines."""
    return request("POST", "/v1/chat/completions", b'{"model":"kept"}', lines, host=host)


async def fine(exchange: Exchange) -> None:
    """A provider that answers."""
    await exchange.answer(ok())


def shown(lines: list[tuple[str, str]]) -> str:
    """The name of a case."""
    return " ".join(value for _, value in lines) or "no browser"


@pytest.mark.parametrize("lines", FOREIGN, ids=shown)
async def test_a_page_of_another_host_is_refused(
    client: Client, upstream: Upstream, lines: list[tuple[str, str]]
) -> None:
    """It must not spend the user's keys: nothing reaches the provider."""
    asked = upstream.requests
    response = await client.exchange(ask(lines))
    assert (response.status, response.error_code) == (403, "foreign_origin")
    assert upstream.requests == asked


@pytest.mark.parametrize("lines", OWN, ids=shown)
async def test_a_page_of_this_machine_is_served(
    client: Client, upstream: Upstream, lines: list[tuple[str, str]]
) -> None:
    """Local development works from the browser, too; other clients send no such headers."""
    upstream.script = fine
    assert (await client.exchange(ask(lines))).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example:4010", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"]
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/p/main/v1/files"])
async def test_a_name_pointed_at_loopback_is_refused(client: Client, upstream: Upstream, host: str, path: str) -> None:
    """DNS rebinding: the browser believes it asks the page's own host, and says of a GET nothing but that Host."""
    asked = upstream.requests
    response = await client.exchange(request("GET", path, None, host=host))
    assert (response.status, response.error_code) == (403, "foreign_host")
    assert upstream.requests == asked


async def test_what_a_page_only_shows_is_refused(client: Client, upstream: Upstream) -> None:
    """An image, a form, a script of another site: without an Origin, and with the user's key."""
    asked = upstream.requests
    response = await client.exchange(request("GET", "/v1/files", None, [("Sec-Fetch-Site", "cross-site")]))
    assert (response.status, response.error_code) == (403, "foreign_origin")
    assert upstream.requests == asked


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:4010", "127.0.0.1", "127.1.2.3:4010", "[::1]:4010", "a.localhost"]
)
async def test_this_machine_s_own_names(client: Client, upstream: Upstream, host: str) -> None:
    """With any port: it may be forwarded."""
    upstream.script = fine
    assert (await client.exchange(ask([], host=host))).status == 200


async def test_a_name_of_one_s_own(tmp_path: Path, upstream: Upstream) -> None:
    """It is served, and so are its pages, when it is listed; another is not."""
    upstream.script = fine
    config = f"""
allowed_hosts: [LLM.internal]
providers: {{main: {{base_url: "http://127.0.0.1:{upstream.port}/v1", keys: none}}}}
routes: [{{name: all, match: {{}}, to: [main]}}]
"""
    async with Fusebox(config, tmp_path) as fusebox, Client(fusebox.port) as client:
        assert (await client.exchange(ask([], host="llm.internal:80"))).status == 200
        assert (await client.exchange(ask([("Origin", "https://llm.internal")], host="llm.internal"))).status == 200
        assert (await client.exchange(ask([], host="other.internal"))).error_code == "foreign_host"
