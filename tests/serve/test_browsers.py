"""A port on loopback is open to every page that a browser shows; only pages of this machine may use it."""

from __future__ import annotations

import pytest

from tests.harness import Client, Exchange, Upstream, ok, request

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


async def test_a_name_pointed_at_loopback_is_refused(client: Client) -> None:
    """DNS rebinding: the browser believes it asks the page's own host, so there is no Origin; but the Host tells."""
    response = await client.exchange(ask([("Sec-Fetch-Site", "same-origin")], host="evil.example:4010"))
    assert (response.status, response.error_code) == (403, "foreign_origin")


async def test_any_host_will_do_for_other_clients(client: Client, upstream: Upstream) -> None:
    """A name of one's own for loopback is no attack."""
    upstream.script = fine
    assert (await client.exchange(ask([], host="llm.internal"))).status == 200
