"""An explanation as values: what `explain` finds, scripts read as JSON and people as text."""

from __future__ import annotations

from typing import Literal

import msgspec

from proxy.exchange import Prompt
from proxy.policy.explain_reasons import Mismatch
from proxy.policy.explain_world import Hindrance


class RouteSeen(msgspec.Struct, frozen=True):
    """One route in its order. `mismatches`: what of it the request does not fit; of a body only what was looked at."""

    name: str
    outcome: Literal["takes", "does not fit", "not reached"]
    mismatches: tuple[Mismatch, ...] = ()


class Choice(msgspec.Struct, frozen=True):
    """One choice of a weighted step. `share`: of its step's requests, from 0 to 1."""

    target: str
    share: float
    drawn: bool


class Draw(msgspec.Struct, frozen=True):
    """A weighted step. `step`: its number in the chain, from 1. `by`: what drew, in words."""

    step: int
    choices: tuple[Choice, ...]
    by: str


class Asking(msgspec.Struct, frozen=True):
    """One target of the chain. `target`: with the model that it is asked for. `asked`: `first` or, when that fails, `next`.

    `reason`: why it is out, or asked in spite of that. `hindrances`: all that keeps it from being asked now.
    `order_value`: what it was sorted by: USD per million tokens, or seconds; None: unknown, or as written.
    """

    step: int
    target: str
    asked: Literal["first", "next", "not"]
    reason: str | None = None
    hindrances: tuple[Hindrance, ...] = ()
    order_value: float | None = None


class Mirrored(msgspec.Struct, frozen=True):
    """Copies that are sent aside. `copied_to`: the target of this request's copy; None: it is not among the copied."""

    choices: tuple[Choice, ...]
    percent: float
    copied_to: str | None


class Error(msgspec.Struct, frozen=True):
    """What the client would get in place of an answer."""

    status: int
    code: str
    message: str


class Classed(msgspec.Struct, frozen=True):
    """The request's class. `stated`: by the client, so nobody looked. The rest is how it was found, if somebody did: each
    feature from 0 to 1, what it adds to the score (its value times its weight), and the sentence `why`.
    """

    name: str
    stated: bool
    score: float | None = None
    features: dict[str, float] = {}
    parts: dict[str, float] = {}
    why: str | None = None


class Terms(msgspec.Struct, frozen=True):
    """What holds for the attempts: times in seconds, and the route's settings. `begins`, `ends`: of a time-boxed route."""

    timeouts: dict[str, float]
    retry: dict[str, float]
    order: str = "as_written"
    sticky: str | None = None
    deliver: str = "live"
    on_broken_stream: str = "abort"
    on_content_filter: str = "answer"
    hedge_after_s: float | None = None
    begins: str | None = None
    ends: str | None = None


class Request(msgspec.Struct, frozen=True):
    """The request as the policy sees it."""

    method: str
    path: str
    endpoint: str
    format: str
    model: str | None
    stream: bool


class Explanation(msgspec.Struct, frozen=True):
    """The whole story. `at`: the moment it holds for. `live`: by the state of a running process. `target`: the one to be
    asked first; None: none is, and `error` says what the client gets. `resort`: why a target is asked although all are
    out. `prompt` and `complexity`: only if a route asked for them.
    """

    at: str
    live: bool
    request: Request
    routes: tuple[RouteSeen, ...] = ()
    route: str | None = None
    target: str | None = None
    error: Error | None = None
    targets: tuple[Asking, ...] = ()
    resort: str | None = None
    alone: str | None = None
    draws: tuple[Draw, ...] = ()
    mirror: Mirrored | None = None
    terms: Terms | None = None
    prompt: Prompt | None = None
    complexity: Classed | None = None
    notes: tuple[str, ...] = ()
