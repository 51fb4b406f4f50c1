"""Usage where answers are odd: providers' own fields, numbers that cannot be right, words that quote it."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.exchange import Carrier, Endpoint, Usage
from proxy.wire import usage
from proxy.wire.endpoints import classify
from proxy.wire.usage_fields import COUNT_MAX, metered
from tests.wire.usage_answers import EVENTS, JSON, compact, endpoint

CHAT = endpoint("/v1/chat/completions")
MESSAGES = endpoint("/v1/messages")
RESPONSES = endpoint("/v1/responses")
RERANK = endpoint("/v1/rerank")
SPOKEN = endpoint("/v1/audio/transcriptions")

TEN = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


def of(fields: object, at: Endpoint = CHAT) -> Usage | None:
    """What a short body with this usage says."""
    return usage.of_body(at, JSON, b"", compact({"id": "x", "usage": fields}))


def streamed(*events: bytes, at: Endpoint = CHAT) -> Usage | None:
    """What a stream of these data fields says."""
    watch = usage.watch(at, EVENTS)
    assert watch is not None
    for event in events:
        watch.feed(b"data: " + event + b"\n\n")
    return watch.usage()


def event(fields: object) -> bytes:
    """A chunk with a usage."""
    return compact({"choices": [], "usage": fields})


WRONG = [-1, 1.5, 3.0, "10", True, [], {}, COUNT_MAX + 1, 10**30]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "total_tokens"])
def test_a_number_that_cannot_be_right_is_no_number(name: str, wrong: object) -> None:
    """Unmetered, in a body and as the last word of a stream; an earlier count would be too low."""
    assert of(TEN | {name: wrong}) is None
    if wrong != 10**30:  # which is no number to the decoder either: that event says nothing
        assert streamed(event(TEN), event(TEN | {name: wrong})) is None


@pytest.mark.parametrize("wrong", WRONG[:5], ids=repr)
@pytest.mark.parametrize(
    ("at", "fields", "path"),
    [
        (CHAT, TEN, ("prompt_tokens_details", "cached_tokens")),
        (CHAT, TEN, ("prompt_tokens_details", "audio_tokens")),
        (CHAT, TEN, ("completion_tokens_details", "reasoning_tokens")),
        (RESPONSES, {"input_tokens": 1, "output_tokens": 1}, ("input_tokens_details", "cache_write_tokens")),
        (MESSAGES, {"input_tokens": 1, "output_tokens": 1}, ("cache_creation", "ephemeral_1h_input_tokens")),
        (MESSAGES, {"input_tokens": 1, "output_tokens": 1}, ("output_tokens_details", "thinking_tokens")),
    ],
)
def test_a_part_that_cannot_be_right_makes_the_whole_doubtful(
    at: Endpoint, fields: dict[str, Any], path: tuple[str, str], wrong: object
) -> None:
    """It changes the price."""
    assert of(fields | {path[0]: {path[1]: 0}}, at) is not None
    assert of(fields | {path[0]: {path[1]: wrong}}, at) is None
    assert of(fields | {path[0]: wrong}, at) is None


@pytest.mark.parametrize("count", [0, 1, COUNT_MAX])
def test_numbers_at_the_bounds_are_taken(count: int) -> None:
    """Zero is a number: the provider said so."""
    assert of({"prompt_tokens": count, "completion_tokens": count}) == Usage(count, count)


@pytest.mark.parametrize(
    "nothing", [None, {}, [], "many", 3, {"prompt_tokens": None}, {"note": 1}, {"total_tokens": 9}]
)
def test_no_usage_is_unmetered(nothing: object) -> None:
    """Never zero. A total alone has no price in a chat."""
    assert of(nothing) is None
    assert streamed(event(nothing)) is None


@pytest.mark.parametrize("nothing", [None, {}, {"prompt_tokens": None}])
def test_an_empty_last_word_takes_nothing_back(nothing: object) -> None:
    """As xAI's last event."""
    assert streamed(event(TEN), event(nothing), b"[DONE]") == Usage(10, 2)


