"""From an answer on its way to an outcome: as few of its bytes as it takes, within bounds of size and time."""

from __future__ import annotations

import asyncio

from proxy.attempt.classify import Seen, classify, undecided
from proxy.attempt.outcomes import OK, Class, Outcome
from proxy.errors import BadAnswer, UpstreamFault, UselessAnswer
from proxy.upstream.answer import Answer

ERROR_BODY_S = 5.0
"""How long the rest of an error's body is waited for: it says whose fault the error is."""

WHOLE_MAX = 32 * 1024 * 1024
"""Bytes of a stream that ``deliver: whole`` holds back; a longer one is delivered as it comes from there on."""


async def judge(answer: Answer, *, own_key: bool, probe: bool, body_counts: bool, wait_s: float) -> Outcome:
    """The outcome of an answer that is held back. Raises the fault that ends it meanwhile.

    `wait_s`: the longest wait for more of a success that has not said anything yet. `own_key`, `probe`,
    `body_counts`: as in `Seen`.
    """
    if answer.status < 400 and not body_counts:
        return OK
    seen = _seen(answer, own_key, probe, body_counts)
    if undecided(seen):
        try:
            async with asyncio.timeout(wait_s if answer.status < 400 else min(wait_s, ERROR_BODY_S)):
                while undecided(seen):
                    await answer.more()
                    seen = _seen(answer, own_key, probe, body_counts)
        except TimeoutError:
            pass  # judged by what is there
    return classify(seen)


def _seen(answer: Answer, own_key: bool, probe: bool, body_counts: bool) -> Seen:
    return Seen(
        status=answer.status,
        lines=answer.lines,
        body=b"".join(answer.held),
        complete=answer.complete,
        event_stream=answer.watch is not None,
        own_key=own_key,
        probe=probe,
        body_counts=body_counts,
    )


async def hold_whole(answer: Answer) -> None:
    """Wait until a stream is complete, or longer than is held. Raises the fault that cuts it."""
    while not answer.complete and answer.held_bytes < WHOLE_MAX:
        await answer.more()


def useless(outcome: Outcome, status: int) -> UpstreamFault | None:
    """The error that takes the place of an answer which says nothing; None when the answer says something itself."""
    if outcome.category is not Class.TRANSPORT:
        return None
    if outcome.reason not in _USELESS:
        return BadAnswer(f"it answered {status}, which is no status of HTTP")
    return UselessAnswer(f"it answered {status}, but with {_USELESS[outcome.reason]}")


_USELESS = {
    "empty answer": "an empty body",
    "HTML instead of an answer": "a page of HTML",
}
