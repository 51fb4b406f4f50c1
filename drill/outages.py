"""What goes wrong, and when: the script of the drill, in minutes of the trace. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

PRIMARY = "a"
PROVIDERS = ("a", "b", "c")
"""The chain, in its order."""


class Mode(StrEnum):
    """How a provider behaves (``providers`` plays it)."""

    WELL = "well"
    REFUSING = "refusing"  # nobody listens, streams under way are cut
    SILENT = "silent"  # accepts, says nothing any more
    BROWNOUT = "brownout"  # 503 to most
    SLOW = "slow"  # the head at once, the first event late
    CUTTING = "cutting"  # most streams end in the middle
    LIMITING = "limiting"  # 429 with Retry-After


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of time in which some providers are sick. Minutes of the trace."""

    begin: float
    end: float
    mode: Mode
    sick: tuple[str, ...] = (PRIMARY,)


@dataclass(frozen=True, slots=True)
class Outage:
    """One row of the table: a phase, or several one after the other."""

    name: str
    title: str
    phases: tuple[Phase, ...]

    @property
    def begin(self) -> float:
        """The minute in which it begins."""
        return self.phases[0].begin

    @property
    def end(self) -> float:
        """The minute in which the last of its phases ends."""
        return self.phases[-1].end

    @property
    def spares_one(self) -> bool:
        """Whether a healthy provider is left all the time."""
        return all(set(phase.sick) != set(PROVIDERS) for phase in self.phases)


def _flapping(begin: float, times: int, down: float, up: float) -> tuple[Phase, ...]:
    starts = [begin + turn * (down + up) for turn in range(times)]
    return tuple(Phase(start, start + down, Mode.REFUSING) for start in starts)


SCRIPT: tuple[Outage, ...] = (
    Outage("down", "hard down (refuses connections)", (Phase(3, 6, Mode.REFUSING),)),
    Outage("silence", "silence (accepts, never answers)", (Phase(10, 13, Mode.SILENT),)),
    Outage("brownout", "brown-out (503 to 60 %)", (Phase(17, 20, Mode.BROWNOUT),)),
    Outage("slow", "slow first token (10 to 90 s)", (Phase(24, 27, Mode.SLOW),)),
    Outage("cuts", "mid-stream cuts (60 % of the streams)", (Phase(31, 34, Mode.CUTTING),)),
    Outage("429", "429 storm with Retry-After", (Phase(38, 41, Mode.LIMITING),)),
    Outage("flapping", "flapping (4 × down 40 s, up 50 s)", _flapping(45, 4, 40 / 60, 50 / 60)),
    Outage("all", "the whole chain down", (Phase(54, 55.5, Mode.REFUSING, PROVIDERS),)),
)
"""Calm before each. Its four minutes are more than the longest open time that three minutes of failed probes lead to."""

LAST_MINUTE = 57.5
"""The script needs so much of a trace: the last outage, and time to come back from it."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change of one provider's mode, in a minute of the trace."""

    minute: float
    provider: str
    mode: Mode


def steps(script: Sequence[Outage]) -> list[Step]:
    """The changes in their order."""
    found = [
        step
        for outage in script
        for phase in outage.phases
        for provider in phase.sick
        for step in (Step(phase.begin, provider, phase.mode), Step(phase.end, provider, Mode.WELL))
    ]
    return sorted(found, key=lambda step: step.minute)


@dataclass(frozen=True, slots=True)
class Lived:
    """A phase as it was: in seconds of the drill, taken when the providers had changed. `seen`: requests that reached
    the sick providers meanwhile."""

    begin_s: float
    end_s: float
    mode: Mode
    sick: tuple[str, ...]
    seen: int


@dataclass(frozen=True, slots=True)
class Span:
    """An outage as it was."""

    outage: Outage
    phases: tuple[Lived, ...]

    @property
    def begin_s(self) -> float:
        """When it began."""
        return self.phases[0].begin_s

    @property
    def end_s(self) -> float:
        """When the last phase ended."""
        return self.phases[-1].end_s
