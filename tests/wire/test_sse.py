"""Watching a stream: in which spans data fields begin, and whether the stream said that it was complete."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.wire.sse import Watch


def deciding_bytes(stream: bytes) -> list[int]:
    """A plain line parser: for each data field the place of the byte that makes it one.

    That is the byte behind the field's name, a colon or a line end: before it has come, the line may still be `database`.
    """
    start = 3 if stream.startswith(b"\xef\xbb\xbf") else 0
    found = []
    for line in re.finditer(rb"[^\r\n]*(?:\r\n|\r|\n|\Z)", stream[start:]):
        text = line[0]
        if text[:4] == b"data" and text[4:5] in (b":", b"\r", b"\n"):
            found.append(start + line.start() + 4)
    return found


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    """`stream` in spans; none is empty, as none comes from a socket."""
    edges = [0, *sorted(set(cuts) - {0, len(stream)}), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges) if end > start]


def begun(spans: list[bytes]) -> list[bool]:
    """What the watch says of each span."""
    watch = Watch()
    return [watch.feed(span) for span in spans]


def expected(spans: list[bytes]) -> list[bool]:
    """What the line parser says."""
    places = deciding_bytes(b"".join(spans))
    answers = []
    at = 0
    for span in spans:
        answers.append(any(at <= place < at + len(span) for place in places))
        at += len(span)
    return answers


LINES = st.sampled_from(
    [
        b"data: {}", b"data:", b"data", b"data:x", b"data:data:", b"database: x", b"dat", b"d", b" data: x", b"Data: x",
        b"xdata:",
        b": comment", b":", b": data:",
        b"event: message", b"id: 1", b"retry: 5", b"unknown: data: x", b"", b"", b"\xef\xbb\xbfdata: x",
        "data: é😀".encode(), b"data: " + b"x" * 5000, b"\x00", b"data\x00:",
    ]
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.tuples(
    st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\xef\xbb", b"\xef\xbb\xbf\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=10).map(b"".join),
    st.sampled_from([b"", b"data", b"data:", b"dat"]),
).map(b"".join)


@given(STREAMS, st.data())
@example(b"data: x\n\n", None)
def test_the_spans_in_which_data_begins(stream: bytes, data: st.DataObject | None) -> None:
    """Whole, at random cuts and byte by byte: as the line parser says."""
    ways = [[], list(range(len(stream)))]
    if data is not None:
        ways.append(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    for cuts in ways:
        spans = cut(stream, cuts)
        assert begun(spans) == expected(spans)


SAMPLE = b"\xef\xbb\xbfdata: a\r\n: c\rdata\n\ndatab: x\r\ndata:b\n\r\nevent: data:\ndata"


@pytest.mark.parametrize("first", range(len(SAMPLE) + 1))
def test_two_cuts_anywhere(first: int) -> None:
    """Every pair of cuts through byte order mark, line ends and field names."""
    for second in range(first, len(SAMPLE) + 1):
        spans = cut(SAMPLE, [first, second])
        assert begun(spans) == expected(spans)


def events(*documents: object, named: bool = False) -> bytes:
    """A stream of JSON events, with their `type` as event name if `named`."""
    text = ""
    for document in documents:
        if named and isinstance(document, dict):
            text += f"event: {document['type']}\n"
        text += f"data: {json.dumps(document)}\n\n"
    return text.encode()


def chunk(finish: str | None, key: str = "delta") -> dict[str, object]:
    """A chat completion chunk."""
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, key: {"content": "hi"}, "finish_reason": finish}],
    }


LONG = "word " * 20_000
CHAT = events(*[chunk(None)] * 20)
USAGE = {"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
MESSAGES = events(
    {"type": "message_start", "message": {"id": "m"}},
    *[{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}] * 20,
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
    named=True,
)
RESPONSES = events(*[{"type": "response.output_text.delta", "delta": "hi"}] * 20, named=True)

COMPLETE = {
    "chat": CHAT + events(chunk("stop")) + b"data: [DONE]\n\n",
    "chat with usage": CHAT + events(chunk("stop"), USAGE) + b"data: [DONE]\n\n",
    "chat without the last line end": CHAT + events(chunk("stop")) + b"data: [DONE]",
    "chat with CRLF": (CHAT + events(chunk("length")) + b"data: [DONE]\n\n").replace(b"\n", b"\r\n"),
    "chat without [DONE]": CHAT + events(chunk("tool_calls"), USAGE),
    "chat, compact": (CHAT + events(chunk("stop"))).replace(b": ", b":") + b"data:[DONE]\n\n",
    "messages": MESSAGES + events({"type": "message_stop"}, named=True),
    "messages, an error": MESSAGES + events({"type": "error", "error": {"type": "overloaded_error"}}, named=True),
    "responses": RESPONSES + events({"type": "response.completed", "response": {"id": "r"}}, named=True),
    "responses, long": RESPONSES + events({"type": "response.completed", "response": {"text": LONG}}, named=True),
    "responses, type last": RESPONSES + events({"response": {"text": LONG}, "type": "response.completed"}, named=False),
    "responses, incomplete": RESPONSES + events({"type": "response.incomplete", "response": {"text": LONG}}, named=True),
    "responses, failed": RESPONSES + events({"type": "response.failed", "response": {}}, named=True),
    "speech": events({"type": "speech.audio.delta", "audio": LONG}, {"type": "speech.audio.done", "usage": {}}),
    "transcript": events({"type": "transcript.text.delta", "delta": "a"}, {"type": "transcript.text.done", "text": LONG}),
    "image": events(*[{"type": f"image_generation.{name}", "b64_json": LONG} for name in ("partial_image", "completed")]),
    "image edit": events({"type": "image_edit.completed", "b64_json": LONG}),
}  # fmt: skip

SIZES = [1, 5, 64, 1460, 16_384, 10**6]


def watched(stream: bytes, size: int) -> bool:
    """Whether a watch that saw `stream` in spans of `size` calls it complete."""
    watch = Watch()
    for start in range(0, len(stream), size):
        watch.feed(stream[start : start + size])
    return watch.complete()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stream", COMPLETE.values(), ids=COMPLETE.keys())
def test_a_complete_stream(stream: bytes, size: int) -> None:
    """The real ending of each API, however it is cut, and however long its last event is."""
    assert watched(stream, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "stream",
    [
        b"",
        CHAT,
        MESSAGES,
        RESPONSES,
        CHAT[:-30],
        CHAT + b"data: [DO",
        MESSAGES + b'event: message_stop\ndata: {"type":"mess',
        CHAT + b": ping\n\n" * 50,
        COMPLETE["speech"][:5000],
        COMPLETE["responses, long"][: len(RESPONSES) + 40],
        COMPLETE["image"][:150_000],
        events(chunk(None), {"choices": [{"delta": {"content": '{"finish_reason": "stop"} "type": "message_stop"'}}]}),
    ],
    ids=range(12),
)
def test_a_cut_stream(stream: bytes, size: int) -> None:
    """Without its ending a stream is not complete; words of an ending inside a text are none."""
    assert not watched(stream, size)


@given(st.sampled_from(sorted(COMPLETE)), st.data())
def test_completeness_at_any_cuts(name: str, data: st.DataObject) -> None:
    """Uneven spans, as networks make them."""
    stream = COMPLETE[name]
    watch = Watch()
    near_end = st.integers(max(0, len(stream) - 400), len(stream))
    for span in cut(stream, data.draw(st.lists(near_end | st.integers(0, len(stream)), max_size=20))):
        watch.feed(span)
    assert watch.complete()


@pytest.mark.parametrize("comments", [1, 100, 5000])
def test_comments_behind_the_end(comments: int) -> None:
    """Pings after the last event do not push it out."""
    watch = Watch()
    watch.feed(COMPLETE["messages"])
    for _ in range(comments):
        watch.feed(b": ping\n\n")
    assert watch.complete()


@pytest.mark.parametrize("span", [b"x" * 100_000, b": ping\n\n", b"data: " + b"x" * 100_000 + b"\n\n", b"d"])
def test_a_watch_stays_small(span: bytes) -> None:
    """What is kept of a stream has a bound, whatever comes."""
    watch = Watch()
    for _ in range(100):
        watch.feed(span)
    assert sum(map(len, watch._tail)) + len(watch._rest) + len(watch._line) <= 9 * 4096 + 16
