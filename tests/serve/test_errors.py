"""Errors of Fusebox's own in the shape of the client's format, and a provider's errors as they came; what the SDKs make of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest
import pytest_asyncio

from tests.harness import Client, Exchange, Fusebox, Upstream, chat, ok, request
from tests.serve.conftest import CLIENT_KEY, OWN_KEY

ANTHROPIC = [("anthropic-version", "2023-06-01"), ("x-api-key", CLIENT_KEY)]


@pytest_asyncio.fixture(loop_scope="session")
async def gpt(fusebox: Fusebox) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's SDK, pointed at Fusebox."""
    url = f"http://127.0.0.1:{fusebox.port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=CLIENT_KEY, max_retries=0) as sdk:
        yield sdk


@pytest_asyncio.fixture(loop_scope="session")
async def claude(fusebox: Fusebox) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's SDK, pointed at Fusebox."""
    url = f"http://127.0.0.1:{fusebox.port}"
    async with anthropic.AsyncAnthropic(base_url=url, api_key=CLIENT_KEY, max_retries=0) as sdk:
        yield sdk


async def silent(exchange: Exchange) -> None:
    """A provider that never answers."""
    await exchange.body.rest()
    await exchange.hung_up()


FAILURES = {
    "nobody": (404, "no_route", "invalid_request_error"),
    "dead": (502, "upstream_connect_failed", "upstream_error"),
    "slow": (504, "upstream_timeout", "upstream_error"),
    "keyless": (503, "no_key", "upstream_error"),
}
"""Models of the test policy, and how each fails: status, code, type."""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", list(FAILURES))
async def test_an_openai_client_gets_its_shape(client: Client, upstream: Upstream, model: str, stream: bool) -> None:
    """Status, marker, body; a sentence that says who failed; and no key anywhere."""
    upstream.script = silent
    status, code, kind = FAILURES[model]
    response = await client.exchange(chat(model, stream=stream, headers=[("Authorization", f"Bearer {CLIENT_KEY}")]))
    assert (response.status, response.error_code) == (status, code)
    assert response.head.one("content-type") == b"application/json"
    assert set(response.json) == {"error"}
    assert response.json["error"] == {
        "message": response.json["error"]["message"],
        "type": kind,
        "param": None,
        "code": code,
    }
    assert response.json["error"]["message"].startswith("Fusebox: ")
    assert OWN_KEY.encode() not in response.body and CLIENT_KEY.encode() not in response.body
    if status >= 500:
        assert {"slow": "'main'"}.get(model, repr(model)) in response.json["error"]["message"]


async def test_the_log_says_the_same_without_keys(client: Client, fusebox: Fusebox) -> None:
    """Each failure is one warning line with the code, the route and the target."""
    response = await client.exchange(chat("dead"))
    line = await fusebox.request_line(response.head)
    assert (line["level"], line["status"], line["error_code"]) == ("warning", 502, "upstream_connect_failed")
    assert (line["route"], line["target"], line["attempts"], line["model"]) == ("dead", "dead/dead", 1, "dead")
    assert response.json["error"]["message"] == f"Fusebox: {line['error']}"


@pytest.mark.parametrize(
    ("model", "kind"),
    [("nobody", "not_found_error"), ("dead", "api_error"), ("slow", "timeout_error"), ("keyless", "not_found_error")],
)
async def test_an_anthropic_client_gets_its_shape(client: Client, upstream: Upstream, model: str, kind: str) -> None:
    """The same errors as Anthropic's API writes them (`keyless` offers no such format, so nothing is left of its route)."""
    upstream.script = silent
    data = request("POST", "/v1/messages", b'{"model": "%b", "stream": true}' % model.encode(), ANTHROPIC)
    response = await client.exchange(data)
    assert response.json["type"] == "error"
    assert response.json["error"]["type"] == kind
    assert response.json["request_id"] == (response.head.one("x-fusebox-request-id") or b"").decode()
    assert response.error_code is not None


EXCEPTIONS = [
    ("nobody", openai.NotFoundError),
    ("dead", openai.InternalServerError),
    ("slow", openai.InternalServerError),
    ("keyless", openai.InternalServerError),
]


@pytest.mark.parametrize(("model", "kind"), EXCEPTIONS)
async def test_what_openais_sdk_raises(
    gpt: openai.AsyncOpenAI, upstream: Upstream, model: str, kind: type[openai.APIStatusError]
) -> None:
    """Its usual exception for the status, with the sentence and the code in it."""
    upstream.script = silent
    with pytest.raises(kind) as raised:
        await gpt.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
    status, code, _ = FAILURES[model]
    assert (raised.value.status_code, raised.value.code) == (status, code)
    assert "Fusebox: " in raised.value.message
    assert raised.value.response.headers["x-fusebox-error"] == code


