"""Outcomes: providers' errors, faults of our own tree, the users' page, and what holds for any bytes."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.attempt import bodies
from proxy.attempt import classify as room
from proxy.attempt.classify import Seen, classify, is_plain_success, undecided
from proxy.attempt.outcomes import FAULTS, OK, OUTCOMES, RULES, Class, Cool, Next, Outcome, Retry, Verdict
from proxy.errors import (
    AnswerCut,
    AnswerTimeout,
    BadAnswer,
    BadRequest,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    HeadersTooLarge,
    NoKey,
    TooLarge,
    UpstreamFault,
)
from tests.attempt.provider_errors import CASES, HTML, JSON, SSE, Case

PAGE = Path(__file__).parents[2] / "docs" / "failure-modes.md"

CHAT = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": 'An {"error": "no"}'}, "finish_reason": "stop"}
        ],
        "usage": {"total_tokens": 29},
    }
).encode()
RESPONSE = b'{"id":"resp_1","object":"response","status":"completed","error":null,"output":[],"text":{"a":1}}'
CHAT_EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":""}}]}\n\n'
)
MESSAGE_EVENT = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","content":[]}}\n\n'
RESPONSE_EVENT = b'event: response.created\ndata: {"type":"response.created","response":{"id":"r","error":null}}\n\n'

PLAIN = [
    (JSON, CHAT),
    (JSON + b"; charset=utf-8", CHAT),
    (JSON, RESPONSE),
    (JSON, RESPONSE.replace(b":null", b": null")),
    (SSE, CHAT_EVENT),
    (SSE, MESSAGE_EVENT),
    (SSE, RESPONSE_EVENT),
    (SSE, CHAT_EVENT.replace(b"\n", b"\r\n")),
    (b"audio/mpeg", b"\xff\xf3\x44\xc4"),
    (b"image/png", b"\x89PNG"),
]

GOOD = [
    *PLAIN,
    (SSE, b"\xef\xbb\xbf" + CHAT_EVENT),
    (SSE, b": OPENROUTER PROCESSING\n\n" + CHAT_EVENT),
    (SSE, b'event: ping\ndata: {"type": "ping"}\n\n' + MESSAGE_EVENT),
    (SSE, b"data: plain words\n\n"),
    (SSE, CHAT_EVENT.replace(b"data: ", b"data:")),
    (JSON, b"\n\n \n" + CHAT),  # DeepSeek's keep-alive
    (JSON, b'{"type":"message","content":[{"type":"tool_use","input":{"error":{"code":500}}}]}'),
    (JSON, b'{"id":"job","status":"running","error":{"code":null,"message":null,"param":null}}'),
    (JSON, b'{"id":"job","error":{}}'),
    (JSON, b'{"id":"1","choices":[],"base_resp":{"status_code":0,"status_msg":""}}'),
    (JSON, b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"),
    (JSON, b'{"logprobs":[-Infinity,NaN],"text":"\\ud83d","error":null,"x":{"error":1}}'),
    (JSON, b"[]"),
    (JSON, b'"text"'),
    (b"text/plain", b"a transcription"),
    (b"text/plain", b"<i>a transcription</i>"),
    (b"", CHAT),
]


def seen(status: int, body: bytes = b"", media: bytes = JSON, **more: object) -> Seen:
    """An answer, with its media type spelt as servers do."""
    known = Seen(status, [(b"Date", b"x"), (b"Content-Type", media)], body, event_stream=b"event-stream" in media)
    return msgspec.structs.replace(known, **more)


def encoded(status: int, body: bytes, coding: bytes, media: bytes = JSON) -> Seen:
    """An answer under a content coding."""
    return msgspec.structs.replace(
        seen(status, body, media), lines=[(b"content-type", media), (b"Content-Encoding", coding)]
    )


# What providers say.


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_provider_s_error(case: Case) -> None:
    """Each error leads to its row of the table, and the client to the status that it stands for."""
    outcome = classify(seen(case.status, case.body, case.media))
    assert (outcome.reason, outcome.status) == (case.reason, case.shown)
    assert not is_plain_success(case.status, case.media, case.body, True)


@pytest.mark.parametrize("coding", [b"gzip", b"x-gzip", b"GZIP", b"deflate", b"raw deflate", b"identity"])
@pytest.mark.parametrize("case", [case for case in CASES if case.body], ids=lambda case: case.name)
def test_a_compressed_error_is_read(case: Case, coding: bytes) -> None:
    """gzip and deflate, the latter as servers misread it too, say the same as the plain body."""
    body = case.body
    if b"gzip" in coding.lower():
        body = gzip.compress(body)
    elif coding == b"deflate":
        body = zlib.compress(body)
    elif coding == b"raw deflate":
        packer = zlib.compressobj(wbits=-15)
        body = packer.compress(body) + packer.flush()
    outcome = classify(encoded(case.status, body, coding.split()[-1], case.media))
    assert (outcome.reason, outcome.status) == (case.reason, case.shown)


@pytest.mark.parametrize("case", [case for case in CASES if case.status == 200], ids=lambda case: case.name)
def test_an_error_inside_a_200_cut_anywhere(case: Case) -> None:
    """While the body comes in it is waited for, or judged as the whole is; it is never taken for a plain success."""
    for end in range(len(case.body)):
        part = case.body[:end]
        assert not is_plain_success(200, case.media, part, False), end
        now = seen(200, part, case.media, complete=False)
        if not undecided(now):
            outcome = classify(now)
            assert (outcome.reason, outcome.status) == (case.reason, case.shown), end


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.status >= 400 and case.body], ids=lambda case: case.name
)
def test_an_error_s_body_is_waited_for(case: Case) -> None:
    """An error's body is judged when it is whole; whatever is there when patience ends is judged without a fault."""
    for end in range(0, len(case.body), 7):
        now = seen(case.status, case.body[:end], case.media, complete=False)
        assert undecided(now)
        assert classify(now) is not OK
    assert not undecided(seen(case.status, case.body, case.media))


