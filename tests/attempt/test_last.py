"""When every target is out or has failed: what the client is told, when to come back, and the one probe that goes all the same."""

from __future__ import annotations

import math

import pytest

from proxy.attempt.cooldown import Reason
from proxy.attempt.walk import Won
from proxy.errors import AllOut, ConnectFailed, FuseboxError, NoKey, UpstreamFault, UselessAnswer
from tests.attempt.walking import Way, World, fails, own_keys, retry, says, streams

TRUE = (b"x-should-retry", b"true")
FALSE = (b"x-should-retry", b"false")
INSIDE = b'{"error": {"code": 503, "message": "overloaded"}}'


def line(won: Won, name: bytes) -> list[bytes]:
    """The values of a header of the answer as it goes on; lines and block must say the same."""
    answer = won.sent.answer
    values = [value for key, value in answer.lines if key.lower() == name]
    written = [row.partition(b": ") for row in answer.block.split(b"\r\n") if row]
    assert [value for key, _, value in written if key.lower() == name] == values
    return values


# The last provider's own answer.


async def test_a_single_failure_passes_untouched() -> None:
    """Status, lines and body as they came, an invitation to retry among them: only one target was asked."""
    world = World("a")
    world.script("a", says(503, b"{}", TRUE, (b"Retry-After", b"7"), (b"X-Own", b"1")))
    won = await world.walk("a")
    answer = won.sent.answer
    assert (answer.status, answer.held, line(won, b"x-should-retry")) == (503, [b"{}"], [b"true"])
    assert line(won, b"retry-after") == [b"7"] and line(won, b"x-own") == [b"1"]
    world.settled(won)


@pytest.mark.parametrize("status", [500, 502, 503, 529])
async def test_after_several_failures_the_sdk_is_told_not_to_try_them_all_again(status: int) -> None:
    """The last answer goes out, but not its `x-should-retry: true`."""
    world = World("a", "b")
    world.script("a", fails())
    world.script("b", says(status, b"{}", TRUE))
    won = await world.walk("a", "b", retry=retry(0))
    assert won.sent.answer.status == status and line(won, b"x-should-retry") == [b"false"]
    world.settled(won)


@pytest.mark.parametrize("status", [401, 402, 404, 400])
async def test_no_invitation_to_retry_is_passed_on_after_several_failures(status: int) -> None:
    """Whatever the last failure is about; all else is as it came."""
    world = World("a", "b")
    world.script("a", says(503))
    world.script("b", says(status, b"{}", TRUE, (b"X-Own", b"1")))
    won = await world.walk("a", "b")
    assert won.sent.answer.status == status and line(won, b"x-should-retry") == [] and line(won, b"x-own") == [b"1"]
    world.settled(won)


async def test_a_providers_wish_not_to_be_asked_again_is_passed_on() -> None:
    """`x-should-retry: false` is the provider's to say."""
    world = World("a", "b")
    world.script("a", says(503))
    world.script("b", says(400, b"{}", FALSE))
    won = await world.walk("a", "b")
    assert line(won, b"x-should-retry") == [b"false"]
    world.settled(won)


@pytest.mark.parametrize(
    ("first", "second", "stated", "should_retry"),
    [
        (b"5", b"30", [b"5"], []),
        (b"30", b"5", [b"5"], []),
        (b"8", b"9", [b"8"], []),
        (b"9", b"30", [b"9"], [b"false"]),
        (b"30", None, [b"30"], [b"false"]),
        (None, None, [], []),
    ],
)
async def test_of_several_rate_limits_the_shortest_wait_is_told(
    first: bytes | None, second: bytes | None, stated: list[bytes], should_retry: list[bytes]
) -> None:
    """Past eight seconds the SDKs are told not to wait for it."""
    world = World("a", "b")
    world.script("a", says(429, None, *_waits(first)))
    world.script("b", says(429, None, TRUE, *_waits(second)))
    won = await world.walk("a", "b", retry=retry(0))
    assert won.sent.answer.status == 429
    assert line(won, b"retry-after") == stated and line(won, b"x-should-retry") == should_retry
    assert line(won, b"retry-after-ms") == []
    world.settled(won)


def _waits(seconds: bytes | None) -> tuple[tuple[bytes, bytes], ...]:
    if seconds is None:
        return ()
    return ((b"Retry-After", seconds), (b"retry-after-ms", seconds + b"000"))


async def test_waits_of_other_failures_are_no_rate_limits() -> None:
    """A 503's Retry-After is not the wait of the rate limit that goes out."""
    world = World("a", "b")
    world.script("a", says(503, None, (b"Retry-After", b"1")))
    world.script("b", says(429, None, (b"Retry-After", b"20")))
    won = await world.walk("a", "b", retry=retry(0))
    assert line(won, b"retry-after") == [b"20"]
    world.settled(won)


# Errors inside a 200.


