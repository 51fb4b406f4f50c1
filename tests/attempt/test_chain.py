"""The walk along a plan: what is asked, in which order, how often, until when, and what is left behind."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.attempt.send import Sent
from proxy.attempt.walk import Won
from proxy.errors import (
    AllOut,
    AnswerCut,
    AnswerTimeout,
    BadRequest,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    NoRoom,
    UpstreamFault,
)
from proxy.wire.body import RequestBody
from tests.attempt.sending import pieces, post
from tests.attempt.walking import DONE, EVENT, Asked, Way, World, after, fails, retry, says, streams

TOO_LONG = b'{"error": {"code": "context_length_exceeded", "message": "x"}}'
FILTERED = b'{"error": {"code": "content_filter", "message": "x"}}'
NO_MODEL = b'{"error": {"code": "model_not_found", "message": "x"}}'


def lost() -> UpstreamFault:
    return ConnectionLost("closed", reused=False)


# Order.


async def test_the_first_target_answers_and_no_other_is_asked() -> None:
    """The usual case leaves one success behind, and a place until the answer has ended."""
    world = World("a", "b")
    won = await world.walk("a", "b")
    assert world.asked == ["a"] and world.verdicts == [("a", "success")] and world.taken("a") == 1
    assert won.leave.label == "a/m" and won.holds
    world.settled(won)


async def test_targets_are_asked_in_the_order_of_the_plan() -> None:
    """Each once, each under its own model, until one answers."""
    world = World("a", "b", "c")
    for label in ("a", "b"):
        world.script(label, says(503))
    walk = world.ready("a/x", "b", "c/y", "a/z")
    won = await walk.answer()
    assert world.asked == ["a/x", "b", "c/y"] and walk.attempts == 3
    assert world.verdicts == [("a", "failure"), ("b", "failure"), ("c", "success")]
    assert [(one.target, one.category, one.status) for one in walk.tried] == [
        ("a/x", "OVERLOAD", 503),
        ("b/m", "OVERLOAD", 503),
        ("c/y", "OK", 200),
    ]
    world.settled(won)


@pytest.mark.parametrize(
    "way",
    [
        *(says(status) for status in (500, 502, 503, 504, 529, 408, 402, 429, 501)),
        says(404, NO_MODEL),
        says(200, b""),
        says(200, b'{"error": {"code": 502, "message": "x"}}'),
        says(200, b"<html></html>", (b"Content-Type", b"text/html")),
        streams(b'data: {"error": {"code": 503, "message": "x"}}\n\n'),
        fails(),
        fails(lambda: ConnectTimeout("x")),
        fails(lost),
        fails(lambda: AnswerTimeout("head", 30)),
        fails(lambda: AnswerTimeout("first_event", 60)),
        fails(lambda: AnswerCut("x")),
        fails(lambda: NoRoom("descriptors")),
    ],
)
async def test_what_falls_back(way: Way) -> None:
    """A failing provider is passed by, and what it had begun to send is closed."""
    world = World("a", "b")
    world.script("a", way)
    won = await world.walk("a", "b", retry=retry(0))
    assert world.asked == ["a", "b"] and won.leave.provider.name == "b" and won.sent.answer.status == 200
    world.settled(won)


@pytest.mark.parametrize("status", [400, 409, 422, 425])
async def test_a_clients_mistake_is_answered_at_once(status: int) -> None:
    """No attempt follows on it; it goes out as it came."""
    world = World("a", "b")
    world.script("a", says(status))
    won = await world.walk("a", "b", retry=retry(0))
    assert world.asked == ["a"] and won.sent.answer.status == status and not won.holds
    world.settled(won)


async def test_a_fault_of_the_clients_own_ends_the_walk() -> None:
    """Its upload broke: nobody else is asked, and nobody is blamed."""
    world = World("a", "b")
    world.script("a", fails(lambda: BadRequest("the body broke off")))
    with pytest.raises(BadRequest):
        await world.walk("a", "b")
    assert world.asked == ["a"] and world.verdicts == [("a", "ignore")]
    world.settled()


async def test_stored_objects_are_asked_for_at_the_first_target_alone() -> None:
    """Neither a failure nor an open circuit leads to another provider."""
    world = World("a", "b")
    world.script("a", says(503))
    won = await world.walk("a", "b", alone=True)
    assert world.asked == ["a"] and won.sent.answer.status == 503
    world.settled(won)
    world.guards["a"].breaker(None).force_open()
    with pytest.raises(AllOut):
        await world.walk("a", "b", alone=True)
    assert world.asked == ["a"]


async def test_an_answer_that_is_passed_by_is_closed_before_the_next_is_asked() -> None:
    """Two connections and two uploads of one request would cost twice."""
    world = World("a", "b")
    closed: list[bool] = []

    async def way(asked: Asked) -> Sent:
        closed.append(world.calls[0].line.aborted)
        return await says()(asked)

    world.script("a", says(503, b"{}" * 40_000, complete=False, upload=True))
    world.script("b", way)
    won = await world.walk("a", "b")
    assert closed == [True]
    world.settled(won)


# The body.


@pytest.mark.parametrize(
    ("way", "asked"),
    [
        (fails(), ["a", "b"]),
        (fails(lambda: ConnectTimeout("x")), ["a", "b"]),
        (fails(lambda: ConnectFailed("dns", "x")), ["a", "b"]),
        (fails(lambda: NoRoom("descriptors")), ["a", "b"]),
        (fails(lost), ["a"]),
        (says(500), ["a"]),
        (says(429), ["a"]),
    ],
)
async def test_a_body_that_is_gone_is_not_sent_again(way: Way, asked: list[str]) -> None:
    """Only as long as not a byte of it has been sent may the next target have it."""
    world = World("a", "b")
    world.script("a", way)
    body = RequestBody(b"{", rest=pieces(b"}"), length=2)
    try:
        won: Won | None = await world.walk("a", "b", request=post(body))
    except UpstreamFault:
        won = None
    assert world.asked == asked
    world.settled(won)


# One deadline.


async def test_one_deadline_spans_all_attempts() -> None:
    """Each attempt gets the same end, however late it begins."""
    world = World("a", "b")
    world.script("a", after(world, 20.0, says(503)))
    end_s = world.clock() + 100.0
    world.settled(await world.walk("a", "b", total=100.0))
    assert [call.total_at for call in world.calls] == [end_s, end_s]


@pytest.mark.parametrize(
    ("total", "took", "asked"),
    [
        (100.0, 92.5, ["a", "b"]),  # a quarter of the head's 30 s is left: just enough
        (100.0, 92.6, ["a"]),
        (8.0, 6.0, ["a", "b"]),  # a quarter of all the time, where that is shorter
        (8.0, 6.1, ["a"]),
        (2.0, 1.0, ["a", "b"]),  # and a second at least
        (2.0, 1.1, ["a"]),
        (2.0, 3.0, ["a"]),
    ],
)
async def test_the_least_time_for_a_further_target(total: float, took: float, asked: list[str]) -> None:
    """An attempt that cannot succeed in what is left is not made."""
    world = World("a", "b")
    world.script("a", after(world, took, says(503)))
    walk = world.ready("a", "b", total=total)
    won = await walk.answer()
    assert world.asked == asked
    assert [reason.partition(": ")[2] for reason in walk.admit.skipped] == ["too little time is left"] * (
        2 - len(asked)
    )
    world.settled(won)


async def test_nothing_follows_on_the_deadline() -> None:
    """It is the client's answer, whoever was being asked."""
    world = World("a", "b", "c")
    world.script("a", after(world, 10.0, says(503)))
    world.script("b", fails(lambda: AnswerTimeout("total", 60)))
    with pytest.raises(AnswerTimeout):
        await world.walk("a", "b", "c", total=60.0)
    assert world.asked == ["a", "b"] and world.verdicts == [("a", "failure"), ("b", "ignore")]
    world.settled()


