"""The deadlines of an exchange, on a clock that the test moves: which one holds when, and whose fault it is not."""

from __future__ import annotations

import pytest

from proxy.config.schema import Seconds, Timeouts
from proxy.errors import AnswerTimeout
from proxy.upstream.answer import Answer
from tests.scripted import response
from tests.upstream.answers import EVENTS_HEAD, HEAD_OK
from tests.upstream.support import EVENT_STREAM, TIMEOUTS, Bench, Kept

EVENT = b"data: {}\n\n"
COMMENT = b": still working\n\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def timed_out(answer: Answer) -> str | None:
    """The phase in which the answer timed out; None when it has not."""
    if answer.fault is None:
        return None
    assert isinstance(answer.fault, AnswerTimeout)
    return answer.fault.phase


def passes(bench: Bench, answer: Answer, seconds: float, phase: str) -> None:
    """The answer times out in `phase` once `seconds` have passed from now, and not before."""
    bench.loop.advance(seconds - 0.01)
    assert timed_out(answer) is None, f"before {seconds} s"
    bench.loop.advance(0.02)
    assert timed_out(answer) == phase
    assert bench.wire.aborted
    assert bench.loop.pending == []


def test_head_of_a_streamed_answer() -> None:
    """The head of a streamed answer is waited for from the moment that the request has gone out."""
    bench = Bench()
    answer = bench.begin(streamed=True, sent=False)
    bench.loop.advance(100)  # a slow upload is not the provider's silence
    bench.connection.sent()
    passes(bench, answer, TIMEOUTS.head, "head")


def test_head_of_an_answer_that_is_not_streamed() -> None:
    """It comes when all is done, which may take until `total`."""
    bench = Bench()
    passes(bench, bench.begin(), TIMEOUTS.total, "total")


def test_interim_responses_do_not_put_the_head_off() -> None:
    """A provider that says 103 for ever has not answered."""
    bench = Bench()
    answer = bench.begin(streamed=True)
    bench.loop.advance(20)
    bench.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    passes(bench, answer, TIMEOUTS.head - 20, "head")


def test_first_event_is_counted_from_the_request() -> None:
    """Head and comments do not put it off: its time began when the request had gone out."""
    bench = Bench()
    answer = bench.begin(streamed=True)
    bench.loop.advance(25)
    bench.feed(EVENT_STREAM)
    bench.loop.advance(25)
    bench.feed(chunk(COMMENT))
    passes(bench, answer, TIMEOUTS.first_event - 50, "first_event")


def test_first_event_shorter_than_head() -> None:
    """A first event cannot come before its head: the shorter of the two holds."""
    bench = Bench()
    timeouts = Timeouts(head=Seconds(30), first_event=Seconds(5))
    passes(bench, bench.begin(streamed=True, timeouts=timeouts), 5, "first_event")


def test_first_event_of_a_stream_that_was_not_asked_for() -> None:
    """An event stream is one by its Content-Type, whatever the request seemed to ask for."""
    bench = Bench()
    answer = bench.begin(streamed=False)
    bench.feed(EVENT_STREAM)
    passes(bench, answer, TIMEOUTS.first_event, "first_event")


def test_first_event_while_the_upload_goes_on() -> None:
    """The answer may begin before the request has ended; then its head is the beginning."""
    bench = Bench()
    answer = bench.begin(streamed=True, sent=False)
    bench.loop.advance(200)
    bench.feed(EVENT_STREAM)
    bench.connection.sent()
    passes(bench, answer, TIMEOUTS.first_event, "first_event")


def test_idle_is_put_off_by_events_and_not_by_comments() -> None:
    """What counts is data: keep-alive comments say only that a server in between is alive."""
    bench = Bench()
    answer = bench.begin(streamed=True)
    bench.feed(EVENT_STREAM + chunk(EVENT))
    for _ in range(3):
        bench.loop.advance(TIMEOUTS.idle - 1)
        bench.feed(chunk(EVENT))
    for _ in range(11):
        bench.loop.advance(10)
        bench.feed(chunk(COMMENT))
    passes(bench, answer, TIMEOUTS.idle - 110, "idle")


def test_total_ends_a_stream_that_flows() -> None:
    """However lively a stream is, `total` is the end."""
    bench = Bench()
    answer = bench.begin(streamed=True)
    bench.feed(EVENT_STREAM)
    for _ in range(11):
        bench.feed(chunk(EVENT))
        bench.loop.advance(50)
    bench.feed(chunk(EVENT))
    passes(bench, answer, 50, "total")


