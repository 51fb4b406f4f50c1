"""Faults that a person sets: which provider is to behave as if it failed, how, and until when.

A fault belongs to the process and ends with it, by itself after an hour at most. Policies know nothing of it: breakers,
fallback, log and metrics see attempts like any others. How one is played: ``attempt/play``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from proxy.observe.logs import Logger

FOR_S = 60.0
"""How long a fault lasts that does not say it: long enough to see a circuit open, probe, and close again."""

FOR_MAX_S = 3600.0
"""A fault that somebody forgot must not be tomorrow's riddle."""

_ONE = ("status", "latency_s", "cut_after", "silence")


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What a provider does in place of answering as it would; exactly one of the first four.

    `status`: it answers with this error at once, and is not asked. `latency_s`: each request waits so many seconds before
    it is sent. `cut_after`: its streams break off after so many data events, other answers half way. `silence`: it takes
    the request and never answers. `retry_after_s`: the ``Retry-After`` beside a status. `for_s`: seconds until it ends.
    `share`: of the attempts that it strikes.
    """

    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    latency_s: Annotated[float, Meta(gt=0, le=FOR_MAX_S)] | None = None
    cut_after: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    silence: bool = False
    retry_after_s: Annotated[int, Meta(ge=0, le=86_400)] | None = None
    for_s: Annotated[float, Meta(gt=0, le=FOR_MAX_S)] = FOR_S
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError unless it is one fault."""
        values = {name: getattr(self, name) for name in _ONE}
        chosen = [name for name, value in values.items() if value is not None and value is not False]  # 0 is a choice
        if len(chosen) != 1:
            raise ValueError(f"name one of {', '.join(_ONE)}" + (f", not {' and '.join(chosen)}" if chosen else ""))
        if self.retry_after_s is not None and self.status is None:
            raise ValueError("retry_after_s goes with status alone")

    def __str__(self) -> str:
        if self.status is not None:
            wait = "" if self.retry_after_s is None else f" with Retry-After {self.retry_after_s}"
            return f"status {self.status}{wait}"
        if self.latency_s is not None:
            return f"latency {self.latency_s:g} s"
        return "silence" if self.silence else f"cut after {self.cut_after}"


class Timer(Protocol):
    """What was arranged for later."""

    def cancel(self) -> None:
        """It is not to happen."""


class Standing(msgspec.Struct, eq=False):
    """A fault that has begun. `until_s`: of the clock; `struck`: the attempts so far."""

    fault: Fault
    until_s: float
    timer: Timer
    struck: int = 0


class Faults:
    """The faults of a process, one for each provider at most. `active`: whether there is any.

    `allowed`: whether there may be any now; where a new configuration has just forbidden them, those there are end.
    `later`: calls back in so many seconds, as an event loop's ``call_later``. `rng`: from 0 to below 1.
    """

    def __init__(
        self,
        allowed: Callable[[], bool],
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], Timer],
        rng: Callable[[], float],
        logger: Logger,
    ) -> None:
        self.allowed = allowed
        self.active = False
        self._clock = clock
        self._later = later
        self._rng = rng
        self._logger = logger
        self._standing: dict[str, Standing] = {}

    def begin(self, provider: str, fault: Fault) -> Standing:
        """From now on `provider` fails so, in place of what it did before."""
        self._end(provider, "replaced")
        timer = self._later(fault.for_s, lambda: self._end(provider, "its time is over"))
        standing = self._standing[provider] = Standing(fault, self._clock() + fault.for_s, timer)
        self.active = True
        self._logger.warning("fault_begun", provider=provider, fault=str(fault), for_s=fault.for_s, share=fault.share)
        return standing

    def clear(self, provider: str | None = None) -> list[str]:
        """End the fault of `provider`, or all; the providers that had one."""
        names = [name for name in self._standing if provider in (None, name)]
        for name in names:
            self._end(name, "cleared")
        return names

    def strikes(self, provider: str) -> Fault | None:
        """The fault that an attempt at `provider` is to meet now; asked once for each."""
        standing = self._standing.get(provider)
        if standing is None:
            return None
        if not self.allowed():
            for name in list(self._standing):
                self._end(name, "the configuration no longer allows it")
            return None
        if standing.fault.share < 1 and self._rng() >= standing.fault.share:
            return None
        standing.struck += 1
        return standing.fault

    def standing(self) -> dict[str, tuple[Standing, float]]:
        """What there is, by provider, each with the seconds that are left of it."""
        now_s = self._clock()
        return {name: (one, max(0.0, one.until_s - now_s)) for name, one in self._standing.items()}

    def _end(self, provider: str, why: str) -> None:
        standing = self._standing.pop(provider, None)
        if standing is None:
            return
        standing.timer.cancel()
        self.active = bool(self._standing)
        self._logger.warning(
            "fault_ended", provider=provider, fault=str(standing.fault), why=why, struck=standing.struck
        )
