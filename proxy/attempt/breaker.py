"""A provider's circuit breaker: pybreaker's circuit and states, driven by permits. The only room that knows pybreaker.

pybreaker guards a call that it makes itself. Under asyncio it then counts a coroutine's creation as a success, lets any
number of probes through, and takes a client's hang-up for a failure or for a recovery; so none of its `call` methods is
used. `acquire()` asks the state that stands "may I?", and the permit takes one verdict back to that same state. A
verdict that comes when another state stands says nothing about the provider of now, and is dropped. docs/breaker.md
shows the states and all numbers.

Of pybreaker's private parts these are used: `_state`, `_create_new_state`, `_handle_success`, `_handle_error`. The
contract test (tests/attempt/test_breaker_contract.py) fails when they or their callers change.

One event loop per breaker; no await between `acquire()` and the try that owns the permit. Time and chance are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar, Literal, NoReturn

from pybreaker import (
    CircuitBreaker,
    CircuitBreakerError,
    CircuitBreakerState,
    CircuitBreakerStorage,
    CircuitClosedState,
    CircuitHalfOpenState,
    CircuitOpenState,
)

from proxy.attempt.circuit import (
    EARLY_EVERY_S,
    FLOOR_MAX_S,
    PROBE_LEASE_S,
    PROBE_WAIT_S,
    PROBES,
    STREAK,
    Counts,
    Listener,
    Mode,
    Rules,
    Snapshot,
    State,
    Why,
    open_time_s,
)
from proxy.attempt.permit import Failed, Leases, Permit
from proxy.attempt.window import Window
from proxy.config.schema import Breaker as Settings


class BreakerOpen(CircuitBreakerError):
    """The circuit refuses: `forced` open by hand, `open`, or `half-open` with all its probes under way.

    `retry_in_s`: when to ask again; infinite when it is held open until someone releases it.
    """

    def __init__(self, name: str, reason: Literal["forced", "open", "half-open"], retry_in_s: float) -> None:
        super().__init__(name, reason, retry_in_s)
        self.name = name
        self.reason = reason
        self.retry_in_s = retry_in_s

    def __str__(self) -> str:
        wait = "until it is released" if self.retry_in_s == math.inf else f"try again in {self.retry_in_s:.1f} s"
        return f"the breaker of {self.name} is {self.reason}: {wait}"


class _Storage(CircuitBreakerStorage):
    """pybreaker's storage contract; its failure counter is that of the window."""

    state = "closed"
    success_counter = 0
    opened_at: datetime | None = None  # of the wall clock, which may jump: `Breaker.open_until_s` is what counts

    def __init__(self, window: Window, clock: Callable[[], float]) -> None:
        super().__init__("window")
        self._window = window
        self._clock = clock

    @property
    def counter(self) -> int:
        return self._window.counts(self._clock()).failed

    def increment_counter(self) -> None:
        self._window.add_failure(self._clock())

    def reset_counter(self) -> None:
        """Nothing: pybreaker calls this on every success, and a window that one success wipes has no failure rate."""

    def increment_success_counter(self) -> None:
        self.success_counter += 1

    def reset_success_counter(self) -> None:
        self.success_counter = 0


class _Judge(CircuitBreakerState):
    """What the three states share: they hear a verdict only as long as they stand."""

    kind: ClassVar[State]
    _breaker: Breaker
    slow_next = False

    def succeeded(self, permit: Permit, slow: bool) -> float | None:
        if not self._returned(permit):
            return None
        self.slow_next = slow  # for on_success, which pybreaker calls without arguments
        self._handle_success()
        return self._breaker.window.at_s

    def failed(self, permit: Permit, failure: Failed) -> None:
        if self._returned(permit):
            self._handle_error(failure, reraise=False)

    def ignored(self, permit: Permit) -> None:
        self._returned(permit)

    def broke(self, counted_at_s: float, slow: bool, failure: Failed) -> None:
        """Nothing: only a closed circuit's window counts successes."""

    def _returned(self, permit: Permit) -> bool:
        """Take a permit back; whether this state still stands."""
        return self._breaker._state is self


