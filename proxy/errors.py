"""Every error of Fusebox's own, in one tree. An error carries data; its sentence is made from that.

FuseboxError                    status, code, what to do
├── ClientFault                 the request cannot be served as it is: never a provider's fault
│   ├── BadRequest       400
│   ├── NoRoute          404
│   ├── TooLarge         413
│   ├── HeadersTooLarge  431
│   └── Refused          4xx    a kind of request that is never forwarded (CONNECT, a foreign host, ...)
├── LocalFault                  Fusebox cannot serve it now: never a provider's fault either
│   ├── NoKey            503
│   ├── NoRoom           503    no descriptors left
│   └── AllOut           503    every target of the plan was left out, with the reasons
└── UpstreamFault               an attempt at a provider failed; `received` says whether it may have seen the request
    ├── ConnectFailed    502    name look-up, TCP, TLS or egress proxy
    ├── ConnectTimeout   504
    ├── ConnectionLost   502    closed before a response head; `reused` when the socket was kept alive from before
    ├── BadAnswer        502    not HTTP/1.1
    ├── AnswerTimeout    504    `phase` says which: head, first event, idle, total
    ├── AnswerCut        502    the body ended before its end
    └── UselessAnswer    502    a success that holds no answer: empty, or a page of HTML
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


class FuseboxError(Exception):
    """Something Fusebox answers for itself. `status` is the HTTP status, `code` the value of ``x-fusebox-error``."""

    status = 500
    code = "internal_error"

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Header lines that belong to the answer beside the usual ones."""
        return ()


class ClientFault(FuseboxError):
    """The request cannot be served as it is."""

    status = 400
    code = "bad_request"


class BadRequest(ClientFault):
    """400: unreadable or incomplete. `param` names the field at fault, as OpenAI's errors do."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class NoRoute(ClientFault):
    """404: no route of the policy takes this request, or the path is none of ours."""

    status = 404
    code = "no_route"


class TooLarge(ClientFault):
    """413: more must be held in memory than the limit allows."""

    status = 413
    code = "too_large"


class HeadersTooLarge(ClientFault):
    """431: the request's header lines are more than `limits.headers` together (RFC 6585 section 5)."""

    status = 431
    code = "headers_too_large"

    def __init__(self, bound: int) -> None:
        super().__init__(f"the request's headers are larger than this proxy takes: {bound} bytes (limits.headers)")


class Refused(ClientFault):
    """A request of a kind that is never forwarded, with its own status and code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class LocalFault(FuseboxError):
    """Fusebox itself cannot serve the request now."""

    status = 503
    code = "unavailable"


class NoKey(LocalFault):
    """503: the provider's keys are declared, but none can be read."""

    code = "no_key"

    def __init__(self, provider: str, sources: str) -> None:
        super().__init__(
            f"provider {provider!r} has no usable key: {sources}. Set it and try again; no restart is needed for a file"
        )
        self.provider = provider


class NoRoom(LocalFault):
    """503: this process has no descriptor, port or memory left for a connection to a provider."""

    code = "no_room"

    def __init__(self, lack: str) -> None:
        super().__init__(
            f"no connection to a provider can be opened here: {lack}. Raise the limit (ulimit -n), or add processes"
        )


class AllOut(LocalFault):
    """503: no target of the plan may be asked now. `retry_in_s`: when the first of them may be; infinite: unknown."""

    code = "all_targets_out"

    def __init__(self, route: str, reasons: Sequence[str], retry_in_s: float) -> None:
        super().__init__(f"no target of route {route!r} can be asked now: {'; '.join(reasons)}")
        self.retry_in_s = retry_in_s

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """When to come back; past `RETRY_WITHIN_S` the SDKs are told not to wait for it."""
        if self.retry_in_s == math.inf:
            return (_NO_RETRY,)
        wait = (b"Retry-After", b"%d" % max(1, math.ceil(self.retry_in_s)))
        return (wait,) if self.retry_in_s <= RETRY_WITHIN_S else (wait, _NO_RETRY)


RETRY_WITHIN_S = 8.0
"""The longest wait for which a client is asked to retry: the longest backoff of the SDKs' own (research 3.3)."""

_NO_RETRY = (b"x-should-retry", b"false")


@dataclass(frozen=True, slots=True)
class Where:
    """The provider an attempt went to: its name in the policy and the origin that was dialled."""

    provider: str
    origin: str


class UpstreamFault(FuseboxError):
    """An attempt that failed without an answer of the provider's.

    `received`: the provider may have read the request, so sending it again may do its work twice.
    """

    status = 502
    code = "upstream_failed"
    received = True

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.where: Where | None = None
        self.final = False

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """`final`: other targets have failed as well, so the client's SDK need not try all of them again."""
        return (_NO_RETRY,) if self.final else ()

    def at(self, where: Where) -> UpstreamFault:
        """This fault, now knowing where it happened."""
        self.where = where
        return self

    def __str__(self) -> str:
        if self.where is None:
            return self.detail
        return f"provider {self.where.provider!r} ({self.where.origin}): {self.detail}"


class ConnectFailed(UpstreamFault):
    """502: no connection came about, so nothing was sent. `kind`: dns, tcp, tls or proxy; `refused`: by the host itself."""

    code = "upstream_connect_failed"
    received = False

    def __init__(self, kind: str, detail: str, *, refused: bool = False) -> None:
        super().__init__(detail)
        self.kind = kind
        self.refused = refused


class ConnectTimeout(UpstreamFault):
    """504: no connection within `timeouts.connect`."""

    status = 504
    code = "upstream_connect_timeout"
    received = False


class ConnectionLost(UpstreamFault):
    """502: the connection ended before a response head. `reused`: it had served an earlier request."""

    code = "upstream_connection_lost"

    def __init__(self, detail: str, *, reused: bool) -> None:
        super().__init__(detail)
        self.reused = reused


class BadAnswer(UpstreamFault):
    """502: what came back is not HTTP/1.1."""

    code = "upstream_bad_answer"


class AnswerTimeout(UpstreamFault):
    """504: a phase of the answer took longer than its timeout. `phase`: head, first_event, idle or total."""

    status = 504
    code = "upstream_timeout"

    def __init__(self, phase: str, seconds: float) -> None:
        limit = "timeouts.total, or the client's own limit" if phase == "total" else f"timeouts.{phase}"
        super().__init__(f"{_PHASES[phase]} within {seconds:g} s ({limit})")
        self.phase = phase


_PHASES = {
    "head": "no response head",
    "first_event": "no first event",
    "idle": "no further event",
    "total": "the answer was not complete",
}


class UselessAnswer(UpstreamFault):
    """502: it said 200, and sent nothing, or a page of HTML."""

    code = "upstream_useless_answer"


class AnswerCut(UpstreamFault):
    """502: the body ended, or broke, before its end."""

    code = "upstream_answer_cut"
