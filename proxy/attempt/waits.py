"""When a provider says to come back: the waits stated in the headers of its answer.

What is read: ``retry-after-ms`` (Azure, and what the SDKs read first), ``Retry-After`` in seconds or as a date (RFC 9110
section 10.2.3), and the time at which a used-up allowance is renewed: ``x-ratelimit-reset-*`` as a Go duration
(``6m0s``: OpenAI, Groq), as seconds or as Unix time, ``anthropic-ratelimit-*-reset`` as RFC 3339. Allowances are stated
on successes too, so one counts only when its ``remaining`` says 0, or on a 429 that does not say what remains of it.

All of it comes from a peer: what cannot be read is left out, nothing is negative, nothing is longer than STATED_MAX_S.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from proxy.exchange import RawHeaders

STATED_MAX_S = 86_400.0
"""The longest wait reported: allowances are renewed within a day, and more than that is a slip."""

_VALUE_MAX = 64
"""Most characters of a value that are looked at: a date has 29."""

_NAMES = frozenset({b"date", b"retry-after", b"retry-after-ms"})
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")
_GO_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|µs|ms|s|m|h)){1,6}")
_GO_PART = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")
_GO_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_RESET = re.compile(r"(x-ratelimit)-reset(-[a-z0-9-]+)?|(anthropic(?:-[a-z]+)?-ratelimit)(-[a-z0-9-]+)-reset")
_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]{5,18}(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?")

_UNIX_S = 1e9
"""A number from here on is a time (2001 and later), not a wait."""

_UNIX_MS = 1e12
"""And from here on one in milliseconds (OpenRouter)."""


def stated_wait(status: int, headers: RawHeaders, wall_now_s: float) -> float | None:
    """Seconds to wait before the next request, 0 to STATED_MAX_S, the longest of those stated; None when none is.

    `wall_now_s`: Unix time, for dates in an answer that has no Date header of its own; with one, the clocks of
    provider and proxy may differ. ``Retry-After`` is read on errors only (400 and above).
    """
    lines: dict[str, list[str]] = {}
    for name, value in headers:
        low = name.lower()
        if (b"ratelimit" in low or low in _NAMES) and len(value) <= _VALUE_MAX:
            lines.setdefault(low.decode("latin-1"), []).append(value.decode("utf-8", "replace").strip())
    now_s = next(_known(_date_s(text) for text in lines.get("date", ())), wall_now_s)
    waits = list(_known(_reset_s(text, now_s) for text in _used_up(status, lines)))
    if status >= 400:
        waits += [ms / 1000.0 for ms in _known(map(_number, lines.get("retry-after-ms", ())))]
        waits += _known(_retry_after_s(text, now_s) for text in lines.get("retry-after", ()))
    return min(max(0.0, *waits), STATED_MAX_S) if waits else None


def _used_up(status: int, lines: dict[str, list[str]]) -> list[str]:
    """The reset values of the allowances that are used up."""
    values: list[str] = []
    for name, texts in lines.items():
        found = _RESET.fullmatch(name)
        if found is None:
            continue
        remaining = f"{found[1]}-remaining{found[2] or ''}" if found[1] else f"{found[3]}{found[4]}-remaining"
        left = list(_known(map(_number, lines.get(remaining, ()))))
        if min(left) == 0 if left else status == 429:
            values += texts
    return values


def _retry_after_s(text: str, now_s: float) -> float | None:
    seconds = _number(text)
    if seconds is not None:
        return seconds
    date_s = _date_s(text)
    return None if date_s is None else date_s - now_s


def _reset_s(text: str, now_s: float) -> float | None:
    """The seconds until an allowance is renewed, in whichever notation."""
    number = _number(text)
    if number is not None:
        if number < _UNIX_S:
            return number
        return (number / 1000.0 if number >= _UNIX_MS else number) - now_s
    if _GO_DURATION.fullmatch(text):
        try:
            return sum(float(count) * _GO_UNIT_S[unit] for count, unit in _GO_PART.findall(text))
        except ValueError:
            return None
    if _RFC_3339.fullmatch(text):
        try:
            return _unix_s(datetime.fromisoformat(text.upper())) - now_s
        except (ValueError, OverflowError):
            return None
    return None


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _date_s(text: str) -> float | None:
    """Unix time of an HTTP date (RFC 9110 section 5.6.7)."""
    try:
        return _unix_s(parsedate_to_datetime(text))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _unix_s(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _known(values: Iterable[float | None]) -> Iterator[float]:
    return (value for value in values if value is not None)