def test_an_error_without_its_end_is_read_as_far_as_it_goes() -> None:
    """The code is found in a body of which only the first 64 KiB are read."""
    body = b'{"error":{"code":"insufficient_quota","message":"' + b"x" * bodies.READ_MAX + b'"}}'
    assert classify(seen(429, body)).reason == "out of credit"
    assert classify(seen(200, body)).reason == "out of credit"
    assert not undecided(seen(429, body, complete=False))


def test_a_code_after_the_bound_is_not_read() -> None:
    """Nothing behind 64 KiB counts, so that the work is bounded."""
    body = b'{"error":{"message":"' + b"x" * bodies.READ_MAX + b'","code":"insufficient_quota"}}'
    assert classify(seen(429, body)).reason == "rate limited"


def test_bytes_that_are_no_utf8_hide_nothing() -> None:
    """One wrong byte in the sentence leaves the code readable."""
    body = b'{"error":{"message":"caf\xe9","code":"model_not_found"}}'
    assert classify(seen(404, body)).reason == "model not served"


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, br"])
def test_an_unknown_coding_leaves_the_status_alone(coding: bytes) -> None:
    """A body that cannot be decoded is neither waited for nor guessed at."""
    assert classify(encoded(429, b"\x8b\x00", coding)).reason == "rate limited"
    assert classify(encoded(400, b"\x8b\x00", coding)).reason == "bad request"
    assert classify(encoded(200, b"\x8b\x00", coding)) is OK
    assert not undecided(msgspec.structs.replace(encoded(400, b"\x8b", coding), complete=False))
    assert classify(encoded(200, b"", coding)).reason == "empty answer"


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_a_broken_coding_leaves_the_status_alone(coding: bytes) -> None:
    """Bytes that are not what they claim to be do no harm."""
    assert classify(encoded(500, b"not compressed at all", coding)).reason == "provider error"
    assert classify(encoded(200, b"not compressed at all", coding)) is OK


