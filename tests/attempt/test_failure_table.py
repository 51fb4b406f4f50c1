"""The failure table, played: a hostile provider on real sockets, a real Fusebox, and what docs/failure-modes.md promises.

Each row of ``failure_rows`` is played in several chains. What was seen then - requests, verdicts, cool-downs, the
client's answer - is put into the words of the page and compared with the page's row, cell by cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from proxy.attempt.outcomes import OUTCOMES
from tests.attempt.failure_rows import (
    CHAT,
    LONG_ANSWER,
    MID_ANSWER,
    NAMED,
    RESET,
    ROWS,
    STALE,
    STALE_AND_LOST,
    UNPLAYABLE,
    Row,
    answering,
    of_case,
    sending,
)
from tests.attempt.failure_stage import Played, Stage
from tests.attempt.provider_errors import CASES, JSON, Case
from tests.attempt.test_classify import rows as page_rows


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The stage of all plays, with a loop of its own: Fusebox is a process, so the loop on this side does not matter."""
    made = Stage(tmp_path_factory.mktemp("table"))
    made.run(made.open())
    # All at once, because a line of the log comes a moment after its answer.
    for row in ROWS:
        made.played(row, "pair")
        made.played(row, "alone")
    for case in CASES:
        made.played(of_case(case), "alone")
    yield made
    made.close()


PAGE = {row[0].strip("`"): row for row in page_rows()}

INSIDE_200 = [row for row in ROWS if row.shown is not None and row.answer is not None and row.answer[0] == 200]
ERRORS_INSIDE = [row for row in INSIDE_200 if row.reason not in ("empty answer", "HTML instead of an answer")]

STATUS_OF_CODE = {"upstream_timeout": "504", "upstream_answer_cut": "502"}
"""The status that an error code of docs/errors.md stands for, where only the log can say it."""

each_row = pytest.mark.parametrize("row", ROWS, ids=str)


def test_every_reason_is_played() -> None:
    """No row of the table goes without a play, but for those that no socket can bring about."""
    played = {row.reason for row in (*ROWS, STALE)}
    assert played | set(UNPLAYABLE) == {outcome.reason for outcome in OUTCOMES} == set(PAGE)
    assert not played & set(UNPLAYABLE)
    assert len({str(row) for row in ROWS}) == len(ROWS)


# What happened, in the words of the page.


def same_target(stage: Stage, row: Row) -> str:
    """Whether the same target was asked again, and on which condition."""
    if stage.played(row, "pair").attempts > 1:
        return "no" if stage.played(row, "pair", retries=False).attempts > 1 else "if `retry.attempts` allows"
    if row.answer is not None and stage.played(row, "pair", lines=(b"retry-after-ms: 20",)).attempts > 1:
        too_long = stage.played(row, "pair", lines=(b"Retry-After: 2",))
        return "after a wait within `retry.max_wait`" if too_long.attempts == 1 else "after any wait"
    return "no"


def next_target(stage: Stage, row: Row) -> str:
    """Whether the chain went on, and on which condition."""
    if stage.played(row, "pair").second:
        same_key = stage.played(row, "same_key")
        return "only with another key" if row.reached and "b" not in same_key.asked else "yes"
    if stage.played(row, "larger").second:
        return "only with a larger `context`"
    return "only if the policy says so" if stage.played(row, "past_filter").second else "no"


def at_the_end(row: Row, alone: Played) -> str:
    """What the client got when there was no other target."""
    if alone.head is None:
        return f"{alone.line['status']}"
    if alone.cut:
        return STATUS_OF_CODE[alone.line["error_code"]]
    assert alone.own == alone.line.get("error_code")
    if alone.own is not None:
        return f"{alone.status}"
    assert row.answer is not None
    status, media, body = row.answer
    if row in ERRORS_INSIDE:
        assert alone.status == row.shown
        assert alone.body in (body, re.sub(rb"\A.*^data: |\s+\Z", b"", body, flags=re.DOTALL | re.MULTILINE))
        return "as it came"
    assert alone.body == body
    assert alone.header("content-type") == (None if status in (204, 304) else media.decode())
    return "as it came" if alone.status == status else f"{alone.status}"