class _Closed(_Judge, CircuitClosedState):
    """Everything passes; the window judges."""

    kind = "closed"

    def before_call(self, func: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

    def broke(self, counted_at_s: float, slow: bool, failure: Failed) -> None:
        breaker = self._breaker
        if breaker._state is self:
            breaker.window.take_back(counted_at_s, breaker.clock(), slow=slow)
            self._handle_error(failure, reraise=False)

    def on_success(self) -> None:
        breaker = self._breaker
        window = breaker.window
        window.add_success(breaker.clock())
        if self.slow_next:
            window.add_slow(window.at_s)
            why = window.counts(window.at_s).dragging(breaker.rules)
            if why is not None:
                breaker.open(why)

    def on_failure(self, exc: BaseException) -> None:
        breaker = self._breaker
        breaker.heed(exc)
        why = breaker.window.counts(breaker.clock()).failing(breaker.rules)
        if why is not None:
            breaker.open(why)


class _Open(_Judge, CircuitOpenState):
    """Nothing passes until the time is over. Verdicts that count are of permits taken early."""

    kind = "open"

    def before_call(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        breaker = self._breaker
        left_s = breaker.open_until_s - breaker.clock()
        if left_s > 0:
            raise BreakerOpen(breaker.label, "forced" if breaker.held else "open", left_s)
        breaker.half_open()
        breaker._state.before_call(func)

    def on_success(self) -> None:
        self._breaker.half_open("early_probe")
        self._breaker._state.on_success()

    def on_failure(self, exc: BaseException) -> None:
        """Nothing: the open time stays as long as it was."""


class _HalfOpen(_Judge, CircuitHalfOpenState):
    """Probes pass, PROBES at the most. `out`: the permits of those under way."""

    kind = "half-open"

    def __init__(self, cb: Breaker, prev_state: Any, notify: bool = False) -> None:
        self.out = Leases(cb.clock, PROBE_LEASE_S)
        self._slow = 0
        super().__init__(cb, prev_state, notify)

    def room(self) -> bool:
        """Whether another probe may go."""
        return self._breaker.success_counter + len(self.out) < PROBES

    def before_call(self, func: Any, *args: Any, **kwargs: Any) -> None:
        if not self.room():
            raise BreakerOpen(self._breaker.label, "half-open", PROBE_WAIT_S)
        self.out.lend(func)

    def on_success(self) -> None:
        breaker = self._breaker
        self._slow += self.slow_next
        if breaker.success_counter + 1 >= PROBES and self._slow / PROBES >= breaker.rules.slow_rate:
            breaker.open("probe_slow")
        else:
            super().on_success()

    # pybreaker's own always raises, and says so by its type.
    def on_failure(self, exc: BaseException) -> None:  # type: ignore[override]
        self._breaker.heed(exc)
        self._breaker.open("probe_failed")

    def _returned(self, permit: Permit) -> bool:
        self.out.take_back(permit)
        return super()._returned(permit)


_STATES: dict[str, type[_Closed | _Open | _HalfOpen]] = {one.kind: one for one in (_Closed, _Open, _HalfOpen)}


class Breaker(CircuitBreaker):
    """The circuit of one provider (or target).

    For requests: `acquire`; `peek`; `acquire_early` when every target is out. For people: `snapshot`, `force_open`,
    `release`, `reset`, `disable`, `enable`. `clock`: seconds of a monotonic clock; `rng`: numbers from 0 up to 1.
    """

    _state: _Closed | _Open | _HalfOpen

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        clock: Callable[[], float],
        rng: Callable[[], float],
        listeners: Sequence[Listener] = (),
    ) -> None:
        # The first state is made inside pybreaker's own __init__, so everything that a state uses stands before it.
        self.label = name
        self.settings = settings
        self.mode: Mode = settings.mode
        self.clock = clock
        self.rules = Rules(settings.failure_rate, settings.min_requests, settings.slow_rate)
        self.slow_after_s: float | None = settings.slow_first_event
        self.window = Window(settings.window, clock())
        self.open_until_s = 0.0
        self.held = False
        self._rng = rng
        self._watchers = tuple(listeners)
        self._trips = 0
        self._refused = 0
        self._last_failure: str | None = None
        self._not_before_s = 0.0
        self.next_early_s = 0.0
        self._why: Why | None = None
        self._changed_at_s = clock()
        store = _Storage(self.window, clock)
        super().__init__(STREAK, settings.open_for, PROBES, None, None, store, name, throw_new_error_on_trip=False)

    def acquire(self) -> Permit:
        """Leave for one attempt. Raises BreakerOpen. In shadow mode and when disabled it is always given."""
        if self._state.kind == "closed" and self.mode != "disabled":
            return Permit(self._state)
        permit = Permit()
        if self.mode == "disabled" and not self._still_held():
            return permit
        try:
            self._state.before_call(permit)
        except BreakerOpen:
            self._refused += 1
            if self.mode == "shadow" and not self.held:
                return permit  # in earnest it would not have gone, so what becomes of it is not judged either
            raise
        permit.judge = self._state
        return permit

    def acquire_early(self) -> Permit:
        """Leave before the open time is over, for a request that has no other target left. Raises BreakerOpen.

        One in EARLY_EVERY_S, and none while the circuit is held open. A success is the first of the probes that close
        the circuit; a failure changes nothing. Where the circuit is not open this is `acquire`.
        """
        state, now_s = self._state, self.clock()
        if state.kind != "open" or self.held or now_s >= self.open_until_s:
            return self.acquire()
        if now_s < self.next_early_s:
            self._refused += 1
            raise BreakerOpen(self.label, "open", self.next_early_s - now_s)
        self.next_early_s = now_s + EARLY_EVERY_S
        return Permit(state)

    def peek(self) -> float:
        """Seconds until `acquire` would give a permit: 0.0 now, infinite while held open. Takes and changes nothing."""
        state = self._state
        if state.kind == "closed" or (self.mode != "enforce" and not self.held):
            return 0.0
        if isinstance(state, _HalfOpen):
            return 0.0 if state.room() else PROBE_WAIT_S
        return max(self.open_until_s - self.clock(), 0.0)

    def snapshot(self) -> Snapshot:
        """What stands now, counted up to now."""
        now_s, state, retry_in_s = self.clock(), self._state, self.peek()
        over = state.kind == "open" and now_s >= self.open_until_s
        return Snapshot(
            name=self.label,
            mode=self.mode,
            state="half-open" if over else state.kind,
            held=self.held and not over,
            why=self._why,
            since_s=now_s - self._changed_at_s,
            last_failure=self._last_failure,
            counts=self.window.counts(now_s),
            trips=self._trips,
            probes_out=len(state.out) if isinstance(state, _HalfOpen) else 0,
            probes_ok=self.success_counter,
            retry_in_s=None if retry_in_s == math.inf else retry_in_s,
            refused=self._refused,
        )

    # By hand.

    def force_open(self, for_s: float = math.inf) -> None:
        """Refuse everything, in every mode, for so long or until released; probes decide afterwards.

        Raises ValueError when `for_s` is not above zero.
        """
        if not for_s > 0:
            raise ValueError(f"a circuit is held open for a time above zero, not {for_s}")
        self.held = True
        self._enter_open("forced", self.clock() + for_s)

    def release(self) -> bool:
        """End `force_open`: the next request is a probe. False when the circuit was not held open."""
        if not self.held:
            return False
        self.held = False
        self.open_until_s = self.clock()
        return True

    def reset(self) -> None:
        """Close at once and forget everything, attempts under way included. The mode stays."""
        self.close("reset")

    def disable(self) -> None:
        """Let everything through and judge nothing, until `enable`. Ends `force_open`."""
        self.mode = "disabled"
        self.close("disabled")

    def enable(self) -> None:
        """Back to the configured mode, or to enforcing where the configuration says disabled."""
        if self.mode == "disabled":
            self.mode = "enforce" if self.settings.mode == "disabled" else self.settings.mode
            if not self.held:
                self.close("reset")

    # Changes of state. pybreaker's own make the change; what they leave open is settled around them.

    def open(self, why: Why = "told") -> bool:
        """Open, for a time that grows with each opening that follows on failed probes. Whether anything changed.

        An open circuit is left alone: what was under way when it opened must not keep it open longer.
        """
        old = self._state.kind
        if old == "open":
            return False
        self._trips = self._trips + 1 if old == "half-open" else 1
        open_for_s = open_time_s(self.settings.open_for, self._trips, self._rng())
        self._enter_open(why, max(self.clock() + open_for_s, self._not_before_s))
        return True

    def half_open(self, why: Why = "time_passed") -> None:
        """Let probes through."""
        old, counts = self._state.kind, self.window.counts(self.clock())
        self.held = False
        super().half_open()
        self._announce(old, why, counts)

    def close(self, why: Why = "probes_succeeded") -> None:
        """Let everything through, on a clean sheet: nothing that was counted, or is under way, counts any more."""
        old, counts = self._state.kind, self.window.counts(self.clock())
        self.held = False
        self._trips = 0
        self._not_before_s = 0.0
        self.window.clear(self.clock())
        super().close()
        self._announce(old, why, counts)

    def heed(self, failure: BaseException) -> None:
        """Remember what a failure said: its reason, and the provider's own wish not to be asked before some time."""
        if isinstance(failure, Failed):
            self._last_failure = failure.reason
            if failure.floor_s is not None and failure.floor_s > 0:
                self._not_before_s = max(self._not_before_s, self.clock() + min(failure.floor_s, FLOOR_MAX_S))

    def _enter_open(self, why: Why, until_s: float) -> None:
        old, counts = self._state.kind, self.window.counts(self.clock())
        self.open_until_s = until_s
        super().open()
        self._announce(old, why, counts)

    def _announce(self, old: State, why: Why, counts: Counts) -> None:
        """Tell the listeners, now that the change is made: pybreaker's own listeners are told in the middle of it."""
        now_s, new = self.clock(), self._state.kind
        self._why, self._changed_at_s = why, now_s
        if new == old:
            return
        open_for_s = self.open_until_s - now_s if new == "open" else None
        for listener in self._watchers:
            with suppress(Exception):
                listener.on_change(self.label, old, new, why, counts, open_for_s)

    def _still_held(self) -> bool:
        """Whether a disabled breaker is forced open all the same; once that is over it is closed again."""
        if self._state.kind == "open" and self.clock() >= self.open_until_s:
            self.close("disabled")
        return self.held

    def _create_new_state(self, new_state: str, prev_state: Any = None, notify: bool = False) -> Any:
        return _STATES[new_state](self, prev_state, notify)

    # Not offered: see the top of the file.

    def call(self, func: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises TypeError. `calling` and decorators come here too."""
        raise TypeError("take a permit: acquire()")

    call_async = call
