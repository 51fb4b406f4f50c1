"""What a run says: made from a few requests, log lines and an outage whose figures are known beforehand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from drill.client import Seen, body_of
from drill.figures import Counts, Recovery, bands, count, probes_per_opening, promises, quantile, recovery, row, split
from drill.log import Attempt, Change, Cooling, Log, read_log
from drill.outages import PROVIDERS, Lived, Mode, Outage, Phase, Span
from drill.plot import draw, shares
from drill.policy import settings
from drill.report import markdown, percent, plain, seconds
from drill.traffic import Arrival

BEGAN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def span(
    name: str = "down", mode: Mode = Mode.REFUSING, sick: tuple[str, ...] = ("a",), *times: tuple[float, float]
) -> Span:
    """An outage that was, with its phases; from 10 to 20 without any."""
    found = times or ((10.0, 20.0),)
    phases = tuple(Phase(begin, end, mode, sick) for begin, end in found)
    return Span(Outage(name, name, phases), tuple(Lived(begin, end, mode, sick, 0) for begin, end in found))


def ok(at_s: float, provider: str = "b", took_s: float = 1.0) -> Seen:
    """A request that went well; its first event came halfway."""
    return Seen(at_s, at_s + took_s, "ok", at_s + took_s / 2, provider, 200)


def failed(at_s: float) -> Seen:
    """One that got a 503."""
    return Seen(at_s, at_s, "error", status=503, why="status 503", own="all_targets_out", retry_after="1")


def line(event: str, at_s: float, **fields: Any) -> str:
    """A log line."""
    written = datetime.fromtimestamp(BEGAN + at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"event": event, **fields, "level": "info", "time": written})


def test_the_log_is_read_as_attempts() -> None:
    """Attempts follow one another from the request's begin; a request without trouble names its one target."""
    tried = [
        {"target": "a/model-a", "outcome": "connection refused", "class": "TRANSPORT", "ms": 100.0},
        {"target": "b/model-b", "outcome": "ok", "class": "OK", "ms": 300.0, "status": 200},
    ]
    log = read_log(
        [
            line("request", 6.0, total_ms=1000.0, attempts=2, target="b/model-b", tried=tried),
            "not JSON",
            '"a text"',
            line("request", 5.0, total_ms=500.0, attempts=1, target="a/model-a"),
            line("request", 5.0, total_ms=0.1, attempts=0, target="a/model-a"),
            line("internal_error", 5.0),
        ],
        BEGAN,
    )
    assert [(one.provider, one.outcome) for one in log.attempts] == [
        ("a", "ok"),
        ("a", "connection refused"),
        ("b", "ok"),
    ]
    assert [one.at_s for one in log.attempts] == pytest.approx([4.5, 5.0, 5.1], abs=1e-3)
    assert log.internal_errors == 1


def test_the_log_is_read_as_changes_and_cool_downs() -> None:
    """Breakers of a provider or a target count for the provider; a key's name begins with it."""
    log = read_log(
        [
            line("breaker", 1.0, breaker="a", was="closed", now="open", why="streak", open_for_s=0.3),
            line("breaker", 2.0, breaker="a/m", was="open", now="half-open", why="time_passed"),
            line("cooldown", 3.0, key="b:1f", model="m", reason="rate", for_s=2.0),
        ],
        BEGAN,
    )
    assert [(one.provider, one.now, one.open_for_s) for one in log.changes] == [
        ("a", "open", 0.3),
        ("a", "half-open", None),
    ]
    assert [(one.provider, one.for_s) for one in log.coolings] == [("b", 2.0)]


def test_success_leaves_out_what_was_cut() -> None:
    """Of three answered, one unanswered and one cut after its first event, three of four succeeded."""
    cut = Seen(1.0, 2.0, "cut", 1.5, "a", 200)
    counts = count([ok(0), ok(1), ok(2), failed(3), cut])
    assert (counts.requests, counts.ok, counts.cut, counts.errors) == (5, 3, 1, 1)
    assert counts.success == 0.75
    assert count([cut]).success is None


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0), (0.0, 1.0)])
def test_quantiles_are_values_that_occurred(share: float, expected: float) -> None:
    """Nearest rank; nothing has none."""
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == expected
    assert quantile([], share) is None