@each_row
def test_the_page_says_what_happened(stage: Stage, row: Row) -> None:
    """Verdict, cool-down, retry, fallback and the client's answer: each cell of the page is what was seen."""
    _, _, _, breaker, cools, same, following, end = PAGE[row.reason]
    usual, _, of_probe = breaker.partition("; ")
    pair, alone = stage.played(row, "pair"), stage.played(row, "alone")
    assert (pair.verdict, alone.verdict) == (usual, usual)
    if row not in MID_ANSWER:  # a probe has succeeded with its first event
        expected = "failure" if of_probe == "failure of a probe" else usual
        assert stage.played(row, "alone", probe=True).verdict_of_probe == (
            "ignore" if row.provider == "keyless" else expected
        )
    assert (pair.cools, alone.cools) == (cools, cools)
    assert same_target(stage, row) == ("no" if row in ERRORS_INSIDE else same)
    # A key that cools, cools for every target: another one is needed then in any case.
    assert next_target(stage, row) == ("only with another key" if cools == "key" and following == "yes" else following)
    assert at_the_end(row, alone) == end


@each_row
def test_who_was_asked_and_what_the_log_says(stage: Stage, row: Row) -> None:
    """Each provider sees as many requests as the log has attempts, and the log names the row and its class."""
    means = re.split(r"\W", PAGE[row.reason][2])[0]
    for shape in ("pair", "alone"):
        played = stage.played(row, shape)
        assert len(played.asked) == (played.line["attempts"] - played.second if row.reached else 0)
        assert set(played.asked) <= {"a", ""}
        if row in MID_ANSWER:
            assert played.breaker["last_failure"] == row.reason
            assert played.line["error_code"] in STATUS_OF_CODE
        if row.reason in ("ok", "client left") or row in MID_ANSWER:
            ended = [("first/a", row.reason, "TRANSPORT" if row in MID_ANSWER else means)]
            assert (played.attempts, played.second, played.tried) == (1, 0, ended)
            assert played.line.get("broke") == (row.reason if row in MID_ANSWER else None)
        elif row.provider == "keyless":
            assert (played.attempts, played.tried) == (0, [("second/b", "ok", "OK")] * played.second)
            assert played.line["skipped"] == ["keyless/a: no key"]
        else:
            failed = [(f"{row.provider}/a", row.reason, means)] * played.attempts
            assert played.attempts >= 1
            assert played.tried == failed + [("second/b", "ok", "OK")] * played.second


@each_row
def test_what_the_client_gets_with_a_second_target(stage: Stage, row: Row) -> None:
    """The second's answer, and nothing of the first's; or what it gets without a second, to the byte."""
    pair, alone = stage.played(row, "pair"), stage.played(row, "alone")
    if pair.second:
        assert (pair.second, pair.status, pair.body, pair.own, pair.cut) == (1, 200, CHAT, None, False)
        assert pair.header("x-fusebox-target") == "second/b"
        assert pair.header("x-fusebox-attempts") == f"{pair.line['attempts']}"
    else:
        assert (pair.status, pair.own, pair.cut) == (alone.status, alone.own, alone.cut)
        if pair.own is None:
            assert pair.body == alone.body


def test_a_failed_handshake_is_an_error_in_the_log(stage: Stage) -> None:
    """As a rule it is a mistake in the configuration, so it must be seen at once."""
    for row in ROWS:
        if row.reason == "TLS failed":
            stage.played(row, "alone")
            line = stage.run(stage.fusebox.line(event="tls_failed", provider=row.provider))
            assert line["level"] == "error"


# Rows that take more than one request, or have more to say.


def test_a_stale_connection_costs_nothing(stage: Stage) -> None:
    """Closed under the request, it is replaced by a fresh one, retries or not; nobody is blamed, the client sees nothing."""
    _, _, _, breaker, cools, same, following, end = PAGE[STALE.reason]
    for retries in (True, False):
        played = stage.played(STALE, "pair", warm=True, retries=retries)
        assert (played.asked, played.connections, played.second) == (["a", "a"], 2, 0)
        assert (played.status, played.body, played.cools) == (200, CHAT, cools)
        assert played.breaker["counts"]["ok"] == 1 and played.breaker["counts"]["failed"] == 0
    assert (breaker, same) == ("ignore", "once, on a fresh connection")
    # The fresh one has its own row: `connection lost`, say.
    lost = stage.played(STALE_AND_LOST, "pair", warm=True)
    assert (lost.asked, lost.connections, lost.second) == (["a", "a"], 2, 1)
    assert [outcome for _, outcome, _ in lost.tried] == ["connection lost", "ok"]
    assert (lost.breaker["counts"]["failed"], following) == (1, "yes")
    assert f"{stage.played(STALE_AND_LOST, 'alone', warm=True).status}" == end


