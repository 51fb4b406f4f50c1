"""Fallback: the walk along a plan's targets until one gives an answer that may be handed on.

For each target: leave (key, place, breaker) → send → judge → verdict → the answer, the same target again, or the next.
Everything is decided before the first byte goes to the client, so there is no second answer after it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import msgspec

from proxy.attempt.admit import Admit
from proxy.attempt.classify import classify, is_plain_success
from proxy.attempt.cooldown import Reason
from proxy.attempt.hedge import may_be_hedged, race
from proxy.attempt.judge import hold_whole, judge
from proxy.attempt.last import last_word
from proxy.attempt.outcomes import GONE, LET_GO, OK, Class, Cool, Next, Outcome, Retry, Verdict
from proxy.attempt.play import played
from proxy.attempt.send import Request, Send, Sent, attempt
from proxy.attempt.uplink import is_ours_perhaps
from proxy.attempt.waits import stated_wait
from proxy.attempt.walk import Failure, Ground, Leave, Terms, Won
from proxy.errors import AllOut, ConnectFailed, FuseboxError, LocalFault, UpstreamFault
from proxy.exchange import Plan, Target, Tried
from proxy.observe.trace import Trace

LEFT_MIN_S = 1.0
"""No further target is asked with less time than this left: an attempt that cannot succeed only costs tokens."""

_REASONS = {Class.RATE: Reason.RATE, Class.MONEY: Reason.MONEY, Class.AUTH: Reason.AUTH, Class.MODEL: Reason.MODEL}


class Walk(msgspec.Struct, eq=False):
    """One request's way along its plan.

    Afterwards `tried` and `admit.skipped` say what was done and why. `attempts`: how many were made. `tried`: all of
    them, unless it was one that succeeded. `asked`: leave for the last target asked, if any was left out before it, or
    for the one that won a race. `panic`: every target was out, and one was asked all the same.
    """

    _ground: Ground
    _plan: Plan
    _request: Request
    _terms: Terms
    _loop: asyncio.AbstractEventLoop
    _send: Send = attempt
    attempts: int = 0
    tried: list[Tried] = []
    asked: Leave | None = None
    panic: bool = False
    _retries: int = 0
    _hedged: Target | None = None
    _failures: list[Failure] = []
    _started_s: float = 0.0
    _began_s: float = 0.0
    admit: Admit = msgspec.UNSET  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self._started_s = self._loop.time()
        self._began_s = self._ground.guards.clock()
        self.admit = Admit(self._ground, self._request, self._terms)
        faults = self._ground.faults
        if faults is not None and faults.active:
            self._send = played(faults, self._send)

    def copy(self) -> tuple[Request, Terms]:
        """The request and its terms once more, for a copy of which the client hears nothing."""
        request = self._request
        line = request.traceparent if request.trace is None else request.trace.line()
        return msgspec.structs.replace(request, interim=None, trace=None, traceparent=line), self._terms

    async def answer(self) -> Won:
        """The answer for the client: good, or the last that could be had. Raises FuseboxError when there is none."""
        terms = self._terms
        targets = iter(self._plan.targets[:1] if terms.alone else self._plan.targets)
        try:
            leave = self._next(targets) or await self._last_resort()
            if leave is None:
                raise self._nothing()
            while leave is not None:
                if terms.hedge is not None and not self.attempts:
                    ended = await race(terms.hedge, leave, self._once, self._rival, self._ends, self._failures)
                    if isinstance(ended, Won):
                        self.asked = ended.leave  # of the two, the one that answered
                else:
                    ended = await self._once(leave)
                if isinstance(ended, Won):
                    if self._failures:
                        await self._settle(ended)
                    return ended
                self._failures.append(ended)
                leave = await self._again(ended)
                if leave is None and not self._ends(ended) and self._can_send_again(ended):
                    leave = self._next(targets)
            last = self._failures[-1]
            await self._drop_answers(but=last)
            return last_word(last, self._failures)
        except BaseException:
            await self._drop_answers()
            raise

    def _next(self, targets: Iterator[Target]) -> Leave | None:
        """Leave for the next of `targets` that may be asked now."""
        for target in targets:
            if target == self._hedged:
                continue  # it has been asked
            if self._failures and self._left_s() < self._least_s():
                self.admit.skip(target, target.model or self._terms.model, "too little time is left")
                continue
            leave = self.admit.leave(target)
            if leave is not None and (not self._failures or self._may_follow(leave)):
                terms, guard = self._terms, leave.guard
                # It pays for the retries, and the hedges, of others.
                if terms.retry.attempts:
                    guard.retries(target.model, terms.retry.budget).pay_in(leave.at_s)
                if terms.hedge is not None:
                    guard.hedges(target.model, terms.hedge.extra_load).pay_in(leave.at_s)
                return leave
        return None

    # One target.

    async def _once(self, leave: Leave) -> Won | Failure:
        """One attempt, with its verdict."""
        terms = self._terms
        self.attempts += 1
        if self.admit.skipped:
            self.asked = leave
        sent: Sent | None = None
        try:
            if self._failures:
                await self._drop_answers()
            request = self._request if self._request.trace is None else self._traced(leave, self._request.trace)
            sent = await self._send(leave.provider, leave.target, request, terms.timeouts, terms.total_at, leave.key)
            answer, held = sent.answer, sent.answer.held
            first = held[0] if len(held) == 1 else b"".join(held)
            if not is_plain_success(answer.status, answer.content_type, first, answer.complete):
                outcome = await judge(
                    answer,
                    own_key=leave.key is not None,
                    probe=leave.permit.is_probe,
                    body_counts=terms.body_counts,
                    wait_s=terms.timeouts.first_event,
                )
                if outcome is not OK:
                    return self._failed(leave, outcome, sent=sent)
            if terms.whole and answer.watch is not None:
                await hold_whole(answer)
        except FuseboxError as fault:
            full_time = terms.full_time and self.attempts == 1
            failure = self._failed(leave, classify(fault, full_time=full_time), fault=fault)
            await _drop(sent)
            return failure
        except BaseException:
            # Nobody waits any more: what was under way says nothing about the provider.
            self._note(leave, GONE if self._hedged is None else LET_GO, None)
            leave.permit.ignore()
            self.admit.give_back(leave)
            await _drop(sent)
            raise
        return self._succeeded(leave, sent)

    def _traced(self, leave: Leave, trace: Trace) -> Request:
        """The request as this attempt sends it: as a span of its own."""
        request, provider = self._request, leave.provider
        where = provider.where if request.passthrough else provider.root(request.endpoint.format).where
        leave.span, line = trace.attempt(where.origin)
        return msgspec.structs.replace(request, traceparent=line)

    def _succeeded(self, leave: Leave, sent: Sent) -> Won:
        guards, answer = self._ground.guards, sent.answer
        slow_after_s = leave.breaker.slow_after_s
        if slow_after_s is None or answer.watch is None or not answer.asked_s:  # 0.0: it began before the request's end
            leave.permit.success()
        else:
            leave.permit.success(answer.first_event_s - answer.asked_s > slow_after_s)
        if guards.cooldowns.entries:
            guards.cooldowns.clear(self.admit.key_id(leave.provider, leave.key), leave.model, leave.at_s)
        if guards.uplink.uneasy:
            guards.uplink.answered(leave.provider.where.origin)
        if guards.latencies is not None and answer.asked_s:
            guards.latencies.add(leave.label, (answer.first_event_s or answer.head_s) - answer.asked_s)
        if self.tried or self._hedged is not None:
            self._note(leave, OK, answer.status)
        return Won(sent, leave)

    def _failed(
        self, leave: Leave, outcome: Outcome, *, sent: Sent | None = None, fault: FuseboxError | None = None
    ) -> Failure:
        """Draw the consequences of a failure: the breaker hears of it, and what must cool cools."""
        wait_s = outcome.wait_s
        if sent is not None:
            stated_s = stated_wait(sent.answer.status, sent.answer.lines, time.time())
            wait_s = wait_s if stated_s is None else stated_s
        verdict = outcome.verdict
        uplink = self._ground.guards.uplink
        if sent is not None:
            uplink.answered(leave.provider.where.origin)
        elif isinstance(fault, UpstreamFault):
            uplink.failed(fault)
            if uplink.down and is_ours_perhaps(fault):
                verdict = Verdict.IGNORE
        if verdict is Verdict.FAILURE:
            leave.permit.failure(outcome.reason, wait_s if outcome.category is Class.OVERLOAD else None)
        elif verdict is Verdict.SUCCESS:
            leave.permit.success()
        else:
            leave.permit.ignore()
        self.admit.give_back(leave)
        if outcome.cool is not Cool.NOTHING:
            self._cool(leave, outcome, wait_s)
        if isinstance(fault, ConnectFailed) and fault.kind == "tls":
            self._ground.logger.error("tls_failed", provider=leave.provider.name, error=str(fault))
        self._note(leave, outcome, sent.answer.status if sent is not None else None)
        return Failure(leave, outcome, wait_s, sent, fault)

    def _cool(self, leave: Leave, outcome: Outcome, wait_s: float | None) -> None:
        if leave.model is None and outcome.cool is not Cool.KEY:
            return  # said of one call that names no model (a file, ``/p/``): the key's models need not wait for that
        guards, key = self._ground.guards, self.admit.key_id(leave.provider, leave.key)
        reason = _REASONS[outcome.category]
        known = guards.cooldowns.until(key, leave.model)
        until_s = guards.cooldowns.cool(key, leave.model, reason, wait_s)
        if not known:
            self._ground.logger.warning(
                "cooldown",
                key=key,
                model=leave.model,
                reason=reason.value,
                for_s=round(until_s - guards.clock(), 1),
            )

    def _note(self, leave: Leave, outcome: Outcome, status: int | None) -> None:
        start_ms = round((leave.at_s - self._began_s) * 1000, 1)
        ms = round((self._ground.guards.clock() - leave.at_s) * 1000, 1)
        words = outcome.reason, outcome.category.value, outcome.verdict.value
        self.tried.append(Tried(leave.target, leave.label, *words, start_ms, ms, status, leave.span))

    # What comes next.

    def _ends(self, failure: Failure) -> bool:
        """Whether `failure` is the answer: no other target may be asked to mend it."""
        following = failure.outcome.next
        return following is Next.NO or (following is Next.BY_POLICY and not self._terms.past_filter)

    def _can_send_again(self, last: Failure) -> bool:
        """Whether the body is still there: held, or not begun."""
        fault = last.fault
        unsent = isinstance(fault, LocalFault) or (isinstance(fault, UpstreamFault) and not fault.received)
        return unsent or self._request.body.replayable

    def _left_s(self) -> float:
        return self._terms.total_at - self._loop.time()

    def _least_s(self) -> float:
        """The least time for a further attempt: a quarter of `timeouts.head`, or of all the time if that is shorter."""
        total_s = self._terms.total_at - self._started_s
        return max(LEFT_MIN_S, min(self._terms.timeouts.head, total_s) / 4)

    def _may_follow(self, leave: Leave) -> bool:
        """Whether the failures so far allow this target; otherwise what it was given is given back."""
        needed = max((self._context(one.leave) or 0 for one in self._failures if _is_too_long(one)), default=None)
        if needed is None or (self._context(leave) or 0) > needed:
            return True
        leave.permit.ignore()
        self.admit.give_back(leave)
        self.admit.skip(leave.target, leave.model, "no larger context is declared for it")
        return False

    def _context(self, leave: Leave) -> int | None:
        known = self._ground.models.get(leave.label)
        return None if known is None else known.context

    async def _again(self, last: Failure) -> Leave | None:
        """Leave for one more attempt at the same target: with another key of its pool, or as a retry."""
        outcome, retry = last.outcome, self._terms.retry
        if not self._can_send_again(last) or self._left_s() < self._least_s():
            return None
        if last.leave.key is not None and outcome.cool in (Cool.KEY, Cool.KEY_MODEL):
            refused = self.admit.refused = self.admit.refused or set()
            # A rate limit is of one model; the key is good for another.
            model = last.leave.model if outcome.cool is Cool.KEY_MODEL else None
            ring, place = last.leave.provider.ring, (last.leave.key.id, model)
            first = place not in refused
            refused.add(place)
            if first and ring is not None and len(ring) > 1 and not self._was_rekeyed(last):
                leave = self.admit.leave(last.leave.target)
                if leave is not None:
                    return leave
        wait_s = 0.0 if outcome.retry is Retry.CONFIGURED else last.wait_s
        if (
            outcome.retry not in (Retry.CONFIGURED, Retry.SHORT_WAIT)
            or not self._terms.may_retry
            or self._retries >= retry.attempts
            or wait_s is None
            or wait_s > retry.max_wait
            or wait_s + LEFT_MIN_S > self._left_s()
            or not last.leave.guard.retries(last.leave.target.model, retry.budget).spend()
        ):
            return None
        self._retries += 1
        if wait_s:
            await self._until(self._ground.guards.clock() + wait_s)
            if self.admit.refused is not None and last.leave.key is not None:
                self.admit.refused.discard((last.leave.key.id, last.leave.model))
        return self.admit.leave(last.leave.target)

    def _was_rekeyed(self, last: Failure) -> bool:
        """Whether a second key of this target has been tried already: one is enough to see whether it is the key's."""
        return any(one is not last and one.leave.target == last.leave.target for one in self._failures)

    async def _until(self, at_s: float) -> None:
        """Wait until `at_s` of the guards' clock, of which an event loop's own may be some milliseconds ahead."""
        while (left_s := at_s - self._ground.guards.clock()) > 0:  # noqa: ASYNC110 - it is time itself
            await asyncio.sleep(left_s + 0.001)

    # When every target is out.

    async def _last_resort(self) -> Leave | None:
        """Leave all the same: for a rate limit that is over in a moment, for an early probe of an open circuit, or for
        the provider's own word on a model that it did not have a while ago. Never for money and keys.
        """
        cooling = sorted(self.admit.cooling, key=lambda one: one[0])
        clock, max_wait_s = self._ground.guards.clock, self._terms.retry.max_wait
        for until_s, reason, target in cooling:
            wait_s = until_s - clock()
            if reason is Reason.RATE and wait_s <= max_wait_s and wait_s + LEFT_MIN_S <= self._left_s():
                await self._until(until_s)
                leave = self.admit.leave(target)
                if leave is not None:
                    return leave
        for _, target in sorted(self.admit.opened, key=lambda one: one[0]):
            leave = self.admit.leave(target, early=True)
            if leave is not None:
                self.panic = True
                return leave
        for _, reason, target in cooling:
            if reason is Reason.MODEL:
                return self.admit.leave(target, though=Reason.MODEL)
        return None

    def _nothing(self) -> FuseboxError:
        admit = self.admit
        if admit.fault is not None and len(admit.skipped) == 1:
            return admit.fault
        return AllOut(self._plan.route, tuple(dict.fromkeys(admit.skipped)), admit.retry_in_s)

    def _rival(self, leave: Leave) -> Leave | None:
        """Leave for a hedge: at another target of the plan whose circuit is closed."""
        hedge = self._terms.hedge
        assert hedge is not None
        budget = leave.guard.hedges(leave.target.model, hedge.extra_load)
        if self._terms.alone or not may_be_hedged(self._request) or not budget.spend():
            return None
        for target in self._plan.targets:
            model = target.model if target.model is not None else self._terms.model
            if target != leave.target and self._ground.guards[target.provider].breaker(model).peek() == 0.0:
                rival = self.admit.leave(target)
                if rival is not None and not rival.permit.is_probe:
                    self._hedged = target
                    return rival
                if rival is not None:
                    rival.permit.ignore()
                    self.admit.give_back(rival)
        return None

    async def _settle(self, won: Won) -> None:
        """An answer is there after all: let go of the others."""
        try:
            await self._drop_answers()
        except BaseException:
            won.drop()
            raise

    async def _drop_answers(self, but: Failure | None = None) -> None:
        """Let go of the answers that nobody will get."""
        for failure in self._failures:
            if failure is not but:
                sent, failure.sent = failure.sent, None
                await _drop(sent)


def _is_too_long(failure: Failure) -> bool:
    return failure.outcome.next is Next.LARGER_CONTEXT


async def _drop(sent: Sent | None) -> None:
    if sent is not None:
        sent.answer.drop()
        await sent.release()
