"""Usage within bounds: long answers, memory, compressed bodies and bombs, any bytes at all."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.exchange import Carrier, Endpoint, Format, Usage
from proxy.wire import usage
from proxy.wire.usage_text import HEAD_MAX, TAIL_MAX, WHOLE_MAX, Kept
from tests.wire.usage_answers import EVENTS, JSON, REAL_LURE, compact, endpoint

CHAT = endpoint("/v1/chat/completions")
MESSAGES = endpoint("/v1/messages")
RESPONSES = endpoint("/v1/responses")
RERANK = endpoint("/v1/rerank")
IMAGES = endpoint("/v1/images/generations")

TEN = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


def event(fields: object) -> bytes:
    """A chunk with a usage."""
    return compact({"choices": [], "usage": fields})


def fed(at: Endpoint, content_type: bytes, body: bytes, span: int = 65536) -> Usage | None:
    """What a watch says of a body in spans of one size."""
    watch = usage.watch(at, content_type)
    assert watch is not None
    for start in range(0, len(body), span):
        watch.feed(body[start : start + span])
    return watch.usage()


def long_body(size: int, lead: dict[str, Any], trail: dict[str, Any]) -> bytes:
    """A body of `size` bytes with a long text between two parts."""
    rest = len(compact({**lead, "data": "", **trail}))
    return compact({**lead, "data": "x" * (size - rest), **trail})


@pytest.mark.parametrize("size", [WHOLE_MAX - 1, WHOLE_MAX, WHOLE_MAX + 1, 3 * WHOLE_MAX])
@pytest.mark.parametrize("span", [1000, 65536, WHOLE_MAX + 7, 10**9])
def test_long_bodies_are_read_at_both_ends(size: int, span: int) -> None:
    """Behind the data, as nearly everywhere, or before it (rerankers); what has the same name further in is not it."""
    behind = long_body(size, {"a": REAL_LURE}, {"b": [REAL_LURE], "usage": TEN, "metadata": {"c": REAL_LURE}})
    before = long_body(size, {"b": [REAL_LURE], "usage": TEN, "a": REAL_LURE}, {"b": [REAL_LURE]})
    neither = long_body(size, {"a": REAL_LURE}, {"b": [REAL_LURE], 'c"usage': TEN})
    for body, expected in ((behind, Usage(10, 2)), (before, Usage(10, 2)), (neither, None)):
        assert len(body) == size
        assert fed(CHAT, JSON, body, span) == expected
        assert usage.of_body(CHAT, JSON, b"", body) == expected


def test_in_the_middle_of_a_long_body_nothing_is_found() -> None:
    """What is given up: unmetered."""
    body = compact({"a": "x" * WHOLE_MAX, "usage": TEN, "b": "x" * WHOLE_MAX})
    assert fed(CHAT, JSON, body) is None


@pytest.mark.parametrize("size", [10_000, 20_000, WHOLE_MAX - 6, WHOLE_MAX + 6, 2_000_000])
@pytest.mark.parametrize("span", [1000, 65536, 10**9])
def test_long_events(size: int, span: int) -> None:
    """A picture's last event, and a response's, which holds the usage one level further in."""
    picture = long_body(
        size, {"type": "image_generation.completed"}, {"usage": {"input_tokens": 5, "output_tokens": 6}}
    )
    response = {"type": "response.completed", "response": {"output": "x" * size, "tools": REAL_LURE}}
    response["response"] |= {"usage": {"input_tokens": 5, "output_tokens": 6}, "user": None}  # type: ignore[operator]
    begun = b'data: {"type":"response.created","response":{"usage":null,"tools":[]}}\n\n'
    for at, data in ((IMAGES, picture), (RESPONSES, compact(response))):
        for end in (b"\n\n", b"\r\n\r\ndata: [DONE]\r\n\r\n", b"\r\rdata: [DONE]\r\r", b""):
            assert fed(at, EVENTS, begun + b"data: " + data + end, span) == Usage(5, 6)
        # Something comes after it, and says more.
        more = compact({"usage": {"input_tokens": 7, "output_tokens": 8}})
        assert fed(at, EVENTS, b"data: " + data + b"\n\ndata: " + more + b"\n\n", span) == Usage(7, 8)


# Bounds.


def peak_bytes(at: Endpoint, content_type: bytes, encoding: bytes, spans: list[bytes], times: int) -> int:
    """The most memory that a watch took while it was fed, and while it was asked."""
    tracemalloc.start()
    try:
        watch = usage.watch(at, content_type, encoding)
        assert watch is not None
        for _ in range(times):
            for span in spans:
                watch.feed(span)
        watch.usage()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content_type", "encoding", "spans", "limit"),
    [
        (JSON, b"", [b'{"usage":{"a":' * 4681], 4 * WHOLE_MAX),
        (JSON, b"", [b"ab"], 4 * WHOLE_MAX),
        (EVENTS, b"", [b"data: " + b"x" * 65536], 4 * WHOLE_MAX),
        (EVENTS, b"", [b'data: {"usage":{"total_tokens":1},"x":"' + b"x" * 65536 + b'"}\n'], 4 * WHOLE_MAX),
        (EVENTS, b"", [b'data: {"usage":', b"{", b"x" * 4000], 4 * WHOLE_MAX),
        (JSON, b"gzip", [b"\x1f\x8b" + b"x" * 65536], 4 * usage.PACKED_MAX),
    ],
)
def test_memory_is_bounded(content_type: bytes, encoding: bytes, spans: list[bytes], limit: int) -> None:
    """However long an answer is, and however small its spans."""
    times = max(8 * 1024 * 1024 // sum(map(len, spans)), 1)
    assert peak_bytes(CHAT, content_type, encoding, spans, min(times, 200_000)) < limit


def test_a_bomb_is_given_up() -> None:
    """A thousandfold, in a body and in a stream: neither memory nor work beyond the bounds."""
    filler = b"data: " + b"x" * 1_000_000 + b"\n\n"
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(filler) for _ in range(usage.UNPACKED_MAX // len(filler) + 1)) + packer.compress(
        b"data: " + event(TEN) + b"\n\n"
    )
    bomb += packer.flush()
    assert len(bomb) < usage.PACKED_MAX / 10
    for content_type in (EVENTS, JSON):
        assert usage.of_body(CHAT, content_type, b"gzip", bomb) is None
        assert peak_bytes(CHAT, content_type, b"gzip", [bomb], 1) < 3 * 1024 * 1024


@pytest.mark.parametrize(("members", "metered"), [(1, True), (2, True), (16, True), (17, False), (5000, False)])
def test_gzip_in_several_members(members: int, metered: bool) -> None:
    """RFC 1952 section 2.2; as each costs a copy of the rest, only so many."""
    body = b"".join(gzip.compress(b" ") for _ in range(members - 1)) + gzip.compress(event(TEN))
    assert usage.of_body(CHAT, JSON, b"gzip", body) == (Usage(10, 2) if metered else None)


@pytest.mark.parametrize("more", [0, 1])
def test_packed_up_to_its_bound(more: int) -> None:
    """One byte more is unmetered."""
    body = gzip.compress(event(TEN))
    body += b"\0" * (usage.PACKED_MAX - len(body) + more)  # padding behind a body is ignored, as clients do
    assert usage.of_body(CHAT, JSON, b"gzip", body) == (None if more else Usage(10, 2))


def test_only_what_has_to_be_unpacked_is_slow() -> None:
    """The caller may put it into a thread."""
    plain, packed = usage.watch(CHAT, JSON), usage.watch(CHAT, JSON, b"gzip")
    assert plain is not None and packed is not None
    for watch in (plain, packed):
        watch.feed(b"x" * 20_000)
    assert (plain.slow, packed.slow) == (False, True)


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_a_compressed_stream_that_was_cut_counts_as_far_as_it_came(encoding: bytes) -> None:
    """What was relayed is paid for; damaged bytes are not, and neither is nothing."""
    packer = zlib.compressobj(wbits=31 if encoding == b"gzip" else 15)
    begun = packer.compress(b"data: " + event(TEN) + b"\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    assert usage.of_body(CHAT, EVENTS, encoding, begun) == Usage(10, 2)
    filler = b": " + random.Random(1).randbytes(300_000).hex().encode() + b"\n\n"  # more than is unpacked at once
    begun += packer.compress(filler) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert usage.of_body(CHAT, EVENTS, encoding, begun) == Usage(10, 2)
    assert usage.of_body(CHAT, EVENTS, encoding, begun + b"\xff" * 50) is None
    for nothing in (b"", b"x", b"\x1f", b"\x1f\x8b"):
        assert usage.of_body(CHAT, EVENTS, encoding, nothing) is None


# Any bytes.

ENDPOINTS = [CHAT, MESSAGES, RESPONSES, RERANK, Endpoint("other", Format.ANTHROPIC, Carrier.JSON)]

PIECES = st.sampled_from(
    [
        *(
            b'"usage"',
            b":",
            b" ",
            b"{",
            b"}",
            b"[",
            b"]",
            b'"',
            b"\\",
            b",",
            b"\n",
            b"\r",
            b"data:",
            b"null",
            b"1",
            b"-1",
        ),
        *(b'"input_tokens":', b'"prompt_tokens":', b'"choices":', b'"message":', b'"response":', b'"meta":', b"1e9"),
        *(b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}', b'"type":"response.completed"'),
        *(b"\xff", b"\xef", b"\x1f\x8b", b"\x78\x9c"),
    ]
)


@given(
    st.sampled_from(ENDPOINTS),
    st.one_of(st.sampled_from([JSON, EVENTS]), st.binary(max_size=20)),
    st.one_of(st.sampled_from([b"", b"gzip", b"deflate"]), st.binary(max_size=9)),
    st.lists(st.one_of(PIECES, st.binary(max_size=40)), max_size=40),
)
@example(CHAT, JSON, b"", [b"[" * 100_000])
@example(CHAT, JSON, b"", [b'{"usage":' + b"[" * 100_000])
@example(CHAT, EVENTS, b"", [b'data: {"usage":{"a":' + b"[" * 100_000 + b"\n"])
@example(CHAT, JSON, b"", [b'"usage":{' * 40_000])
@example(CHAT, JSON, b"", [b'{"usage":{"prompt_tokens":' + b"9" * 10_000 + b"}}"])
def test_nothing_raises_on_any_bytes(at: Endpoint, content_type: bytes, encoding: bytes, spans: list[bytes]) -> None:
    """A usage, or none; the same in spans and in one piece."""
    watch = usage.watch(at, content_type, encoding)
    found: Usage | None = None
    if watch is not None:
        for span in spans:
            watch.feed(span)
        found = watch.usage()
    assert found == usage.of_body(at, content_type, encoding, b"".join(spans))
    assert found is None or found.input >= 0


@given(st.binary(max_size=400), st.integers(0, 300), st.sampled_from(["gzip", "deflate"]))
def test_damaged_compressed_bytes_do_not_raise(damage: bytes, place: int, encoding: str) -> None:
    """Bytes in the place of others."""
    body = (gzip.compress if encoding == "gzip" else zlib.compress)(event(TEN) + b" " * 400)
    found = usage.of_body(CHAT, JSON, encoding.encode(), body[:place] + damage + body[place + len(damage) :])
    assert found in (None, Usage(10, 2))


def test_the_bounds_leave_room() -> None:
    """Head and tail together are less than what is kept whole: nothing is cut out that would have fitted."""
    assert HEAD_MAX + 2 * TAIL_MAX < WHOLE_MAX
    kept = Kept()
    kept.add(b"x" * (WHOLE_MAX - 1))
    kept.add(b"x")
    assert kept.tail is None and len(kept) == WHOLE_MAX
    kept.add(b"x")
    assert kept.tail is not None and HEAD_MAX + TAIL_MAX <= len(kept) <= HEAD_MAX + 2 * TAIL_MAX
    assert kept.head.count(b"x") == HEAD_MAX
