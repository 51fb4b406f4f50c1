"""Whose fault an outcome is, and what follows from that.

An outcome is a fault of Fusebox's own tree, or what a provider answered; `classify` looks it up in the table of
``attempt/outcomes``. For an answer the rules are asked from top to bottom, each by status, then by the error's code and
type, then by its sentence; the first that fits decides.

How the chain uses it:

- `is_plain_success` first: for a good answer that is all there is, and costs a fraction of a microsecond.
- else `undecided`: whether more of the body must come before it can be judged (the chain bounds the wait).
- else `classify`, whose `Outcome` says everything: the verdict for the breaker, what cools, what may be tried next.

Pure: values in, values out. Nothing here raises, whatever the bytes.
"""

from __future__ import annotations

import msgspec

from proxy.attempt import bodies
from proxy.attempt.bodies import Form, Said
from proxy.attempt.inside import status_inside
from proxy.attempt.outcomes import EMPTY, FAULTS, OK, PAGE, RULES, Cool, Next, Outcome, Retry
from proxy.errors import (
    AnswerCut,
    AnswerTimeout,
    BadAnswer,
    ClientFault,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    LocalFault,
    UpstreamFault,
)
from proxy.exchange import RawHeaders


class Seen(msgspec.Struct, frozen=True):
    """What is known of an answer when it is judged.

    `body`: its first bytes as they came, content coding included. `complete`: they are the whole body.
    `own_key`: the provider's own key was sent, not the client's. `probe`: its permit was a half-open breaker's.
    `body_counts`: False where the body of a success is the user's own matter (HEAD, stored objects, ``/p/`` paths).
    """

    status: int
    lines: RawHeaders
    body: bytes = b""
    complete: bool = True
    event_stream: bool = False
    own_key: bool = True
    probe: bool = False
    body_counts: bool = True


def is_plain_success(status: int, content_type: bytes, first: bytes, complete: bool) -> bool:
    """Whether an answer is plainly good, from its first bytes. False only means that it takes a closer look.

    `content_type`: the header's value. `first`: the body so far, undecoded; `complete`: all of it. A JSON answer must
    be complete or longer than `bodies.PEEK`, an event stream must have its first line of data.
    """
    if status != 200:
        return False
    if content_type[:16] == b"application/json":
        if first[:1] != b"{":
            return False
        if complete:
            # MiniMax speaks of its errors in the last key.
            if first[-1:] != b"}" or first.rfind(b'"base_resp"', -_LAST_KEY) >= 0:
                return False
        elif len(first) < _PEEK:
            return False
        start, end = 0, _PEEK
    elif content_type[:17] == b"text/event-stream":
        start = 0
        if first[:7] != b"data: {":
            start = first.find(b"\ndata: {", 0, _PEEK)
            if start < 0 or first[:7] != b"event: " or first.startswith(_NOT_PLAIN):
                return False
        end = first.find(b"\n", start + 1)
        if end < 0:
            return False
        if end > start + _PEEK:
            end = start + _PEEK
    else:
        return content_type[:6] in (b"audio/", b"image/") and first != b""
    if first.rfind(b'"error"', start, end) < 0:  # backwards, as that is more than twice as fast
        return True
    at = first.find(b'"error"', start, end)
    # The Responses API has an "error": null in every answer.
    return first.startswith((b":null", b": null"), at + 7) and first.find(b'"error"', at + 12, end) < 0


_PEEK = bodies.PEEK  # a module's name is quicker to look up than another module's attribute

_LAST_KEY = 256
"""Bytes from the end of an answer in which its last key begins."""

_NOT_PLAIN = (b"event: ping", b"event: error", b"event: response.failed")


def undecided(seen: Seen) -> bool:
    """Whether more bytes of the body would help to judge an answer."""
    if seen.complete or len(seen.body) >= bodies.READ_MAX:
        return False
    decoded = bodies.decoded(seen.body, _line(seen.lines, b"content-encoding"))
    if decoded is None:
        return False
    body = decoded[0]
    if seen.status not in _JUDGED:
        return seen.status >= 400
    if not seen.body_counts:
        return False
    if seen.event_stream:
        return not bodies.event_decided(body)
    return not body.strip() or (bodies.is_json(_media(seen.lines)) and len(body) < bodies.PEEK)


def classify(observed: Seen | BaseException, *, sent: bool = False, full_time: bool = False) -> Outcome:
    """What follows from an outcome: from an answer, or from the fault that came in its place.

    For faults only. `sent`: bytes of this answer have gone to the client already, so the verdict amends the one given
    at the first event, and nothing can be tried any more. `full_time`: the attempt had all of `timeouts.total`, with no
    earlier attempt and no deadline of the client's.
    """
    if isinstance(observed, BaseException):
        return _of_fault(observed, sent, full_time)
    return _of_answer(observed)


