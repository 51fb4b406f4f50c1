"""Hedging: when a second attempt goes out, who wins, and that nothing of the other is left."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from proxy.attempt.chain import Walk
from proxy.attempt.hedge import may_be_hedged
from proxy.attempt.send import Request, Sent
from proxy.attempt.walk import Leave, Won
from proxy.exchange import Carrier, Endpoint, Format
from proxy.wire.body import RequestBody
from tests.attempt.sending import pieces, post
from tests.attempt.walking import Asked, Gate, Way, World, fails, hedge, says, streams
from tests.scripted import turns, within

FILTERED = b'{"error": {"code": "content_filter", "message": "x"}}'


async def race(world: World, *labels: str, **options: Any) -> Won:
    """A walk with hedges, in real time."""
    return await within(world.ready(*labels, **({"hedge": hedge()} | options)).answer())


def held(world: World, *labels: str) -> list[Gate]:
    """Have these be slow: each has a gate before its answer."""
    gates = [Gate() for _ in labels]
    for label, gate in zip(labels, gates, strict=True):
        world.script(label, gate.then(streams()))
    return gates


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[Leave | None]:
    """What was decided on a rival, each time that `after` had passed."""
    told: asyncio.Queue[Leave | None] = asyncio.Queue()
    decide = Walk._rival

    def rival(walk: Walk, leave: Leave) -> Leave | None:
        found = decide(walk, leave)
        told.put_nowait(found)
        return found

    monkeypatch.setattr(Walk, "_rival", rival)
    return told


def start(walk: Walk) -> asyncio.Task[Won]:
    return asyncio.ensure_future(walk.answer())


# When.


async def test_without_hedge_nothing_goes_out_beside() -> None:
    """Off unless the route says so."""
    world = World("a", "b")
    (gate,) = held(world, "a")
    task = start(world.ready("a", "b"))
    await within(gate.reached.wait())
    await turns(20)
    assert world.asked == ["a"]
    gate.opened.set()
    world.settled(await within(task))


async def test_an_answer_in_time_needs_no_rival() -> None:
    """`after` has not passed."""
    world = World("a", "b")
    (gate,) = held(world, "a")
    task = start(world.ready("a", "b", hedge=hedge(600.0)))
    await within(gate.reached.wait())
    await turns()
    gate.opened.set()
    won = await within(task)
    assert world.asked == ["a"] and won.leave.provider.name == "a"
    world.settled(won)


async def test_a_slow_first_target_gets_a_rival_which_wins() -> None:
    """The loser is closed at once and not judged; its place is free."""
    world = World("a", "b")
    held(world, "a")
    won = await race(world, "a", "b")
    assert world.asked == ["a", "b"] and won.leave.provider.name == "b"
    assert world.calls[0].line.aborted and world.taken("a") == 0
    assert sorted(world.verdicts) == [("a", "ignore"), ("b", "success")]
    world.settled(won)


async def test_the_first_may_win_all_the_same() -> None:
    """Then the rival is the loser."""
    world = World("a", "b")
    first, second = held(world, "a", "b")
    task = start(world.ready("a", "b", hedge=hedge()))
    await within(second.reached.wait())
    first.opened.set()
    won = await within(task)
    assert won.leave.provider.name == "a" and world.calls[1].line.aborted
    assert sorted(world.verdicts) == [("a", "success"), ("b", "ignore")]
    world.settled(won)


async def test_two_answers_in_the_same_turn_are_one() -> None:
    """The other one's connection is closed, and its place free."""
    world = World("a", "b")
    gates = held(world, "a", "b")
    task = start(world.ready("a", "b", hedge=hedge()))
    await within(gates[1].reached.wait())
    for gate in gates:
        gate.opened.set()
    won = await within(task)
    assert sum(call.line.aborted for call in world.calls) == 1
    world.settled(won)


# The budget.


async def test_requests_buy_hedges_and_nothing_is_free(decided: asyncio.Queue[Leave | None]) -> None:
    """A share of a quarter: every fourth request may have one."""
    world = World("a", "b")
    rivals = []
    for _ in range(8):
        (gate,) = held(world, "a")
        task = start(world.ready("a", "b", hedge=hedge(extra_load=0.25)))
        rivals.append(await within(decided.get()))
        gate.opened.set()
        (await within(task)).drop()
    assert [rival is not None for rival in rivals] == [False, False, False, True] * 2
    world.settled()


# At whom.


