"""What is remembered of one request while it runs, and the one line that is logged of it at the end.

Metadata only: no prompt, no answer, no header value but the ids and those that the policy asks for. Field names as in
docs/logging.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from proxy.exchange import Carrier, Facts, Format, Plan, Prompt, Target, Tried, Usage
from proxy.observe.trace import Trace
from proxy.policy.compiled import Policy
from proxy.policy.shadow import Difference

PATH_MAX = 1024
"""Characters of a path that are logged: clients choose it, and it may be as long as `limits.headers` allows."""

ERROR_MAX = 4096
"""Characters of an error that are logged: it may quote the path."""

RETRY_MAX = 16
"""Characters of a client's own count of its retries, which should be a digit."""

HEADER_MAX = 200
"""Characters of a header's value that are logged; a policy's own values are short."""

_SECRET = ("authoriz", "x-auth", "api-key", "apikey", "token", "secret", "cookie", "passw", "credential", "signature")
"""What stands in the names of headers that are never logged, whatever a policy asks of them."""

_ANTHROPIC, _JSON = Format.ANTHROPIC, Carrier.JSON  # members of an enum are slow to look up


@lru_cache(maxsize=256)  # the names of one policy or two
def may_log(header: str) -> bool:
    """Whether the value of a header may stand in the log; its name is in lower case."""
    return not any(part in header for part in _SECRET)


