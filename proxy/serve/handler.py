"""The whole way of a request on one screen: read → decide → attempt → relay → record.

The listener has accepted it; each step is a room of its own, and each leaves its facts in the record.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial

from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from proxy.errors import FuseboxError, HeadersTooLarge
from proxy.exchange import Carrier, Facts
from proxy.observe.health import Health
from proxy.observe.logs import Logger
from proxy.observe.record import Record
from proxy.observe.recorder import Recorder
from proxy.observe.traces import Tracer
from proxy.policy.decide import Decision, decide
from proxy.policy.look import BodyLook
from proxy.serve import models, realtime
from proxy.serve.asking import note, passed_through, walk_of
from proxy.serve.client import ClientConnection
from proxy.serve.inbound import Inbound, model_outside_body, read_head, request_id
from proxy.serve.intake import Intake, at_once
from proxy.serve.mirror import Mirror
from proxy.serve.snapshot import Snapshot
from proxy.serve.turn import Turn
from proxy.wire.body import RequestBody
from proxy.wire.headers import RequestHeaders, read_request
from proxy.wire.traceparent import parse
from proxy.wire.wishes import complexity

_JSON = Carrier.JSON


class Handler:
    """Answers every request of the data port. `snapshot` gives the configuration in force when it is asked."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        health: Health,
        logger: Logger,
        roll: Callable[[], float] = random.random,
        mirror: Mirror | None = None,
        recorder: Recorder | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._health = health
        self._logger = logger
        self._roll = roll
        self._mirror = mirror or Mirror()
        self._recorder = recorder or Recorder(logger)
        self._tracer = tracer
        self._loop = asyncio.get_running_loop()  # asked once: each asking is a system call before Python 3.12

    async def __call__(
        self, connection: ClientConnection, transport: asyncio.Transport, head: RawRequestMessage, content: StreamReader
    ) -> bool:
        """Answer one request on the client's transport; whether the connection may be kept for another."""
        record = Record(head.method, head.path.partition("?")[0])
        turn = Turn(head, content, connection, transport, self._snapshot(), record, head.version < (1, 1), self._health)
        self._health.active += 1
        try:
            return await self._serve(turn)
        except FuseboxError as error:
            return turn.refuse(error)
        except asyncio.CancelledError:
            # The client hung up, or is cut: nobody's fault. What was under way upstream has been closed on the way here.
            turn.record.client_gone(cut=self._health.cut)
            raise
        except Exception:
            self._logger.exception("internal_error", request_id=turn.record.request_id)
            return turn.refuse(
                FuseboxError("an error of its own; please report the log line `internal_error` of this request")
            )
        finally:
            self._health.active -= 1
            self._recorder.end(turn.record, turn.snapshot.config, turn.slow)

    async def _serve(self, turn: Turn) -> bool:
        # Read: what is asked, in which format, with which model.
        inbound = self._head(turn)
        body = at_once(turn.content, inbound.headers.facts, inbound.endpoint, turn.snapshot.config.limits.body)
        if body is None:
            body = await self._read(turn, inbound)
        facts = self._facts(turn, inbound, body)
        if models.is_merged(inbound, turn.snapshot.policy):
            return await models.answer(turn, inbound, partial(self._decide, turn, inbound, facts))
        # Decide: which targets, and why.
        decision = self._decide(turn, inbound, facts)
        if inbound.upgrade:
            return await realtime.answer(turn, inbound, facts, decision)
        # Attempt: along the chain, until an answer may be handed on.
        walk = walk_of(turn, inbound, body, facts, decision, self._loop)
        if decision.mirror is not None and body.replayable and inbound.endpoint.inference:
            self._mirror.copy(turn.snapshot.ground, decision.mirror, *walk.copy(), turn.record.request_id)
        try:
            won = await walk.answer()
        finally:
            record = turn.record
            record.attempts = walk.attempts
            if walk.tried or walk.asked is not None or walk.admit.skipped:
                note(record, walk)
        record.answered(won.sent.answer.status, won.sent.written_at, won.sent.connect_s)
        if record.trace is not None and won.holds and not won.sent.answer.coding:
            record.trace.answered(won.sent.answer.held)
        if won.sent.answer.complete and won.sent.upload is None:
            return turn.write_whole(won)
        # The answer has begun, and may go on for minutes: nothing of the request is kept for it.
        del inbound, body, facts, walk
        # Relay: bytes as they come. From the first of them on there is no other answer.
        route = decision.route
        return await turn.relay(won, error_event=route is not None and route.on_broken_stream == "error_event")

    def _head(self, turn: Turn) -> Inbound:
        record = turn.record
        headers = read_request(turn.head.raw_headers, turn.snapshot.header_names)
        record.request_id = request_id(headers.facts)
        if self._tracer is not None or "traceparent" in headers.facts:
            headers = self._traced(record, headers)
        if headers.size > turn.snapshot.config.limits.headers:
            raise HeadersTooLarge(turn.snapshot.config.limits.headers)
        record.client_retry = headers.facts.get("x-stainless-retry-count")
        inbound = read_head(turn.head, turn.snapshot, headers)
        turn.format, turn.endpoint = inbound.endpoint.format, inbound.endpoint
        record.endpoint = inbound.endpoint.name
        return inbound

    def _traced(self, record: Record, headers: RequestHeaders) -> RequestHeaders:
        """Begin the request's trace, or go on with its client's; the headers without what each attempt says anew."""
        given = headers.facts.get("traceparent")
        parent = None if given is None else parse(given)
        if parent is not None:
            record.trace_id = parent.trace_id
        if self._tracer is None:
            return headers
        trace = record.trace = self._tracer.begin(parent)
        if trace is None:
            return headers
        record.trace_id = trace.trace_id
        if given is None:
            return headers
        bare = headers.without(b"traceparent")
        # A state without a place in its trace says nothing (W3C Trace Context section 4.3).
        return bare if parent is not None else bare.without(b"tracestate")

    async def _read(self, turn: Turn, inbound: Inbound) -> RequestBody:
        """Wait for the body, as far as it is needed."""
        config, content, wanted = turn.snapshot.config, turn.content, inbound.headers.facts
        waiting_since = time.perf_counter()
        if "expect" in wanted and not content.is_eof():
            turn.ask_for_body(wanted["expect"])
        intake = Intake(
            content,
            wanted,
            body_max=config.limits.body,
            wait_s=config.timeouts.total,
            model_needed=turn.snapshot.policy.model_needed,
        )
        body = await intake.read(inbound.endpoint)
        turn.record.waited_s += time.perf_counter() - waiting_since
        return body

    def _facts(self, turn: Turn, inbound: Inbound, body: RequestBody) -> Facts:
        record, wanted = turn.record, inbound.headers.facts
        model = body.model if body.model is not None else model_outside_body(inbound)
        record.client_model, record.stream, record.body_in = model, body.stream, len(body.held)
        stated = complexity(wanted) if "x-fusebox-complexity" in wanted else None
        look: BodyLook | None = None
        if turn.snapshot.policy.looks and body.carrier is _JSON:
            look = BodyLook(body.held, inbound.endpoint, turn.snapshot.config.complexity)
        return Facts(inbound.endpoint, inbound.method, inbound.path, model, body.stream, wanted, stated, look)

    def _decide(self, turn: Turn, inbound: Inbound, facts: Facts) -> Decision:
        if inbound.provider is not None:
            decision = passed_through(turn.snapshot.config, inbound.provider)
        else:
            decision = self._by_policy(turn, facts)
        turn.record.decided(decision.plan, facts.model)
        return decision

    def _by_policy(self, turn: Turn, facts: Facts) -> Decision:
        snapshot = turn.snapshot
        policy, shadow, roll = snapshot.policy, snapshot.shadow, self._roll()
        now_s = time.time() if policy.timed or shadow is not None else 0.0
        decision: Decision | None = None
        try:
            decision = decide(policy, facts, roll=roll, now_s=now_s, latency=snapshot.latency)
        finally:
            turn.record.looked(facts, policy)
            if shadow is not None:
                turn.record.shadow = shadow.compare(facts, decision, roll=roll, now_s=now_s, latency=snapshot.latency)
        return decision
