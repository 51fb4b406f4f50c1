"""What a walk along a chain is given, and what it leaves behind: values, and nothing that acts."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from proxy.attempt.breaker import Breaker
from proxy.attempt.faults import Faults
from proxy.attempt.guards import Guard, Guards
from proxy.attempt.outcomes import Outcome
from proxy.attempt.permit import Permit
from proxy.attempt.send import Sent
from proxy.config.schema import Hedge, Model, Retry, Timeouts
from proxy.config.secrets import Key
from proxy.errors import FuseboxError
from proxy.exchange import Target
from proxy.observe.logs import Logger
from proxy.upstream.provider import Provider


class Ground(msgspec.Struct, frozen=True):
    """What all walks under one configuration share. `models`: what is known of targets, by ``provider/model``.

    `faults`: the process's; None where nobody can set any.
    """

    providers: Mapping[str, Provider]
    guards: Guards
    models: Mapping[str, Model]
    logger: Logger
    faults: Faults | None = None


class Terms(msgspec.Struct, frozen=True):
    """What holds for all attempts of one request.

    `total_at`: the end of all, on the loop's clock. `model`: the client's. `alone`: only the plan's first target may be
    asked (stored objects, ``/p/``, `x-fusebox-no-fallback`). `may_retry`: the same target may be asked again (not when
    the client's own SDK is at it already). `full_time`: the time is the policy's, not less by a wish of the client's; who
    had all of it is to blame for it. `whole`, `past_filter`, `hedge`: of the route. `body_counts`: as in `Seen`.
    """

    timeouts: Timeouts
    total_at: float
    retry: Retry
    model: str | None = None
    alone: bool = False
    may_retry: bool = True
    whole: bool = False
    past_filter: bool = False
    hedge: Hedge | None = None
    body_counts: bool = True
    full_time: bool = True


class Leave(msgspec.Struct, eq=False):
    """Everything that one attempt has been granted: a place, a permit, a key. `model`: the one asked for.

    `at_s`: when, on the guards' clock. `span`: the id of its span, if the request is traced.
    """

    target: Target
    provider: Provider
    guard: Guard
    breaker: Breaker
    permit: Permit
    model: str | None
    key: Key | None
    at_s: float
    span: str = ""

    @property
    def label(self) -> str:
        """The target as people read it."""
        return self.target.provider if self.model is None else f"{self.target.provider}/{self.model}"


class Failure(msgspec.Struct, eq=False):
    """How an attempt ended that did not bring the answer: `sent` holds an answer of the provider's, or `fault` says why
    there is none. `wait_s`: the provider's own wish, if it stated one.
    """

    leave: Leave
    outcome: Outcome
    wait_s: float | None = None
    sent: Sent | None = None
    fault: FuseboxError | None = None


class Won(msgspec.Struct, eq=False):
    """An answer that may be handed on. `finish` must follow, when it has been, or has broken.

    `holds`: the attempt's place is still taken, and its verdict may still be amended; not so for a failure that is
    handed on because there is nothing better.
    """

    sent: Sent
    leave: Leave
    holds: bool = True

    def drop(self) -> None:
        """Nobody wants the answer: its connection is closed, and the place is free."""
        self.sent.answer.drop()
        self.finish()

    def finish(self, broke: str | None = None) -> None:
        """The answer has ended; `broke`: why it did not end well. The place is free, and the verdict amended."""
        if self.holds:
            self.holds = False
            if broke is not None:
                self.leave.permit.amend(broke)
            self.leave.guard.places.leave()
