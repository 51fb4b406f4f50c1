"""From measurements to comparable numbers: medians over the rounds, differences and ratios within a round. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from bench.cases import Figures
from bench.subjects import BASELINE, DIRECT

Pick = Callable[[Figures], float | None]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, lowest and highest of the rounds."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float | None]) -> Spread | None:
    """Over the values that exist; None when there is none."""
    known = [value for value in values if value is not None]
    return Spread(median(known), min(known), max(known)) if known else None


class Results:
    """All measurements of a run, asked by case and subject."""

    def __init__(self, figures: Iterable[Figures]) -> None:
        self._by_place = {(f.case, f.subject, f.round): f for f in figures}

    def of(self, case: str, subject: str) -> list[Figures]:
        """The rounds of one subject in one case, in order."""
        return [
            f for (its_case, its_subject, _), f in self._by_place.items() if (its_case, its_subject) == (case, subject)
        ]

    def value(self, case: str, subject: str, pick: Pick) -> Spread | None:
        """The figure that `pick` takes, over the rounds."""
        return spread(pick(f) for f in self.of(case, subject))

    def ratio(self, case: str, subject: str, pick: Pick) -> Spread | None:
        """The figure as a multiple of nginx's in the same round."""
        return spread(self._ratio(f, pick) for f in self.of(case, subject))

    def _ratio(self, figures: Figures, pick: Pick) -> float | None:
        base = self._by_place.get((figures.case, BASELINE, figures.round))
        mine, its = pick(figures), pick(base) if base else None
        # an added latency that noise has made negative has no ratio that means anything
        return mine / its if mine is not None and its is not None and mine >= 0 and its > 0 else None

    def added(self, pick: Pick) -> Pick:
        """`pick` less the same figure of direct in the same round: what the proxy added."""

        def difference(figures: Figures) -> float | None:
            direct = self._by_place.get((figures.case, DIRECT, figures.round))
            mine, its = pick(figures), pick(direct) if direct else None
            return mine - its if mine is not None and its is not None else None

        return difference

    def notes(self, case: str) -> list[tuple[str, str]]:
        """What went wrong in a case: (subject, note), each once."""
        found = {
            (f.subject, f.note): None for (its_case, _, _), f in self._by_place.items() if its_case == case and f.note
        }
        return list(found)


@dataclass(frozen=True, slots=True)
class Target:
    """A promise of DESIGN.md section 7: a case's figure and the most it may be (`relative`: multiple of nginx's)."""

    title: str
    case: str
    pick: Pick
    limit: float
    relative: bool
    unit: str


TARGETS = (
    Target("CPU per JSON request, 32 connections", "json-32", lambda f: f.cpu_us, 5.0, True, "µs"),
    Target("CPU per SSE event, 100 streams", "sse", lambda f: f.cpu_us, 1.5, True, "µs"),
    Target("CPU per SSE event, TLS to the upstream", "sse-tls", lambda f: f.cpu_us, 2.0, True, "µs"),
    Target("RSS when idle", "start", lambda f: f.rss_mib, 55.0, False, "MB"),
    Target("Start until ready", "start", lambda f: f.ready_s, 0.6, False, "s"),
    Target("RSS with 8,000 open streams", "idle-8000", lambda f: f.rss_mib, 250.0, False, "MB"),
)
