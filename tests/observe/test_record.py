"""The one line of a request: which facts it has, and at which level it is written."""

from __future__ import annotations

import json

import pytest

from proxy.exchange import Plan, Skipped, Target
from proxy.observe.logs import configure
from proxy.observe.record import Record, emit


def test_a_line_has_only_the_facts_there_are() -> None:
    """A request that never got as far as a provider."""
    record = Record("POST", "/v1/x")
    record.started_at = 10.0
    assert record.line(10.5) == {
        "request_id": "-",
        "method": "POST",
        "path": "/v1/x",
        "endpoint": "",
        "model": None,
        "route": None,
        "target": None,
        "attempts": 0,
        "status": 0,
        "stream": False,
        "total_ms": 500.0,
        "bytes_in": 0,
        "bytes_out": 0,
    }


def test_the_times_of_an_answer() -> None:
    """Own overhead is what passed outside of waiting for client and provider."""
    record = Record("POST", "/v1/x")
    record.started_at = 10.0
    record.waited_s = 0.2  # for the client's body
    record.answered(10.5, 0.25)
    record.ready_at, record.written_at = 12.0, 12.001
    line = record.line(13.0)
    assert line["first_event_ms"] == 2000.0 and line["total_ms"] == 3000.0
    assert line["overhead_us"] == pytest.approx((0.5 - 0.2 - 0.25 + 0.001) * 1e6, abs=1)


@pytest.mark.parametrize(
    ("target", "model", "expected"),
    [
        (Target("openai", "gpt-5"), "asked", "openai/gpt-5"),
        (Target("openai"), "asked", "openai/asked"),
        (Target("openai"), None, "openai"),
    ],
)
def test_the_target(target: Target, model: str | None, expected: str) -> None:
    """With the model that it is really asked for; what was skipped with its reason."""
    record = Record("POST", "/v1/x")
    record.decided(Plan("r", (target, Target("b")), (Skipped(Target("c", "m"), "why"),)), model)
    line = record.line(record.started_at)
    assert (line["route"], line["target"], line["skipped"]) == ("r", expected, ["c/m: why"])


@pytest.mark.parametrize(("retry", "shown"), [(None, False), ("0", False), ("1", True)])
def test_a_client_s_retry_is_told(retry: str | None, shown: bool) -> None:
    """SDKs count their own; the first try is not worth a field."""
    record = Record("POST", "/v1/x")
    record.client_retry = retry
    assert ("client_retry" in record.line(0)) is shown


def test_a_client_that_left() -> None:
    """499, with its own code."""
    record = Record("POST", "/v1/x")
    record.client_gone()
    line = record.line(0)
    assert (line["status"], line["error_code"], line["error"]) == (
        499,
        "client_closed_request",
        "the client closed the connection",
    )


@pytest.mark.parametrize(
    ("level", "failed", "written"),
    [
        ("debug", False, "info"),
        ("info", False, "info"),
        ("warning", False, None),
        ("error", False, None),
        ("info", True, "warning"),
        ("warning", True, "warning"),
        ("error", True, None),
    ],
)
def test_the_level_of_a_line(level: str, failed: bool, written: str | None) -> None:
    """A warning when it did not end well; below the log's level nothing is written."""
    lines: list[bytes] = []
    record = Record("POST", "/v1/x")
    if failed:
        record.error_code, record.error = "no_route", "none"
    emit(configure(lines.append, level), record)
    assert [json.loads(line)["level"] for line in lines] == ([written] if written else [])
    assert all(json.loads(line)["event"] == "request" for line in lines)


def test_what_a_client_sends_makes_no_long_line() -> None:
    """Path, retry count and the sentence of an error are cut."""
    record = Record("POST", "/v1/" + "x" * 60_000)
    record.client_retry = "9" * 60_000
    record.error_code, record.error = "bad_request", "y" * 60_000
    line = record.line(0)
    assert len(line["path"]) <= 1024 and len(line["client_retry"]) <= 16 and len(line["error"]) <= 4096
