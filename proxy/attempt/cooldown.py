"""Cool-downs: a provider said of one key, or of one model, when to come back. No circuit opens for that.

A cool-down belongs to a key and a model, or to a key with all its models when the fault is the key's (`Reason`). Keys
are named by `key_id` (``config/secrets``), a digest: the credential itself never comes here. `stated_wait`
(``attempt/waits``) reads what the provider stated. Time is an argument: `clock` gives seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

RATE_FIRST_S = 5.0
"""Wait after a rate limit without a stated time: about what the SDKs' own three tries take up together."""

RATE_GROWTH_MAX_S = 60.0
"""It doubles up to here while it goes on: limits are mostly counted per minute."""

RATE_STATED_MAX_S = 300.0
"""The most that is believed of a stated time: after it one request finds out what holds."""

MONEY_FIRST_S = 300.0
"""Quota or credit used up: somebody has to act, so five minutes at first, ..."""

MONEY_MAX_S = 900.0
"""... and a quarter of an hour at most, so that a paid bill is noticed soon. Then one request finds out."""

AUTH_S = 60.0
"""A key that was refused: short, because a rotated key is read again within seconds."""

MODEL_S = 300.0
"""A model that the provider does not have, or not for this key: that changes by a deployment, not by itself."""

PROBE_LEASE_S = 30.0
"""How long the one request after a money cool-down may stay without an answer before another one may go."""

FORGET_S = 900.0
"""An entry whose time was over this long ago starts from the beginning when it fails again."""

ENTRIES_MAX = 4096
"""Most entries kept. With clients' own keys their number is in the clients' hands; at 200 bytes each this is 1 MB."""


class Reason(StrEnum):
    """Why something cools. `RATE` and `MODEL` stand for a key and a model, `MONEY` and `AUTH` for a key as a whole."""

    RATE = "rate"
    MONEY = "money"
    AUTH = "auth"
    MODEL = "model"


_OF_THE_KEY = frozenset({Reason.MONEY, Reason.AUTH})


class Cooling(msgspec.Struct, frozen=True):
    """One cool-down, for people. `model` None: all models of this key. `left_s`: 0 when one request is finding out."""

    key: str
    model: str | None
    reason: Reason
    left_s: float
    times: int


class _Entry(msgspec.Struct):
    """`since_s`: the latest failure; `times`: failures in a row, counting each cool-down once; `probe_s`: lease's end."""

    reason: Reason
    since_s: float
    until_s: float
    times: int = 1
    probe_s: float = 0.0


