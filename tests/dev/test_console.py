"""Log lines for eyes: what is shown of each, and that nothing of it moves a terminal."""

from __future__ import annotations

import io
import json
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dev.console import Console, Renderer, duration, printable, read, wants_colour

REQUEST = {
    "event": "request",
    "level": "info",
    "time": "2026-11-20T12:00:01.250Z",
    "request_id": "fb-1",
    "method": "POST",
    "path": "/v1/chat/completions",
    "model": "gpt-5.4",
    "target": "openai/gpt-5.4",
    "attempts": 1,
    "status": 200,
    "first_event_ms": 412.3,
    "total_ms": 1804.0,
}


def shown(**more: Any) -> str:
    """The text of a request's line."""
    return Renderer(zone=UTC).text(json.dumps({**REQUEST, **more}).encode())


def test_an_end_that_waits_says_how_not_to_wait() -> None:
    """Whoever pressed Ctrl-C while an answer goes on wants to know; with nothing under way there is nothing to say."""
    waiting = {"event": "draining", "level": "info", "time": REQUEST["time"], "bound_s": 5.0}
    said = [Renderer(zone=UTC).event({**waiting, "active": active}) for active in (1, 0)]
    assert said[0].endswith("active=1  (a second signal, as by Ctrl-C, cuts them)")
    assert said[1].endswith("active=0")


def test_a_request() -> None:
    """Time, what was asked, who answered, status, first event, total."""
    assert shown() == ("12:00:01 POST /v1/chat/completions  gpt-5.4 -> openai/gpt-5.4  200  first 412 ms  total 1.80 s")


def test_a_fallback_is_told() -> None:
    """Each attempt with its ending, and what was left out."""
    tried = [
        {"target": "a/m", "outcome": "overloaded", "ms": 120.0, "status": 529},
        {"target": "b/m", "outcome": "connect_refused", "ms": 0.4, "status": None},
    ]
    line = shown(attempts=2, tried=tried, skipped=["c/m: its circuit is open"])
    assert line.endswith(
        "  2 attempts: a/m overloaded (529) in 120 ms; b/m connect_refused in 0.4 ms  skipped c/m: its circuit is open"
    )


def test_an_error_of_our_own() -> None:
    """The code and the sentence; nobody was asked."""
    line = shown(
        target=None, model=None, attempts=0, status=404, first_event_ms=None, error_code="no_route", error="none fits"
    )
    assert "(no model) -> nobody  404  total" in line and line.endswith("no_route: none fits")


def test_nobody_was_asked() -> None:
    """Of a request that was refused because every target is out, the log's `target` is only whom the plan had first."""
    line = shown(attempts=0, status=503, first_event_ms=None, error_code="all_targets_out", error="none")
    assert "gpt-5.4 -> nobody  503  total" in line


def test_a_panic_probe_says_so() -> None:
    """Else the line would tell of one and the same target that it was skipped, its breaker being open, and was asked."""
    skipped = ["openai/gpt-5.4: breaker open, 3.6 s left"]
    tried = [{"target": "openai/gpt-5.4", "outcome": "overloaded", "ms": 0.2, "status": 503}]
    line = shown(status=503, tried=tried, skipped=skipped, panic=True)
    assert line.endswith("  panic: every target was out, openai/gpt-5.4 was asked although its breaker was open")
    assert "panic" not in shown(status=503, tried=tried, skipped=skipped)


def test_other_events_show_their_facts() -> None:
    """Warnings and errors by their level, every fact with its name."""
    line = {
        "event": "keys_missing",
        "level": "warning",
        "time": REQUEST["time"],
        "provider": "openai",
        "missing": ["a b"],
    }
    assert Renderer(zone=UTC).text(json.dumps(line).encode()) == (
        '12:00:01 warning keys_missing  provider=openai  missing=["a b"]'
    )


def test_lines_of_others_stay_as_they_are() -> None:
    """Text that is no log line of Fusebox's passes, made harmless."""
    renderer = Renderer()
    assert renderer.text(b"Traceback (most recent call last):") == "Traceback (most recent call last):"
    assert renderer.text(b'{"msg": 1}') == '{"msg": 1}'
    assert renderer.text(b"\x1b[2Jx\xff") == "\\x1b[2Jx\ufffd"


@given(st.text(), st.text(), st.text(), st.text())
def test_nothing_reaches_the_terminal_but_what_can_be_printed(path: str, model: str, error: str, fact: str) -> None:
    """Whatever a client or a provider writes: one line, no control character."""
    lines = [
        {**REQUEST, "path": path, "model": model, "error_code": "x", "error": error, "method": fact, "target": fact},
        {**REQUEST, "event": fact, fact: error, "time": path},
        {**REQUEST, "tried": [{"target": path, "outcome": model, "status": error}], "skipped": [fact]},
    ]
    for line in lines:
        text = Renderer(zone=UTC).text(json.dumps(line).encode())
        assert text.isprintable()


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
    )
)
def test_no_fact_breaks_it(value: Any) -> None:
    """A field may hold anything: a log may be another version's."""
    for name in (*REQUEST, "tried", "skipped", "error_code"):
        assert Renderer(zone=UTC).text(json.dumps({**REQUEST, name: value}).encode()).isprintable()


def test_colours() -> None:
    """Only when wanted: the status by its kind, and the whole line the same without the codes."""
    line = json.dumps({**REQUEST, "status": 503}).encode()
    coloured = Renderer(colour=True, zone=UTC).text(line)
    assert "\x1b[31m503\x1b[0m" in coloured
    assert "\x1b" not in Renderer(zone=UTC).text(line)


@pytest.mark.parametrize(
    ("terminal", "environment", "wanted"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_who_wants_colours(terminal: bool, environment: dict[str, str], wanted: bool) -> None:
    """A terminal that can, and nobody who said no."""
    assert wants_colour(terminal, environment) is wanted


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "0.0 ms"), (9.94, "9.9 ms"), (9.96, "10 ms"), (999.4, "999 ms"), (999.6, "1.00 s"), (59_990, "59.99 s"),
     (60_000, "1 min 0 s"), (125_000, "2 min 5 s"), (None, "-"), ("x", "-"), (float("inf"), "-")],
)  # fmt: skip
def test_durations(ms: object, said: str) -> None:
    """In the unit a person would take."""
    assert duration(ms) == said


def test_long_texts_are_cut() -> None:
    """Two thousand characters of one value, and no more."""
    assert printable("x" * 5000) == "x" * 2000 + "..."
    assert printable("é→ü") == "é→ü"


def test_the_console_in_pieces() -> None:
    """Blocks may end anywhere; what `told` keeps back is not shown."""
    out = io.BytesIO()
    kept: list[str] = []

    def told(event: Any) -> bool:
        kept.append(event["event"])
        return bool(event["event"] != "ready")

    console = Console(out, Renderer(zone=UTC), told)
    whole = b'{"event":"ready"}\n' + json.dumps(REQUEST).encode() + b"\nno json\n"
    for position in range(len(whole)):
        assert console.write(whole[position : position + 1]) == 1
    console.flush()
    assert out.getvalue().decode() == f"{shown()}\nno json\n"
    assert kept == ["ready", "request"]


def test_what_is_an_event() -> None:
    """An object with a name, and nothing else."""
    assert read(b'{"event": "x", "a": 1}') == {"event": "x", "a": 1}
    assert [read(line) for line in (b"", b"[]", b"{", b'{"event": 5}', b"\xff")] == [None] * 5
    assert read(b"[" * 100_000) is None
