"""The stream client's counting and the payloads it counts."""

from __future__ import annotations

import json
from array import array

import httptools
import pytest

from bench import payloads
from bench.sse_client import EventScanner, quantile_us


def body_of(chunked: bytes) -> bytes:
    """The body behind a chunked coding, as httptools decodes it."""
    spans: list[bytes] = []

    class Sink:
        def on_body(self, body: bytes) -> None:
            spans.append(body)

    parser = httptools.HttpResponseParser(Sink())
    parser.feed_data(payloads.STREAM_HEAD + chunked)
    return b"".join(spans)


EVENTS = body_of(payloads.stamped_event(11) + payloads.stamped_event(2**62) + payloads.STREAM_END)


def test_events_are_well_formed() -> None:
    """Each event is one line of JSON that carries its stamp, and the stream ends as OpenAI's do."""
    *events, last, done, rest = EVENTS.split(b"\n\n")
    contents = [json.loads(event.removeprefix(b"data: "))["choices"][0]["delta"]["content"] for event in events]
    assert contents == [f"{11:019d} token", f"{2**62:019d} token"]
    assert json.loads(last.removeprefix(b"data: "))["choices"][0]["finish_reason"] == "stop"
    assert (done, rest) == (b"data: [DONE]", b"")


@pytest.mark.parametrize("cut", range(len(EVENTS) + 1))
def test_an_event_cut_anywhere_counts_once(cut: int) -> None:
    """However a proxy splits the bytes, every event is found, once, with its stamp."""
    scanner = EventScanner()
    stamps = scanner.stamps(EVENTS[:cut]) + scanner.stamps(EVENTS[cut:])
    assert [int(stamp) for stamp in stamps] == [11, 2**62]


@pytest.mark.parametrize("size", [500, 1_000_000])
def test_a_request_has_the_size_asked_for(size: int) -> None:
    """The body is JSON of that size, with the model that the policy will rewrite."""
    body = payloads.request_body(stream=True, size=size)
    assert len(body) == size
    assert json.loads(body)["model"] == payloads.MODEL_ASKED


def test_the_answer_fits_into_a_quoted_string_of_nginx() -> None:
    """No byte of it ends the string, starts a variable or escapes."""
    body = payloads.answer_body()
    assert len(body) == 800
    assert json.loads(body)["model"] == payloads.MODEL_SENT
    assert not set(b"'$\\") & set(body)


def test_quantiles() -> None:
    """Nanoseconds in, microseconds out; the last value stands for shares beyond it."""
    values = array("q", [4000, 1000, 3000, 2000])
    assert [quantile_us(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 3.0, 4.0, 4.0]
    assert quantile_us(array("q"), 0.5) == 0.0