class Cooldowns:
    """What cools now. One for the whole process. `entries`: for a quick look at whether there is anything at all."""

    def __init__(self, clock: Callable[[], float], entries_max: int = ENTRIES_MAX) -> None:
        self._clock = clock
        self.entries_max = entries_max
        self.entries: dict[tuple[str, str | None], _Entry] = {}

    def __len__(self) -> int:
        """Entries kept, those included that are over but not forgotten."""
        return len(self.entries)

    def until(self, key: str, model: str | None) -> float:
        """When `key` may be used for `model` again, of `clock`; 0.0 when it may now. Reserves nothing."""
        if not self.entries:
            return 0.0
        now_s = self._clock()
        return max(self._one_until((key, model), now_s), self._one_until((key, None), now_s))

    def reason(self, key: str, model: str | None) -> Reason:
        """Why `key` may not be used for `model` before `until`. Raises KeyError when it may."""
        now_s = self._clock()
        return self.entries[max(((key, model), (key, None)), key=lambda place: self._one_until(place, now_s))].reason

    def admit(self, key: str, model: str | None) -> float:
        """As `until`; at 0.0 the request must be sent: after a money cool-down it is the one that finds out."""
        until_s = self.until(key, model)
        if until_s == 0.0 and self.entries:
            entry = self.entries.get((key, None))
            if entry is not None and entry.reason is Reason.MONEY:
                entry.probe_s = self._clock() + PROBE_LEASE_S
        return until_s

    def cool(self, key: str, model: str | None, reason: Reason, stated_s: float | None = None) -> float:
        """Start a cool-down or prolong it; returns its end, of `clock`. `stated_s`: the wait that the provider stated.

        Only a rate limit heeds `stated_s`; zero and less count as not stated, as in the SDKs. A failure while it
        cools already, of a request that was under way, is the same trouble and makes no later wait longer.
        """
        now_s = self._clock()
        place = (key, None if reason in _OF_THE_KEY else model)
        entry = self.entries.get(place)
        if entry is None or entry.reason is not reason or now_s - entry.until_s > FORGET_S:
            if entry is None:
                self._make_room(now_s)
            # Of two reasons at one place the later one speaks, but never shortens what the other said.
            floor_s = 0.0 if entry is None else entry.until_s
            entry = self.entries[place] = _Entry(reason, now_s, floor_s)
        elif now_s >= entry.until_s:
            entry.times += 1
        entry.since_s = now_s
        entry.probe_s = 0.0
        entry.until_s = max(entry.until_s, now_s + _wait_s(reason, entry.times, stated_s))
        return entry.until_s

    def clear(self, key: str, model: str | None, sent_at_s: float) -> None:
        """A request sent at `sent_at_s` (of `clock`) succeeded: what its success disproves is over.

        That is not a cool-down which began after it was sent: its answer was on the way already.
        """
        if not self.entries:
            return
        for place in ((key, model), (key, None)):
            entry = self.entries.get(place)
            if entry is not None and entry.since_s <= sent_at_s:
                del self.entries[place]

    def forget(self, provider: str) -> None:
        """End all cool-downs of a provider's keys."""
        for place in [place for place in self.entries if place[0].partition(":")[0] == provider]:
            del self.entries[place]

    def release(self, key: str) -> None:
        """The request that `admit` let through found nothing out (the client left, say): another one may go."""
        entry = self.entries.get((key, None))
        if entry is not None:
            entry.probe_s = 0.0

    def snapshot(self) -> tuple[Cooling, ...]:
        """What cools now, the longest first."""
        now_s = self._clock()
        found = (
            Cooling(key, model, entry.reason, max(entry.until_s - now_s, 0.0), entry.times)
            for (key, model), entry in self.entries.items()
            if max(entry.until_s, entry.probe_s) > now_s
        )
        return tuple(sorted(found, key=lambda cooling: (-cooling.left_s, cooling.key, cooling.model or "")))

    def _one_until(self, place: tuple[str, str | None], now_s: float) -> float:
        entry = self.entries.get(place)
        if entry is None:
            return 0.0
        until_s = max(entry.until_s, entry.probe_s)
        return until_s if until_s > now_s else 0.0

    def _make_room(self, now_s: float) -> None:
        """Before one entry more: when all places are taken, forget what is over, else what ends first."""
        if len(self.entries) < self.entries_max:
            return
        over = [place for place, entry in self.entries.items() if max(entry.until_s, entry.probe_s) <= now_s]
        for place in over or [min(self.entries, key=lambda place: self.entries[place].until_s)]:
            del self.entries[place]


def _wait_s(reason: Reason, times: int, stated_s: float | None) -> float:
    """How long to wait the `times`-th time in a row (from 1)."""
    doubled = 2.0 ** min(times - 1, 16)
    match reason:
        case Reason.RATE if stated_s is not None and stated_s > 0:
            return min(stated_s, RATE_STATED_MAX_S)
        case Reason.RATE:
            return min(RATE_FIRST_S * doubled, RATE_GROWTH_MAX_S)
        case Reason.MONEY:
            return min(MONEY_FIRST_S * doubled, MONEY_MAX_S)
        case Reason.AUTH:
            return AUTH_S
        case Reason.MODEL:
            return MODEL_S