def test_a_long_answer_past_its_time_is_not_blamed(stage: Stage) -> None:
    """`timeouts.total` in the middle of an answer: the client's is cut, and the provider keeps its success."""
    played = stage.played(LONG_ANSWER, "pair")
    assert (played.status, played.cut, played.second) == (200, True, 0)
    assert played.line["error_code"] == "upstream_timeout"
    assert (played.verdict, played.breaker["last_failure"]) == (
        "success",
        stage.played(LONG_ANSWER, "alone").breaker["last_failure"],
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_provider_s_error_on_the_wire(stage: Stage, case: Case) -> None:
    """Each wording is logged under its reason, and the client gets the status that it stands for."""
    played = stage.played(of_case(case), "alone")
    assert {outcome for _, outcome, _ in played.tried} == {case.reason}
    assert played.status == (case.shown or case.status)
    if case.status >= 400:
        assert (played.body, played.own) == (case.body, None)


BUSY = (503, JSON, NAMED["openai overloaded"].body)
LIMITED = (429, JSON, NAMED["openai tokens per minute"].body)


@pytest.mark.parametrize(
    ("answer", "first", "second", "wait", "again"),
    [
        (BUSY, b"Retry-After: 7", b"Retry-After: 3", "3", "false"),
        (BUSY, b"x-should-retry: true", b"x-should-retry: true", None, "false"),
        (LIMITED, b"Retry-After: 6", b"Retry-After: 30", "6", None),
        (LIMITED, b"Retry-After: 30", b"Retry-After: 6", "6", None),
        (LIMITED, b"Retry-After: 20", b"retry-after-ms: 30000", "20", "false"),
    ],
)
def test_when_both_targets_fail(
    stage: Stage, answer: tuple[int, bytes, bytes], first: bytes, second: bytes, wait: str | None, again: str | None
) -> None:
    """The last one's answer as it came, but for when to retry: the shortest wait of several limits, and no invitation."""
    row = Row(reason="", answer=answer)
    played = stage.run(stage.play(row, "pair", lines=(first,), second=answering(*answer, second)))
    assert (len(played.asked), played.second) == (1, 1)
    assert (played.status, played.body, played.own) == (answer[0], answer[2], None)
    assert (played.header("retry-after"), played.header("x-should-retry")) == (wait, again)
    alone = stage.run(stage.play(row, "alone", lines=(first,)))
    name, _, value = first.decode().partition(": ")
    assert alone.header(name) == value, "of a single target everything passes"


def test_when_both_targets_are_lost(stage: Stage) -> None:
    """The error is Fusebox's own, names the last provider, and tells the client's SDK not to try them all again."""
    row = Row(reason="", script=sending(end=RESET))
    played = stage.run(stage.play(row, "pair", second=sending(end=RESET)))
    assert (played.status, played.own, played.header("x-should-retry")) == (502, "upstream_connection_lost", "false")
    assert b"'second'" in played.body
    alone = stage.run(stage.play(row, "alone"))
    assert (alone.status, alone.own, alone.header("x-should-retry")) == (502, "upstream_connection_lost", None)


def test_two_hosts_out_of_reach_at_once_are_not_blamed(stage: Stage) -> None:
    """Names and tunnels that fail at two hosts together are this machine's own network: no verdict, until one answers."""
    unknown, proxied = (next(row for row in ROWS if row.provider == name) for name in ("unknown", "proxied"))
    before = stage.run(stage.play(unknown, "alone"))
    together = stage.run(stage.play(proxied, "alone", calm=False))
    after = stage.run(stage.play(proxied, "alone"))
    assert [one.verdict for one in (before, together, after)] == ["failure", "ignore", "failure"]
    assert together.tried == [("proxied/a", "egress proxy failed", "TRANSPORT")]
    assert (together.status, together.own) == (502, "upstream_connect_failed")
