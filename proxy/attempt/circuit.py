"""The words, numbers and rules of a circuit: its states, why it changes them, what opens it and for how long.

docs/breaker.md says the same for users.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import msgspec

WINDOW_SLOTS = 10
"""Slots of the configured window: what is forgotten at once is then a tenth of it (Hystrix and Polly cut it so, too)."""

RECENT_S = 3.0
"""The short window that confirms a streak: without it, five failures in a row open a busy circuit 81 times an hour at
20 % noise; with it hardly ever, and a real outage is still seen in 1.5 s."""

RECENT_SLOTS = 6
"""Slots of the short window: half a second each."""

STREAK = 5
"""Failures in a row that may open a circuit before the window holds enough requests: at one request in ten seconds the
window alone would never judge."""

PROBES = 3
"""Successes that close a half-open circuit, and the most probes under way: one could be luck, ten would take a quiet
sidecar minutes."""

PROBE_LEASE_S = 30.0
"""How long a probe holds its permit without a verdict: a permit lost for whatever reason must not keep the circuit
half-open for ever."""

PROBE_WAIT_S = 1.0
"""What a refused caller is told to wait while the permitted probes are under way: most end within a second or so."""

OPEN_MAX_S = 60.0
"""The longest open time by growth: a provider that has recovered is back in use within a minute."""

OPEN_JITTER = 0.1
"""Share by which an open time is shorter or longer by chance, so that many sidecars do not probe in step."""

FLOOR_MAX_S = 300.0
"""The most of a provider's Retry-After that is believed (linkerd's bound): a slip of the provider is no outage."""

EARLY_EVERY_S = 1.0
"""Gap between permits taken early: when every target is out, each still sees one request a second at most."""

Mode = Literal["enforce", "shadow", "disabled"]
State = Literal["closed", "open", "half-open"]
Trip = Literal["failure_rate", "streak", "slow_rate"]
"""Which rule calls a closed circuit's counts too bad."""

Why = Literal[
    Trip,  # closed → open
    "probe_failed",  # half-open → open
    "probe_slow",  # half-open → open: as many probes were slow as `slow_rate` says
    "probes_succeeded",  # half-open → closed
    "time_passed",  # open → half-open
    "early_probe",  # open → half-open: a permit taken early succeeded
    "told",  # closed or half-open → open: another process knows
    "forced",  # closed or half-open → open, by hand
    "reset",  # open or half-open → closed, by hand
    "disabled",  # open or half-open → closed, by hand
]
"""Why a circuit changed its state: a bounded set, fit for a metric's label."""


class Rules(msgspec.Struct, frozen=True):
    """The configured part of the rules; as in ``breaker:`` of the configuration file."""

    failure_rate: float
    min_requests: int
    slow_rate: float


class Counts(NamedTuple):
    """What the windows hold. `slow` answers are among the `ok`; `streak`: failures since the last success."""

    ok: int = 0
    failed: int = 0
    slow: int = 0
    recent_ok: int = 0
    recent_failed: int = 0
    streak: int = 0

    def failing(self, rules: Rules) -> Trip | None:
        """The rule that these failures break. To be asked after each failure."""
        total = self.ok + self.failed
        # A quotient, not a product: 7/100 is the same float as 0.07, while 0.07 * 100 is more than 7.
        if total >= rules.min_requests and self.failed / total >= rules.failure_rate:
            return "failure_rate"
        recent = self.recent_ok + self.recent_failed
        if self.streak >= STREAK and self.recent_failed / recent >= rules.failure_rate:
            return "streak"
        return None

    def dragging(self, rules: Rules) -> Trip | None:
        """The rule that these slow answers break. To be asked after each slow success.

        The share is of the answers that came: what did not come is a failure, which has a rule of its own.
        """
        if self.ok >= rules.min_requests and self.slow / self.ok >= rules.slow_rate:
            return "slow_rate"
        return None


class Snapshot(msgspec.Struct, frozen=True):
    """A breaker at one moment, for people.

    `state`: as a request would find it, so open with its time over reads half-open. `held`: forced open by hand. `why`
    and `since_s`: the last change, and the seconds since. `last_failure`: the reason given with the last failure
    counted. `trips`: openings in a row without a recovery. `retry_in_s`: 0 when a request would be let through, null
    when it is held open until released. `refused`: requests refused so far; in shadow mode those that would have been.
    """

    name: str
    mode: Mode
    state: State
    held: bool
    why: Why | None
    since_s: float
    last_failure: str | None
    counts: Counts
    trips: int
    probes_out: int
    probes_ok: int
    retry_in_s: float | None
    refused: int


class Listener(Protocol):
    """Hears of changes, after they are made. What it raises is swallowed: no verdict is lost to a broken metric."""

    def on_change(self, name: str, old: State, new: State, why: Why, counts: Counts, open_for_s: float | None) -> None:
        """`name`: of the breaker. `counts`: before the change. `open_for_s`: if `new` is open; infinite, if held so."""


def open_time_s(open_for_s: float, trips: int, chance: float) -> float:
    """How long a circuit stays open that opens for the `trips`-th time in a row (from 1); `chance` from 0 up to 1.

    Twice as long each time, up to OPEN_MAX_S or what is configured if that is longer, then varied by OPEN_JITTER.
    """
    # The power is bounded before it is taken: a breaker may flap for years.
    grown_s = min(open_for_s * 2.0 ** min(trips - 1, 16), max(OPEN_MAX_S, open_for_s))
    return grown_s * (1.0 + OPEN_JITTER * (2.0 * chance - 1.0))
