"""Whose credentials go where: a provider's own, the client's, none; and the two ways past the routes, /p/ and /v1/models."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.harness import Client, Exchange, Fusebox, Upstream, chat, ok, request
from tests.serve.conftest import CLIENT_KEY, OWN_KEY

CLIENTS = [
    ("Authorization", f"Bearer {CLIENT_KEY}"),
    ("x-api-key", CLIENT_KEY),
    ("api-key", CLIENT_KEY),
    ("x-goog-api-key", CLIENT_KEY),
    ("Cookie", f"session={CLIENT_KEY}"),
]
"""Every header line by which a client may say who it is."""


def credentials(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """The credential lines that a provider got."""
    names = {name.lower().encode() for name, _ in CLIENTS}
    return [(name, value) for name, value in exchange.head.headers if name.lower() in names]


async def received(client: Client, upstream: Upstream, data: bytes) -> Exchange:
    """What the provider got for a request."""
    await client.send(data)
    exchange = await upstream.next()
    await exchange.answer(ok())
    assert (await client.response()).status == 200
    return exchange


@pytest.mark.parametrize("target", ["kept", "/p/main/base/v1/anything"])
async def test_a_provider_with_keys_gets_its_own_and_no_other(client: Client, upstream: Upstream, target: str) -> None:
    """The client's are replaced, in whatever header they stood."""
    data = request("GET", target, None, CLIENTS) if target.startswith("/") else chat(target, CLIENTS)
    exchange = await received(client, upstream, data)
    assert credentials(exchange) == [(b"Authorization", b"Bearer " + OWN_KEY.encode())]
    assert CLIENT_KEY.encode() not in b"".join(value for _, value in exchange.head.headers)


async def test_anthropic_format_gets_the_key_in_its_own_header(client: Client, upstream: Upstream) -> None:
    """x-api-key instead of a bearer token; version and beta headers are the client's and stay."""
    headers = [*CLIENTS, ("anthropic-version", "2023-06-01"), ("anthropic-beta", "a,b")]
    exchange = await received(client, upstream, request("POST", "/v1/messages", b'{"model": "kept"}', headers))
    assert credentials(exchange) == [(b"x-api-key", OWN_KEY.encode())]
    assert exchange.target == b"/anthropic/v1/messages"
    assert exchange.head.without("host", "x-api-key", "content-type", "content-length") == [
        (b"anthropic-version", b"2023-06-01"),
        (b"anthropic-beta", b"a,b"),
    ]


async def test_no_keys_means_none(client: Client, upstream: Upstream) -> None:
    """`keys: none` strips the client's and adds nothing."""
    assert credentials(await received(client, upstream, chat("open", CLIENTS))) == []
    assert credentials(await received(client, upstream, request("GET", "/p/open/x", None, CLIENTS))) == []


async def test_the_clients_keys_pass_where_the_policy_says_so(client: Client, upstream: Upstream) -> None:
    """`keys: client` sends exactly what the client sent."""
    sent = [(name.encode(), value.encode()) for name, value in CLIENTS]
    assert credentials(await received(client, upstream, chat("theirs", CLIENTS))) == sent
    assert credentials(await received(client, upstream, chat("theirs"))) == []


async def test_keys_do_not_stay_on_a_shared_connection(client: Client, upstream: Upstream) -> None:
    """Three providers of one host share its connections; each request carries what its own provider is due."""
    for _ in range(3):
        assert len(credentials(await received(client, upstream, chat("theirs", CLIENTS)))) == len(CLIENTS)
        assert credentials(await received(client, upstream, chat("open", CLIENTS))) == []
        assert len(credentials(await received(client, upstream, chat("kept", CLIENTS)))) == 1


async def test_a_missing_key_is_said_and_nothing_sent(client: Client, upstream: Upstream) -> None:
    """A provider whose keys cannot be read is never asked without one, nor with the client's."""
    response = await client.exchange(chat("keyless", CLIENTS))
    assert (response.status, response.error_code) == (503, "no_key")
    assert "NOT_SET_ANYWHERE" in response.json["error"]["message"]
    assert upstream.unseen == 0


# /p/{provider}/...


@pytest.mark.parametrize(
    ("target", "arrives"),
    [
        ("/p/main/", b"/"),
        ("/p/main", b"/"),
        ("/p/main/api/v6/images/text2img", b"/api/v6/images/text2img"),
        ("/p/main//double//slashes", b"//double//slashes"),
        ("/p/main/a%2Fb%20c?x=%41&y=a+b", b"/a%2Fb%20c?x=%41&y=a+b"),
        ("/p/main/v1/chat/completions", b"/v1/chat/completions"),
    ],
)
async def test_a_passthrough_keeps_its_path(client: Client, upstream: Upstream, target: str, arrives: bytes) -> None:
    """What follows the provider's name goes to its origin as it is; nothing in the body is replaced."""
    body = b'{"model": "alias"}'
    await client.send(request("POST", target, body))
    exchange = await upstream.next()
    assert await exchange.answer(ok()) == body
    assert exchange.target == arrives
    response = await client.response()
    assert response.head.one("x-fusebox-target") == b"main"


# GET /v1/models


