"""Log lines for eyes: one line of text for each, in colour where a terminal wants it.

What clients and providers choose (paths, models, errors) may hold anything; nothing of it reaches the terminal but what
can be printed, or a log would move the cursor and write the screen anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any, BinaryIO

import orjson

LINE_MAX = 2000
"""Characters of one line of text: longer ones hide the others."""

_CENTURY_MS = 3_155_760_000_000

_BOLD, _DIM, _RED, _YELLOW, _GREEN = "1", "2", "31", "33", "32"
_LEVEL = {"warning": _YELLOW, "error": _RED}
_COMMON = ("event", "level", "time")


def wants_colour(terminal: bool, environment: Mapping[str, str]) -> bool:
    """Whether to write in colour: on a terminal that can, unless NO_COLOR is set to anything (https://no-color.org)."""
    return terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


class Renderer:
    """Log lines to text. `zone`: of the times shown; None: this machine's."""

    def __init__(self, *, colour: bool = False, zone: tzinfo | None = None) -> None:
        self._colour = colour
        self._zone = zone

    def text(self, line: bytes) -> str:
        """One line of the log, without its end, as one line of text; one that is none of Fusebox's, as it is."""
        event = read(line)
        if event is None:
            return printable(line.decode("utf-8", "replace"))
        return self.event(event)

    def event(self, event: Mapping[str, Any]) -> str:
        """The same for a line that has been read."""
        at = self._paint(_DIM, self._time(event.get("time")))
        return f"{at} {self._request(event) if event['event'] == 'request' else self._other(event)}"

    def _request(self, event: Mapping[str, Any]) -> str:
        # Of a request that Fusebox refused itself, `target` is only whom the plan had first.
        refused = event.get("attempts") == 0 and event.get("error_code") is not None
        target = None if refused else event.get("target")
        model = event.get("model")
        parts = [
            f"{_word(event.get('method'))} {self._paint(_BOLD, _word(event.get('path')))}",
            f"{_word(model) if model else '(no model)'} -> {_word(target) if target else 'nobody'}",
            self._status(event.get("status")),
        ]
        first_ms = event.get("first_event_ms")
        if first_ms is not None:
            parts.append(f"first {duration(first_ms)}")
        parts.append(f"total {duration(event.get('total_ms'))}")
        tried = event.get("tried")
        told = [_attempt(one) for one in tried if isinstance(one, Mapping)] if isinstance(tried, list) else []
        attempts = event.get("attempts")
        if told or attempts not in (0, 1, None):
            number = f"{_word(attempts)} attempt{'' if attempts == 1 else 's'}"
            parts.append(f"{number}: {'; '.join(told)}" if told else number)
        skipped = event.get("skipped")
        if isinstance(skipped, list) and skipped:
            parts.append(f"skipped {printable('; '.join(map(str, skipped)))}")
        if event.get("panic") is True:
            # Else the line would say of one and the same target that it was skipped and that it was asked.
            parts.append(f"panic: every target was out, {_word(target)} was asked although its breaker was open")
        if event.get("error_code") is not None:
            parts.append(self._paint(_YELLOW, f"{_word(event['error_code'])}: {printable(str(event.get('error')))}"))
        return "  ".join(parts)

    def _other(self, event: Mapping[str, Any]) -> str:
        level = str(event.get("level"))
        name = self._paint(
            _LEVEL.get(level, _BOLD), f"{level} {_word(event['event'])}" if level in _LEVEL else _word(event["event"])
        )
        facts = [f"{_word(key)}={_fact(value)}" for key, value in event.items() if key not in _COMMON]
        if event["event"] == "draining" and event.get("active"):
            facts.append("(a second signal, as by Ctrl-C, cuts them)")
        return "  ".join([name, *facts])

    def _status(self, status: object) -> str:
        if not isinstance(status, int):
            return "-"
        colour = _GREEN if status < 400 else _YELLOW if status < 500 else _RED
        return self._paint(colour, str(status))

    def _time(self, written: object) -> str:
        try:
            return f"{datetime.fromisoformat(str(written)).astimezone(self._zone):%H:%M:%S}"
        except (ValueError, OverflowError):
            return "--:--:--"

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text


class Console:
    """Stands where log lines are written (`write`, `flush`), and writes text in their place.

    `told` gets each event that was read, before it is shown, and says whether it is to be shown.
    """

    def __init__(
        self, out: BinaryIO, renderer: Renderer, told: Callable[[Mapping[str, Any]], bool] = lambda event: True
    ) -> None:
        self._out = out
        self._renderer = renderer
        self._told = told
        self._begun = b""

    def write(self, block: bytes | bytearray) -> int:
        """Show the whole lines in `block`; one that is not ended yet waits for its end. Raises what `out` raises."""
        *lines, self._begun = (self._begun + block).split(b"\n")
        for line in lines:
            event = read(line)
            if event is None:
                self._show(self._renderer.text(line))
            elif self._told(event):
                self._show(self._renderer.event(event))
        return len(block)

    def _show(self, text: str) -> None:
        self._out.write(text.encode("utf-8", "replace") + b"\n")

    def flush(self) -> None:
        """As of a file."""
        self._out.flush()


def read(line: bytes) -> dict[str, Any] | None:
    """The event in a log line; None: it is none."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def printable(text: str) -> str:
    """`text` on one line and without anything that a terminal obeys; what is left out is seen to be."""
    shown = text if text.isprintable() else re.sub(r"[^ -~]", _visible, text)
    return shown if len(shown) <= LINE_MAX else f"{shown[:LINE_MAX]}..."


def _visible(found: re.Match[str]) -> str:
    char = found[0]
    return char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")


def duration(ms: object) -> str:
    """Milliseconds as a person says them: 0.4 ms, 12 ms, 1.25 s, 2 min 5 s."""
    if not isinstance(ms, int | float) or not 0 <= ms < _CENTURY_MS:
        return "-"
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 59_995:
        return f"{ms / 1000:.2f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes} min {seconds} s"


def _word(value: object) -> str:
    return printable(str(value)) if value not in (None, "") else "-"


def _fact(value: object) -> str:
    if isinstance(value, str):
        return printable(value) if value and " " not in value else f'"{printable(value)}"'
    return printable(orjson.dumps(value, default=repr).decode())


def _attempt(one: Mapping[str, Any]) -> str:
    status = one.get("status")
    how = f"{_word(one.get('outcome'))}{f' ({_word(status)})' if status else ''}"
    return f"{_word(one.get('target'))} {how} in {duration(one.get('ms'))}"
