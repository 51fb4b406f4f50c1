"""What one target may be burdened with: retries as a share of its requests, and requests under way at once.

Both answer at once. Nothing queues: who is refused goes to the next target, or ends.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.attempt.window import Ring

BUDGET_TTL_S = 10.0
"""How long a request pays for retries, and a retry weighs (Finagle's and Linkerd's): longer than a burst, shorter than
an outage."""

BUDGET_SLOTS = 10
"""Slots of that time: a second each."""

RETRIES_PER_S = 1.0
"""Retries a second that are always granted. Finagle's and Linkerd's 10 would be no limit for a sidecar, which often
sees one request a second; with none at all, a quiet service could never retry."""


class RetryBudget:
    """Each request pays in `share` of a token, each retry costs one; `floor_per_s` tokens a second come for free.

    Over any BUDGET_TTL_S it grants `share` times the requests of that time plus BUDGET_TTL_S times `floor_per_s`, and
    what was not used is not saved up. A `share` of 0 grants nothing. Hedges: a share of 0.02 and a floor of 0.
    """

    def __init__(self, share: float, *, clock: Callable[[], float], floor_per_s: float = RETRIES_PER_S) -> None:
        self._clock = clock
        self._share = share
        self._free = floor_per_s * BUDGET_TTL_S if share > 0 else 0.0
        # A ring's "ok" counts requests here, its "failed" retries: whole numbers, so nothing drifts.
        self._ring = Ring(BUDGET_TTL_S, BUDGET_SLOTS)
        self._slot = self._ring.slot(0.0)
        self._slot_from_s = self._slot_until_s = 0.0

    def pay_in(self, now_s: float | None = None) -> None:
        """A request is sent to this target (not a retry of one). `now_s`: of the clock, for who has asked it already."""
        if now_s is None:
            now_s = self._clock()
        if not self._slot_from_s <= now_s < self._slot_until_s:
            self._slot = self._ring.slot(now_s)
            self._slot_from_s = self._slot.number * self._ring.width_s
            self._slot_until_s = self._slot_from_s + self._ring.width_s
        self._slot.ok += 1

    def spend(self) -> bool:
        """Whether one retry may be sent now; if so it is counted."""
        now_s = self._clock()
        if self._balance(now_s) < 1.0:
            return False
        self._ring.slot(now_s).failed += 1
        return True

    def balance(self) -> float:
        """Tokens left; below 1 no retry is granted."""
        return self._balance(self._clock())

    def _balance(self, now_s: float) -> float:
        live = self._ring.live(now_s)
        requests, retries = sum(slot.ok for slot in live), sum(slot.failed for slot in live)
        # Rounded because 5 * 0.2 must buy one retry whatever a share's last binary digit is.
        return round(self._free + self._share * requests - retries, 9)


class Places:
    """The requests that may be under way at one target at once (`max_concurrency`); `limit` None: as many as come. `taken`: how
    many are.
    """

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.taken = 0

    def take(self) -> bool:
        """A place, if one is free; it must be given back by `leave`. False at once when all are taken."""
        if self.limit is not None and self.taken >= self.limit:
            return False
        self.taken += 1
        return True

    def leave(self) -> None:
        """Give a place back. Raises RuntimeError when none is taken: a place given back twice would lift the limit."""
        if self.taken == 0:
            raise RuntimeError("a place was given back that nobody had taken")
        self.taken -= 1
