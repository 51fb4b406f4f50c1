"""The arrivals of a run: an hour of a real service's requests, or made-up ones, compressed into minutes. Pure but for
the reading of the file."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

TRACE = Path(__file__).resolve().parent.parent.parent / "shared" / "traces" / "azure-llm-conv-2023.csv"
"""Beside the repository: ``../shared/traces``. `--trace FILE` names another place."""

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

SYNTHETIC_S = 3_500.0
SYNTHETIC_PER_S = 5.5
SYNTHETIC_CONTEXT, SYNTHETIC_GENERATED = 1_150.0, 210.0
"""Length, rate and mean sizes of the made-up traffic: those of the trace."""


class TraceError(Exception):
    """The trace cannot be used; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request. `at_s`: seconds after the first one; sizes in tokens."""

    at_s: float
    context: int
    generated: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is sent: arrivals in the drill's own time. `compression`: how many seconds of the trace pass in one."""

    arrivals: tuple[Arrival, ...]
    compression: float
    seconds: float
    source: str
    left_out: int

    def drill_s(self, minute: float) -> float:
        """The drill's second in which a minute of the trace falls."""
        return minute * 60.0 / self.compression


def parse_trace(lines: Iterable[str]) -> list[Arrival]:
    """The arrivals of a trace in the form of AzureLLMInferenceTrace_conv.csv. Raises TraceError."""
    rows = csv.DictReader(lines)
    if rows.fieldnames is None or any(name not in rows.fieldnames for name in COLUMNS):
        raise TraceError(f"the first line must name the columns {', '.join(COLUMNS)}")
    found: list[tuple[float, int, int]] = []
    for row in rows:
        try:
            # Seven digits of a second are written; Python reads six.
            moment = datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp()
            found.append((moment, int(row["ContextTokens"]), int(row["GeneratedTokens"])))
        except (TypeError, ValueError) as error:
            raise TraceError(f"line {rows.line_num} cannot be read: {error}") from None
    if len(found) < 2:
        raise TraceError("it holds fewer than two requests")
    found.sort()
    return [Arrival(at - found[0][0], context, generated) for at, context, generated in found]


def read_trace(path: Path) -> list[Arrival]:
    """The arrivals of a file. Raises TraceError, which says what to do when it is absent."""
    try:
        with path.open(newline="") as lines:
            return parse_trace(lines)
    except FileNotFoundError:
        raise TraceError(
            f"the trace {path.name} is absent: name it with --trace FILE (it is AzureLLMInferenceTrace_conv.csv of"
            " Azure/AzurePublicDataset), or run with --synthetic"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"the trace {path.name} cannot be read: {error}") from None


def synthetic(seed: int) -> list[Arrival]:
    """Made-up arrivals, as many and as large as the trace's: a Poisson process with log-normal sizes."""
    chance = random.Random(seed)
    arrivals: list[Arrival] = []
    at_s = 0.0
    while at_s < SYNTHETIC_S:
        arrivals.append(Arrival(at_s, _size(chance, SYNTHETIC_CONTEXT), _size(chance, SYNTHETIC_GENERATED)))
        at_s += chance.expovariate(SYNTHETIC_PER_S)
    return arrivals


def _size(chance: random.Random, mean: float) -> int:
    """A size of a skewed distribution: its median is at two thirds of its mean."""
    return max(1, round(mean * chance.lognormvariate(-0.4, 0.9)))


def compress(arrivals: Sequence[Arrival], seconds: float, rate_max: float, seed: int, source: str) -> Traffic:
    """All arrivals within `seconds`; some are left out by chance when more than `rate_max` a second would be sent."""
    compression = arrivals[-1].at_s / seconds
    share = min(1.0, rate_max * seconds / len(arrivals))
    chance = random.Random(seed)
    kept = tuple(
        Arrival(one.at_s / compression, one.context, one.generated)
        for one in arrivals
        if share == 1.0 or chance.random() < share
    )
    return Traffic(kept, compression, seconds, source, len(arrivals) - len(kept))