def test_a_bomb_is_decoded_within_the_bound() -> None:
    """A few KiB that unpack to many MiB give at most 64 KiB."""
    bomb = gzip.compress(b'{"error":{"code":"slow_down"},"x":"' + b"0" * (32 << 20))
    plain = bodies.decoded(bomb, b"gzip")
    assert plain is not None and len(plain[0]) == bodies.READ_MAX and plain[1] is False
    assert classify(encoded(503, bomb, b"gzip")).reason == "rate limited"


def test_the_wait_that_google_puts_in_the_body() -> None:
    """RetryInfo is read where a key and model cool, and nowhere else."""
    waits = {case.name: classify(seen(case.status, case.body, case.media)).wait_s for case in CASES}
    assert waits.pop("google per minute") == 46.0
    assert set(waits.values()) == {None}
    inside = b'[{"error":{"code":429,"message":"x","details":[{"retryDelay":"1.5s"}]}}]'
    assert classify(seen(200, inside)).wait_s == 1.5
    assert classify(seen(429, b'{"error":{"details":[{"retryDelay":"soon"}]}}')).wait_s is None


def test_a_request_s_own_words_cool_nothing() -> None:
    """What a client can get a provider to quote bars the way for nobody else."""
    for quoted in (
        "your credit balance is too low",
        "api key not valid",
        "file x does not exist",
        "insufficient_quota",
    ):
        body = json.dumps({"error": {"message": f"Invalid value: '{quoted}'", "type": "invalid_request_error"}})
        assert classify(seen(400, body.encode())).cool is Cool.NOTHING


# Good answers.


@pytest.mark.parametrize(("media", "body"), PLAIN)
def test_a_plain_success(media: bytes, body: bytes) -> None:
    """The fast path takes what good answers look like."""
    assert is_plain_success(200, media, body, True)


@pytest.mark.parametrize(("media", "body"), GOOD)
def test_a_good_answer_cut_anywhere(media: bytes, body: bytes) -> None:
    """A good answer is never taken for an error, whatever part of it has come."""
    assert classify(seen(200, body, media)) is OK
    assert not undecided(seen(200, body, media))
    for end in range(len(body)):
        assert classify(seen(200, body[:end], media, complete=False)) is OK, end


@pytest.mark.parametrize(("media", "body"), [(media, body) for media, body in GOOD if media == SSE])
def test_a_first_event_is_decided_without_its_empty_line(media: bytes, body: bytes) -> None:
    """A stream that says nothing more, not even a line end, is not held back."""
    bare = body.rstrip(b"\r\n")
    assert undecided(seen(200, bare[:5], media, complete=False))
    assert not undecided(seen(200, bare, media, complete=False))


def test_a_long_answer_is_plain_before_its_end() -> None:
    """Of JSON the first KiB is enough, not a byte less."""
    body = b'{"id":"1","text":"' + b"x" * bodies.PEEK
    assert is_plain_success(200, JSON, body[: bodies.PEEK], False)
    assert not is_plain_success(200, JSON, body[: bodies.PEEK - 1], False)
    assert undecided(seen(200, body[: bodies.PEEK - 1], complete=False))
    assert not undecided(seen(200, body[: bodies.PEEK], complete=False))


def test_an_error_at_the_edge_of_the_first_kib() -> None:
    """The key counts when it ends within the first KiB."""
    for size, plain in ((bodies.PEEK - 7, False), (bodies.PEEK - 6, True)):
        body = b'{"x":"' + b"y" * (size - 8) + b'",'
        assert len(body) == size
        assert is_plain_success(200, JSON, body + b'"error":{"code":500}' + b" " * 50 + b"}", True) is plain


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_a_compressed_success(coding: bytes) -> None:
    """Whole, and as much of it as has come."""
    for body in (CHAT, b'{"id":"1","text":"' + bytes(range(35, 91)) * 2000 + b'"}'):
        packed = gzip.compress(body) if coding == b"gzip" else zlib.compress(body)
        assert classify(encoded(200, packed, coding)) is OK
        part = msgspec.structs.replace(encoded(200, packed[:40], coding), complete=False)
        assert classify(part) is OK


