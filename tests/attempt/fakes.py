"""A clock that only moves when told to, chance that is chosen, and a breaker with both."""

from __future__ import annotations

from typing import Any

from proxy.attempt.breaker import Breaker
from proxy.attempt.circuit import Counts, State, Why
from proxy.config.schema import Breaker as Settings
from proxy.config.schema import Seconds

MIDDLE = 0.5
"""The chance at which jitter is zero."""


class FakeClock:
    """Seconds; `tick` moves it on."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def tick(self, seconds: float) -> None:
        assert seconds >= 0
        self.now_s += seconds


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.changes: list[tuple[State, State, Why]] = []
        self.counts: list[Counts] = []
        self.open_for_s: list[float | None] = []

    def on_change(self, name: str, old: State, new: State, why: Why, counts: Counts, open_for_s: float | None) -> None:
        assert name == "acme"
        self.changes.append((old, new, why))
        self.counts.append(counts)
        self.open_for_s.append(open_for_s)

    def whys(self) -> list[Why]:
        """Only the reasons."""
        return [why for _, _, why in self.changes]


class Bench:
    """A breaker on the bench: `clock`, `chance` and `heard` belong to it. `settings` as in the configuration file."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.chance = MIDDLE
        self.heard = Heard()
        for name in ("window", "open_for", "slow_first_event"):
            if name in settings:
                settings[name] = Seconds(settings[name])
        self.breaker = Breaker(
            "acme", Settings(**settings), clock=self.clock, rng=lambda: self.chance, listeners=[self.heard]
        )

    @property
    def state(self) -> str:
        """As people see it. A plain `str`: else mypy takes a state for settled once it was asserted."""
        return self.breaker.snapshot().state

    def succeed(self, times: int = 1, *, slow: bool = False) -> None:
        for _ in range(times):
            self.breaker.acquire().success(slow)

    def fail(self, times: int = 1, floor_s: float | None = None) -> None:
        for _ in range(times):
            self.breaker.acquire().failure("http_500", floor_s)

    def trip(self) -> None:
        """Open a closed circuit."""
        assert self.state == "closed"
        for _ in range(10):
            if self.state == "closed":
                self.fail()
        assert self.state == "open"

    def half_open(self) -> None:
        """From closed to half-open with no probe under way."""
        self.trip()
        self.clock.tick(self.breaker.peek())
        self.breaker.acquire().ignore()
        assert self.heard.changes[-1] == ("open", "half-open", "time_passed")