def _of_fault(fault: BaseException, sent: bool, full_time: bool) -> Outcome:
    outcome = FAULTS[_fault_kind(fault, sent, full_time)]
    if isinstance(fault, ClientFault) and 400 <= fault.status <= 599:
        outcome = msgspec.structs.replace(outcome, status=fault.status)
    if sent and (outcome.next is not Next.NO or outcome.retry is not Retry.NO):
        outcome = msgspec.structs.replace(outcome, next=Next.NO, retry=Retry.NO)
    return outcome


def _fault_kind(fault: BaseException, sent: bool, full_time: bool) -> str:
    """The key of a fault in `FAULTS`."""
    match fault:
        case ConnectFailed(kind="dns" | "tcp" | "tls" | "proxy" as kind):
            return kind
        case ConnectTimeout():
            return "connect_timeout"
        case ConnectionLost():
            return "lost_reused" if fault.reused else "lost"
        case BadAnswer():
            return "bad_answer"
        case AnswerTimeout(phase="total"):
            return "total" if full_time and not sent else "deadline"
        case AnswerTimeout(phase="head" | "first_event" | "idle" as phase):
            return "idle_sent" if sent else phase
        case AnswerCut():
            return "cut_sent" if sent else "cut"
        case UpstreamFault():
            return "other"
        case ClientFault():
            return "client"
        case LocalFault():
            return "local"
        case Exception():
            return "internal"
        case _:  # a cancellation: nobody waits for the answer any more
            return "gone"


_JUDGED = (200, 201, 202)
"""Successes whose body must say something: 204 and 205 have none, a 206 is a piece of a file."""


def _of_answer(seen: Seen) -> Outcome:
    status = seen.status
    if status < 300 or status == 304:
        if status not in _JUDGED or not seen.body_counts:
            return OK
        return _of_success(seen)
    said = _said(seen, failed=True)
    outcome = _by_rules(status, said or bodies.FINE, seen)
    if said is not None and said.wait_s is not None and outcome.cool is Cool.KEY_MODEL:
        return msgspec.structs.replace(outcome, wait_s=said.wait_s)
    return outcome


def _of_success(seen: Seen) -> Outcome:
    """A 200 and its like, of which only the body tells whether it is one."""
    if not seen.body and seen.complete:
        return EMPTY
    encoding = _line(seen.lines, b"content-encoding")
    if encoding:
        # Most answers are compressed and good: a little of them is enough to see that.
        some = bodies.decoded(seen.body, encoding, 2 * bodies.PEEK)
        if some is not None and is_plain_success(200, _line(seen.lines, b"content-type"), *some):
            return OK
    said = _said(seen, failed=False)
    if said is None or said.form is Form.FINE:
        return OK
    if said.form is Form.NOTHING:
        return EMPTY
    if said.form is Form.HTML:
        return PAGE
    status = status_inside(said)
    outcome = _by_rules(status, said, seen)
    # The status line says 200, so the answer cannot go out as it came; and the provider did take the request.
    return msgspec.structs.replace(
        outcome,
        retry=Retry.NO,
        status=outcome.status or status,
        wait_s=said.wait_s if outcome.cool is Cool.KEY_MODEL else None,
    )


def _by_rules(status: int, said: Said, seen: Seen) -> Outcome:
    for rule in RULES:
        if status not in rule.statuses:
            continue
        if rule.own_key is not None and rule.own_key is not seen.own_key:
            continue
        if rule.form is not None and rule.form is not said.form:
            continue
        if rule.words or rule.text is not None:
            named = not rule.words.isdisjoint(said.words)
            if not named and (rule.text is None or rule.text.search(said.text) is None):
                continue
        if seen.probe and rule.probe is not None:
            return msgspec.structs.replace(rule.outcome, verdict=rule.probe)
        return rule.outcome
    return FAULTS["bad_answer"]  # a status that HTTP does not have


def _said(seen: Seen, *, failed: bool) -> Said | None:
    """What the body says; None when its content coding cannot be undone: then the status alone speaks."""
    decoded = bodies.decoded(seen.body, _line(seen.lines, b"content-encoding"))
    if decoded is None:
        return None
    body, whole = decoded
    complete = whole and seen.complete
    return bodies.read(body, _media(seen.lines), failed=failed, event_stream=seen.event_stream, complete=complete)


def _media(lines: RawHeaders) -> bytes:
    return _line(lines, b"content-type").partition(b";")[0].strip().lower()


def _line(lines: RawHeaders, name: bytes) -> bytes:
    for key, value in lines:
        if key.lower() == name:
            return value
    return b""
