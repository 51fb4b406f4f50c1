"""Every ending of a walk: the client leaves at any moment, and random plans with random outcomes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.attempt.send import Sent
from proxy.attempt.walk import Won
from proxy.errors import AllOut, AnswerCut, AnswerTimeout, BadRequest, ConnectionLost, ConnectTimeout, FuseboxError
from tests.attempt.walking import Asked, Way, World, fails, hedge, own_keys, retry, says, streams
from tests.scripted import turns

TURNS = 60
"""More turns of the event loop than any of these walks takes."""


def slowly(following: Way, count: int = 3) -> Way:
    """Take some turns, before the answer and in closing."""

    async def way(asked: Asked) -> Sent:
        try:
            for _ in range(count):
                await asyncio.sleep(0)
            return await following(asked)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            raise

    return way


def cut_later() -> Way:
    """A stream that breaks while it is held back, with its request still being sent."""

    async def way(asked: Asked) -> Sent:
        sent = await streams()(asked)
        sent.upload = asyncio.ensure_future(_lingering())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0, sent.answer.on_fault, AnswerCut("x"))
        return sent

    return way


async def _lingering() -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        raise


BIG = b"{}" * 40_000
"""An error's body that is judged before it is complete."""


def scenario(name: str) -> tuple[World, dict[str, Any]]:
    """Providers and terms for one kind of walk, each with every await that it may come to."""
    world = World("a", "b", "c", a={"keys": own_keys("a", 2), "max_concurrency": 1})
    world.script("c", slowly(streams()))
    terms: dict[str, Any] = {}
    match name:
        case "plain":
            world.script("a", slowly(streams()))
        case "fallback, uploads under way":
            for label in ("a", "b"):
                world.script(label, slowly(says(503, BIG, complete=False, upload=True)))
        case "another key":
            world.script("a", slowly(says(401, BIG, complete=False, upload=True)))
        case "retry":
            world.script("a", slowly(says(500, BIG, complete=False, upload=True)))
            terms = {"retry": retry(2)}
        case "short wait":
            world.script("a", says(429, BIG, (b"retry-after-ms", b"1"), complete=False, upload=True))
        case "judging":
            world.script("a", says(503, b"{", complete=False))
        case "held whole":
            world.script("a", slowly(cut_later()))
            terms = {"whole": True}
        case "probe":
            world.trip("a")
            world.clock.tick(5.0)
            world.script("a", slowly(says(503, BIG, complete=False, upload=True)))
        case "hedge":
            world.script("a", slowly(says(503, BIG, complete=False, upload=True), 6))
            world.script("b", slowly(streams(), 6))
            terms = {"hedge": hedge(0.0)}
    return world, terms


SCENARIOS = (
    "plain",
    "fallback, uploads under way",
    "another key",
    "retry",
    "short wait",
    "judging",
    "held whole",
    "probe",
    "hedge",
)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_client_that_leaves_in_any_turn_leaves_nothing_behind(name: str) -> None:
    """One verdict for each permit, no place taken, no connection open, no task: at every await there is."""
    cut = 0
    for after_turns in range(TURNS):
        world, terms = scenario(name)
        task = asyncio.ensure_future(world.ready("a", "b", "c", **terms).answer())
        await turns(after_turns)
        task.cancel()
        try:
            (await task).drop()
        except asyncio.CancelledError:
            cut += 1
        await turns(12)
        world.settled()
        assert "failure" not in {verdict for label, verdict in world.verdicts if label == "c"}
    assert cut > 2, "the walk was cut in its course"


async def test_leaving_while_asked_judges_nobody() -> None:
    """Neither does a probe that is left open or close anything."""
    for half_open in (False, True):
        world = World("a")
        if half_open:
            world.trip("a")
            world.clock.tick(5.0)
        world.script("a", slowly(streams(), 1000))
        task = asyncio.ensure_future(world.ready("a").answer())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.verdicts == [("a", "ignore")] and world.state("a") == ("half-open" if half_open else "closed")
        assert world.guards["a"].breaker(None).snapshot().probes_out == 0
        world.settled()


# Random walks.


