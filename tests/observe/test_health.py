"""Health: how many requests are under way, and waiting until none is."""

from __future__ import annotations

import asyncio

from proxy.observe.health import Health

SAFETY_S = 30.0


async def test_idle_waits_for_the_last_request() -> None:
    """Not for the first to end, nor for those that begin and end meanwhile."""
    health = Health()
    await asyncio.wait_for(health.idle(), SAFETY_S)
    health.enter()
    health.enter()
    waiting = asyncio.create_task(health.idle())
    health.leave()
    await asyncio.wait({waiting}, timeout=0)
    assert health.active == 1 and not waiting.done()
    health.enter()
    health.leave()
    await asyncio.wait({waiting}, timeout=0)
    assert not waiting.done()
    health.leave()
    await asyncio.wait_for(waiting, SAFETY_S)
    assert health.active == 0
    health.enter()
    again = asyncio.create_task(health.idle())
    await asyncio.wait({again}, timeout=0)
    assert not again.done()
    health.leave()
    await asyncio.wait_for(again, SAFETY_S)


def test_a_new_process_is_not_ready() -> None:
    """Readiness is a fact that somebody sets."""
    health = Health()
    assert (health.ready, health.draining, health.active) == (False, False, 0)
