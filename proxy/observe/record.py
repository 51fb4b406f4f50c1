"""What is remembered of one request while it runs, and the one line that is logged of it at the end.

Metadata only: no prompt, no answer, no header value but the ids. Field names as in docs/logging.md.
"""

from __future__ import annotations

import time
from typing import Any

from proxy.exchange import Plan
from proxy.observe.logs import Logger

PATH_MAX = 1024
"""Characters of a path that are logged: clients choose it, and it may be as long as `limits.headers` allows."""

ERROR_MAX = 4096
"""Characters of an error that are logged: it may quote the path."""

RETRY_MAX = 16
"""Characters of a client's own count of its retries, which should be a digit."""


class Record:
    """The facts of one request, filled in along its way. Times are of `time.perf_counter`, in seconds."""

    __slots__ = (
        "attempts",
        "body_in",
        "body_out",
        "client_model",
        "client_retry",
        "endpoint",
        "error",
        "error_code",
        "method",
        "panic",
        "path",
        "ready_at",
        "request_id",
        "route",
        "sent_at",
        "skipped",
        "started_at",
        "status",
        "stream",
        "target",
        "tried",
        "waited_s",
        "written_at",
    )

    def __init__(self, method: str, path: str) -> None:
        self.request_id = "-"
        self.endpoint = ""
        self.client_model: str | None = None
        self.client_retry: str | None = None
        self.stream = False
        self.route: str | None = None
        self.target: str | None = None
        self.skipped: list[str] | None = None
        self.attempts = 0
        self.tried: list[dict[str, Any]] | None = None
        self.panic = False
        self.status = 0
        self.error_code: str | None = None
        self.error: str | None = None
        self.body_in = 0
        self.body_out = 0
        self.waited_s = 0.0
        self.sent_at = 0.0
        self.ready_at = 0.0
        self.written_at = 0.0
        self.started_at = time.perf_counter()
        self.method = method
        self.path = path

    def decided(self, plan: Plan, model: str | None) -> None:
        """The plan is made; its first target is the one to be asked."""
        target = plan.targets[0]
        asked = target.model or model
        self.route = plan.route
        self.target = target.provider if asked is None else f"{target.provider}/{asked}"
        if plan.skipped:
            self.skipped = [f"{skip.target}: {skip.reason}" for skip in plan.skipped]

    def answered(self, sent_at: float, connect_s: float) -> None:
        """An answer is ready to be handed on; the request had been sent at `sent_at`, after `connect_s` of connecting."""
        self.ready_at = time.perf_counter()
        self.sent_at = sent_at
        self.waited_s += connect_s

    def client_gone(self) -> None:
        """The client hung up before its answer was complete. A tunnel knows no other end than that one side hangs up."""
        if self.status == 101:
            return
        self.status = 499
        self.error_code, self.error = "client_closed_request", "the client closed the connection"

    def line(self, now: float) -> dict[str, Any]:
        """The fields of the log line; absent facts are left out."""
        fields: dict[str, Any] = {
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path[:PATH_MAX],
            "endpoint": self.endpoint,
            "model": self.client_model,
            "route": self.route,
            "target": self.target,
            "attempts": self.attempts,
            "status": self.status,
            "stream": self.stream,
            "total_ms": _ms(now - self.started_at),
            "bytes_in": self.body_in,
            "bytes_out": self.body_out,
        }
        if self.ready_at:
            fields["first_event_ms"] = _ms(self.ready_at - self.started_at)
            fields["overhead_us"] = int(
                (self.sent_at - self.started_at - self.waited_s + self.written_at - self.ready_at) * 1e6 + 0.5
            )
        if self.tried:
            fields["tried"] = self.tried
        if self.skipped:
            fields["skipped"] = self.skipped
        if self.panic:
            fields["panic"] = True
        if self.client_retry is not None and self.client_retry != "0":
            fields["client_retry"] = self.client_retry[:RETRY_MAX]
        if self.error_code is not None:
            fields["error_code"] = self.error_code
            fields["error"] = self.error[:ERROR_MAX] if self.error is not None else None
        return fields


def _ms(seconds: float) -> float:
    """Milliseconds to two places. `round` with places goes by way of text, which costs three times as much."""
    return int(seconds * 1e5 + 0.5) / 100


def emit(logger: Logger, record: Record) -> None:
    """Log the one line of a request: as a warning when it did not end well for Fusebox's own reasons."""
    level, rank = ("info", 20) if record.error_code is None else ("warning", 30)
    if logger.level <= rank:
        logger.line(level, "request", record.line(time.perf_counter()))