@pytest.mark.parametrize("status", [100, 101, 199, 203, 204, 205, 206, 207, 299, 304])
def test_other_successes_need_no_body(status: int) -> None:
    """They have none, or a piece of a file."""
    assert classify(seen(status)) is OK


@pytest.mark.parametrize("status", [200, 201, 202])
def test_the_user_s_own_matter_is_not_judged(status: int) -> None:
    """A stored file that holds an error, a page behind /p/, the answer to HEAD: the status alone counts."""
    for body, media in ((b"", JSON), (b"<html>", HTML), (b'{"error":{"code":500}}', JSON)):
        assert classify(seen(status, body, media, body_counts=False)) is OK
        assert not undecided(seen(status, body, media, body_counts=False, complete=False))
        assert classify(seen(status, body, media)) is not OK
    assert classify(seen(503, body_counts=False)).reason == "overloaded"


# Statuses, keys, probes.


def test_every_status_has_a_row() -> None:
    """No status falls through the rules, and none beyond HTTP's raises."""
    for status in range(300, 600):
        if status != 304:
            assert any(status in rule.statuses for rule in RULES), status
    for status in (-1, 0, 600, 999):
        assert classify(seen(status, CHAT)).category in (Class.OK, Class.TRANSPORT)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (300, "redirect"),
        (303, "redirect"),
        (305, "redirect"),
        (399, "redirect"),
        (400, "bad request"),
        (405, "bad request"),
        (424, "bad request"),
        (425, "conflict"),
        (426, "bad request"),
        (428, "bad request"),
        (430, "bad request"),
        (499, "bad request"),
        (500, "provider error"),
        (501, "not offered"),
        (502, "provider unavailable"),
        (503, "overloaded"),
        (504, "provider unavailable"),
        (505, "not offered"),
        (506, "provider unavailable"),
        (519, "provider unavailable"),
        (520, "provider unavailable"),
        (528, "provider unavailable"),
        (529, "overloaded"),
        (530, "provider unavailable"),
        (599, "provider unavailable"),
        (600, "not HTTP"),
    ],
)
def test_statuses_at_the_edges(status: int, reason: str) -> None:
    """By the status alone, next to the statuses that have rows of their own."""
    assert classify(seen(status)).reason == reason


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_the_owner_s(status: int) -> None:
    """The operator's key cools, and another provider may answer; the client's own goes nowhere else."""
    own, client = classify(seen(status)), classify(seen(status, own_key=False))
    assert (own.category, own.cool, own.next) == (Class.AUTH, Cool.KEY, Next.OTHER_KEY)
    assert (client.category, client.cool, client.next) == (Class.AUTH, Cool.NOTHING, Next.NO)
    google = b'[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]'
    assert classify(seen(400, google, own_key=False)).reason == "client's key refused"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_probe_that_meets_a_limit_fails(case: Case) -> None:
    """A rate limit fails a probe and nothing else; every other verdict is the same for a probe."""
    usual = classify(seen(case.status, case.body, case.media))
    probe = classify(seen(case.status, case.body, case.media, probe=True))
    if usual.category is Class.RATE:
        assert (usual.verdict, probe.verdict) == (Verdict.IGNORE, Verdict.FAILURE)
        assert msgspec.structs.replace(probe, verdict=Verdict.IGNORE) == usual
    else:
        assert probe == usual