def test_requests_belong_to_an_outage_that_they_met() -> None:
    """Begun before and still under way, or begun in it; not begun after it, nor over before it."""
    before, into, inside, after = ok(8.0), ok(9.5), ok(15.0), ok(20.0)
    parts, calm = split([before, into, inside, after], [span()], Log())
    assert parts == {"down": [into, inside]}
    assert calm == [before, after]


def test_an_outage_of_the_whole_chain_lasts_until_a_circuit_has_closed() -> None:
    """Until then it is for probes to find the way back; a change that was before does not count."""
    changes = [Change(12.0, "a", "closed", ""), Change(22.0, "a", "closed", "")]
    parts, calm = split([ok(21.5), ok(22.5)], [span("all", Mode.REFUSING, PROVIDERS)], Log(changes=changes))
    assert parts == {"all": [ok(21.5)]}
    assert calm == [ok(22.5)]


CHANGES = [
    Change(11.0, "a", "open", "streak", 2.0),
    Change(13.0, "a", "half-open", "time_passed"),
    Change(13.5, "a", "open", "probe_failed", 8.0),
    Change(21.5, "a", "half-open", "time_passed"),
    Change(22.0, "a", "closed", "probes_succeeded"),
]
ATTEMPTS = [Attempt(at, "a", "") for at in (9.0, 10.5, 13.0, 13.1, 21.5, 21.6, 21.7, 22.5)] + [Attempt(15.0, "b", "")]


def test_a_recovery_is_told_from_the_changes_and_the_answers() -> None:
    """Opened a second after the begin; back with the first answer to a request sent after the end."""
    seen = [ok(19.5, "a"), ok(21.5, "a"), ok(20.5, "b")]
    log = Log(ATTEMPTS, CHANGES, [Cooling(12.0, "a", 2.0)])
    assert recovery(span().phases[0], seen, log) == Recovery(1.0, 2.0, 2.0, 2.0, 8.0)


def test_a_circuit_that_never_opened_needs_no_closing() -> None:
    """Nothing opened, nothing cooled, and the next answer is the primary's."""
    found = recovery(span().phases[0], [ok(20.0, "a")], Log())
    assert found == Recovery(None, None, 0.5, 0.0, None)


def test_attempts_at_the_sick_and_probes_are_counted() -> None:
    """Only what went to the sick provider while it was sick; probes from each opening to the next change of it."""
    found = row(span(), [ok(15.0)], [ok(21.5, "a")], Log(ATTEMPTS, CHANGES))
    assert found.attempts == 3
    assert found.probes_max == 3
    assert found.answered_s == 2.0
    assert probes_per_opening(Log(ATTEMPTS, CHANGES), "a", 10.0, 30.0) == [2, 3]


def _rows(back_s: float | None, errors: int, attempts: int) -> tuple[list[Any], Log]:
    flapping = span("flapping")
    answers = [] if back_s is None else [ok(20.0 + back_s / 2, "a", back_s)]
    probes = [Attempt(21.5 + place / 100, "a", "") for place in range(attempts)]
    log = Log(probes, CHANGES)
    part = [ok(15.0)] * 999 + [failed(15.0)] * errors
    return [row(flapping, part, answers, log)], log


@pytest.mark.parametrize(
    ("back_s", "errors", "attempts", "expected"),
    [
        (8.5, 0, 3, [True, True, True, True]),
        (8.5, 1, 3, [True, True, True, True]),
        (8.5, 2, 3, [False, True, True, True]),
        (8.6, 0, 3, [True, False, True, True]),
        (None, 0, 3, [True, False, True, True]),
        (8.5, 0, 4, [True, True, False, True]),
    ],
)
def test_promises_hold_up_to_their_limits(
    back_s: float | None, errors: int, attempts: int, expected: list[bool]
) -> None:
    """99.9 % exactly is enough; a period of 8 s and half a second of slack; three probes."""
    rows, log = _rows(back_s, errors, attempts)
    assert [one.held for one in promises(rows, count([ok(1.0)]), log)] == expected