@dataclass(frozen=True)
class Kind:
    """One way for an attempt to end, and what the walk may do then."""

    name: str
    way: Way
    good: bool = False
    ends: bool = False
    again: int = 0
    """How often the same target may be asked again after it."""


KINDS = (
    Kind("good", says(), good=True),
    Kind("stream", streams(), good=True),
    Kind("500", says(500, complete=True), again=1),
    Kind("503", says(503, BIG, complete=False, upload=True)),
    Kind("429 short", says(429, None, (b"Retry-After", b"1")), again=1),
    Kind("429 long", says(429, None, (b"Retry-After", b"50"))),
    Kind("401", says(401)),
    Kind("402", says(402)),
    Kind("404", says(404, b'{"error": {"code": "model_not_found"}}')),
    Kind("400", says(400), ends=True),
    Kind("filter", says(400, b'{"error": {"code": "content_filter"}}'), ends=True),
    Kind("empty", says(200, b"")),
    Kind("refused", fails()),
    Kind("connect timeout", fails(lambda: ConnectTimeout("x"))),
    Kind("lost", fails(lambda: ConnectionLost("x", reused=False))),
    Kind("head timeout", fails(lambda: AnswerTimeout("head", 30))),
    Kind("client's upload", fails(lambda: BadRequest("x")), ends=True),
    Kind("deadline", fails(lambda: AnswerTimeout("total", 600)), ends=True),
)


@settings(max_examples=150, deadline=None)
@given(
    plan=st.lists(st.tuples(st.integers(1, 2), st.lists(st.sampled_from(KINDS), min_size=3, max_size=3)), max_size=4),
    out=st.sets(st.integers(0, 3)),
    retries=st.integers(0, 2),
    alone=st.booleans(),
)
def test_any_walk_keeps_its_promises(
    plan: list[tuple[int, list[Kind]]], out: set[int], retries: int, alone: bool
) -> None:
    """Order, bounds, one verdict for each permit, and a success exactly when one was to be had.

    `plan`: for each target its keys, and how its attempts end one by one. `out`: targets that are forced open.
    """
    names = [f"p{number}" for number in range(len(plan))]
    options: dict[str, Any] = {
        name: {"keys": own_keys(name, keys)} for name, (keys, _) in zip(names, plan, strict=True)
    }
    world = World(*names, **options)
    done: list[tuple[str, Kind]] = []
    for number, (_, kinds) in enumerate(plan):
        world.script(names[number], *(_noting(done, names[number], kind) for kind in kinds))
        if number in out:
            world.guards[names[number]].breaker(None).force_open()

    won: Won | None = None
    error: FuseboxError | None = None
    with asyncio.Runner() as runner:
        try:
            won = runner.run(world.walk(*names, retry=retry(retries), alone=alone))
        except FuseboxError as raised:
            error = raised
        status = 0 if won is None else won.sent.answer.status
        is_good = won is not None and won.holds
        world.settled(won)

    asked = [label for label, _ in done]
    reachable = [name for number, name in enumerate(names[:1] if alone else names) if number not in out]
    # Order: targets one after the other, none before its turn, none that is out.
    assert list(dict.fromkeys(asked)) == reachable[: len(set(asked))] and asked == sorted(asked)
    # Bounds: a target once, once more with another key, and the request's retries.
    assert len(asked) <= 2 * len(reachable) + retries
    assert sum(asked.count(name) - 1 for name in set(asked)) <= retries + len(reachable)
    # Nothing follows on a success, or on an answer that is the client's.
    assert not any(kind.good or kind.ends for _, kind in done[:-1])
    last = done[-1][1] if done else None
    assert is_good is (last is not None and last.good)
    assert (status == 200) is is_good
    if last is None:
        assert isinstance(error, AllOut) and not reachable
    elif not last.good and not last.ends:
        assert set(asked) == set(reachable), "nobody was left unasked who could have answered"


def _noting(done: list[tuple[str, Kind]], label: str, kind: Kind) -> Way:
    async def way(asked: Asked) -> Sent:
        done.append((label, kind))
        return await kind.way(asked)

    return way