@pytest.mark.parametrize(("full_time", "verdict"), [(True, "failure"), (False, "ignore")])
async def test_who_had_all_the_time_is_blamed_for_the_deadline(full_time: bool, verdict: str) -> None:
    """But not where the client's own limit was shorter than the policy's."""
    world = World("a", "b")
    world.script("a", after(world, 600.0, fails(lambda: AnswerTimeout("total", 600))))
    options: dict[str, Any] = {} if full_time else {"full_time": False}
    with pytest.raises(AnswerTimeout):
        await world.walk("a", "b", **options)
    assert world.asked == ["a"] and world.verdicts == [("a", verdict)]
    world.settled()


# Content filters and context.


async def test_a_content_filter_stops_the_walk() -> None:
    """It is an answer, and the provider's success."""
    world = World("a", "b")
    world.script("a", says(400, FILTERED))
    won = await world.walk("a", "b")
    assert world.asked == ["a"] and won.sent.answer.status == 400 and world.verdicts == [("a", "success")]
    world.settled(won)


async def test_past_a_content_filter_only_where_the_policy_says_so() -> None:
    """`on_content_filter: fallback`."""
    world = World("a", "b")
    world.script("a", says(400, FILTERED))
    won = await world.walk("a", "b", past_filter=True)
    assert world.asked == ["a", "b"] and won.sent.answer.status == 200
    world.settled(won)