async def test_only_a_healthy_target_is_asked_beside() -> None:
    """Not one that is open, half-open, cooling or full; the next one is."""
    world = World("a", "b", "c", "d", "e", d={"max_concurrency": 1})
    held(world, "a")
    world.trip("c")
    world.clock.tick(5.0)  # its next request would be a probe
    world.trip("b")
    world.guards["d"].places.take()
    won = await race(world, "a", "b", "c", "d", "e")
    assert world.asked == ["a", "e"] and world.taken("d") == 1
    world.guards["d"].places.leave()
    assert world.state("c") == "half-open" and world.guards["c"].breaker(None).snapshot().probes_out == 0
    world.settled(won)


@pytest.mark.parametrize(("labels", "alone"), [(("a",), False), (("a", "b"), True)])
async def test_no_rival_where_only_one_target_may_answer(
    labels: tuple[str, ...], alone: bool, decided: asyncio.Queue[Leave | None]
) -> None:
    """A plan of one target, or a stored object."""
    world = World("a", "b")
    (gate,) = held(world, "a")
    task = start(world.ready(*labels, hedge=hedge(), alone=alone))
    assert await within(decided.get()) is None
    gate.opened.set()
    won = await within(task)
    assert world.asked == ["a"]
    world.settled(won)


# What fails.


async def test_a_failed_first_falls_through_to_its_rival() -> None:
    """What it had sent is dropped; the failure is told."""
    world = World("a", "b", "c")
    gate, rival = Gate(), Gate()
    world.script("a", gate.then(says(503)))
    world.script("b", rival.then(says()))
    walk = world.ready("a", "b", "c", hedge=hedge())
    task = start(walk)
    await within(rival.reached.wait())
    gate.opened.set()
    await turns()
    rival.opened.set()
    won = await within(task)
    assert world.asked == ["a", "b"] and won.leave.provider.name == "b"
    assert [one.target for one in walk.tried] == ["a/m", "b/m"] and walk.attempts == 2
    world.settled(won)


async def test_when_both_fail_the_chain_goes_on_behind_them() -> None:
    """The rival is not asked a second time."""
    world = World("a", "b", "c")
    gate = Gate()
    world.script("a", gate.then(says(503)))
    world.script("b", _opens(gate, says(502)))
    won = await race(world, "a", "b", "c")
    assert world.asked == ["a", "b", "c"] and won.leave.provider.name == "c"
    world.settled(won)


async def test_when_all_fail_one_answer_goes_out_and_the_others_are_closed() -> None:
    """The last one's."""
    world = World("a", "b")
    gate = Gate()
    world.script("a", gate.then(says(503, b"{}" * 40_000, complete=False)))
    world.script("b", _opens(gate, says(502, b"{}" * 40_000, complete=False)))
    won = await race(world, "a", "b")
    assert not won.holds and world.asked == ["a", "b"] and won.sent.answer.status in (502, 503)
    world.settled(won)


@pytest.mark.parametrize(("way", "status"), [(says(400, FILTERED), 400), (says(422), 422)])
async def test_a_rival_does_not_get_past_an_answer(way: Way, status: int) -> None:
    """A content filter's word, or a client's mistake, is the answer, whoever else is being asked."""
    world = World("a", "b")
    gate, rival = Gate(), Gate()
    world.script("a", gate.then(way))
    world.script("b", rival.then(says()))
    task = start(world.ready("a", "b", hedge=hedge()))
    await within(rival.reached.wait())
    gate.opened.set()
    won = await within(task)
    assert won.sent.answer.status == status and world.calls[1].line.aborted
    assert sorted(world.verdicts) == [("a", "success"), ("b", "ignore")]
    world.settled(won)


async def test_a_failure_of_the_first_before_its_time_has_no_rival(decided: asyncio.Queue[Leave | None]) -> None:
    """The next target follows as ever, without a hedge of its own."""
    world = World("a", "b", "c")
    world.script("a", says(503))
    won = await race(world, "a", "b", "c", hedge=hedge(600.0))
    assert world.asked == ["a", "b"] and decided.empty()
    world.settled(won)


@pytest.mark.parametrize("first_fails", [True, False])
async def test_a_bug_in_one_attempt_leaves_nothing_of_the_other(first_fails: bool) -> None:
    """Not even when that has its answer in the same turn."""
    world = World("a", "b")
    gates = [Gate(), Gate()]
    bug, good = fails(ZeroDivisionError), streams()
    world.script("a", gates[0].then(bug if first_fails else good))
    world.script("b", gates[1].then(good if first_fails else bug))
    task = start(world.ready("a", "b", hedge=hedge()))
    await within(gates[1].reached.wait())
    for gate in gates:
        gate.opened.set()
    with pytest.raises(ZeroDivisionError):
        await within(task)
    world.settled()