def test_of_several_choices_the_last_counts() -> None:
    """Where the usage stands in the choices; the outermost goes before them all."""
    chunk: dict[str, Any] = {"choices": [{"usage": {"prompt_tokens": 1}}, {"usage": TEN}, {"delta": {}}]}
    assert streamed(compact(chunk)) == Usage(10, 2)
    assert streamed(compact(chunk | {"usage": {"prompt_tokens": 3}})) == Usage(3)
    assert streamed(compact(chunk | {"usage": {}, "x_groq": {"usage": {"prompt_tokens": 4}}})) == Usage(4)


@pytest.mark.parametrize(
    ("at", "fields", "expected"),
    [
        (endpoint("/v1/embeddings"), {"total_tokens": 9}, Usage(9)),
        (endpoint("/v1/moderations"), {"prompt_tokens": 9, "total_tokens": 9}, Usage(9)),
        (RERANK, {"total_tokens": 815}, Usage(815)),
        (CHAT, {"completion_tokens": 4, "total_tokens": 9}, Usage(5, 4)),
        (CHAT, {"completion_tokens": 4, "total_tokens": 3}, None),
        (CHAT, {"completion_tokens": 4}, None),
        (CHAT, {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81}, Usage(21, 60, reasoning=60)),
        (CHAT, {"prompt_tokens": 21, "total_tokens": 81}, Usage(21, 60, reasoning=60)),  # all of it was thought
        (
            CHAT,
            {**TEN, "total_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 8}},
            Usage(10, 10, reasoning=8),
        ),
        # A rest that is not the reasoning is something else, and nobody knows what.
        (
            CHAT,
            {**TEN, "total_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 1}},
            Usage(10, 2, reasoning=1),
        ),
        (CHAT, {**TEN, "prompt_tokens_details": {"audio_tokens": 7}}, Usage(10, 2, audio_input=7)),
        (CHAT, {**TEN, "completion_tokens_details": {"audio_tokens": 1}}, Usage(10, 2, audio_output=1)),
        (CHAT, {**TEN, "prompt_audio_seconds": {}}, Usage(10, 2)),  # Mistral, without audio
        (CHAT, {**TEN, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 5}}, Usage(10, 2, 4, 5)),
        (CHAT, {**TEN, "cost": 0.95}, Usage(10, 2, reported_usd=0.95)),
        (CHAT, {**TEN, "cost": 0}, Usage(10, 2, reported_usd=0.0)),
        (CHAT, {**TEN, "total_tokens": 99, "prompt_audio_seconds": 5}, Usage(10, 2, seconds=5.0)),
        (CHAT, {**TEN, "cost": True}, Usage(10, 2)),
        (CHAT, {**TEN, "cost": -1}, Usage(10, 2)),
        (CHAT, {**TEN, "cost": {"total_cost": 0.1}}, Usage(10, 2)),
        (SPOKEN, {"type": "duration", "seconds": 9}, Usage(0, seconds=9.0)),
        (SPOKEN, {"type": "duration", "seconds": -9}, None),
        (SPOKEN, {"type": "duration", "seconds": "9"}, None),
        (
            SPOKEN,  # Mistral: the total holds the audio's tokens, which are paid by the second
            {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635, "total_tokens": 3264},
            Usage(4, 635, seconds=203.0),
        ),
        (SPOKEN, {"input_tokens": 14, "input_token_details": {"audio_tokens": 10}}, Usage(14, audio_input=10)),
        (MESSAGES, {"output_tokens": 4}, None),
        (MESSAGES, {"input_tokens": 4}, Usage(4)),
        (
            MESSAGES,
            {"input_tokens": 1, "output_tokens": 2, "cache_creation": {"ephemeral_5m_input_tokens": 3}},
            Usage(4, 2, 0, 3),
        ),
        (
            MESSAGES,  # the part is not larger than its whole
            {"input_tokens": 1, "cache_creation_input_tokens": 3, "cache_creation": {"ephemeral_1h_input_tokens": 9}},
            Usage(4, 0, 0, 3, 3),
        ),
        (classify("POST", "/v1/fim/completions", anthropic_header=False), TEN, Usage(10, 2)),
        (classify("POST", "/v1/deployments/m/chat/completions", anthropic_header=False), TEN, Usage(10, 2)),
    ],
)
def test_dialects(at: Endpoint, fields: dict[str, Any], expected: Usage | None) -> None:
    """What providers' own fields mean."""
    assert of(fields, at) == expected


def test_a_rerank_is_counted_in_searches() -> None:
    """Cohere's place for it."""
    body = {"results": [], "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}}
    assert usage.of_body(RERANK, JSON, b"", compact(body)) == Usage(0, units=1.0)
    assert usage.of_body(RERANK, JSON, b"", compact(body | {"meta": {"billed_units": 1}})) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/responses/input_tokens"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/chat/completions/c_1"),
        ("GET", "/v1/batches/b_1"),
        ("GET", "/v1/models"),
        ("GET", "/v1/other"),
        ("POST", "/v1/videos"),
        ("GET", "/v1/realtime"),
    ],
)
def test_calls_that_are_not_paid_by_usage_have_no_watch(method: str, path: str) -> None:
    """A stored answer that is read again was paid when it was made."""
    at = classify(method, path, anthropic_header=False)
    assert usage.watch(at, JSON) is None
    assert usage.of_body(at, JSON, b"", event(TEN)) is None
    assert not metered(Endpoint(at.name, at.format, Carrier.JSON, stored=True, inference=True))


