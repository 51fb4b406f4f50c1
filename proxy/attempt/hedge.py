"""Hedging: a second attempt beside a slow first one; who answers first wins, and the other is let go, unjudged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import orjson

from proxy.attempt.send import Request
from proxy.attempt.walk import Failure, Leave, Won
from proxy.config.schema import Hedge

Attempt = Callable[[Leave], Coroutine[None, None, Won | Failure]]


async def race(
    hedge: Hedge,
    leave: Leave,
    attempt: Attempt,
    rival: Callable[[Leave], Leave | None],
    ends: Callable[[Failure], bool],
    failures: list[Failure],
) -> Won | Failure:
    """The first answer of two attempts, or the last failure of them; an earlier one goes to `failures`.

    `rival` gives leave for the second attempt once `hedge.after` has passed without an answer. `ends`: whether a failure
    is the answer, so that the other attempt must not get past it (a content filter's, say). Cancelling an attempt closes
    its connection and takes its permit back without a verdict, so neither outlives this.
    """
    running = {asyncio.create_task(attempt(leave))}
    result: Won | Failure | None = None
    try:
        # A task that is cancelled before its first step never runs, and could not give back what it was given.
        await asyncio.sleep(0)
        done, _ = await asyncio.wait(running, timeout=hedge.after)
        if not done:
            second = rival(leave)
            if second is not None:
                running.add(asyncio.create_task(attempt(second)))
                await asyncio.sleep(0)
        while result is None:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            ended = [task.result() for task in done]
            running -= done
            result = _result(ended, ends, last=not running)
            for one in ended:
                if one is result:
                    continue
                if isinstance(one, Failure):
                    failures.append(one)
                else:
                    one.drop()  # two answers in the same turn: one is enough
        return result
    finally:
        try:
            await _end(running)
        except BaseException:
            _let_go(result)
            raise


def _result(ended: list[Won | Failure], ends: Callable[[Failure], bool], *, last: bool) -> Won | Failure | None:
    """What decides the race, of those that have just ended; None: the other attempt goes on."""
    for one in ended:
        if isinstance(one, Won):
            return one
    for one in ended:
        if isinstance(one, Failure) and ends(one):
            return one
    return ended[-1] if last else None


async def _end(running: set[asyncio.Task[Won | Failure]]) -> None:
    """Cancel attempts and wait for their end; an answer that one of them has brought all the same is let go."""
    if not running:
        return
    for task in running:
        task.cancel()
    try:
        await asyncio.wait(running)
    finally:
        for task in running:
            if task.done() and not task.cancelled() and task.exception() is None:
                _let_go(task.result())


def _let_go(ended: Won | Failure | None) -> None:
    if isinstance(ended, Won):
        ended.drop()
    elif ended is not None and ended.sent is not None:
        ended.sent.answer.drop()


_DOES_MORE = ("store", "background", "web_search_options", "mcp_servers", "plugins")
"""What leaves something behind at the provider, or has it act (OpenAI, Anthropic, OpenRouter)."""

_RUN_BY_CLIENT = ("function", "custom")


def may_be_hedged(request: Request) -> bool:
    """Whether asking twice does no more than cost tokens: nothing is stored, and no tool runs at the provider."""
    if not request.body.replayable or request.method != "POST" or request.endpoint.stored or request.passthrough:
        return False
    if request.endpoint.name == "videos":
        return False  # it begins a job
    try:
        asked = orjson.loads(request.body.held)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(asked, dict) or any(asked.get(name) for name in _DOES_MORE):
        return False
    if request.endpoint.name == "responses" and asked.get("store") is not False:
        return False  # the Responses API stores unless told not to
    tools = asked.get("tools") or []
    # Anthropic's own tools have a dated type; a client's have none, or one of these.
    return isinstance(tools, list) and all(
        isinstance(tool, dict) and tool.get("type", "function") in _RUN_BY_CLIENT for tool in tools
    )
