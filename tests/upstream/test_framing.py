"""How answers are delimited and read (RFC 9112), from bytes cut in every way: no sockets, each `feed` is one read."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import AnswerCut, ConnectionLost, UpstreamFault
from proxy.upstream.answer import HELD_MAX, Lines
from proxy.upstream.connection import HEAD_MAX
from tests.scripted import chunked, response
from tests.upstream.answers import BROKEN, CHUNKED_HEAD, COMPLETE, EVENTS, EVENTS_HEAD, FLOOD, HEAD_OK, Bad, Given
from tests.upstream.support import Bench, Kept

BY_ITSELF = [given for given in COMPLETE if not given.closes]
"""The answers that end before their connection does."""


@dataclass(frozen=True)
class Result:
    """All that can be seen of an exchange."""

    status: int
    reason: bytes
    lines: Lines
    body: bytes
    trailers: Lines
    content_length: int | None
    interim: list[int]
    complete: bool
    fault: str | None
    reusable: bool
    watched: bool


def outcome(
    reads: list[bytes], *, head_only: bool = False, closes: bool = False, attach_after: int | None = None
) -> Result:
    """What becomes of an exchange in which these reads come; `closes`: then the other side closes in good order.

    A sink is attached as the relay does it, once the answer is ready; before the read with the number `attach_after` at the
    earliest (None: never).
    """
    bench = Bench()
    answer = bench.begin(head_only=head_only)
    kept = Kept()
    for number, read in enumerate(reads):
        ready = answer.first_event_s and not answer.complete and answer.fault is None
        if attach_after is not None and number >= attach_after and ready and answer.held:
            kept.spans += answer.held
            answer.held.clear()
            answer.attach(kept)
        bench.feed(read)
    if closes:
        bench.connection.eof_received()
        bench.connection.connection_lost(None)
    assert bench.loop.pending == [] or not bench.wire.aborted, "a closed connection leaves no timer"
    assert kept.over.is_set() or not kept.spans or not (answer.complete or answer.fault)
    return Result(
        answer.status,
        answer.reason,
        answer.lines,
        kept.body + b"".join(answer.held),
        answer.trailers,
        answer.content_length,
        [status for status, _, _ in bench.interim],
        answer.complete,
        None if answer.fault is None else f"{type(answer.fault).__name__}: {answer.fault}",
        bool(bench.idle) and bench.idle == [bench.connection] and bench.connection.usable,
        answer.watch is not None,
    )


def single_bytes(raw: bytes) -> list[bytes]:
    """`raw`, a byte per read."""
    return [raw[at : at + 1] for at in range(len(raw))]


@pytest.mark.parametrize("case", COMPLETE, ids=str)
def test_an_answer_in_one_read(case: Given) -> None:
    """Status, reason, body, trailers and reuse are as the standard says."""
    result = outcome([case.raw], head_only=case.head_only, closes=case.closes)
    assert (result.status, result.reason, result.body) == (case.status, case.reason, case.body)
    assert (result.trailers, result.content_length) == (case.trailers, case.content_length)
    assert result.interim == list(case.interim)
    assert (result.complete, result.fault) == (True, None)
    assert result.reusable is case.reusable


@pytest.mark.parametrize("case", COMPLETE, ids=str)
def test_an_answer_cut_at_every_position(case: Given) -> None:
    """Two reads cut anywhere, and a byte per read, are the same answer, whether it is held or handed on."""
    expected = outcome([case.raw], head_only=case.head_only, closes=case.closes)
    for at in range(1, len(case.raw)):
        for attach_after in (1, 2):
            reads = [case.raw[:at], case.raw[at:]]
            cut = outcome(reads, head_only=case.head_only, closes=case.closes, attach_after=attach_after)
            assert cut == expected, f"cut at {at}"
    for attach_after in (0, len(case.raw) // 2, len(case.raw)):
        reads = single_bytes(case.raw)
        assert outcome(reads, head_only=case.head_only, closes=case.closes, attach_after=attach_after) == expected


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 400), max_size=8), st.integers(0, 8))
def test_any_body_in_any_chunks_and_reads(chunks: list[bytes], cuts: list[int], attach_after: int) -> None:
    """The body is the chunks put together, wherever chunks and reads end and whenever the sink comes."""
    body = b"".join(chunks)
    raw = CHUNKED_HEAD + chunked([chunk for chunk in chunks if chunk])
    points = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    result = outcome([raw[start:end] for start, end in itertools.pairwise(points)], attach_after=attach_after)
    assert (result.body, result.complete, result.fault, result.reusable) == (body, True, None, True)


def test_header_lines_as_they_came() -> None:
    """Order, case, repetition and empty values are kept, wherever the reads end."""
    lines = [(b"X-Empty", b""), (b"x-a", b"1"), (b"X-A", b"2"), (b"X-Latin", b"\xe9"), (b"X-Blank", b""), (b"Z", b"")]
    raw = b"".join(b"%b:%b\r\n" % (name, value and b" " + value) for name, value in lines)
    raw = raw.replace(b"X-Blank:", b"X-Blank:   ")
    lines.append((b"Content-Length", b"0"))
    raw = HEAD_OK + raw + b"Content-Length: 0\r\n\r\n"
    assert outcome([raw]).lines == lines
    assert outcome(single_bytes(raw)).lines == lines
    for at in range(1, len(raw)):
        assert outcome([raw[:at], raw[at:]]).lines == lines, f"cut at {at}"


def test_interim_responses_come_with_their_lines_and_before_the_final_one() -> None:
    """Each is told apart from the final head: none of their lines is mixed into it."""
    bench = Bench()
    answer = bench.begin()
    bench.feed(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert bench.interim == [(103, b"Early Hints", [(b"Link", b"</a>")])]
    assert answer.status == 0
    bench.feed(response(b"a", b"X-B: c"))
    assert answer.lines == [(b"X-B", b"c"), (b"Content-Length", b"1")]
    assert len(bench.interim) == 1


@pytest.mark.parametrize("case", BROKEN, ids=str)
def test_bytes_that_are_no_answer(case: Bad) -> None:
    """They end the exchange with a fault that says what is wrong, and the connection with it."""
    result = outcome([case.raw[at : at + 64 * 1024] for at in range(0, len(case.raw), 64 * 1024)])
    assert result.fault is not None
    assert result.fault.startswith(case.fault.__name__)
    assert case.says in result.fault
    assert (result.complete, result.reusable) == (False, False)


@pytest.mark.parametrize("case", [case for case in BROKEN if len(case.raw) < 1000], ids=str)
def test_bytes_that_are_no_answer_cut_anywhere(case: Bad) -> None:
    """The same fault, wherever the reads end."""
    fault = outcome([case.raw]).fault
    for at in range(1, len(case.raw)):
        assert outcome([case.raw[:at], case.raw[at:]]).fault == fault, f"cut at {at}"
    assert outcome(single_bytes(case.raw)).fault == fault


@pytest.mark.parametrize("case", [case for case in BROKEN if len(case.raw) > 100_000], ids=str)
def test_a_flood_in_many_reads(case: Bad) -> None:
    """A flood ends at the bound, not when the other side has had enough."""
    bench = Bench()
    answer = bench.begin()
    read = 0
    while answer.fault is None and read < len(case.raw):
        bench.feed(case.raw[read : read + 1000])
        read += 1000
    assert isinstance(answer.fault, case.fault)
    assert read <= HEAD_MAX + 2 * 1000


def test_a_large_head_below_the_bound() -> None:
    """A head of nearly 256 KiB is a head."""
    raw = HEAD_OK + FLOOD * 255 + b"Content-Length: 1\r\n\r\n"
    assert len(raw) < HEAD_MAX
    assert outcome([raw[:100_000], raw[100_000:], b"a"]).complete


def test_a_small_head_with_a_large_read_of_its_body() -> None:
    """The bound is on heads: a read of 256 KiB may bring the end of a small head and much of a body."""
    body = b"a" * 300_000
    raw = b"HTTP/1.1 100 Continue\r\n\r\n" + response(body)
    result = outcome([raw[:30], raw[30 : 30 + HEAD_MAX], raw[30 + HEAD_MAX :]])
    assert (result.fault, result.body == body) == (None, True)


def test_chunks_whose_framing_comes_in_reads_of_its_own() -> None:
    """However many there are: the bound is on bytes without a body in a row, not on the sum."""
    bench = Bench()
    answer = bench.begin()
    bench.feed(CHUNKED_HEAD)
    kept = Kept()
    answer.attach(kept)
    count = HEAD_MAX // 7 + 100
    for _ in range(count):
        bench.feed(b"1\r\n", b"a", b"\r\n")
    assert answer.fault is None
    assert len(kept.body) == count


@pytest.mark.parametrize("case", BY_ITSELF, ids=str)
def test_the_other_side_closes_at_every_position(case: Given) -> None:
    """Before the head is whole the connection was lost; in the body the answer was cut; it is never complete."""
    head_end = case.raw.rindex(b"\r\n\r\n") if case.head_only or case.status in (204, 304) else None
    for at in range(len(case.raw)):
        result = outcome([case.raw[:at]], head_only=case.head_only, closes=True)
        assert not result.complete, f"closed at {at}"
        assert result.fault is not None
        in_body = result.status != 0
        assert result.fault.startswith("AnswerCut" if in_body else "ConnectionLost"), f"closed at {at}"
        assert not (in_body and head_end is not None)


@pytest.mark.parametrize("attached", [False, True])
def test_an_event_stream_that_closes_before_its_last_event(attached: bool) -> None:
    """Delimited by the close alone, it is complete only once `[DONE]` has been seen."""
    raw = EVENTS_HEAD + b"\r\n" + EVENTS
    head = raw.index(b"\r\n\r\n") + 4
    done = raw.index(b"[DONE]") + len(b"[DONE]")
    for at in range(head, len(raw) + 1):
        result = outcome([raw[:head], raw[head:at]], closes=True, attach_after=1 if attached else None)
        assert result.complete is (at >= done), f"closed at {at}"
        assert (result.fault is None) is (at >= done)
        assert result.body == raw[head:at], "what came was handed on all the same"


@pytest.mark.parametrize("raw", [HEAD_OK + b"\r\nhel", EVENTS_HEAD + b"\r\n" + EVENTS, response(b"hello")[:-1]])
def test_a_reset_in_the_body(raw: bytes) -> None:
    """A reset is never an end, not even of a body that a close would have ended."""
    bench = Bench()
    answer = bench.begin()
    bench.feed(raw)
    bench.connection.connection_lost(ConnectionResetError("reset by peer"))
    assert isinstance(answer.fault, AnswerCut)
    assert "reset by peer" in str(answer.fault)
    assert not answer.complete


def test_a_lost_connection_says_whether_it_may_be_tried_again() -> None:
    """`reused` holds for an exchange that is not the connection's first, and of whose answer not a byte has come."""

    def lost(before: bytes, part: bytes) -> UpstreamFault:
        bench = Bench()
        if before:
            bench.begin()
            bench.feed(before)
        answer = bench.begin()
        bench.feed(part)
        bench.connection.connection_lost(None)
        assert isinstance(answer.fault, ConnectionLost)
        return answer.fault

    cases = [(b"", b"", False), (response(), b"", True), (response(), b"H", False), (b"", b"HTTP/1.1 100", False)]
    for before, part, expected in cases:
        fault = lost(before, part)
        assert isinstance(fault, ConnectionLost)
        assert fault.reused is expected
    interim = lost(response(), b"HTTP/1.1 100 Continue\r\n\r\n")
    assert isinstance(interim, ConnectionLost)
    assert not interim.reused, "it has begun to answer"


