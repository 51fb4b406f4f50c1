"""An answer held back, and handed on: every byte once, in order, whenever its reader comes."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import AnswerCut, FuseboxError
from proxy.upstream.answer import HELD_MAX, Answer, Lines
from proxy.wire.headers import ResponseHeaders
from tests.scripted import turns, within
from tests.upstream.support import Kept


class Source:
    """A source that counts what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pause(self) -> None:
        self.asked.append("pause")

    def resume(self) -> None:
        self.asked.append("resume")

    def abort(self) -> None:
        self.asked.append("abort")

    def future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()


def answer_of(*, stream: bool) -> Answer:
    """An answer whose head has come."""
    answer = Answer(Source())
    answer.on_head(200, b"OK", [], ResponseHeaders(b"", None, False, stream), 1.0)
    return answer


async def is_ready(answer: Answer) -> bool:
    """Whether `ready` returns at once."""
    waiting = asyncio.ensure_future(answer.ready())
    await turns(2)
    if waiting.done():
        waiting.result()
        return True
    waiting.cancel()
    await asyncio.wait([waiting])
    return False


async def test_a_stream_is_ready_with_its_first_event() -> None:
    """Comments, other fields and half a line are no event; what came is held in order."""
    answer = answer_of(stream=True)
    for span in (b": ping\n\n", b"event: message\n", b"dat"):
        answer.on_body(span, 2.0)
        assert not await is_ready(answer)
    answer.on_body(b"a: 1\n", 3.0)
    assert await is_ready(answer)
    assert answer.held == [b": ping\n\n", b"event: message\n", b"dat", b"a: 1\n"]
    assert (answer.head_s, answer.first_event_s) == (1.0, 3.0)


async def test_a_body_is_ready_with_its_first_bytes() -> None:
    """The head alone is not an answer yet: behind it an error may still come."""
    answer = answer_of(stream=False)
    assert not await is_ready(answer)
    answer.on_body(b"{", 2.0)
    assert await is_ready(answer)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_empty_body_is_ready_at_its_end(stream: bool) -> None:
    """There will be no first byte."""
    answer = answer_of(stream=stream)
    answer.on_end([])
    assert await is_ready(answer)


async def test_waiting_ends_with_the_first_event() -> None:
    """Whoever waits is woken; a fault instead is raised to him."""
    answer = answer_of(stream=True)
    waiting = asyncio.ensure_future(answer.ready())
    await turns(2)
    answer.on_body(b"data: 1\n\n", 2.0)
    await within(waiting)

    answer = answer_of(stream=True)
    waiting = asyncio.ensure_future(answer.ready())
    await turns(2)
    answer.on_body(b": ping\n\n", 2.0)
    answer.on_fault(AnswerCut("cut"))
    with pytest.raises(AnswerCut):
        await within(waiting)


async def test_a_fault_right_behind_the_first_event() -> None:
    """Nothing has been handed on yet, so the fault is what counts: another target may still be tried."""
    answer = answer_of(stream=True)
    waiting = asyncio.ensure_future(answer.ready())
    await turns(2)
    answer.on_body(b"data: 1\n\n", 2.0)
    answer.on_fault(AnswerCut("cut"))
    with pytest.raises(AnswerCut):
        await within(waiting)


async def test_waiting_can_be_cancelled() -> None:
    """And what comes afterwards does not find the one who waited."""
    answer = answer_of(stream=True)
    assert not await is_ready(answer)
    answer.on_body(b"data: 1\n\n", 2.0)
    assert await is_ready(answer)


async def test_a_stream_of_comments_is_held_up_to_a_bound() -> None:
    """At the bound it counts as ready, so that somebody takes it out of memory."""
    answer = answer_of(stream=True)
    comment = b": " + b"a" * 1021 + b"\n"
    for _ in range(HELD_MAX // len(comment) - 1):
        answer.on_body(comment, 2.0)
    assert not await is_ready(answer)
    answer.on_body(comment, 2.0)
    assert answer.held_bytes == HELD_MAX
    assert await is_ready(answer)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=12), st.integers(0, 12), st.booleans())
def test_attached_at_any_time(spans: list[bytes], when: int, stream: bool) -> None:
    """What was held and what the sink gets are the whole body, nothing lost and nothing twice."""
    answer = answer_of(stream=stream)
    kept = Kept()
    for number, span in enumerate(spans):
        if number == when:
            answer.attach(kept)
        answer.on_body(span, 2.0)
    assert answer.held == spans[:when]
    assert kept.spans == spans[when:]


def test_the_sink_hears_the_end_and_the_fault() -> None:
    """Trailers come with the end; a fault comes instead of it."""
    answer, kept = answer_of(stream=False), Kept()
    answer.attach(kept)
    trailers: Lines = [(b"X-Sum", b"1")]
    answer.on_end(trailers)
    assert (kept.trailers, answer.complete, answer.trailers) == (trailers, True, trailers)

    answer, kept = answer_of(stream=False), Kept()
    answer.attach(kept)
    fault: FuseboxError = AnswerCut("cut")
    answer.on_fault(fault)
    assert (kept.fault, answer.fault, answer.complete) == (fault, fault, False)


def test_events_are_reported_with_and_without_a_sink() -> None:
    """The idle timeout lives on what `on_body` says."""
    for attach in (False, True):
        answer = answer_of(stream=True)
        if attach:
            answer.attach(Kept())
        assert [answer.on_body(span, 2.0) for span in (b": c\n", b"data: 1\n\n", b": c\n")] == [False, True, False]


def test_interim_responses_without_a_taker() -> None:
    """Nobody wants them: they are dropped."""
    answer = Answer(Source(), None)
    answer.on_interim(103, b"Early Hints", [])
    assert (answer.status, answer.lines) == (0, [])


def test_what_broke_before_anybody_listened_is_told() -> None:
    """A sink that comes late would wait for ever otherwise."""
    answer = answer_of(stream=False)
    answer.on_body(b"half", 2.0)
    answer.on_fault(AnswerCut("cut"))
    kept = Kept()
    answer.attach(kept)
    assert isinstance(kept.fault, AnswerCut) and answer.held == [b"half"]


async def test_what_nobody_looks_at_is_read_no_further() -> None:
    """An answer that is kept while its walk waits elsewhere must not fill memory; whoever looks reads on."""
    source = Source()
    answer = Answer(source)
    answer.on_head(429, b"", [], ResponseHeaders(b"", None, True, False), 1.0)
    for _ in range(8):
        answer.on_body(b"a" * (HELD_MAX // 4), 2.0)
    assert source.asked == ["pause"]
    looking = asyncio.create_task(answer.more())
    await turns()
    assert source.asked == ["pause", "resume"]
    answer.on_body(b"a", 3.0)
    await within(looking)
    for _ in range(8):
        answer.on_body(b"a" * (HELD_MAX // 4), 4.0)
    assert source.asked == ["pause", "resume", "pause"]
    answer.attach(Kept())
    assert source.asked == ["pause", "resume", "pause", "resume"]
