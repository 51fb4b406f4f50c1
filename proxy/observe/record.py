"""What is remembered of one request while it runs, and the one line that is logged of it at the end.

Metadata only: no prompt, no answer, no header value but the ids. Field names as in docs/logging.md.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from proxy.exchange import Plan
from proxy.observe.logs import Logger
from proxy.policy.shadow import Difference

PATH_MAX = 1024
"""Characters of a path that are logged: clients choose it, and it may be as long as `limits.headers` allows."""

ERROR_MAX = 4096
"""Characters of an error that are logged: it may quote the path."""

RETRY_MAX = 16
"""Characters of a client's own count of its retries, which should be a digit."""


class Record(msgspec.Struct, eq=False):
    """The facts of one request, filled in along its way. Times are of `time.perf_counter`, in seconds."""

    method: str
    path: str
    started_at: float = msgspec.field(default_factory=time.perf_counter)
    request_id: str = "-"
    endpoint: str = ""
    client_model: str | None = None
    client_retry: str | None = None
    stream: bool = False
    route: str | None = None
    target: str | None = None
    skipped: list[str] | None = None
    attempts: int = 0
    tried: list[dict[str, Any]] | None = None
    panic: bool = False
    status: int = 0
    error_code: str | None = None
    error: str | None = None
    body_in: int = 0
    body_out: int = 0
    waited_s: float = 0.0
    sent_at: float = 0.0
    ready_at: float = 0.0
    written_at: float = 0.0
    shadow: Difference | None = None

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
        """The fields of the log line; absent facts are left out.

        Milliseconds have two places; `round` makes them by way of text, which costs three times as much.
        """
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
            "total_ms": int((now - self.started_at) * 1e5 + 0.5) / 100,
            "bytes_in": self.body_in,
            "bytes_out": self.body_out,
        }
        if self.ready_at:
            fields["first_event_ms"] = int((self.ready_at - self.started_at) * 1e5 + 0.5) / 100
            fields["overhead_us"] = int(
                (self.sent_at - self.started_at - self.waited_s + self.written_at - self.ready_at) * 1e6 + 0.5
            )
        if self.tried:
            fields["tried"] = self.tried
        if self.skipped:
            fields["skipped"] = self.skipped
        if self.panic:
            fields["panic"] = True
        if self.shadow is not None:
            fields["shadow"] = msgspec.to_builtins(self.shadow)
        if self.client_retry is not None and self.client_retry != "0":
            fields["client_retry"] = self.client_retry[:RETRY_MAX]
        if self.error_code is not None:
            fields["error_code"] = self.error_code
            fields["error"] = self.error[:ERROR_MAX] if self.error is not None else None
        return fields


def emit(logger: Logger, record: Record) -> None:
    """Log the one line of a request: as a warning when it did not end well for Fusebox's own reasons."""
    level, rank = ("info", 20) if record.error_code is None else ("warning", 30)
    if logger.level <= rank:
        logger.line(level, "request", record.line(time.perf_counter()))