@pytest.mark.parametrize(
    "behind",
    [b"X", response(b"second"), b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"\r\nX", b"0\r\n\r\n"],
    ids=["a byte", "another answer", "a farewell", "after a line end", "another last chunk"],
)
@pytest.mark.parametrize("first", [response(b"hello"), CHUNKED_HEAD + chunked([b"hello"])], ids=["length", "chunked"])
def test_bytes_behind_a_complete_answer(first: bytes, behind: bytes) -> None:
    """The answer is intact; the connection is not used again, in one read or in two."""
    for reads in ([first + behind], [first, behind]):
        bench = Bench()
        answer = bench.begin()
        bench.feed(*reads)
        assert (answer.complete, answer.fault, b"".join(answer.held)) == (True, None, b"hello")
        assert not bench.connection.usable
        assert bench.wire.aborted
        assert bench.loop.pending == []


def test_a_body_that_was_not_asked_for() -> None:
    """The body some servers send for HEAD belongs to nobody; the answer to HEAD ends with its head."""
    result = outcome([response(b"hello")], head_only=True)
    assert (result.body, result.complete, result.fault, result.reusable) == (b"", True, None, False)


def test_an_early_answer_ends_the_connection() -> None:
    """An answer that is complete before its request has gone out: the rest of the request has nowhere to go."""
    bench = Bench()
    answer = bench.begin(sent=False)
    bench.feed(response(b"too large", status=b"413 Content Too Large"))
    assert (answer.complete, answer.status, b"".join(answer.held)) == (True, 413, b"too large")
    assert bench.idle == []
    assert bench.wire.aborted


def test_exchanges_in_a_row_leave_nothing_behind() -> None:
    """Each answer on a connection is read as if it were the first."""
    bench = Bench()
    for case in [case for case in COMPLETE if case.reusable]:
        answer = bench.begin(head_only=case.head_only)
        bench.feed(*single_bytes(case.raw))
        assert (answer.complete, answer.status, b"".join(answer.held)) == (True, case.status, case.body), case.name
        assert (answer.trailers, answer.content_length) == (case.trailers, case.content_length), case.name
    assert len(bench.idle) == len([case for case in COMPLETE if case.reusable])


def test_a_body_larger_than_what_is_held() -> None:
    """A body without events is ready at its first byte: it is never held at all."""
    bench = Bench()
    answer = bench.begin()
    bench.feed(HEAD_OK + b"Content-Length: 9999999\r\n\r\n")
    assert answer.first_event_s == 0.0
    bench.feed(b"a")
    assert answer.first_event_s == bench.loop.now
    assert answer.held_bytes < HELD_MAX
