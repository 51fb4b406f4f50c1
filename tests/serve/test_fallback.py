"""Fallback through a real process: which calls go on to the next target, with what, and which never do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness import HANG_S, Client, Exchange, Fusebox, Upstream, chat, ok, request
from tests.sdk.gateway import free_ports

FIRST_KEY, SECOND_KEY, CLIENT_KEY = "sk-key-of-the-first", "sk-key-of-the-second", "sk-key-of-the-client"

CONFIG = """
retry: {{attempts: 0}}
timeouts: {{connect: 2s, head: 30s}}
providers:
  first: {{base_url: "http://127.0.0.1:{first}/v1", anthropic_url: "http://127.0.0.1:{first}", keys: [{{env: FIRST_KEY}}]}}
  second: {{base_url: "http://127.0.0.1:{second}/v1", anthropic_url: "http://127.0.0.1:{second}", keys: [{{env: SECOND_KEY}}]}}
  narrow: {{base_url: "http://127.0.0.1:{first}/v1", keys: none, max_concurrency: 1}}
  dead: {{base_url: "http://127.0.0.1:{dead}/v1", keys: none}}
routes:
  - {{name: narrow, match: {{model: narrow}}, to: [narrow/model-one, second/model-two]}}
  - {{name: dead, match: {{model: dead}}, to: [dead/model-one, second/model-two]}}
  - {{name: brief, match: {{model: brief}}, to: [first, second], timeouts: {{total: 150ms}}}}
  - {{name: hedged, match: {{model: hedged}}, to: [first/model-one, second/model-two], hedge: {{after: 100ms, extra_load: 1}}}}
  - {{name: all, match: {{}}, to: [first/model-one, second/model-two]}}