def test_the_whole_chain_down_is_not_judged_but_the_calm_is() -> None:
    """Where nobody was healthy nothing was promised; outside of outages everything was."""
    whole = row(span("all", Mode.REFUSING, PROVIDERS), [failed(15.0)], [], Log())
    assert promises([whole], count([ok(1.0)]), Log())[0].held
    judged = promises([whole], count([failed(1.0)]), Log(internal_errors=1))
    assert [one.held for one in judged] == [False, False]
    assert "calm" in judged[0].text


def test_bands_cover_the_whole_drill() -> None:
    """From the begin to the end, without a gap."""
    assert bands(CHANGES[:2], "a", 30.0) == [(0.0, 11.0, "closed"), (11.0, 13.0, "open"), (13.0, 30.0, "half-open")]
    assert bands(CHANGES, "b", 30.0) == [(0.0, 30.0, "closed")]


def test_shares_add_up_to_one_where_there_were_requests() -> None:
    """A request counts where it began; one without an answer is nobody's."""
    middles, parts = shares([ok(0.1, "a"), ok(0.2, "b"), failed(0.3), failed(0.4)], 1.0)
    assert middles == [0.25, 0.75]
    assert parts == {"a": [0.25, 0.0], "b": [0.25, 0.0], "c": [0.0, 0.0], "": [0.5, 0.0]}


def test_the_report_says_it_all() -> None:
    """The table has a row per outage and one for the calm; a promise that was broken stands out."""
    spans = [span("flapping"), span("all", Mode.REFUSING, PROVIDERS)]
    log = Log(ATTEMPTS, CHANGES)
    rows = [row(spans[0], [ok(15.0), failed(15.0)], [], log), row(spans[1], [failed(15.0)], [ok(20.5, "a")], log)]
    calm = count([ok(1.0)])
    text = markdown(rows, calm, promises(rows, calm, log), settings(20.0), {"date": "today"}, [ok(1.0)], plot="p.png")
    assert "| flapping | 2 | 50.000 % | 1 | 0 | 3 (0) | 1.0 s |" in text
    assert "| the calm between | 1 | 100 % |" in text
    assert "- **no**: success of at least 99.9 %" in text
    assert "| 503 `all_targets_out`, Retry-After 1 | 1 |" in text
    assert "![The drill over its time](p.png)" in text
    assert "| `breaker.open_for` | 5 s | 0.25 s |" in text


def test_a_storm_of_limits_is_answered_by_a_cool_down() -> None:
    """Where no circuit opens for it, the time to open says when the key cooled."""
    storm = row(span("429", Mode.LIMITING), [ok(15.0)], [], Log(coolings=[Cooling(10.01, "a", 2.0)]))
    text = markdown([storm], count([]), [], [], {}, [], plot=None)
    assert "cools after 10 ms" in text


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, "100 %"), (0.9999999, "99.999 %"), (0.5, "50.000 %"), (None, "–")]
)
def test_a_share_is_never_rounded_up_to_all(value: float | None, expected: str) -> None:
    """One failure in a million must not read as none."""
    assert percent(value) == expected


def test_times_are_written_short() -> None:
    """Milliseconds below a second; settings without zeros that say nothing, but with those that do."""
    assert [seconds(value) for value in (None, 0.0124, 2.04)] == ["–", "12 ms", "2.0 s"]
    assert [plain(value) for value in (30.0, 600.0, 0.25, 2.0)] == ["30 s", "600 s", "0.25 s", "2 s"]


def test_a_request_is_as_large_as_the_traces() -> None:
    """Four characters for a token."""
    body = body_of(Arrival(0.0, 1000, 0))
    assert len(body["messages"][0]["content"]) == 4000
    assert body["max_completion_tokens"] == 1


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """A PNG, also of a drill in which little happened."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "drill.png"
    log = Log(ATTEMPTS, CHANGES, [Cooling(12.0, "a", 2.0)])
    assert draw([ok(1.0), failed(15.0)], [span()], log, 30.0, path) is None
    assert path.read_bytes().startswith(b"\x89PNG")


def test_counts_of_nothing() -> None:
    """No request, no share, no time."""
    assert count([]) == Counts(0, 0, 0, 0, None, None)
