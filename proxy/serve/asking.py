"""From a request that has been read to what the chain is given, and from its walk to the record."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from proxy.attempt.chain import Walk
from proxy.attempt.send import Request
from proxy.attempt.walk import Terms
from proxy.config.schema import Config
from proxy.exchange import Facts, Plan, Target
from proxy.observe.record import Record
from proxy.policy.decide import Decision, decide
from proxy.serve.inbound import Inbound, total_s
from proxy.serve.snapshot import Snapshot
from proxy.upstream.answer import Interim
from proxy.wire.body import RequestBody
from proxy.wire.endpoints import inference

_NO = ("", "0", "false", "no")


def decision_of(snapshot: Snapshot, inbound: Inbound, facts: Facts, roll: Callable[[], float]) -> Decision:
    """What the policy decides; for ``/p/{provider}`` that provider and no other. Raises NoRoute, BadRequest."""
    if inbound.provider is not None:
        return Decision(Plan("passthrough", (Target(inbound.provider),)), snapshot.config.timeouts)
    return decide(snapshot.policy, facts, roll=roll())


def request_of(inbound: Inbound, body: RequestBody, *, streamed: bool, interim: Interim | None = None) -> Request:
    """The request as every target of its plan gets it."""
    return Request(
        inbound.endpoint,
        inbound.method,
        inbound.path,
        inbound.query,
        inbound.headers,
        body,
        streamed,
        interim,
        inbound.provider is not None,
    )


def terms_of(
    config: Config, decision: Decision, inbound: Inbound, body: RequestBody, model: str | None, now_s: float
) -> Terms:
    """What holds for all attempts; `now_s`: of the loop's clock. Raises BadRequest for a timeout that is none."""
    wanted, route, timeouts = inbound.headers.facts, decision.route, decision.timeouts
    alone = inbound.endpoint.stored or body.tied or wanted.get("x-fusebox-no-fallback", "").lower() not in _NO
    total = total_s(timeouts.total, wanted)
    if total < timeouts.total:
        timeouts = msgspec.structs.replace(timeouts, total=total)
    counts = inbound.method == "POST" and inference(inbound.path) is not None
    if route is None:
        return Terms(timeouts, now_s + total, config.retry, model, alone, False, body_counts=False)
    return Terms(
        timeouts,
        now_s + total,
        config.retry,
        model,
        alone,
        not inbound.endpoint.stored and wanted.get("x-stainless-retry-count", "0") == "0",
        route.deliver == "whole",
        route.on_content_filter == "fallback",
        route.hedge,
        counts,
    )


def note(record: Record, walk: Walk) -> None:
    """Have the record say what was tried and what was left out, however it ended."""
    record.attempts = walk.attempts
    record.panic = walk.panic
    if walk.tried:
        record.tried = [msgspec.structs.asdict(one) for one in walk.tried]
    if walk.admit.skipped:
        record.skipped = [*(record.skipped or ()), *walk.admit.skipped]
