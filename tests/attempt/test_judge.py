"""How much of an answer is waited for until it can be judged, and no more."""

from __future__ import annotations

import asyncio

import pytest

from proxy.attempt import judge as room
from proxy.attempt.classify import is_plain_success
from proxy.attempt.judge import hold_whole, judge, useless
from proxy.attempt.outcomes import EMPTY, FAULTS, OK, PAGE, Class, Outcome, Verdict
from proxy.errors import AnswerCut
from proxy.upstream.answer import Answer
from tests.attempt.walking import DONE, EVENT, GOOD, Line, answered
from tests.scripted import turns, within

SSE = (b"Content-Type", b"text/event-stream")
ERROR = b'{"error": {"code": "insufficient_quota", "message": "x"}}'


def begun(status: int, body: bytes, *lines: tuple[bytes, bytes]) -> Answer:
    """An answer of which more may come."""
    return answered(Line(), status, body, *lines, complete=False)


def judging(
    answer: Answer, *, own_key: bool = True, probe: bool = False, body_counts: bool = True, wait_s: float = 60.0
) -> asyncio.Task[Outcome]:
    return asyncio.ensure_future(judge(answer, own_key=own_key, probe=probe, body_counts=body_counts, wait_s=wait_s))


def is_good(answer: Answer) -> bool:
    """The look that the walk takes first, at all that is held."""
    return is_plain_success(answer.status, answer.content_type, b"".join(answer.held), answer.complete)


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (answered(Line(), 200, GOOD), True),
        (answered(Line(), 200, b"{" + b" " * 2000, complete=False), True),
        (answered(Line(), 200, GOOD, complete=False), False),
        (answered(Line(), 200, EVENT, SSE, complete=False), True),
        (answered(Line(), 200, ERROR), False),
        (answered(Line(), 500, GOOD), False),
        (answered(Line(), 200, b""), False),
    ],
)
def test_the_usual_case_is_seen_at_once(answer: Answer, good: bool) -> None:
    """Without a task, a future or a parse."""
    assert is_good(answer) is good


def test_the_first_bytes_may_come_in_pieces() -> None:
    """They are judged together."""
    answer = begun(200, b"data: {", SSE)
    answer.on_body(b'"choices": []}\n\n', 1.0)
    assert len(answer.held) == 2 and is_good(answer)


async def test_a_success_is_waited_for_until_it_says_something() -> None:
    """A kilobyte of JSON, or its end."""
    answer = begun(200, b"{")
    task = judging(answer)
    await turns()
    assert not task.done()
    answer.on_body(b'"id": "' + b"x" * 500, 1.0)
    await turns()
    assert not task.done()
    answer.on_body(b"x" * 600, 1.0)
    assert await within(task) is OK
    assert len(answer.held) == 3, "nothing is taken from what goes on to the client"


async def test_an_error_is_waited_for_to_its_end() -> None:
    """Whose fault it is stands in its body."""
    answer = begun(429, ERROR[:20])
    task = judging(answer)
    await turns()
    assert not task.done()
    answer.on_body(ERROR[20:], 1.0)
    answer.on_end([])
    assert (await within(task)).category is Class.MONEY


async def test_an_error_whose_body_does_not_end_is_judged_by_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is bounded, and so is what is read."""
    monkeypatch.setattr(room, "ERROR_BODY_S", 0.001)
    assert (await within(judging(begun(429, ERROR[:45])))).category is Class.MONEY
    assert (await within(judging(begun(503, b"")))).category is Class.OVERLOAD
    monkeypatch.undo()
    assert (await within(judging(begun(503, b"x" * 70_000)))).category is Class.OVERLOAD


async def test_a_success_that_says_nothing_for_too_long_passes() -> None:
    """The first event's time is its bound; what then comes is the client's to wait for."""
    assert await within(judging(begun(200, b" "), wait_s=0.001)) is OK


async def test_a_fault_that_ends_the_wait_is_raised() -> None:
    """The answer broke off before it could be judged."""
    answer = begun(500, b"{")
    task = judging(answer)
    await turns()
    answer.on_fault(AnswerCut("x"))
    with pytest.raises(AnswerCut):
        await within(task)


async def test_the_users_own_matter_is_not_looked_at() -> None:
    """The body of a stored file, or of `/p/`, may be empty, HTML or an error's copy; its status still counts."""
    for body in (b"", b"<html>", ERROR):
        assert await within(judging(begun(200, body), body_counts=False)) is OK
    whole = answered(Line(), 503, ERROR)
    assert (await within(judging(whole, body_counts=False))).category is Class.OVERLOAD


async def test_whose_key_and_whose_probe_it_was() -> None:
    """They decide what a 401 means, and what a rate limit says to a half-open circuit."""
    answer = answered(Line(), 401, b"{}")
    assert (await judging(answer)).reason == "key refused"
    assert (await judging(answer, own_key=False)).reason == "client's key refused"
    answer = answered(Line(), 429, b"{}")
    assert (await judging(answer)).verdict is Verdict.IGNORE
    assert (await judging(answer, probe=True)).verdict is Verdict.FAILURE


async def test_an_error_in_the_first_event_is_found_behind_comments() -> None:
    """Pings and comments are no events."""
    answer = begun(200, b": hi\n\nevent: ping\ndata: {}\n\ndata: " + ERROR + b"\n\n", SSE)
    assert not is_good(answer)
    outcome = await within(judging(answer))
    assert outcome.category is Class.MONEY and outcome.status == 429


# A stream held back until it is complete.


async def test_a_stream_is_held_until_it_is_complete() -> None:
    """Piece by piece, in order."""
    answer = begun(200, EVENT, SSE)
    task = asyncio.ensure_future(hold_whole(answer))
    for span in (EVENT, b": ping\n\n", DONE):
        await turns()
        assert not task.done()
        answer.on_body(span, 1.0)
    await turns()
    assert not task.done(), "the end of its body counts, not what it says"
    answer.on_end([])
    await within(task)
    assert answer.held == [EVENT, EVENT, b": ping\n\n", DONE]


async def test_a_cut_while_it_is_held_is_raised() -> None:
    """So the next target may be asked."""
    answer = begun(200, EVENT, SSE)
    task = asyncio.ensure_future(hold_whole(answer))
    await turns()
    answer.on_fault(AnswerCut("x"))
    with pytest.raises(AnswerCut):
        await within(task)


@pytest.mark.parametrize(("size", "held"), [(99, True), (100, False), (101, False)])
async def test_what_is_held_is_bounded(size: int, held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer stream goes on as it comes."""
    monkeypatch.setattr(room, "WHOLE_MAX", 100)
    answer = begun(200, b"data: {", SSE)
    task = asyncio.ensure_future(hold_whole(answer))
    await turns()
    answer.on_body(b"x" * (size - answer.held_bytes), 1.0)
    await turns()
    assert task.done() is not held
    answer.on_end([])
    await within(task)


# What takes the place of an answer that says nothing.


def test_useless_answers() -> None:
    """Only those that said 200 and nothing else, or what is no status at all."""
    assert "empty body" in str(useless(EMPTY, 200)) and "page of HTML" in str(useless(PAGE, 201))
    assert useless(OK, 200) is None
    assert "answered 600" in str(useless(FAULTS["bad_answer"], 600))