"""

LATER = b'{"error": {"message": "later"}}'
UNAVAILABLE = b"HTTP/1.1 503 No\r\nContent-Type: application/json\r\nContent-Length: 31\r\n\r\n" + LATER
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding; of nothing, the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Both:
    """Fusebox in front of two providers."""

    def __init__(self, fusebox: Fusebox, first: Upstream, second: Upstream) -> None:
        self.fusebox = fusebox
        self.first = first
        self.second = second

    async def counts(self, provider: str) -> dict[str, int]:
        """What the provider's breaker has counted."""
        async with Client(self.fusebox.admin_port) as admin:
            shown = (await admin.exchange(request("GET", f"/api/breakers/{provider}"))).json
        return dict(shown["breakers"][0]["counts"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    """All of it, once; at the end the log must be free of faults and of keys."""
    async with Upstream() as first, Upstream() as second:
        config = CONFIG.format(first=first.port, second=second.port, dead=free_ports(1)[0])
        keys = {"FIRST_KEY": FIRST_KEY, "SECOND_KEY": SECOND_KEY}
        async with Fusebox(config, tmp_path_factory.mktemp("fallback"), keys) as fusebox:
            yield Both(fusebox, first, second)
        assert fusebox.errors == b""
        assert [line for line in fusebox.lines if line["event"] == "internal_error"] == []
        assert all(key.encode() not in fusebox.raw_log for key in (FIRST_KEY, SECOND_KEY, CLIENT_KEY))


@pytest_asyncio.fixture(loop_scope="session")
async def both(running: Both) -> Both:
    """The same, nothing left over from the test before."""
    for upstream in (running.first, running.second):
        upstream.forget()
    await running.fusebox.forget()
    return running


@pytest_asyncio.fixture(loop_scope="session")
async def caller(both: Both) -> AsyncIterator[Client]:
    """A client's connection."""
    async with Client(both.fusebox.port) as client:
        yield client


OPENAI_KEYS = [("Authorization", f"Bearer {CLIENT_KEY}")]
ANTHROPIC_KEYS = [("x-api-key", CLIENT_KEY), ("anthropic-version", "2023-06-01")]
FORM = [*OPENAI_KEYS, ("Content-Type", "multipart/form-data; boundary=X")]
BEFORE_FILE = (
    b'--X\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n'
    b'--X\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
)
AFTER_FILE = b"\r\n--X--\r\n"
EDIT = BEFORE_FILE % b"alias" + bytes(range(256)) * 4 + AFTER_FILE

JSON_OK = ok(b'{"object": "something", "data": [1]}')
STREAM_OK = STREAM + chunk(EVENTS) + chunk(b"")
CLAUDE = (
    b'event: message_start\ndata: {"type":"message_start"}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)

CLAUDE_OK = STREAM + chunk(CLAUDE) + chunk(b"")

CALLS: dict[str, tuple[str, bytes, list[tuple[str, str]], bytes]] = {
    "chat": ("/v1/chat/completions", b'{"model": "alias", "messages": []}', OPENAI_KEYS, JSON_OK),
    "chat streamed": ("/v1/chat/completions", b'{"stream":true,"model":"alias"}', OPENAI_KEYS, STREAM_OK),
    "responses": ("/v1/responses", b'{"model":"alias","input":"model"}', OPENAI_KEYS, JSON_OK),
    "embeddings": ("/v1/embeddings", b'{"input": ["a"], "model" : "alias"}', OPENAI_KEYS, JSON_OK),
    "image edit": ("/v1/images/edits", EDIT, FORM, JSON_OK),
    "messages": ("/v1/messages", b'{"model":"alias","max_tokens":1}', ANTHROPIC_KEYS, JSON_OK),
    "messages streamed": ("/v1/messages", b'{"model":"alias","stream":true}', ANTHROPIC_KEYS, CLAUDE_OK),
}


@pytest.mark.parametrize("call", list(CALLS))
async def test_the_next_target_answers(both: Both, caller: Client, call: str) -> None:
    """Each provider gets the request with the model and the key that are its own, and the client the second's answer;
    headers and log say which way it went.
    """
    path, body, headers, answer = CALLS[call]
    await caller.send(request("POST", path, body, headers))
    exchange = await both.first.next()
    assert exchange.target.decode() == path
    assert await exchange.answer(UNAVAILABLE) == body.replace(b"alias", b"model-one")
    assert_key(exchange, FIRST_KEY, path)
    exchange = await both.second.next()
    assert exchange.target.decode() == path
    assert await exchange.answer(answer) == body.replace(b"alias", b"model-two")
    assert_key(exchange, SECOND_KEY, path)
    response = await caller.response()
    expected = {"chat streamed": EVENTS, "messages streamed": CLAUDE}.get(call, JSON_OK.partition(b"\r\n\r\n")[2])
    assert (response.status, response.body) == (200, expected)
    assert response.head.one("x-fusebox-target") == b"second/model-two"
    assert response.head.one("x-fusebox-attempts") == b"2"
    line = await both.fusebox.request_line(response.head)
    assert (line["target"], line["attempts"], line["status"]) == ("second/model-two", 2, 200)
    first, second = line["tried"]
    assert 0 <= first["start_ms"] <= second["start_ms"]
    failed = {"target": "first/model-one", "outcome": "overloaded", "class": "OVERLOAD", "verdict": "failure"}
    assert first == {**failed, "start_ms": first["start_ms"], "ms": first["ms"], "status": 503}
    ended = {"target": "second/model-two", "outcome": "ok", "class": "OK", "verdict": "success"}
    assert second == {**ended, "start_ms": second["start_ms"], "ms": second["ms"], "status": 200}
    assert "skipped" not in line
    assert ((await both.counts("first"))["failed"], (await both.counts("second"))["ok"]) == (1, 1)


def assert_key(exchange: Exchange, key: str, path: str) -> None:
    """Asserts that a provider got its own key and no other."""
    head = exchange.head
    if path.startswith("/v1/messages"):
        assert (head.one("x-api-key"), head.one("authorization")) == (key.encode(), None)
    else:
        assert (head.one("authorization"), head.one("x-api-key")) == (f"Bearer {key}".encode(), None)
    others = {FIRST_KEY, SECOND_KEY, CLIENT_KEY} - {key}
    assert not [value for _, value in head.headers for other in others if other.encode() in value]


async def test_a_target_left_out_is_in_the_log(both: Both, caller: Client) -> None:
    """While the first circuit is held open it sees nothing; the log says why, and headers count what was asked."""
    async with Client(both.fusebox.admin_port) as admin:
        order = request("POST", "/api/breakers/first", b'{"action": "force_open"}', host="127.0.0.1")
        assert (await admin.exchange(order)).status == 200
    await caller.send(chat("alias"))
    await (await both.second.next()).answer(JSON_OK)
    response = await caller.response()
    assert response.head.one("x-fusebox-target") == b"second/model-two"
    assert response.head.one("x-fusebox-attempts") == b"1"
    line = await both.fusebox.request_line(response.head)
    assert (line["skipped"], both.first.requests) == (["first/model-one: breaker forced open"], 0)


# Uploads that cannot be sent twice


async def begin_upload(caller: Client, model: bytes) -> bytes:
    """Send the head and the beginning of an upload that is too large to hold; what is still to come."""
    body = BEFORE_FILE % model + b"\x00" * 300_000 + AFTER_FILE
    whole = request("POST", "/v1/images/edits", body, FORM)
    await caller.send(whole[:-150_000])
    return whole[-150_000:]


async def test_a_large_upload_goes_on_when_nothing_was_sent(both: Both, caller: Client) -> None:
    """The first target refuses the connection, so the upload is still whole: the next one gets all of it."""
    rest = await begin_upload(caller, b"dead")
    exchange = await both.second.next()
    await caller.send(rest)
    body = await exchange.answer(JSON_OK)
    assert body == BEFORE_FILE % b"model-two" + b"\x00" * 300_000 + AFTER_FILE
    response = await caller.response()
    assert (response.status, response.head.one("x-fusebox-attempts")) == (200, b"2")


async def test_a_large_upload_that_has_begun_is_never_sent_again(both: Both, caller: Client) -> None:
    """The first target took it and failed: its own answer goes to the client, and nobody else is asked."""
    rest = await begin_upload(caller, b"alias")
    exchange = await both.first.next()
    await caller.send(rest)
    await exchange.answer(UNAVAILABLE)
    response = await caller.response()
    assert (response.status, response.error_code, both.second.requests) == (503, None, 0)
    assert response.body == LATER


# Calls that never fall back

TIED = b'{"model": "alias", "previous_response_id": "resp_1", "input": "go on"}'

NEVER = {
    "a file": request("GET", "/v1/files/file-1", headers=OPENAI_KEYS),
    "a new file": request("POST", "/v1/files", EDIT, FORM),
    "a batch": request("POST", "/v1/batches", b'{"input_file_id": "f"}', OPENAI_KEYS),
    "a stored response": request("GET", "/v1/responses/resp_1", headers=OPENAI_KEYS),
    "a response after another": request("POST", "/v1/responses", TIED, OPENAI_KEYS),
    "another path of a provider": request("POST", "/p/first/api/v6/images", b'{"model": "alias"}', OPENAI_KEYS),
    "on the client's wish": chat("alias", [("x-fusebox-no-fallback", "1")]),
}


@pytest.mark.parametrize("call", list(NEVER))
async def test_it_never_falls_back(both: Both, caller: Client, call: str) -> None:
    """The first target's failure is the answer, as it came."""
    await caller.send(NEVER[call])
    await (await both.first.next()).answer(UNAVAILABLE)
    response = await caller.response()
    assert (response.status, response.error_code, both.second.requests) == (503, None, 0)
    assert response.body == LATER
    assert response.head.one("x-fusebox-attempts") == b"1"


@pytest.mark.parametrize("value", ["0", "false", "No"])
async def test_a_wish_that_is_denied(both: Both, caller: Client, value: str) -> None:
    """A header that says no leaves the fallback on; it is not forwarded."""
    await caller.send(chat("alias", [("x-fusebox-no-fallback", value)]))
    await (await both.first.next()).answer(UNAVAILABLE)
    exchange = await both.second.next()
    assert exchange.head.one("x-fusebox-no-fallback") is None
    await exchange.answer(JSON_OK)
    assert (await caller.response()).status == 200


# One deadline


async def test_the_clients_deadline_spans_all_attempts(both: Both, caller: Client) -> None:
    """What the first attempt left over is all that the second gets; being given less, it is not blamed."""
    await caller.send(chat("alias", [("x-fusebox-timeout-ms", "2000")]))
    await (await both.first.next()).answer(UNAVAILABLE)
    exchange = await both.second.next()
    response = await caller.response()
    assert (response.status, response.error_code) == (504, "upstream_timeout")
    assert "2 s" in response.json["error"]["message"]
    await exchange.body.rest()
    assert await exchange.hung_up() == b""
    line = await both.fusebox.request_line(response.head)
    assert [one["outcome"] for one in line["tried"]] == ["overloaded", "deadline passed"]
    assert set((await both.counts("second")).values()) == {0}


@pytest.mark.parametrize(
    ("model", "headers", "failed"), [("alias", [("x-fusebox-timeout-ms", "150")], 0), ("brief", [], 1)]
)
async def test_a_deadline_that_one_attempt_had_alone(
    both: Both, caller: Client, model: str, headers: list[tuple[str, str]], failed: int
) -> None:
    """The policy's own deadline is enough time, so who lets it pass has failed; a client's may be anything. Nobody else
    is asked with no time left.
    """
    await caller.send(chat(model, headers))
    exchange = await both.first.next()
    response = await caller.response()
    assert (response.status, response.error_code, both.second.requests) == (504, "upstream_timeout", 0)
    exchange.close()
    assert (await both.counts("first"))["failed"] == failed


# Full


async def test_a_full_target_is_passed_by(both: Both, caller: Client) -> None:
    """Who finds no place goes to the next target at once, or gets a 503; a place comes free with the end of an answer."""
    async with Client(both.fusebox.port) as holder:
        await holder.send(chat("narrow", stream=True))
        held = await both.first.next()
        await held.body.rest()
        await held.send(STREAM + chunk(EVENTS[:-14]))
        await holder.begin()
        await caller.send(chat("narrow"))
        await (await both.second.next()).answer(JSON_OK)
        response = await caller.response()
        assert (response.status, response.head.one("x-fusebox-target")) == (200, b"second/model-two")
        line = await both.fusebox.request_line(response.head)
        assert line["skipped"] == ["narrow/model-one: full: 1 under way"]
        refused = await caller.exchange(chat("narrow", [("x-fusebox-no-fallback", "1")]))
        assert (refused.status, refused.error_code) == (503, "all_targets_out")
        assert (refused.head.one("retry-after"), refused.head.one("x-should-retry")) == (b"1", None)
        held.close()
        await holder.ended()
    await caller.send(chat("narrow"))
    await (await both.first.next()).answer(JSON_OK)
    assert (await caller.response()).head.one("x-fusebox-target") == b"narrow/model-one"


# Calls of other shapes

HANDSHAKE = [
    *(("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


@pytest.mark.parametrize("model", ["alias", "dead"])
async def test_a_handshake_falls_back(both: Both, caller: Client, model: str) -> None:
    """The first target refuses the WebSocket, or is not there: the next one switches, and bytes pass."""
    await caller.send(request("GET", f"/v1/realtime?model={model}", headers=[*OPENAI_KEYS, *HANDSHAKE]))
    if model == "alias":
        await (await both.first.next()).answer(UNAVAILABLE)
    exchange = await both.second.next()
    assert exchange.target == b"/v1/realtime?model=model-two"
    assert_key(exchange, SECOND_KEY, "/v1/realtime")
    await exchange.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
    head, _ = await caller.begin()
    assert (head.status, head.one("x-fusebox-target")) == (101, b"second/model-two")
    async with asyncio.timeout(HANG_S):
        assert await caller.reader.readexactly(5) == b"hello"
        await caller.send(b"there")
        assert await exchange.reader.readexactly(5) == b"there"
    caller.close()
    await exchange.hung_up()


async def test_the_list_of_models_falls_back(both: Both, caller: Client) -> None:
    """The second provider's list is merged with the policy's names when the first cannot say."""
    await caller.send(request("GET", "/v1/models", headers=OPENAI_KEYS))
    await (await both.first.next()).answer(UNAVAILABLE)
    await (await both.second.next()).answer(ok(b'{"object": "list", "data": [{"id": "of-the-second"}]}'))
    response = await caller.response()
    names = [entry["id"] for entry in response.json["data"]]
    assert names == ["narrow", "dead", "brief", "hedged", "of-the-second"]
    line = await both.fusebox.request_line(response.head)
    assert [one["outcome"] for one in line["tried"]] == ["overloaded", "ok"]


# Hedging


@pytest.mark.parametrize("winner", ["first", "second"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_hedge(both: Both, caller: Client, winner: str, streamed: bool) -> None:
    """The first is slow, so the second is asked too. Who answers first is handed on, and named; the other is closed at
    once, and not judged.
    """
    await caller.send(chat("hedged", stream=streamed))
    asked = {"first": await both.first.next(), "second": await both.second.next()}
    for exchange in asked.values():
        await exchange.body.rest()
    won = asked.pop(winner)
    [lost] = asked.values()
    await won.send(STREAM_OK if streamed else JSON_OK)
    won.finish()
    response = await caller.response()
    assert (response.status, response.body) == (200, EVENTS if streamed else JSON_OK.partition(b"\r\n\r\n")[2])
    assert await lost.hung_up() == b""
    target = {"first": "first/model-one", "second": "second/model-two"}[winner]
    assert (response.head.one("x-fusebox-target"), response.head.one("x-fusebox-attempts")) == (target.encode(), b"2")
    assert (await both.fusebox.request_line(response.head))["target"] == target
    loser = {"first": "second", "second": "first"}[winner]
    assert (await both.counts(winner))["ok"] == 1
    assert set((await both.counts(loser)).values()) == {0}


async def test_a_hedge_whose_client_leaves(both: Both, caller: Client) -> None:
    """Both providers are let go at once, and neither is judged."""
    await caller.send(chat("hedged"))
    asked = [await both.first.next(), await both.second.next()]
    for exchange in asked:
        await exchange.body.rest()
    caller.reset()
    for exchange in asked:
        assert await exchange.hung_up() == b""
    for provider in ("first", "second"):
        assert set((await both.counts(provider)).values()) == {0}


async def test_a_hedge_where_both_fail(both: Both, caller: Client) -> None:
    """One fails while the other is still asked: that one's answer counts, here a failure as well, and it is the last word."""
    await caller.send(chat("hedged"))
    first, second = await both.first.next(), await both.second.next()
    await second.answer(UNAVAILABLE)
    async with asyncio.timeout(HANG_S):
        while not (await both.counts("second"))["failed"]:
            pass
    await first.answer(UNAVAILABLE.replace(b"later", b"first"))
    response = await caller.response()
    assert (response.status, response.head.one("x-should-retry")) == (503, b"false")
    assert json.loads(response.body)["error"]["message"] == "first"
    assert (both.first.requests, both.second.requests) == (1, 1)
    assert ((await both.counts("first"))["failed"], (await both.counts("second"))["failed"]) == (1, 1)
