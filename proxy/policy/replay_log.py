"""The request log, read again: lines in, requests out; what is no request, or cannot be read, is counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

BROKEN_SHOWN = 5
"""How many broken lines are named; the others are only counted."""


class Tokens(msgspec.Struct, frozen=True):
    """What the provider said that it read and wrote."""

    input: int
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0


class LoggedPrompt(msgspec.Struct, frozen=True):
    """What was logged of a prompt: its numbers, no more."""

    tokens: int = 0
    turns: int = 0
    tools: bool = False
    images: bool = False
    audio: bool = False
    json: bool = False
    output: int | None = None


class LoggedTry(msgspec.Struct, frozen=True):
    """One attempt that was logged."""

    target: str = ""


class Logged(msgspec.Struct, frozen=True):
    """A request as docs/logging.md has it, as far as it is read here. `prompt` None: the body could not be looked into."""

    event: str
    time: str | None = None
    request_id: str = "-"
    method: str = ""
    path: str = ""
    endpoint: str = ""
    format: str | None = None
    model: str | None = None
    route: str | None = None
    target: str | None = None
    attempts: int = 0
    tried: tuple[LoggedTry, ...] = ()
    status: int = 0
    stream: bool = False
    total_ms: float = 0.0
    bytes_in: int = 0
    matched_headers: dict[str, str | None] = {}
    prompt: LoggedPrompt | msgspec.UnsetType | None = msgspec.UNSET
    complexity: str | None = None
    complexity_stated: bool = False
    tokens: Tokens | None = None

    @property
    def moment_s(self) -> float | None:
        """When it came in, in seconds since 1970: a line is written at the answer's end. None: the line has no time."""
        if self.time is None:
            return None
        try:
            return datetime.fromisoformat(self.time).timestamp() - self.total_ms / 1000
        except (ValueError, OverflowError):
            return None


class _Line(msgspec.Struct):
    event: str | None = None


@dataclass(slots=True)
class Tally:
    """Lines of a log by what became of them. `examples`: where the first broken ones stand, and why they are."""

    requests: int = 0
    others: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)


_line = msgspec.json.Decoder(_Line)
_logged = msgspec.json.Decoder(Logged)


def read_log(lines: Iterable[tuple[str, bytes]], tally: Tally) -> Iterator[Logged]:
    """The requests among `lines`, each with the place where it stands; `tally` counts along."""
    for place, line in lines:
        if not line or line.isspace():
            continue
        try:
            if _line.decode(line).event != "request":
                tally.others += 1
                continue
            logged = _logged.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            tally.broken += 1
            if len(tally.examples) < BROKEN_SHOWN:
                tally.examples.append(f"{place}: {error}")
            continue
        tally.requests += 1
        yield logged
