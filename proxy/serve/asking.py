"""From a request that has been read to what the chain is given, and from its walk to the record."""

from __future__ import annotations

import asyncio

import msgspec

from proxy.attempt.chain import Walk
from proxy.attempt.send import Request
from proxy.attempt.walk import Terms
from proxy.config.schema import Config
from proxy.exchange import Facts, Plan, Target
from proxy.observe.record import Record
from proxy.observe.trace import Trace
from proxy.policy.decide import Decision
from proxy.serve.inbound import Inbound
from proxy.serve.turn import Turn
from proxy.upstream.answer import Interim
from proxy.wire.body import RequestBody
from proxy.wire.wishes import no_fallback, total_s


def passed_through(config: Config, provider: str) -> Decision:
    """The decision for ``/p/{provider}``: that provider and no other."""
    return Decision(Plan("passthrough", (Target(provider),)), config.timeouts, config.retry)


def request_of(
    inbound: Inbound, body: RequestBody, trace: Trace | None, *, streamed: bool, interim: Interim | None = None
) -> Request:
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
        trace if trace is not None and trace.recorded else None,
        b"" if trace is None or trace.recorded else trace.line(),
    )


def terms_of(decision: Decision, inbound: Inbound, body: RequestBody, model: str | None, now_s: float) -> Terms:
    """What holds for all attempts; `now_s`: of the loop's clock. Raises BadRequest for a timeout that is none."""
    wanted, route, timeouts, endpoint = inbound.headers.facts, decision.route, decision.timeouts, inbound.endpoint
    alone = endpoint.stored or body.tied
    if "x-fusebox-no-fallback" in wanted:
        alone = alone or no_fallback(wanted)
    total: float = timeouts.total
    if "x-fusebox-timeout-ms" in wanted or "x-stainless-read-timeout" in wanted:
        total = total_s(total, wanted)
        if total < timeouts.total:
            timeouts = msgspec.structs.replace(timeouts, total=total)
    if route is None:
        return Terms(timeouts, now_s + total, decision.retry, model, alone, False, body_counts=False)
    return Terms(
        timeouts,
        now_s + total,
        decision.retry,
        model,
        alone,
        not endpoint.stored and wanted.get("x-stainless-retry-count", "0") == "0",
        route.deliver == "whole",
        route.on_content_filter == "fallback",
        route.hedge,
        endpoint.inference and inbound.method == "POST",
        total >= decision.timeouts.total,
    )


def walk_of(
    turn: Turn, inbound: Inbound, body: RequestBody, facts: Facts, decision: Decision, loop: asyncio.AbstractEventLoop
) -> Walk:
    """The walk of a request along its plan."""
    snapshot = turn.snapshot
    request = request_of(inbound, body, turn.record.trace, streamed=facts.stream, interim=turn.interim)
    terms = terms_of(decision, inbound, body, facts.model, loop.time())
    return Walk(snapshot.ground, decision.plan, request, terms, loop)


def note(record: Record, walk: Walk) -> None:
    """Have the record say what was tried and what was left out, however it ended."""
    record.attempts = walk.attempts
    if walk.tried:
        record.tried = walk.tried
        last = walk.tried[-1]
        record.target, record.by = last.target, last.by
    if walk.admit.skipped:
        record.skipped = [*(record.skipped or ()), *walk.admit.skipped]
        record.left_out = walk.admit.left_out
        record.panic = walk.panic
    if walk.asked is not None:
        record.target, record.by = walk.asked.label, walk.asked.target