def test_every_rule_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of the rules some answer leads elsewhere."""
    answers = [
        *(seen(case.status, case.body, case.media) for case in CASES),
        *(seen(status, own_key=own) for status in range(300, 600) for own in (True, False)),
        seen(400, b'{"error":{"message":"API key not valid."}}', own_key=False),
    ]
    before = [classify(answer) for answer in answers]
    for rule in RULES:
        monkeypatch.setattr(room, "RULES", tuple(other for other in RULES if other is not rule))
        assert [classify(answer) for answer in answers] != before, rule


# Faults of our own tree.


class Odd(UpstreamFault):
    """A kind that the table has never heard of."""


FAULT_EXAMPLES: dict[str, tuple[BaseException, bool, bool]] = {
    "name not found": (ConnectFailed("dns", "x"), False, False),
    "connection refused": (ConnectFailed("tcp", "x"), False, False),
    "TLS failed": (ConnectFailed("tls", "x"), False, False),
    "egress proxy failed": (ConnectFailed("proxy", "x"), False, False),
    "connect timeout": (ConnectTimeout("x"), False, False),
    "stale connection": (ConnectionLost("x", reused=True), False, False),
    "connection lost": (ConnectionLost("x", reused=False), False, False),
    "not HTTP": (BadAnswer("x"), False, False),
    "head timeout": (AnswerTimeout("head", 1), False, False),
    "first event timeout": (AnswerTimeout("first_event", 1), False, False),
    "stalled": (AnswerTimeout("idle", 1), False, False),
    "stalled mid-answer": (AnswerTimeout("idle", 1), True, False),
    "answer cut": (AnswerCut("x"), False, False),
    "cut mid-answer": (AnswerCut("x"), True, False),
    "no answer in time": (AnswerTimeout("total", 1), False, True),
    "deadline passed": (AnswerTimeout("total", 1), False, False),
    "upstream failed": (Odd("x"), False, False),
    "client's fault": (BadRequest("x"), False, False),
    "client left": (asyncio.CancelledError(), False, False),
    "unavailable here": (NoKey("p", "x"), False, False),
    "internal error": (ZeroDivisionError(), False, False),
}
"""By reason: the fault, whether bytes had been sent, whether it had all of the time."""


@pytest.mark.parametrize("reason", FAULT_EXAMPLES)
def test_a_fault_once_bytes_were_sent(reason: str) -> None:
    """There is no second answer, whatever the fault, and what was no failure does not become one."""
    fault, _, full = FAULT_EXAMPLES[reason]
    before, after = classify(fault, full_time=full), classify(fault, sent=True, full_time=full)
    assert (after.retry, after.next) == (Retry.NO, Next.NO)
    assert after.verdict is before.verdict or after.reason == "deadline passed"


def test_a_fault_says_the_status_of_its_own() -> None:
    """Timeouts are 504, the rest 502, as the error tree has it; a client's fault keeps its status."""
    for fault, sent, full in FAULT_EXAMPLES.values():
        if isinstance(fault, UpstreamFault):
            assert classify(fault, sent=sent, full_time=full).status == fault.status
    assert classify(TooLarge("x")).status == 413
    assert classify(HeadersTooLarge(1)).status == 431


def test_the_deadline_is_no_provider_s_fault_unless_it_had_it_all() -> None:
    """What earlier attempts used up is not blamed on the last one, nor is a long answer that was under way."""
    late = AnswerTimeout("total", 600)
    assert classify(late).verdict is Verdict.IGNORE
    assert classify(late, sent=True, full_time=True).verdict is Verdict.IGNORE
    assert classify(late, full_time=True).verdict is Verdict.FAILURE


def test_an_unheard_of_kind_of_connect_fault() -> None:
    """It is a fault on the way, like any other."""
    assert classify(ConnectFailed("pigeon", "x")).reason == "upstream failed"


# The users' page.

ANSWER_EXAMPLES: dict[str, Seen] = {
    "ok": seen(200, CHAT),
    "client's key refused": seen(401, own_key=False),
    "redirect": seen(307),
}
for _case in CASES:
    if _case.status != 200 or classify(seen(200, _case.body, _case.media)).reason in (
        "empty answer",
        "HTML instead of an answer",
    ):
        ANSWER_EXAMPLES.setdefault(_case.reason, seen(_case.status, _case.body, _case.media))


