"""What the tests of faults share: faults whose clock, chance, log and permission are the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from proxy.attempt.faults import Faults
from proxy.attempt.play import played
from proxy.attempt.send import Request, Sent
from proxy.config.schema import Timeouts
from proxy.exchange import Target
from proxy.observe.logs import Logger
from tests.attempt.books import Log
from tests.attempt.fakes import FakeClock
from tests.attempt.sending import Here
from tests.scripted import within
from tests.upstream.support import TIMEOUTS


class Later:
    """Timers that ring when the test says so."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._calls: dict[int, tuple[float, Callable[[], None]]] = {}

    def __call__(self, delay_s: float, call: Callable[[], None]) -> Ring:
        number = len(self._calls)
        self._calls[number] = self._clock() + delay_s, call
        return Ring(self._calls, number)

    def tick(self, seconds: float) -> None:
        """Time passes, and what is due happens."""
        self._clock.tick(seconds)
        for number, (at_s, call) in list(self._calls.items()):
            if at_s <= self._clock():
                self._calls.pop(number, None)
                call()


class Ring:
    """One of them."""

    def __init__(self, calls: dict[int, tuple[float, Callable[[], None]]], number: int) -> None:
        self._calls, self._number = calls, number

    def cancel(self) -> None:
        self._calls.pop(self._number, None)


class Stage:
    """Faults with a clock, a chance, a log and a permission that belong to the test."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.later = Later(self.clock)
        self.chance = 0.5
        self.allowed = True
        self.log = Log()
        self.faults = Faults(lambda: self.allowed, self.clock, self.later, lambda: self.chance, cast(Logger, self.log))

    @property
    def events(self) -> list[tuple[str, Any]]:
        """What was logged: what it was, and why it ended."""
        return [(event, facts.get("why")) for _, event, facts in self.log.lines]

    async def attempt(
        self,
        here: Here,
        request: Request,
        timeouts: Timeouts = TIMEOUTS,
        send: Callable[..., Any] | None = None,
    ) -> Sent:
        """One attempt under the faults; nobody is asked unless `send` is given."""

        async def nobody(*_: object) -> Sent:
            raise AssertionError("the provider was asked")

        total_at_s = asyncio.get_running_loop().time() + timeouts.total
        key = next(iter(here.provider.ring.turn()), None) if here.provider.ring is not None else None
        attempt = played(self.faults, send or nobody)
        return await within(attempt(here.provider, Target("here", "m"), request, timeouts, total_at_s, key))
