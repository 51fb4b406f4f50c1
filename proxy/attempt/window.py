"""How a provider's last requests went: counts over two sliding windows.

Time is cut into slots, and a ring of slots is a window: a verdict is counted in the slot of its moment, and a slot that
has grown too old is left out of the sums until its place is used again. A success is counted for nearly every request,
so the slots of this moment are kept at hand until the first of them ends; sums are made only when there is a failure or
a slow answer to judge. Nothing here reads a clock: the time is an argument, in seconds of a clock that starts at zero
or later and never runs backwards.
"""

from __future__ import annotations

from proxy.attempt.circuit import RECENT_S, RECENT_SLOTS, WINDOW_SLOTS, Counts


class Slot:
    """The verdicts of one stretch of time; `number` counts the stretches since the clock's zero."""

    __slots__ = ("number", "ok", "failed", "slow")

    def __init__(self, number: int = -1) -> None:
        self.begin(number)

    def begin(self, number: int) -> None:
        """Empty, and standing for another stretch."""
        self.number = number
        self.ok = self.failed = self.slow = 0


class Ring:
    """The slots of one window of `span_s` seconds, of which it covers the last 1 - 1/`slots` at least."""

    __slots__ = ("width_s", "_slots")

    def __init__(self, span_s: float, slots: int) -> None:
        self.width_s = span_s / slots
        self._slots = [Slot() for _ in range(slots)]

    def slot(self, now_s: float) -> Slot:
        """The slot that `now_s` belongs to, emptied if it last stood for an older stretch."""
        number = int(now_s / self.width_s)
        slot = self._slots[number % len(self._slots)]
        if slot.number != number:
            slot.begin(number)
        return slot

    def live(self, now_s: float) -> list[Slot]:
        """The slots that are young enough to count."""
        too_old = int(now_s / self.width_s) - len(self._slots)
        return [slot for slot in self._slots if slot.number > too_old]

    def at(self, then_s: float, now_s: float) -> Slot | None:
        """The slot in which `then_s` was counted; None when it has grown too old."""
        number = int(then_s / self.width_s)
        return next((slot for slot in self.live(now_s) if slot.number == number), None)

    def clear(self) -> None:
        """Forget everything."""
        for slot in self._slots:
            slot.begin(-1)


class Window:
    """Successes and failures of the last `span_s` seconds and of the last RECENT_S, and the streak of failures."""

    __slots__ = ("at_s", "_long", "_long_now", "_next_s", "_recent", "_recent_now", "_streak")

    def __init__(self, span_s: float, now_s: float) -> None:
        self._long = Ring(span_s, WINDOW_SLOTS)
        self._recent = Ring(RECENT_S, RECENT_SLOTS)
        self.clear(now_s)

    def clear(self, now_s: float) -> None:
        """Forget everything."""
        self._long.clear()
        self._recent.clear()
        self._streak = 0
        self._turn(now_s)

    def add_success(self, now_s: float) -> None:
        """Count one success. `at_s` says when, for `take_back`."""
        if now_s >= self._next_s:
            self._turn(now_s)
        self._long_now.ok += 1
        self._recent_now.ok += 1
        self._streak = 0
        self.at_s = now_s

    def add_slow(self, now_s: float) -> None:
        """Call the success that was counted at `now_s` slow."""
        self._long.slot(now_s).slow += 1

    def add_failure(self, now_s: float) -> None:
        """Count one failure."""
        if now_s >= self._next_s:
            self._turn(now_s)
        self._long_now.failed += 1
        self._recent_now.failed += 1
        self._streak += 1

    def take_back(self, then_s: float, now_s: float, *, slow: bool) -> None:
        """Uncount the success of `then_s`, in each window where it still counts."""
        counted = self._long.at(then_s, now_s)
        if counted is not None:
            counted.ok -= 1
            counted.slow -= slow
        counted = self._recent.at(then_s, now_s)
        if counted is not None:
            counted.ok -= 1

    def counts(self, now_s: float) -> Counts:
        """What both windows hold at `now_s`."""
        ok = failed = slow = recent_ok = recent_failed = 0
        for slot in self._long.live(now_s):
            ok += slot.ok
            failed += slot.failed
            slow += slot.slow
        for slot in self._recent.live(now_s):
            recent_ok += slot.ok
            recent_failed += slot.failed
        return Counts(ok, failed, slow, recent_ok, recent_failed, self._streak)

    def _turn(self, now_s: float) -> None:
        """Take the slots of `now_s` at hand, until the first of them ends."""
        self._long_now = self._long.slot(now_s)
        self._recent_now = self._recent.slot(now_s)
        self._next_s = min(
            (self._long_now.number + 1) * self._long.width_s, (self._recent_now.number + 1) * self._recent.width_s
        )
        self.at_s = now_s
