"""Copies of requests, sent aside for a route's `mirror`: their answers are read and dropped.

A copy never delays the client and never speaks for the provider: it takes a place and a permit like any attempt, so it
goes to no provider whose circuit is open, but its outcome counts neither for nor against it. Copies are bounded in number
and in bytes; what is above that is left out, and counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from proxy.attempt.admit import Admit
from proxy.attempt.play import played
from proxy.attempt.send import Request, attempt
from proxy.attempt.walk import Ground, Leave, Terms
from proxy.errors import FuseboxError
from proxy.exchange import Target, Usage
from proxy.observe.meter import KINDS, labels
from proxy.observe.record import tokens_told
from proxy.policy.cost import charge_usd
from proxy.upstream.answer import Answer, Lines
from proxy.wire.usage import UsageWatch, watch

COPIES_MAX = 64
"""Copies under way at once."""

COPIED_BYTES_MAX = 32 * 1024 * 1024
"""Bytes of all their bodies together, which a copy keeps in memory after the client's own request has gone out."""


class Mirror:
    """Sends copies. `sent`, `left_out`: how many were, and how many were not because of the bounds.

    `tokens`: what they used, by provider, model and kind; `cost_usd`: what that costs, by provider and model. Copies are
    paid for like any request. A model is empty where `to` keeps the client's and ``models`` does not know that.
    """

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self.sent = 0
        self.left_out = 0
        self.tokens: Counter[tuple[str, str, str]] = Counter()
        self.cost_usd: dict[tuple[str, str], float] = {}

    def copy(self, ground: Ground, target: Target, request: Request, terms: Terms, request_id: str) -> None:
        """Send a copy of `request` to `target`, from the loop's next turn on. Its body must be held."""
        size = len(request.body.held)
        if len(self._under_way) >= COPIES_MAX or self._bytes + size > COPIED_BYTES_MAX:
            self.left_out += 1
            return
        self.sent += 1
        self._bytes += size
        task = asyncio.get_running_loop().create_task(self._send(ground, target, request, terms, request_id))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def stop(self) -> None:
        """Give up what is under way."""
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _send(self, ground: Ground, target: Target, request: Request, terms: Terms, request_id: str) -> None:
        started_at = time.perf_counter()
        admit = Admit(ground, request, terms)
        status: int | None = None
        reason: str | None = None
        used: dict[str, object] = {}
        try:
            leave = admit.leave(target)
            if leave is None:
                reason = admit.skipped[-1] if admit.skipped else str(admit.fault)
            elif leave.permit.is_probe:
                _give_back(leave, admit)  # a circuit's few probes are for requests whose outcome counts
                reason = "its breaker is half-open"
            else:
                status, usage = await self._ask(ground, leave, admit, request, terms)
                if usage is not None:
                    used = self._paid(ground, leave, usage)
        except FuseboxError as fault:
            reason = str(fault)
        except Exception:
            ground.logger.exception("internal_error", request_id=request_id)
            return
        finally:
            self._bytes -= len(request.body.held)
        ground.logger.info(
            "mirror",
            request_id=request_id,
            target=f"{target.provider}/{target.model or terms.model}",
            status=status,
            total_ms=round((time.perf_counter() - started_at) * 1000, 2),
            **used,
            **({} if reason is None else {"error": reason}),
        )

    def _paid(self, ground: Ground, leave: Leave, usage: Usage) -> dict[str, object]:
        """Count what a copy used; what the log says of it."""
        provider, model = labels(leave.target, leave.label, ground.models)
        for kind in KINDS:
            self.tokens[provider, model, kind] += getattr(usage, kind)
        known = ground.models.get(leave.label)
        cost_usd = charge_usd(None if known is None else known.price, usage, batch=usage.batch)
        used: dict[str, object] = {"tokens": tokens_told(usage)}
        if cost_usd is not None:
            self.cost_usd[provider, model] = self.cost_usd.get((provider, model), 0.0) + cost_usd
            used["cost_usd"] = round(cost_usd, 9)
        return used

    async def _ask(
        self, ground: Ground, leave: Leave, admit: Admit, request: Request, terms: Terms
    ) -> tuple[int, Usage | None]:
        """One attempt and its whole answer; the status, and what it used. Raises FuseboxError."""
        faults = ground.faults
        send = played(faults, attempt) if faults is not None and faults.active else attempt
        try:
            sent = await send(leave.provider, leave.target, request, terms.timeouts, terms.total_at, leave.key)
            try:
                answer = sent.answer
                fine = answer.status < 300
                watching = watch(request.endpoint, answer.content_type, answer.coding) if fine else None
                await _Dropped(answer, watching).whole()
                if watching is None:
                    return answer.status, None
                return answer.status, await asyncio.to_thread(watching.usage) if watching.slow else watching.usage()
            finally:
                sent.answer.drop()
                await sent.release()
        finally:
            _give_back(leave, admit)


def _give_back(leave: Leave, admit: Admit) -> None:
    leave.permit.ignore()
    admit.give_back(leave)


class _Dropped:
    """A sink that keeps nothing. `watching`: what sees the bytes go by."""

    def __init__(self, answer: Answer, watching: UsageWatch | None) -> None:
        self._answer = answer
        self._watching = watching
        self._done = answer.source.future()
        self._fault: FuseboxError | None = None

    async def whole(self) -> None:
        """Return when the answer is complete. Raises the fault that cut it."""
        answer = self._answer
        for span in answer.held:
            self.feed(span)
        answer.held.clear()
        if not answer.complete:
            answer.attach(self)
            await self._done
        if self._fault is not None:
            raise self._fault

    def feed(self, span: bytes) -> None:
        """Bytes of the body."""
        if self._watching is not None:
            self._watching.feed(span)

    def end(self, trailers: Lines) -> None:
        """The body is complete."""
        self._over()

    def broken(self, fault: FuseboxError) -> None:
        """It will not be."""
        self._fault = fault
        self._over()

    def _over(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