@pytest.mark.parametrize("streamed", [False, True])
def test_total_holds_for_a_plain_body(streamed: bool) -> None:
    """A body that is no event stream has no events to wait for; a streamed request may get one all the same."""
    bench = Bench()
    answer = bench.begin(streamed=streamed)
    bench.loop.advance(10)
    bench.feed(HEAD_OK + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    passes(bench, answer, TIMEOUTS.total - 10, "total")


def test_a_compressed_event_stream_is_a_plain_body() -> None:
    """Its events cannot be seen: it is handed on with its first bytes, and no event is waited for."""
    bench = Bench()
    answer = bench.begin(streamed=True)
    bench.feed(EVENTS_HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08")
    assert answer.first_event_s
    passes(bench, answer, TIMEOUTS.total, "total")


def test_a_client_that_reads_slowly() -> None:
    """While the client holds the stream up, its idle time stands still; it begins anew when the client reads on."""
    bench = Bench()
    answer = bench.begin(streamed=True)
    bench.feed(EVENT_STREAM + chunk(EVENT))
    bench.connection.pause()
    assert not bench.wire.reading
    bench.loop.advance(TIMEOUTS.idle * 2)
    assert timed_out(answer) is None
    bench.connection.resume()
    assert bench.wire.reading
    passes(bench, answer, TIMEOUTS.idle, "idle")


class Slow(Kept):
    """A sink whose client stops reading at the first span, in the middle of being fed, as transports do."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def feed(self, span: bytes) -> None:
        super().feed(span)
        self._answer.source.pause()


def test_a_client_that_is_full_in_the_middle_of_a_span() -> None:
    """The event that filled it does not start the idle time: nothing can come until the client reads on."""
    bench = Bench()
    answer = bench.begin(streamed=True)
    bench.feed(EVENT_STREAM + chunk(EVENT))
    answer.attach(Slow(answer))
    bench.feed(chunk(EVENT))
    assert not bench.wire.reading
    bench.loop.advance(TIMEOUTS.idle + 10)
    assert timed_out(answer) is None, "the provider is not to blame"
    passes(bench, answer, TIMEOUTS.total - TIMEOUTS.idle - 10, "total")


def test_a_client_that_is_full_with_the_last_span() -> None:
    """The answer is over all the same, and the connection reads the next one."""
    bench = Bench()
    answer = bench.begin()
    bench.feed(HEAD_OK + b"Content-Length: 10\r\n\r\nhello")
    sink = Slow(answer)
    answer.attach(sink)
    bench.feed(b"world")
    assert answer.complete
    assert bench.connection.usable
    assert bench.wire.reading, "or the next answer would never come"
    second = bench.begin()
    bench.feed(response(b"second"))
    assert second.complete


def test_a_deadline_that_is_over_is_forgotten() -> None:
    """The timers of one exchange do not touch the next: each begins with its own total."""
    bench = Bench()
    bench.begin(streamed=True)
    bench.feed(response(b"first"))
    bench.loop.advance(TIMEOUTS.total - 1)
    answer = bench.begin()
    passes(bench, answer, TIMEOUTS.total, "total")


def test_an_idle_connection_expires() -> None:
    """It closes at the time that the pool has set, unless an exchange begins before."""
    bench = Bench()
    bench.begin()
    bench.feed(response())
    bench.connection.expire_idle_at(bench.loop.now + 50)
    bench.loop.advance(49.9)
    assert bench.connection.usable
    bench.loop.advance(0.2)
    assert not bench.connection.usable
    assert bench.wire.aborted
    assert bench.loop.pending == []


def test_an_exchange_on_a_connection_that_was_about_to_expire() -> None:
    """The time of idleness does not run on in it."""
    bench = Bench()
    bench.begin()
    bench.feed(response())
    bench.connection.expire_idle_at(bench.loop.now + 50)
    answer = bench.begin()
    bench.loop.advance(100)
    assert answer.fault is None
    bench.feed(response(b"late"))
    assert answer.complete


def test_a_stream_of_events_costs_hardly_a_timer() -> None:
    """The deadline moves with every event; the event loop's timer does not."""
    bench = Bench()
    bench.begin(streamed=True)
    bench.feed(EVENT_STREAM)
    for _ in range(1000):
        bench.feed(chunk(EVENT))
        bench.loop.advance(0.01)
    assert len(bench.loop.timers) < 5


def test_an_aborted_exchange_leaves_no_timer() -> None:
    """Its answer hears no more either: whoever aborts knows."""
    bench = Bench()
    answer = bench.begin(streamed=True)
    bench.connection.abort()
    assert bench.loop.pending == []
    assert (answer.fault, answer.complete) == (None, False)
    assert bench.wire.aborted