async def test_what_anthropics_sdk_raises(claude: anthropic.AsyncAnthropic, upstream: Upstream) -> None:
    """The same for Anthropic's."""
    upstream.script = silent
    for model, kind in (("nobody", anthropic.NotFoundError), ("dead", anthropic.InternalServerError)):
        with pytest.raises(kind) as raised:
            await claude.messages.create(model=model, max_tokens=5, messages=[{"role": "user", "content": "hello"}])
        assert isinstance(raised.value, anthropic.APIStatusError)
        assert raised.value.status_code == FAILURES[model][0]
        assert "Fusebox: " in str(raised.value)


async def test_a_cut_stream_raises_in_the_sdk(gpt: openai.AsyncOpenAI, upstream: Upstream) -> None:
    """A stream that breaks is an exception while iterating, never a short answer."""

    async def cut(exchange: Exchange) -> None:
        await exchange.body.rest()
        event = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await exchange.send(head + b"%x\r\n%b\r\n" % (len(event), event))
        exchange.close()

    upstream.script = cut
    stream = await gpt.chat.completions.create(model="kept", messages=[], stream=True)
    with pytest.raises(openai.APIConnectionError):
        assert [chunk.id async for chunk in stream] == [], "the stream ended as if it were complete"


async def test_a_providers_own_error_passes_as_it_came(gpt: openai.AsyncOpenAI, upstream: Upstream) -> None:
    """Status, headers and body are the provider's, and nothing marks it as Fusebox's."""
    body = b'{"error": {"message": "slow down", "type": "requests", "code": "rate_limit"}}'

    async def limited(exchange: Exchange) -> None:
        await exchange.answer(
            b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )

    upstream.script = limited
    with pytest.raises(openai.RateLimitError) as raised:
        await gpt.chat.completions.create(model="kept", messages=[])
    response = raised.value.response
    assert response.content == body
    assert response.headers["retry-after"] == "7"
    assert "x-fusebox-error" not in response.headers


async def test_answers_say_how_they_came_about(client: Client, fusebox: Fusebox, upstream: Upstream) -> None:
    """Route, target, attempts and the client's own id are in the headers, and in the log."""
    await client.send(chat("alias-x", headers=[("X-Fusebox-Request-Id", "my-own-id")]))
    await (await upstream.next()).answer(ok())
    head = (await client.response()).head
    own = {name: value for name, value in head.headers if name.startswith(b"x-fusebox-")}
    assert own == {
        b"x-fusebox-route": b"aliases",
        b"x-fusebox-target": b"main/vendor/real-model",
        b"x-fusebox-attempts": b"1",
        b"x-fusebox-request-id": b"my-own-id",
    }
    line = await fusebox.request_line(head)
    assert (line["route"], line["target"], line["model"]) == ("aliases", "main/vendor/real-model", "alias-x")
    assert line["first_event_ms"] >= 0 and line["total_ms"] >= line["first_event_ms"]


@pytest.mark.parametrize("given", ["a b", "x" * 129, "ä"])
async def test_an_id_that_is_not_fit_to_print_is_replaced(client: Client, upstream: Upstream, given: str) -> None:
    """A client cannot write into headers and logs what it likes."""
    await client.send(chat(headers=[("x-fusebox-request-id", given)]))
    await (await upstream.next()).answer(ok())
    identity = (await client.response()).head.one("x-fusebox-request-id")
    assert identity is not None and identity.startswith(b"fb-")


@pytest.mark.parametrize("value", ["0", "-5", "soon", "nan", "inf"])
async def test_a_timeout_that_is_none_is_refused(client: Client, value: str) -> None:
    """What the client asks for must be possible."""
    response = await client.exchange(chat(headers=[("x-fusebox-timeout-ms", value)]))
    assert (response.status, response.error_code) == (400, "bad_request")


async def test_a_timeout_of_the_clients_holds(client: Client, upstream: Upstream) -> None:
    """The client's own limit ends the wait, and the provider's connection."""
    await client.send(chat(headers=[("x-fusebox-timeout-ms", "30")]))
    exchange = await upstream.next()
    await exchange.hung_up()
    response = await client.response()
    assert (response.status, response.error_code) == (504, "upstream_timeout")
