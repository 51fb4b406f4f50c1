"""Fusebox's own log, read as facts of the drill: attempts, changes of breakers, cool-downs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one provider, and when it began, in seconds of the drill (to about two milliseconds)."""

    at_s: float
    provider: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Change:
    """A breaker changed its state. `open_for_s`: for how long, if it opened."""

    at_s: float
    provider: str
    now: str
    why: str
    open_for_s: float | None = None


@dataclass(frozen=True, slots=True)
class Cooling:
    """A key began to cool."""

    at_s: float
    provider: str
    for_s: float


@dataclass(slots=True)
class Log:
    """All of them in their order, and how many errors of its own Fusebox logged."""

    attempts: list[Attempt] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    coolings: list[Cooling] = field(default_factory=list)
    internal_errors: int = 0


def read_log(lines: Iterable[str], began_unix_s: float) -> Log:
    """`began_unix_s`: the drill's beginning. Lines that are no JSON (a library's warning) are passed over."""
    log = Log()
    for line in lines:
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if not isinstance(fields, dict) or "time" not in fields:
            continue
        at_s = datetime.fromisoformat(fields["time"]).timestamp() - began_unix_s
        match fields["event"]:
            case "request":
                log.attempts += _attempts(fields, at_s)
            case "breaker":
                provider = fields["breaker"].partition("/")[0]
                log.changes.append(Change(at_s, provider, fields["now"], fields["why"], fields.get("open_for_s")))
            case "cooldown":
                log.coolings.append(Cooling(at_s, fields["key"].partition(":")[0], fields["for_s"]))
            case "internal_error":
                log.internal_errors += 1
    log.attempts.sort(key=lambda one: one.at_s)
    return log


def _attempts(fields: dict[str, Any], end_s: float) -> list[Attempt]:
    """The attempts of one request, one after the other from its beginning."""
    at_s = end_s - fields["total_ms"] / 1000
    if "tried" not in fields:
        provider = (fields["target"] or "").partition("/")[0]
        return [Attempt(at_s, provider, "ok")] if fields["attempts"] else []
    found = []
    for tried in fields["tried"]:
        found.append(Attempt(at_s, tried["target"].partition("/")[0], tried["outcome"]))
        at_s += tried["ms"] / 1000
    return found