async def models_of(
    client: Client, upstream: Upstream, answer: bytes, *headers: tuple[str, str]
) -> tuple[list[str], Exchange]:
    """The ids listed when the provider answers with `answer`."""
    await client.send(request("GET", "/v1/models?limit=3", None, headers))
    exchange = await upstream.next()
    await exchange.answer(answer)
    response = await client.response()
    assert response.status == 200
    return [entry["id"] for entry in response.json["data"]], exchange


NAMES = ["keyless", "dead", "slow", "open", "theirs"]
"""The exact models that the test policy matches."""


async def test_models_are_the_policys_and_the_providers(client: Client, upstream: Upstream) -> None:
    """The policy's names first, then the provider's list without those that are there already."""
    listed = ok(b'{"object": "list", "data": [{"id": "gpt"}, {"id": "open"}, {"id": "o1"}]}')
    names, exchange = await models_of(client, upstream, listed)
    assert names == ["keyless", "dead", "slow", "theirs", "gpt", "open", "o1"]
    assert exchange.target == b"/base/v1/models?limit=3"
    assert credentials(exchange) == [(b"Authorization", b"Bearer " + OWN_KEY.encode())]


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"no JSON"),
        ok(b"[]"),
        ok(b'{"data": 5}'),
        b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}",
        ok(b'{"object": "list", "data": []}'),
    ],
)
async def test_models_without_a_list_are_the_policys(client: Client, upstream: Upstream, answer: bytes) -> None:
    """Whatever the provider says instead: its own names are true all the same."""
    assert (await models_of(client, upstream, answer))[0] == NAMES


async def test_models_for_an_anthropic_client(client: Client, upstream: Upstream) -> None:
    """Its entries have its own shape, and the list its own frame."""
    listed = ok(
        b'{"data": [{"type": "model", "id": "claude"}], "has_more": false, "first_id": "claude", "last_id": "claude"}'
    )
    await client.send(request("GET", "/v1/models", None, [("anthropic-version", "2023-06-01")]))
    exchange = await upstream.next()
    await exchange.answer(listed)
    found = (await client.response()).json
    assert [entry["id"] for entry in found["data"]] == [*NAMES, "claude"]
    assert {entry["type"] for entry in found["data"]} == {"model"}
    assert (found["first_id"], found["last_id"], found["has_more"]) == (NAMES[0], "claude", False)
    assert exchange.target == b"/anthropic/v1/models"


async def test_one_model_is_asked_of_its_provider(client: Client, upstream: Upstream) -> None:
    """`GET /v1/models/{model}`: the name in the path is replaced like any other."""
    exchange = await received(client, upstream, request("GET", "/v1/models/alias-9"))
    assert exchange.target == b"/base/v1/models/vendor/real-model"


# Rotation


async def test_a_key_file_is_taken_up_while_requests_run(fusebox: Fusebox, upstream: Upstream, tmp_path: Path) -> None:
    """The file is replaced as Kubernetes does it: no request fails, and none carries the old key after the new one."""
    file = tmp_path / "key"
    file.write_text("first-key\n")
    config = f"""
providers:
  filed: {{base_url: "http://127.0.0.1:{upstream.port}/v1", keys: [{{file: {file}}}]}}
routes: [{{name: all, match: {{}}, to: [filed]}}]
"""
    used: list[bytes] = []
    seen = asyncio.Condition()

    async def answer(exchange: Exchange) -> None:
        async with seen:
            used.append(exchange.head.one("authorization") or b"")
            seen.notify_all()
        await exchange.answer(ok())

    upstream.script = answer
    async with Fusebox(config, tmp_path) as rotating:

        async def traffic() -> None:
            async with Client(rotating.port) as client:
                while not stop.is_set():
                    assert (await client.exchange(chat())).status == 200

        stop = asyncio.Event()
        running = asyncio.create_task(traffic())
        async with seen:
            await seen.wait_for(lambda: bool(used))
        new = tmp_path / "new"
        new.write_text("second-key")
        new.replace(file)
        async with asyncio.timeout(20), seen:
            await seen.wait_for(lambda: used[-1] == b"Bearer second-key")
        line = await rotating.line(event="keys_changed")
        assert (line["provider"], line["keys"], line["missing"]) == ("filed", 1, [])
        stop.set()
        await running
        assert await rotating.stop() == 0
    assert sorted(set(used)) == [b"Bearer first-key", b"Bearer second-key"]
    assert used == sorted(used), "an old key was used after the new one"
    assert b"first-key" not in rotating.raw_log and b"second-key" not in rotating.raw_log


async def test_models_with_odd_ids_are_listed(client: Client, upstream: Upstream) -> None:
    """A provider's list is its own matter."""
    listed = ok(b'{"object": "list", "data": [{"id": ["odd"]}, {"id": 5}, {"id": "other"}]}')
    names, _ = await models_of(client, upstream, listed)
    assert names[: len(NAMES)] == NAMES and names[-1] == "other"


async def test_a_model_in_the_query_has_a_bound(client: Client) -> None:
    """It is logged and remembered like any other."""
    response = await client.exchange(request("GET", "/v1/realtime?model=" + "m" * 2000, None))
    assert (response.status, response.error_code) == (400, "bad_request")