@pytest.mark.parametrize(
    ("content_type", "encoding", "metered"),
    [
        (b"", b"", True),
        (b"Application/JSON; charset=utf-8", b"Identity", True),
        (b"text/plain", b"", True),
        (b"application/problem+json", b"", True),
        (b"audio/mpeg", b"", False),
        (b"image/png", b"", False),
        (b"application/octet-stream", b"", False),
        (b"application/json", b"br", False),
        (b"application/json", b"zstd", False),
        (b"application/json", b"gzip, gzip", False),
    ],
)
def test_which_bodies_are_read(content_type: bytes, encoding: bytes, metered: bool) -> None:
    """Nothing is looked for in sound and pictures, nor in what the standard library cannot unpack."""
    assert (usage.watch(CHAT, content_type, encoding) is not None) is metered
    assert (usage.of_body(CHAT, content_type, encoding, event(TEN)) == Usage(10, 2)) is metered


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"message":{"content":"{\\"usage\\":{\\"prompt_tokens\\":9}}"}}]}',
        b'{"a":{"usage":{"prompt_tokens":9,"completion_tokens":9}}}',
        b'{"a":[{"usage":{"prompt_tokens":9,"completion_tokens":9}}]}',
        b'[{"usage":{"prompt_tokens":9,"completion_tokens":9}}]',
        b'{"\\"usage":{"prompt_tokens":9,"completion_tokens":9}}',
        b'{"usage":{"prompt_tokens":9,"completion_tokens":9}',
        b'{"usage":{"prompt_tokens":9,"completion_tokens":9}}}',
        b'"usage":{"prompt_tokens":9,"completion_tokens":9}',
        b'data: {"usage":{"prompt_tokens":9,"completion_tokens":9}}',
        b'{"usage":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    ],
)
def test_what_only_looks_like_a_usage_is_none(body: bytes) -> None:
    """In a short body and in a stream; the words around it make no difference."""
    assert usage.of_body(CHAT, JSON, b"", body) is None
    assert streamed(body) is None
    assert streamed(event(TEN), body) == Usage(10, 2)


@pytest.mark.parametrize(
    "stream",
    [
        b"data: %b",
        b"data:%b\r\n\r\n",
        b"data:%b\r\r",
        b"\xef\xbb\xbfdata: %b\n\n",
        b": ping\r\rdata: %b\r\rdata: [DONE]\r\r",
        b"event: x\nid: 1\ndata: %b\nretry: 3\n\n",
    ],
)
def test_line_ends_and_fields(stream: bytes) -> None:
    """WHATWG HTML section 9.2: three line ends, one byte order mark, other fields; and no line end at all."""
    whole = stream % event(TEN)
    for place in range(len(whole)):
        watch = usage.watch(CHAT, EVENTS)
        assert watch is not None
        watch.feed(whole[:place])
        watch.feed(whole[place:])
        assert watch.usage() == Usage(10, 2), place


@pytest.mark.parametrize("field", [b": ", b"event: ", b"datas: ", b"", b" data: "])
def test_other_fields_hold_no_usage(field: bytes) -> None:
    """Comments least of all."""
    watch = usage.watch(CHAT, EVENTS)
    assert watch is not None
    watch.feed(field + event(TEN) + b"\n\n")
    assert watch.usage() is None