async def test_a_request_too_long_goes_to_a_larger_context() -> None:
    """Smaller, equal and undeclared ones are left out with that reason, and get back what they had been given."""
    world = World("a", "b", "c", "d", "e", models={"a/m": 8000, "b/m": 4000, "c/m": 8000, "e/m": 16000})
    world.script("a", says(400, TOO_LONG))
    walk = world.ready("a", "b", "c", "d", "e")
    won = await walk.answer()
    assert world.asked == ["a", "e"]
    assert [line.partition(": ")[0] for line in walk.admit.skipped] == ["b/m", "c/m", "d/m"]
    assert all("no larger context is declared" in line for line in walk.admit.skipped)
    world.settled(won)


async def test_the_largest_of_the_contexts_that_were_too_small_counts() -> None:
    """After two targets were too small, the third must be larger than both; what fails otherwise changes nothing."""
    world = World("a", "b", "c", "d", models={"a/m": 8000, "b/m": 16000, "c/m": 12000, "d/m": 32000})
    for label in ("a", "b"):
        world.script(label, says(400, TOO_LONG))
    world.script("d", says(503))
    won = await world.walk("a", "b", "c", "d")
    assert world.asked == ["a", "b", "d"] and won.sent.answer.status == 503
    world.settled(won)


async def test_with_no_larger_context_the_error_goes_out_as_it_came() -> None:
    """The provider's own words."""
    world = World("a", "b")
    world.script("a", says(400, TOO_LONG))
    won = await world.walk("a", "b")
    assert world.asked == ["a"] and won.sent.answer.held == [TOO_LONG]
    world.settled(won)


# The verdict, once, and later.


async def test_a_broken_stream_is_counted_afterwards() -> None:
    """Its success is taken back, and its place is free."""
    world = World("a")
    world.script("a", streams())
    won = await world.walk("a")
    assert world.guards["a"].breaker(None).snapshot().counts[:2] == (1, 0) and world.taken("a") == 1
    won.finish("cut mid-answer")
    assert world.guards["a"].breaker(None).snapshot().counts[:2] == (0, 1) and world.taken("a") == 0
    won.finish("cut mid-answer")
    assert world.books.amended == [("a", "cut mid-answer")] and world.taken("a") == 0


async def test_a_failure_that_is_handed_on_is_not_judged_again() -> None:
    """Its place came back with its verdict."""
    world = World("a")
    world.script("a", says(503, complete=False))
    won = await world.walk("a")
    assert world.taken("a") == 0
    won.finish("cut mid-answer")
    assert world.verdicts == [("a", "failure")] and world.books.amended == [] and world.taken("a") == 0


@pytest.mark.parametrize(
    ("way", "verdict"),
    [(streams(first_event_s=3.1), "slow success"), (streams(first_event_s=3.0), "success"), (says(), "success")],
)
async def test_slow_is_a_word_for_streams(way: Way, verdict: str) -> None:
    """A late first event counts; an answer that is not streamed takes as long as it takes."""
    world = World("a", breaker={"slow_first_event": 3.0})
    world.script("a", way)
    won = await world.walk("a")
    assert world.verdicts == [("a", verdict)]
    world.settled(won)


async def test_no_answer_is_slow_unless_configured() -> None:
    """`slow_first_event` is not set by default."""
    world = World("a")
    world.script("a", streams(first_event_s=500.0))
    world.settled(await world.walk("a"))
    assert world.verdicts == [("a", "success")]


async def test_a_tls_failure_is_logged_as_an_error() -> None:
    """It is a fault of configuration as a rule."""
    world = World("a", "b")
    world.script("a", fails(lambda: ConnectFailed("tls", "certificate has expired")))
    world.settled(await world.walk("a", "b"))
    assert [(level, event) for level, event, _ in world.log.lines] == [("error", "tls_failed")]


# `deliver: whole`.


async def test_whole_delivery_passes_a_cut_stream_by() -> None:
    """Nothing had been handed on, so the next target can answer."""
    world = World("a", "b")
    world.script("a", _cut_later(world))
    world.script("b", streams(EVENT, DONE, complete=True))
    won = await world.walk("a", "b", whole=True)
    assert world.asked == ["a", "b"] and world.verdicts == [("a", "failure"), ("b", "success")]
    assert won.sent.answer.complete and b"".join(won.sent.answer.held) == EVENT + DONE
    world.settled(won)


async def test_live_delivery_hands_on_what_may_be_cut() -> None:
    """The default."""
    world = World("a", "b")
    world.script("a", streams())
    won = await world.walk("a", "b")
    assert world.asked == ["a"] and not won.sent.answer.complete
    world.settled(won)


def _cut_later(world: World) -> Way:
    """A stream whose connection breaks while more of it is waited for."""
    first = streams()

    async def way(asked: Any) -> Any:
        sent = await first(asked)
        future = asked.line.future

        def waited_for() -> Any:
            waiter = future()
            waiter.get_loop().call_soon(sent.answer.on_fault, AnswerCut("cut"))
            return waiter

        asked.line.future = waited_for
        return sent

    return way
