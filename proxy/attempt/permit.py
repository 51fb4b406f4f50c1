"""Leave to make one attempt, and the one verdict that must come back.

permit = breaker.acquire()
try:
    ...                       # the attempt, which ends in permit.success() or permit.failure(reason)
finally:
    permit.ignore()           # does nothing after a verdict; what ended otherwise says nothing of the provider
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class Failed(Exception):
    """A provider's failure: a `reason` in a word or two, and its own Retry-After in `floor_s`, if it gave one.

    An exception because pybreaker hands one from method to method; it is never raised.
    """

    def __init__(self, reason: str, floor_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.floor_s = floor_s


class Judge(Protocol):
    """The state of a circuit that gave a permit. What it hears once another state stands, it drops."""

    @property
    def kind(self) -> str:
        """closed, open or half-open."""

    def succeeded(self, permit: Permit, slow: bool) -> float | None:
        """When the success was counted, if it may be taken back by `broke`."""

    def failed(self, permit: Permit, failure: Failed) -> None:
        """Count a failure."""

    def ignored(self, permit: Permit) -> None:
        """Only take the permit back."""

    def broke(self, counted_at_s: float, slow: bool, failure: Failed) -> None:
        """Take a success back, and count a failure instead."""


class Permit(msgspec.Struct, eq=False):
    """Exactly one of `success`, `failure`, `ignore` must follow; what comes after the first does nothing.

    `judge`: who waits for the verdict; None once it is given, or when nothing is judged (disabled, or refused in shadow
    mode). The others are for `amend`: who counted this success, when, and whether as slow.
    """

    judge: Judge | None = None
    counted_by: Judge | None = None
    counted_at_s: float = 0.0
    slow: bool = False

    @property
    def is_probe(self) -> bool:
        """Whether a circuit that is not closed waits for the verdict."""
        return self.judge is not None and self.judge.kind != "closed"

    def success(self, slow: bool = False) -> None:
        """The provider answered; `slow`: its first event came later than the breaker's `slow_after_s`."""
        judge = self.judge
        if judge is None:
            return
        self.judge = None
        at_s = judge.succeeded(self, slow)
        if at_s is not None:
            self.counted_by = judge
            self.counted_at_s = at_s
            self.slow = slow

    def failure(self, reason: str, floor_s: float | None = None) -> None:
        """The provider failed. `floor_s`: not to be asked again before."""
        judge, self.judge = self.judge, None
        if judge is not None:
            judge.failed(self, Failed(reason, floor_s))

    def ignore(self) -> None:
        """What happened says nothing about the provider: the client left, a rate limit, a fault of our own."""
        judge, self.judge = self.judge, None
        if judge is not None:
            judge.ignored(self)

    def amend(self, reason: str, floor_s: float | None = None) -> None:
        """A stream that was a success at its first event broke later: take the success back and count a failure.

        Does nothing unless the closed state that counted it still stands, and nothing the second time.
        """
        judge, self.counted_by = self.counted_by, None
        if judge is not None:
            judge.broke(self.counted_at_s, self.slow, Failed(reason, floor_s))


class Leases:
    """The permits of a half-open circuit's probes, lent for `lease_s` each.

    A permit whose lease is over is taken for lost, and makes room. Should its verdict come all the same, it counts:
    where every probe takes longer than the lease, the circuit would otherwise never close.
    """

    def __init__(self, clock: Callable[[], float], lease_s: float) -> None:
        self._clock = clock
        self._lease_s = lease_s
        self._ends_s: dict[Permit, float] = {}

    def __len__(self) -> int:
        """How many are out."""
        now_s = self._clock()
        for permit in [permit for permit, ends_s in self._ends_s.items() if ends_s <= now_s]:
            del self._ends_s[permit]
        return len(self._ends_s)

    def lend(self, permit: Permit) -> None:
        """`permit` goes out."""
        self._ends_s[permit] = self._clock() + self._lease_s

    def take_back(self, permit: Permit) -> None:
        """`permit` has come back; nothing happens when it had been given up."""
        self._ends_s.pop(permit, None)