async def test_an_error_inside_a_200_gets_its_real_status() -> None:
    """So that the client's SDK sees an error at all."""
    world = World("a")
    world.script("a", says(200, INSIDE, (b"X-Own", b"1")))
    won = await world.walk("a")
    assert won.sent.answer.status == 503 and won.sent.answer.held == [INSIDE] and line(won, b"x-own") == [b"1"]
    assert line(won, b"content-type") == [b"application/json"]
    world.settled(won)


async def test_an_error_at_the_head_of_a_stream_becomes_json() -> None:
    """A client that sees a status of an error reads a JSON body; the stream is closed."""
    world = World("a", "b")
    world.script("a", fails())
    world.script("b", streams(b": hi\n\ndata: " + INSIDE + b"\n\n"))
    won = await world.walk("a", "b")
    answer = won.sent.answer
    assert (answer.status, answer.held, answer.complete, answer.watch) == (503, [INSIDE], True, None)
    assert line(won, b"content-type") == [b"application/json"] and line(won, b"x-should-retry") == [b"false"]
    assert line(won, b"content-length") == [b"%d" % len(INSIDE)] and answer.content_length == len(INSIDE)
    assert world.calls[-1].line.aborted
    world.settled(won)


@pytest.mark.parametrize("way", [says(200, b""), says(200, b"<html></html>", (b"Content-Type", b"text/html"))])
async def test_a_success_that_says_nothing_is_no_answer(way: Way) -> None:
    """An error of our own stands for it, final once a second target has failed."""
    world = World("a", "b")
    world.script("a", way)
    with pytest.raises(UselessAnswer) as alone:
        await world.walk("a")
    assert alone.value.status == 502 and alone.value.headers() == () and "'a'" in str(alone.value)
    world.script("b", way)
    with pytest.raises(UselessAnswer) as both:
        await world.walk("a", "b")
    assert both.value.headers() == (FALSE,)
    world.settled()


# No answer at all.


async def test_the_last_fault_is_raised() -> None:
    """With its provider; final only when another one had failed before."""
    world = World("a", "b")
    world.script("a", fails())
    world.script("b", fails(lambda: ConnectFailed("dns", "no such name")))
    with pytest.raises(UpstreamFault) as alone:
        await world.walk("a")
    assert alone.value.headers() == () and "'a'" in str(alone.value)
    with pytest.raises(UpstreamFault) as both:
        await world.walk("a", "b")
    assert both.value.headers() == (FALSE,) and "'b'" in str(both.value) and "no such name" in str(both.value)
    world.settled()


# Every target out.


async def refusal(world: World, *labels: str) -> FuseboxError:
    """The error of a walk on which nobody is asked."""
    asked = len(world.calls)
    with pytest.raises(FuseboxError) as refused:
        await world.walk(*labels)
    assert len(world.calls) == asked
    world.settled()
    return refused.value


async def test_all_out_says_why_and_when() -> None:
    """Each target once, with its reason; Retry-After is the earliest of them."""
    world = World("a", "b", "c", "d", c={"max_concurrency": 1}, d={"keys": own_keys("other")})
    world.cool("a", Reason.AUTH)
    world.guards["b"].breaker(None).force_open(20.0)
    world.guards["c"].places.take()
    with pytest.raises(AllOut) as out:
        await world.walk("a", "b", "c", "d")
    error = out.value
    assert world.asked == [] and error.status == 503
    assert str(error) == (
        "no target of route 'r' can be asked now: a/m: cooling (auth), 60 s left; b/m: breaker forced open; "
        "c/m: full: 1 under way; d/m: no key"
    )
    assert error.headers() == ((b"Retry-After", b"1"),)


@pytest.mark.parametrize(
    ("held_s", "lines"),
    [
        (3.2, ((b"Retry-After", b"4"),)),
        (8.0, ((b"Retry-After", b"8"),)),
        (8.1, ((b"Retry-After", b"9"), FALSE)),
        (math.inf, (FALSE,)),
    ],
)
async def test_when_to_come_back(held_s: float, lines: tuple[tuple[bytes, bytes], ...]) -> None:
    """Past eight seconds the SDKs are told not to wait for it; nobody knows when a forced circuit is released."""
    world = World("a")
    world.guards["a"].breaker(None).force_open(held_s)
    assert (await refusal(world, "a")).headers() == lines


async def test_the_earliest_half_open_time_is_told() -> None:
    """Also to who comes while the early probe of this second is under way already."""
    world = World("a", "b", breaker={"open_for": 5.0})
    world.trip("a")
    world.clock.tick(1.0)
    world.trip("b")
    for label in ("a", "b"):
        world.script(label, says(503))
        world.settled(await world.walk(label))
    error = await refusal(world, "a", "b")
    assert error.headers() == ((b"Retry-After", b"4"),)
    assert str(error).count("a/m") == 1 and str(error).count("b/m") == 1


async def test_a_missing_key_speaks_for_itself() -> None:
    """With a single target that is the whole story, and more helpful than a 503 of the chain."""
    world = World("a", a={"keys": own_keys("other")})
    assert isinstance(await refusal(world, "a"), NoKey)