# The client leaves.


@pytest.mark.parametrize("moment", ["before", "beside", "answered", "deciding"])
async def test_a_client_that_leaves_closes_both(moment: str) -> None:
    """Before the rival, beside it, and in the very turns in which an answer comes and the loser is closed."""
    world = World("a", "b")
    first, second = held(world, "a", "b")
    task = start(world.ready("a", "b", hedge=hedge(600.0 if moment == "before" else 0.001)))
    await within((first if moment == "before" else second).reached.wait())
    if moment in ("answered", "deciding"):
        first.opened.set()
        for _ in range(2 if moment == "answered" else 3):
            await asyncio.sleep(0)
    if task.done():
        task.result().drop()
    else:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(task)
    await turns()
    assert all(call.line.aborted for call in world.calls)
    assert len(world.calls) == (1 if moment == "before" else 2)
    world.settled()


@pytest.mark.parametrize("after_turns", range(8))
async def test_leaving_in_any_turn_of_the_end_leaves_nothing(after_turns: int) -> None:
    """Both have answered or are about to; the client goes so many turns later."""
    world = World("a", "b")
    first, second = held(world, "a", "b")
    world.script("b", _lingers(second.then(streams())))
    task = start(world.ready("a", "b", hedge=hedge()))
    await within(second.reached.wait())
    first.opened.set()
    for _ in range(after_turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        (await within(task)).drop()
    except asyncio.CancelledError:
        pass
    await turns(10)
    assert all(call.line.aborted for call in world.calls)
    world.settled()


def _opens(gate: Gate, following: Way) -> Way:
    """Answer in the turn in which the gate opens for another one."""

    async def way(asked: Asked) -> Sent:
        gate.opened.set()
        return await following(asked)

    return way


def _lingers(following: Way) -> Way:
    """Take some turns to end once cancelled, as an upload does."""

    async def way(asked: Asked) -> Sent:
        try:
            return await following(asked)
        except asyncio.CancelledError:
            for _ in range(3):
                await asyncio.sleep(0)
            raise

    return way


# What may be asked twice.


def asks(value: Any, **options: Any) -> Request:
    """A request with this JSON body."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return post(RequestBody(body, carrier=Carrier.JSON, model="m", length=len(body)), **options)


RESPONSES = Endpoint("responses", Format.OPENAI, Carrier.JSON)
FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("request_", "may"),
    [
        (asks({"model": "m"}), True),
        (asks({"model": "m", "tools": [FUNCTION, {"type": "custom"}, {"name": "anthropic's"}]}), True),
        (asks({"model": "m", "tools": None, "store": False, "background": False}), True),
        (asks({"model": "m", "store": True}), False),
        (asks({"model": "m", "background": True}), False),
        (asks({"model": "m", "tools": [FUNCTION, {"type": "web_search"}]}), False),
        (asks({"model": "m", "tools": [{"type": "web_search_20250305", "name": "x"}]}), False),
        (asks({"model": "m", "tools": {"type": "function"}}), False),
        (asks({"model": "m", "tools": ["x"]}), False),
        (asks({"model": "m", "web_search_options": {"search_context_size": "low"}}), False),
        (asks({"model": "m", "mcp_servers": [{"url": "https://x.test"}]}), False),
        (asks({"model": "m"}, endpoint=RESPONSES), False),
        (asks({"model": "m", "store": False}, endpoint=RESPONSES), True),
        (asks({"model": "m"}, endpoint=Endpoint("videos", Format.OPENAI, Carrier.JSON)), False),
        (asks({"model": "m"}, endpoint=Endpoint("files", Format.OPENAI, Carrier.JSON, stored=True)), False),
        (asks({"model": "m"}, method="DELETE"), False),
        (asks({"model": "m"}, passthrough=True), False),
        (asks(["m"]), False),
        (asks(b"--boundary"), False),
        (post(RequestBody(b"{}", rest=pieces(), length=2)), False),
    ],
)
def test_what_may_be_asked_twice(request_: Request, may: bool) -> None:
    """What does no more than cost tokens: nothing stored, no job begun, no tool run at the provider."""
    assert may_be_hedged(request_) is may


async def test_what_may_not_is_not(decided: asyncio.Queue[Leave | None]) -> None:
    """However slow."""
    world = World("a", "b")
    (gate,) = held(world, "a")
    task = start(world.ready("a", "b", hedge=hedge(), request=asks({"model": "m", "store": True})))
    assert await within(decided.get()) is None
    gate.opened.set()
    won = await within(task)
    assert world.asked == ["a"]
    world.settled(won)
