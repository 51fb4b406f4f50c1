"""Hedging: a second attempt beside a slow first one; who answers first wins, and the other is let go, unjudged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson

from proxy.attempt.send import Request
from proxy.attempt.walk import Failure, Leave, Won
from proxy.config.schema import Hedge

Attempt = Callable[[Leave], Awaitable[Won | Failure]]


async def race(
    hedge: Hedge,
    leave: Leave,
    attempt: Attempt,
    rival: Callable[[Leave], Leave | None],
    failures: list[Failure],
) -> Won | Failure:
    """The first answer of two attempts, or the last failure of them; an earlier one goes to `failures`.

    `rival` gives leave for the second attempt once `hedge.after` has passed without an answer. Cancelling an attempt
    closes its connection and takes its permit back without a verdict, so neither outlives this.
    """
    running = {asyncio.ensure_future(attempt(leave))}
    try:
        done, _ = await asyncio.wait(running, timeout=hedge.after)
        if not done:
            second = rival(leave)
            if second is not None:
                running.add(asyncio.ensure_future(attempt(second)))
        while True:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            running -= done
            ended = [task.result() for task in done]
            won = next((one for one in ended if isinstance(one, Won)), None)
            if won is not None:
                _release_others(ended, won)
                return won
            lost = [one for one in ended if isinstance(one, Failure)]
            failures += lost if running else lost[:-1]
            if not running:
                return lost[-1]
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


def _release_others(ended: list[Won | Failure], won: Won) -> None:
    """Two answers in the same turn: one is enough."""
    for one in ended:
        if isinstance(one, Won) and one is not won:
            if not one.sent.answer.complete:
                one.sent.answer.source.abort()
            one.finish()


_RUN_BY_CLIENT = ("function", "custom")


def may_be_hedged(request: Request) -> bool:
    """Whether asking twice does no more than cost tokens: nothing is stored, and no tool runs at the provider."""
    if not request.body.replayable or request.method != "POST" or request.endpoint.stored:
        return False
    try:
        asked = orjson.loads(request.body.held)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(asked, dict) or asked.get("store") or asked.get("background"):
        return False
    tools = asked.get("tools") or []
    # Anthropic's own tools have a dated type; a client's have none, or one of these.
    return isinstance(tools, list) and all(
        isinstance(tool, dict) and tool.get("type", "function") in _RUN_BY_CLIENT for tool in tools
    )