def rows() -> list[list[str]]:
    """The rows of the page's table, cell by cell."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].strip("`"))
def test_a_row_of_the_page(row: list[str]) -> None:
    """What the page promises for an outcome is what the code makes of an example of it."""
    reason, _, means, breaker, cools, same, following, end = row
    reason = reason.strip("`")
    if reason in FAULT_EXAMPLES:
        fault, sent, full = FAULT_EXAMPLES[reason]
        outcome = probed = classify(fault, sent=sent, full_time=full)
    else:
        outcome = classify(ANSWER_EXAMPLES[reason])
        probed = classify(msgspec.structs.replace(ANSWER_EXAMPLES[reason], probe=True))
    verdict, _, of_probe = breaker.partition("; ")
    assert of_probe in ("", "failure of a probe")
    shown = None if end == "as it came" else int(end)
    stated = Outcome(
        reason, Class(re.split(r"\W", means)[0]), Verdict(verdict), Cool(cools), Retry(same), Next(following), shown
    )
    assert outcome == stated
    assert probed.verdict is (Verdict.FAILURE if of_probe else outcome.verdict)


def test_page_and_code_have_the_same_rows() -> None:
    """Every row of the code is on the page once and in the same order, and so is every class."""
    stated = [row[0].strip("`") for row in rows()]
    assert stated == [outcome.reason for outcome in OUTCOMES]
    assert {re.split(r"\W", row[2])[0] for row in rows()} == set(Class)
    assert len(set(stated)) == len(stated), "a reason names one row"
    assert set(FAULT_EXAMPLES) == {outcome.reason for outcome in FAULTS.values()}


# What holds for any bytes.

REASONS = {outcome.reason: outcome for outcome in OUTCOMES}
VERDICTS = {
    Class.OK: {Verdict.SUCCESS},
    Class.TRANSPORT: {Verdict.FAILURE, Verdict.IGNORE},
    Class.OVERLOAD: {Verdict.FAILURE},
    Class.RATE: {Verdict.IGNORE, Verdict.FAILURE},
    Class.MONEY: {Verdict.IGNORE},
    Class.AUTH: {Verdict.IGNORE},
    Class.MODEL: {Verdict.IGNORE},
    Class.CONTEXT: {Verdict.SUCCESS},
    Class.POLICY: {Verdict.SUCCESS},
    Class.UNSUPPORTED: {Verdict.IGNORE},
    Class.CLIENT: {Verdict.SUCCESS, Verdict.IGNORE},
    Class.LOCAL: {Verdict.IGNORE},
}

STATUSES = st.one_of(st.sampled_from([200, 400, 401, 403, 404, 413, 429, 500, 503]), st.integers(0, 700))
MEDIA = st.sampled_from(
    [JSON, SSE, HTML, b"text/plain", b"Application/JSON ; x=y", b"", b"\xff", b"application/x+json"]
)
CODINGS = st.sampled_from([b"", b"gzip", b"deflate", b"br", b"identity", b"\x00"])
KEYS = st.sampled_from(
    [
        *("error", "code", "type", "status", "message", "messege", "detail", "details", "errors", "reason", "object"),
        *("metadata", "innererror", "raw", "choices", "base_resp", "status_code", "response", "violations"),
        *("quotaId", "retryDelay"),
    ]
)
WORDS = st.sampled_from(
    [
        "error",
        "response.failed",
        "insufficient_quota",
        "slow_down",
        "content_filter",
        "429",
        "46s",
        "PerDay",
        "model: x",
    ]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
SHAPES = VALUES.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
BODIES = st.one_of(
    st.binary(max_size=200),
    SHAPES,
    st.tuples(st.sampled_from([b"data: ", b"data:", b"event: error\ndata: ", b": c\n\ndata: "]), SHAPES).map(b"".join),
    st.sampled_from([case.body for case in CASES]),
    st.binary(max_size=60).map(gzip.compress),
    SHAPES.map(gzip.compress),
)


def check(outcome: Outcome) -> None:
    """What every outcome owes to whoever logs it and acts on it."""
    row = REASONS[outcome.reason]
    assert (outcome.category, outcome.cool, outcome.next) == (row.category, row.cool, row.next)
    assert outcome.verdict in VERDICTS[outcome.category]
    assert outcome.status is None or 400 <= outcome.status <= 599
    assert outcome.wait_s is None or outcome.wait_s >= 0
    if outcome.cool is not Cool.NOTHING:
        assert outcome.verdict is not Verdict.SUCCESS


@given(STATUSES, MEDIA, CODINGS, BODIES, st.booleans(), st.booleans(), st.booleans())
def test_any_answer_has_an_outcome(
    status: int, media: bytes, coding: bytes, body: bytes, stream: bool, complete: bool, probe: bool
) -> None:
    """Nothing raises, every outcome is a row of the table, and the bytes cannot make it anything else."""
    lines = [(b"content-type", media), (b"content-encoding", coding)]
    answer = Seen(status, lines, body, complete=complete, event_stream=stream, probe=probe)
    outcome = classify(answer)
    check(outcome)
    assert isinstance(undecided(answer), bool)
    if status == 304 or status < 300:
        assert outcome.reason in ("ok", "empty answer") or status in (200, 201, 202)
    elif outcome.status is None:
        assert outcome.category is not Class.OK
    is_plain_success(status, media, body, complete)


@given(BODIES, st.binary(max_size=20), MEDIA)
def test_a_comment_before_an_event_changes_nothing(body: bytes, comment: bytes, media: bytes) -> None:
    """Comments and byte order mark are no part of what a stream says."""
    event = b"data: " + body.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n"
    before = b": " + comment.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n"
    assert classify(seen(200, before + event, SSE)) == classify(seen(200, event, SSE))
    assert classify(seen(200, b"\xef\xbb\xbf" + event, SSE)) == classify(seen(200, event, SSE))


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=3), st.integers(400, 599))
def test_an_error_s_number_decides_inside_a_200(extra: dict[str, object], code: int) -> None:
    """It is judged as that status would be by itself, save that the client must see the status."""
    body = json.dumps({**extra, "error": {"code": code, "message": ""}}).encode("utf-8", "surrogatepass")
    inside, outside = classify(seen(200, body)), classify(seen(code))
    assert inside.reason == outside.reason
    assert (inside.retry, inside.status) == (Retry.NO, outside.status or code)


@given(
    st.dictionaries(st.sampled_from(["id", "text", "choices", "usage", "error"]), st.none(), max_size=5), st.booleans()
)
def test_plain_success_is_a_success(answer: dict[str, None], stream: bool) -> None:
    """What the fast path takes the table takes as well."""
    body = json.dumps(answer).encode()
    if stream:
        body = b"data: " + body + b"\n\n"
    media = SSE if stream else JSON
    assert is_plain_success(200, media, body, True) or body in (b"data: {}\n\n", b"{}") or "error" in answer
    assert classify(seen(200, body, media)) is OK


HOSTILE = {
    "deep lists": b"[" * bodies.READ_MAX,
    "deep objects": b'{"error":' * 7000,
    "deep and closed": b'{"error":{"message":' + b"[" * 900 + b"]" * 900 + b"}}",
    "deep quota": b'{"error":{"details":[{"quotaId":' + b"[" * 900 + b"]" * 900 + b"}]}}",
    "codes without end": b'"code":"' * 8000,
    "white space": b'{"error"' + b" " * 65000,
    "escapes": b'{"error":{"message":"' + b"\\" * 65000,
    "models": b'{"error":{"message":"' + b"model" * 13000 + b'"}}',
    "empty lines": b"\n" * 65000,
    "empty events": b"data:\n\n" * 9000,
    "names of events": b"event: error\n" * 5000,
    "huge numbers": b'{"error":{"code":' + b"9" * 5000 + b',"status":1e400}}',
    "nulls": b"\x00" * 65000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("stream", [False, True])
def test_hostile_bytes(name: str, stream: bool) -> None:
    """Depth, repetition and size lead to a row of the table like anything else."""
    for status in (200, 400, 403, 429, 503):
        for complete in (False, True):
            check(classify(seen(status, HOSTILE[name], SSE if stream else JSON, complete=complete)))
