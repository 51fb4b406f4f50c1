"""A deadline that moves."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from proxy.upstream.deadline import CLOCK_RESOLUTION_S, Deadline
from tests.upstream.support import HandLoop


class Watched:
    """A deadline on a clock moved by hand, and the times at which it passed."""

    def __init__(self) -> None:
        self.loop = HandLoop()
        self.passed: list[float] = []
        self.deadline = Deadline(
            cast(asyncio.AbstractEventLoop, self.loop), lambda: self.passed.append(self.loop.now - 1000)
        )


@pytest.fixture
def watched() -> Watched:
    """A deadline that has not been set."""
    return Watched()


def test_it_passes_once(watched: Watched) -> None:
    """At its time, and not again."""
    watched.deadline.move(1010)
    watched.loop.advance(100)
    assert watched.passed == [10]


def test_moved_away(watched: Watched) -> None:
    """It passes at the last time given, and the timer is not set anew with each move."""
    for at in range(1010, 1100):
        watched.deadline.move(at)
    assert len(watched.loop.timers) == 1
    watched.loop.advance(98)
    assert watched.passed == []
    watched.loop.advance(2)
    assert watched.passed == [99]
    assert len(watched.loop.timers) == 2


def test_moved_nearer(watched: Watched) -> None:
    """The sooner time counts, and the timer for the later one is gone."""
    watched.deadline.move(1100)
    watched.deadline.move(1010)
    assert len(watched.loop.pending) == 1
    watched.loop.advance(200)
    assert watched.passed == [10]


def test_stopped(watched: Watched) -> None:
    """It does not pass any more; it may be set again."""
    watched.deadline.move(1010)
    watched.deadline.stop()
    watched.deadline.stop()
    assert watched.loop.pending == []
    watched.loop.advance(50)
    assert watched.passed == []
    watched.deadline.move(1060)
    watched.loop.advance(50)
    assert watched.passed == [60]


def test_moved_when_it_passes(watched: Watched) -> None:
    """What it calls may set it again."""
    again = Deadline(cast(asyncio.AbstractEventLoop, watched.loop), lambda: watched.deadline.move(1020))
    again.move(1010)
    watched.loop.advance(100)
    assert watched.passed == [20]


def test_a_timer_that_fires_a_little_early(watched: Watched) -> None:
    """uvloop's clock counts milliseconds: within the last one the deadline has passed."""
    watched.deadline.move(1010)
    watched.loop.now = 1010 - CLOCK_RESOLUTION_S / 2
    [timer] = watched.loop.pending
    timer.call()
    assert len(watched.passed) == 1


def test_a_deadline_in_the_past(watched: Watched) -> None:
    """It passes at the next chance."""
    watched.deadline.move(900)
    watched.loop.advance(0)
    assert watched.passed == [0]
