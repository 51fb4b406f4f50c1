"""When the chain is spent: what of the last failure goes to the client, and how it is told not to try in vain.

The last provider's own answer goes out as it came, but for three things (research 3.3 and 4.1 of resilience): an error
inside a 200 gets its real status; of several rate limits the shortest wait is told; and after a second target has
failed, too, the client's SDK is told not to try them all again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from proxy.attempt import bodies
from proxy.attempt.judge import useless
from proxy.attempt.outcomes import Class
from proxy.attempt.send import Sent
from proxy.attempt.walk import Failure, Won
from proxy.errors import RETRY_WITHIN_S, FuseboxError, UpstreamFault
from proxy.upstream.answer import Answer, Lines
from proxy.wire.headers import end_to_end

_TRY_AGAIN = frozenset((Class.TRANSPORT, Class.OVERLOAD))
_WAITS = (b"retry-after", b"retry-after-ms")


def last_word(failure: Failure, failures: Iterable[Failure]) -> Won:
    """The answer to hand on after `failures`, of which `failure` was the last. Raises the fault if there is no answer."""
    failures = tuple(failures)
    several = len(failures) > 1
    if failure.sent is None:
        fault = failure.fault
        assert fault is not None
        raise _final(fault, several and failure.outcome.category in _TRY_AGAIN)
    answer = failure.sent.answer
    nothing = useless(failure.outcome, answer.status)
    if nothing is not None:
        raise _final(nothing.at(failure.leave.provider.where), several)
    lines = _retry_lines(answer.lines, failure, failures)
    if failure.outcome.status is not None and failure.outcome.status != answer.status:
        return Won(_restated(failure.sent, failure.outcome.status, lines), failure.leave, holds=False)
    if lines is not answer.lines:
        answer.lines = lines
        answer.block = end_to_end(lines)
    return Won(failure.sent, failure.leave, holds=False)


def _final(fault: FuseboxError, several: bool) -> FuseboxError:
    if isinstance(fault, UpstreamFault):
        fault.final = several
    return fault


def _retry_lines(lines: Lines, failure: Failure, failures: tuple[Failure, ...]) -> Lines:
    """The header lines with what they say of a retry set right; `lines` itself when nothing is to be changed."""
    if len(failures) < 2:
        return lines
    category = failure.outcome.category
    if category in _TRY_AGAIN:
        return [*_without(lines, (b"x-should-retry",)), (b"x-should-retry", b"false")]
    if category is not Class.RATE:
        # An invitation to try again is not passed on: it would be taken up with all targets.
        return [line for line in lines if line[0].lower() != b"x-should-retry" or line[1].lower() != b"true"]
    waits = [one.wait_s for one in failures if one.outcome.category is Class.RATE and one.wait_s is not None]
    if not waits:
        return _without(lines, (b"x-should-retry",))
    kept = _without(lines, (b"x-should-retry", *_WAITS))
    kept.append((b"Retry-After", b"%d" % max(1, math.ceil(min(waits)))))
    if min(waits) > RETRY_WITHIN_S:
        kept.append((b"x-should-retry", b"false"))
    return kept


def _without(lines: Lines, names: tuple[bytes, ...]) -> Lines:
    return [line for line in lines if line[0].lower() not in names]


_FRAMING = (b"content-length", b"transfer-encoding", b"content-type", b"content-encoding")


def _restated(sent: Sent, status: int, lines: Lines) -> Sent:
    """An error that came under another status, under its own. Of an event stream only the error is left, as JSON."""
    answer = sent.answer
    answer.status, answer.reason = status, b""
    answer.lines = lines
    answer.block = end_to_end(lines)
    if answer.watch is None:
        return sent
    answer.drop()
    body = bodies.first_data(b"".join(answer.held))
    alone = Answer(answer.source)
    alone.status = status
    alone.lines = [*_without(lines, _FRAMING), (b"Content-Type", b"application/json")]
    alone.lines.append((b"Content-Length", b"%d" % len(body)))
    alone.block = end_to_end(alone.lines)
    alone.held, alone.content_length, alone.complete = [body], len(body), True
    return Sent(alone, sent.reused, sent.upload, sent.written_at, sent.connect_s)
