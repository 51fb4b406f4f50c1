"""The last requests: kept within bounds, told to those who watch, and never waiting for one of them."""

from __future__ import annotations

import asyncio

import pytest

from proxy.observe.recent import KEPT, WAITING_MAX, WATCHED_MAX, Recent, TooMany
from proxy.observe.record import Record


def ended(recent: Recent, count: int = 1) -> None:
    """Requests that took a second each."""
    for _ in range(count):
        record = Record("POST", "/v1/x", started_at=10.0, request_id=f"n-{recent.seq + 1}")
        record.ended_at = 11.0
        recent.add(record, 1_700_000_000.25)


def test_the_last_ones_are_kept() -> None:
    """In order, with their number, the time of their end, and the fields of the log."""
    recent = Recent()
    ended(recent, KEPT + 5)
    lines = [one.line for one in recent.all()]
    assert [line["seq"] for line in lines] == list(range(6, KEPT + 6))
    assert lines[0]["time"] == "2023-11-14T22:13:20.250Z"
    assert (lines[0]["request_id"], lines[0]["total_ms"]) == ("n-6", 1000.0)


async def test_a_watcher_is_told_of_what_ends_from_then_on() -> None:
    """All that has ended since the last time, at once."""
    recent = Recent()
    ended(recent)
    watcher = recent.watch()
    ended(recent, 3)
    assert [one.seq for one in await watcher.next(10)] == [2, 3, 4]
    waiting = asyncio.ensure_future(watcher.next(10))
    await asyncio.sleep(0)
    ended(recent)
    assert [one.seq for one in await waiting] == [5]
    assert await watcher.next(0.001) == []


async def test_a_slow_watcher_loses_the_oldest() -> None:
    """And can tell how many; requests wait for nobody."""
    recent = Recent()
    watcher = recent.watch()
    ended(recent, WAITING_MAX + 7)
    told = await watcher.next(10)
    assert (watcher.dropped, told[0].seq, len(told)) == (7, 8, WAITING_MAX)


async def test_watchers_are_bounded_and_leave() -> None:
    """One that has left makes room, and is told no more."""
    recent = Recent()
    watchers = [recent.watch() for _ in range(WATCHED_MAX)]
    with pytest.raises(TooMany, match="close a page"):
        recent.watch()
    watchers[0].close()
    recent.watch()
    ended(recent)
    assert await watchers[0].next(0.001) == []


async def test_who_gives_up_waiting_loses_nothing() -> None:
    """A request that ends in the turn in which a watcher's time is over is told the next time."""
    recent = Recent()
    watcher = recent.watch()
    waiting = asyncio.ensure_future(watcher.next(10))
    await asyncio.sleep(0)
    ended(recent)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [one.seq for one in await watcher.next(0.001)] == [1]