class Record(msgspec.Struct, eq=False):
    """The facts of one request, filled in along its way. Times are of `time.perf_counter`, in seconds.

    `target`: the one asked last, with its model; `by`: the same as the policy has it, `first`: the plan's first.
    `tried`: its attempts, unless it was one that succeeded. `left_out`: as in ``attempt/admit``. `broke`: why an answer
    broke off after its first byte. `bills`: the answer costs tokens. `trace`: of a request whose spans are recorded, or
    that begins a trace which is not.
    """

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
    by: Target | None = None
    first: Target | None = None
    skipped: list[str] | None = None
    left_out: tuple[tuple[str, str], ...] | None = None
    attempts: int = 0
    tried: list[Tried] | None = None
    broke: str | None = None
    panic: bool = False
    status: int = 0
    error_code: str | None = None
    error: str | None = None
    body_in: int = 0
    body_out: int = 0
    usage: Usage | None = None
    bills: bool = False
    cost_usd: float | None = None
    trace_id: str | None = None
    trace: Trace | None = None
    answer_status: int = 0
    connect_s: float = 0.0
    ended_at: float = 0.0
    waited_s: float = 0.0
    sent_at: float = 0.0
    ready_at: float = 0.0
    written_at: float = 0.0
    shadow: Difference | None = None
    format: Format | None = None
    matched_headers: dict[str, str | None] | None = None
    opaque: bool = False
    prompt: Prompt | None = None
    complexity: str | None = None
    complexity_stated: bool = False

    def looked(self, facts: Facts, policy: Policy) -> None:
        """What `policy` has gone by: with it ``fusebox replay`` decides again. To be called once it has decided or refused.

        Of a body only what was asked for is kept, never the body: an answer may go on for minutes.
        """
        self.format = facts.endpoint.format
        if policy.header_names:
            headers = facts.headers
            self.matched_headers = {
                name: None if (value := headers.get(name)) is None else value[:HEADER_MAX]
                for name in policy.header_names
                if may_log(name)
            }
        if facts.complexity is not None:
            self.complexity, self.complexity_stated = facts.complexity, True
        if policy.looks:
            look = facts.look
            if look is None:
                self.opaque = facts.endpoint.carrier is _JSON  # of the others the path tells it
            else:
                self.prompt = look.seen
                if self.complexity is None:
                    self.complexity = look.classed

    def decided(self, plan: Plan, model: str | None) -> None:
        """The plan is made; its first target is the one to be asked."""
        target = plan.targets[0]
        asked = target.model or model
        self.route = plan.route
        self.by = self.first = target
        self.target = target.provider if asked is None else f"{target.provider}/{asked}"
        if plan.skipped:
            self.skipped = [f"{skip.target}: {skip.reason}" for skip in plan.skipped]

    def answered(self, status: int, sent_at: float, connect_s: float) -> None:
        """An answer is ready to be handed on; the request had been sent at `sent_at`, after `connect_s` of connecting."""
        self.ready_at = time.perf_counter()
        self.answer_status = status
        self.sent_at = sent_at
        self.connect_s = connect_s
        self.waited_s += connect_s

    def overhead_s(self) -> float:
        """Fusebox's own part of the time of a request that was answered."""
        return self.sent_at - self.started_at - self.waited_s + self.written_at - self.ready_at

    def tries(self) -> Iterable[Tried]:
        """Every attempt, as it ended: one that broke off after its first byte is a failure."""
        tried, by = self.tried, self.by
        if tried is None:
            if not self.attempts or by is None:
                return ()
            ms = round((self.ready_at - self.sent_at + self.connect_s) * 1000, 1)
            tried = [Tried(by, self.target or by.provider, "ok", "OK", "success", 0.0, ms, self.answer_status)]
        if self.broke is not None:
            # Of several the one that answered: a race's loser stands behind it.
            won = next((one for one in reversed(tried) if one.category == "OK"), tried[-1])
            lost = msgspec.structs.replace(won, outcome=self.broke, category="TRANSPORT", verdict="failure")
            tried = [lost if one is won else one for one in tried]
        return tried

    def client_gone(self, *, cut: bool = False) -> None:
        """The client hung up before its answer was complete. A tunnel knows no other end than that one side hangs up.

        `cut`: it did not, but Fusebox is ending and waits no more; the status stays that of the answer, if one had begun.
        """
        if self.status == 101:
            return
        if cut:
            self.status = self.status or 503
            self.error_code, self.error = (
                "drain_cut",
                "Fusebox was told to stop, and this answer took longer than `drain`",
            )
            return
        self.status = 499
        self.error_code, self.error = "client_closed_request", "the client closed the connection"

    def line(self) -> dict[str, Any]:
        """The fields of the log line of a request that has ended; absent facts are left out.

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
            "total_ms": int((self.ended_at - self.started_at) * 1e5 + 0.5) / 100,
            "bytes_in": self.body_in,
            "bytes_out": self.body_out,
        }
        if self.format is not None:
            fields["format"] = "anthropic" if self.format is _ANTHROPIC else "openai"
        if self.matched_headers:
            fields["matched_headers"] = self.matched_headers
        if self.opaque:
            fields["prompt"] = None
        elif self.prompt is not None:
            fields["prompt"] = _metadata(self.prompt)
        if self.complexity is not None:
            fields["complexity"] = self.complexity
            if self.complexity_stated:
                fields["complexity_stated"] = True
        if self.ready_at:
            fields["first_event_ms"] = int((self.ready_at - self.started_at) * 1e5 + 0.5) / 100
            fields["overhead_us"] = int(self.overhead_s() * 1e6 + 0.5)
        if self.attempts:
            fields["tried"] = self._tried()
        usage = self.usage
        if usage is not None:
            fields["tokens"] = tokens_told(usage)
            if self.cost_usd is not None:
                fields["cost_usd"] = int(self.cost_usd * 1e9 + 0.5) / 1e9
        elif self.bills:
            fields["unmetered"] = True
        if self.trace_id is not None:
            fields["trace_id"] = self.trace_id
        if self.broke is not None:
            fields["broke"] = self.broke
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

    def _tried(self) -> list[dict[str, Any]]:
        """The attempts as they are logged."""
        if self.tried is None and self.broke is None:
            # Nearly all of them: one that succeeded.
            ms = int((self.ready_at - self.sent_at + self.connect_s) * 1e4 + 0.5) / 10
            return [
                {
                    "target": self.target,
                    "outcome": "ok",
                    "class": "OK",
                    "verdict": "success",
                    "start_ms": 0.0,
                    "ms": ms,
                    "status": self.answer_status,
                }
            ]
        return [
            {
                "target": one.target,
                "outcome": one.outcome,
                "class": one.category,
                "verdict": one.verdict,
                "start_ms": one.start_ms,
                "ms": one.ms,
                "status": one.status,
            }
            for one in self.tries()
        ]


def tokens_told(usage: Usage) -> dict[str, int]:
    """What is logged of a usage: the two wholes, and those parts that are not nothing."""
    tokens = {"input": usage.input, "output": usage.output}
    if usage.cached_input:
        tokens["cached_input"] = usage.cached_input
    if usage.cache_write:
        tokens["cache_write"] = usage.cache_write
        if usage.cache_write_1h:
            tokens["cache_write_1h"] = usage.cache_write_1h
    if usage.reasoning:
        tokens["reasoning"] = usage.reasoning
    if usage.audio_input:
        tokens["audio_input"] = usage.audio_input
    if usage.audio_output:
        tokens["audio_output"] = usage.audio_output
    return tokens


def _metadata(prompt: Prompt) -> dict[str, Any]:
    """What is logged of a prompt. Not the end user's id, nor the digest of its beginning: both tell who asked."""
    return {
        "tokens": prompt.tokens,
        "turns": prompt.turns,
        "tools": prompt.tools,
        "images": prompt.images,
        "audio": prompt.audio,
        "json": prompt.json,
        "output": prompt.output,
    }
