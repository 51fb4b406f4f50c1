"""Every outcome there is and what follows from it: the one table, stated for users in docs/failure-modes.md.

The table is in two parts: `FAULTS`, for an attempt without an answer, and `RULES`, for an answer, which are asked from
top to bottom. The contract is research 3.2 and 4.1 (resilience); a row that has another source names it. A test holds
table and page together row by row. ``attempt/classify`` looks outcomes up in it.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from proxy.attempt.bodies import Form


class Class(StrEnum):
    """What an outcome is about."""

    OK = "OK"
    TRANSPORT = "TRANSPORT"  # no usable answer came
    OVERLOAD = "OVERLOAD"  # the provider says that it cannot
    RATE = "RATE"  # too much for this key and model, for now
    MONEY = "MONEY"  # no credit, or a quota that lasts
    AUTH = "AUTH"  # the key is not good for this
    MODEL = "MODEL"  # the provider does not serve this model here
    CONTEXT = "CONTEXT"  # the request is too long for the model
    POLICY = "POLICY"  # a content filter answered
    UNSUPPORTED = "UNSUPPORTED"  # the provider does not offer this call
    CLIENT = "CLIENT"  # the request is at fault
    LOCAL = "LOCAL"  # the client left, or Fusebox itself is at fault


class Verdict(StrEnum):
    """What the breaker hears: exactly one for each permit."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORE = "ignore"


class Cool(StrEnum):
    """What must not be used for a while. How long: attempt/cooldown."""

    NOTHING = "nothing"
    KEY_MODEL = "key and model"
    KEY = "key"
    TARGET = "target"


class Retry(StrEnum):
    """Whether the same target may be asked again. Never once a byte has gone to the client."""

    NO = "no"
    FRESH = "once, on a fresh connection"  # costs no attempt: the provider has not seen the request
    CONFIGURED = "if `retry.attempts` allows"
    SHORT_WAIT = "after a wait within `retry.max_wait`"


class Next(StrEnum):
    """Whether the next target of the chain may be asked."""

    YES = "yes"
    NO = "no"
    OTHER_KEY = "only with another key"
    LARGER_CONTEXT = "only with a larger `context`"
    BY_POLICY = "only if the policy says so"


class Outcome(msgspec.Struct, frozen=True):
    """What follows from one attempt.

    `reason`: a few words of the table's own, fit for a log, a header and a metric's label; never a provider's text.
    `status`: what the client sees when nothing is left to try; None: the provider's answer as it came.
    `wait_s`: a wait in seconds that only the body told of, when there was one; header lines are attempt/cooldown's.
    """

    reason: str
    category: Class
    verdict: Verdict
    cool: Cool
    retry: Retry
    next: Next
    status: int | None = None
    wait_s: float | None = None


class Rule(msgspec.Struct, frozen=True):
    """Answers with one of `statuses` and, if any are given, one of `words` or a sentence that `text` finds.

    `own_key`, `form`: the rule is for that case only. `probe`: the verdict instead when the attempt was a probe.
    """

    outcome: Outcome
    statuses: frozenset[int]
    words: frozenset[str] = frozenset()
    text: re.Pattern[str] | None = None
    own_key: bool | None = None
    form: Form | None = None
    probe: Verdict | None = None


# The table. Part one: no answer came, or not all of it.

_SUCCESS, _FAILURE, _IGNORE = Verdict.SUCCESS, Verdict.FAILURE, Verdict.IGNORE
_NOTHING, _KEY_MODEL, _KEY, _TARGET = Cool.NOTHING, Cool.KEY_MODEL, Cool.KEY, Cool.TARGET
_NO = Retry.NO


def _transport(reason: str, status: int) -> Outcome:
    return Outcome(reason, Class.TRANSPORT, _FAILURE, _NOTHING, _NO, Next.YES, status)


def _broken(reason: str, status: int) -> Outcome:
    """A failure after bytes had gone to the client: there is no second answer (DESIGN.md section 4)."""
    return Outcome(reason, Class.TRANSPORT, _FAILURE, _NOTHING, _NO, Next.NO, status)


def _local(reason: str, status: int, following: Next = Next.NO) -> Outcome:
    return Outcome(reason, Class.LOCAL, _IGNORE, _NOTHING, _NO, following, status)


GONE = _local("client left", 499)
LET_GO = _local("let go", 499)
"""Another target answered first (``hedge``)."""

FAULTS: dict[str, Outcome] = {
    "dns": _transport("name not found", 502),
    "tcp": _transport("connection refused", 502),
    "tls": _transport("TLS failed", 502),  # a configuration fault as a rule: the chain logs it at error
    "proxy": _transport("egress proxy failed", 502),
    "connect_timeout": _transport("connect timeout", 504),
    # The provider closed a socket that it had kept open; it has not read the request (RFC 9112 section 9.3.1).
    "lost_reused": Outcome("stale connection", Class.TRANSPORT, _IGNORE, _NOTHING, Retry.FRESH, Next.YES, 502),
    "lost": _transport("connection lost", 502),
    "bad_answer": _transport("not HTTP", 502),
    "head": _transport("head timeout", 504),
    "first_event": _transport("first event timeout", 504),
    "idle": _transport("stalled", 504),  # while still held back: `deliver: whole`
    "idle_sent": _broken("stalled mid-answer", 504),
    "cut": _transport("answer cut", 502),
    "cut_sent": _broken("cut mid-answer", 502),
    # The deadline spans all attempts: only who had all of it can be blamed for it.
    "total": Outcome("no answer in time", Class.TRANSPORT, _FAILURE, _NOTHING, _NO, Next.NO, 504),
    "deadline": _local("deadline passed", 504),
    "other": _transport("upstream failed", 502),
    # Never a provider's fault (research 3.2, LOCAL).
    "client": _local("client's fault", 400),
    "gone": GONE,
    "local": _local("unavailable here", 503, Next.YES),  # no key, no room: another target may have both
    "internal": _local("internal error", 500),
}
"""By the kind of fault: see ``attempt/classify``."""


# Part two: an answer. Words are the providers' codes and types in lower case.


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _text(*alternatives: str) -> re.Pattern[str]:
    """Sentences in lower case. No unbounded repetition, so that a search is linear."""
    return re.compile("|".join(alternatives))


def _statuses(*parts: int | range) -> frozenset[int]:
    found: set[int] = set()
    for part in parts:
        found.update(part if isinstance(part, range) else (part,))
    return frozenset(found)


_4XX, _5XX = range(400, 500), range(500, 600)

OK = Outcome("ok", Class.OK, _SUCCESS, _NOTHING, _NO, Next.NO)
EMPTY = _transport("empty answer", 502)
PAGE = _transport("HTML instead of an answer", 502)

_FILTERED = Outcome("content filter", Class.POLICY, _SUCCESS, _NOTHING, _NO, Next.BY_POLICY)
_OVERSIZE = Outcome("too large for the rate limit", Class.RATE, _IGNORE, _NOTHING, _NO, Next.YES)
_TOO_LONG = Outcome("context too long", Class.CONTEXT, _SUCCESS, _NOTHING, _NO, Next.LARGER_CONTEXT)
_LIMITED = Outcome("rate limited", Class.RATE, _IGNORE, _KEY_MODEL, Retry.SHORT_WAIT, Next.YES)
_NO_CREDIT = Outcome("out of credit", Class.MONEY, _IGNORE, _KEY, _NO, Next.YES)
_KEY_REFUSED = Outcome("key refused", Class.AUTH, _IGNORE, _KEY, _NO, Next.OTHER_KEY)
_CLIENT_KEY_REFUSED = Outcome("client's key refused", Class.AUTH, _IGNORE, _NOTHING, _NO, Next.NO)
_NO_MODEL = Outcome("model not served", Class.MODEL, _IGNORE, _TARGET, _NO, Next.YES)
_NOT_OFFERED = Outcome("not offered", Class.UNSUPPORTED, _IGNORE, _NOTHING, _NO, Next.YES)
_REDIRECT = Outcome("redirect", Class.UNSUPPORTED, _IGNORE, _NOTHING, _NO, Next.YES)
_TIMEOUT_THERE = Outcome("timeout at the provider", Class.OVERLOAD, _FAILURE, _NOTHING, _NO, Next.YES, 504)
_ERROR_THERE = Outcome("provider error", Class.OVERLOAD, _FAILURE, _NOTHING, Retry.CONFIGURED, Next.YES)
_OVERLOADED = Outcome("overloaded", Class.OVERLOAD, _FAILURE, _NOTHING, _NO, Next.YES)
_UNAVAILABLE = Outcome("provider unavailable", Class.OVERLOAD, _FAILURE, _NOTHING, _NO, Next.YES)
_CONFLICT = Outcome("conflict", Class.CLIENT, _IGNORE, _NOTHING, Retry.CONFIGURED, Next.NO)
_ON_THE_WAY = Outcome("refused on the way", Class.CLIENT, _IGNORE, _NOTHING, _NO, Next.NO)
_BAD_REQUEST = Outcome("bad request", Class.CLIENT, _SUCCESS, _NOTHING, _NO, Next.NO)

POLICY_WORDS = _words(
    "content_filter content_policy_violation content_filter_error contentfilter responsibleaipolicyviolation"
    " moderation_blocked image_content_policy_violation flagged_input content_moderation prohibited_content safety"
)
CONTEXT_WORDS = _words(
    "context_length_exceeded exceed_context_size_error request_too_large context_window_exceeded"
    " model_context_window_exceeded contextwindowexceedederror"
)
MONEY_WORDS = _words(
    "insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded project_spend_limit_exceeded"
    " organization_usage_limit_exceeded enforced_spend_limit_reached billing_error billing_hard_limit_reached"
    " billing_not_active insufficient_balance insufficient_credits exceeded_current_quota_error quota_per_day"
)
AUTH_WORDS = _words(
    "invalid_api_key authentication_error api_key_invalid invalid_authentication unauthenticated incorrect_api_key"
)
MODEL_WORDS = _words(
    "model_not_found unknown_model invalid_model model_not_available deploymentnotfound model_not_supported"
    " model_decommissioned model_deprecated unsupported_country_region_territory"
)

_FILTER_TEXT = _text(
    "content management policy", "content filtering policy", "content exists risk", r"\bwas flagged for\b"
)
_CONTEXT_TEXT = _text(
    "maximum context length",
    "context length of the model",
    "context window",
    "context size",
    "exceed context limit",
    "exceeds the maximum number of tokens",
    "prompt is too long",
    "input is too long",
    "`max_new_tokens` must be <=",
)
# Sentences that cool a key or a target are bound to their beginning or to the model's name: a request's own words,
# quoted in an error, must not bar the way for other requests.
_MONEY_TEXT = _text(
    "^your credit balance is too low",
    "^you have reached your specified (?:workspace )?api usage limits",
    "^insufficient (?:balance|credits)",
    "^account (?:[^ ]{1,80} )?is suspended",
)
_KEY_TEXT = _text("^api key (?:not valid|expired|not found)")
_MODEL_TEXT = _text(
    r"\bmodels?[/:]?\s{0,3}[`'\"]?[^\s`'\"]{0,120}[`'\"]?\s{0,2}"
    "(?:does not exist|not exist|(?:is |was )?not found|is not supported|is not available|has been decommissioned)",
    "^model: ",
    "does not have access to model",
    "not a valid model",
    r"^(?:unknown|invalid) model\b",
    "no endpoints found",
    "location is not supported",
)

RULES: tuple[Rule, ...] = (
    # Azure, OpenAI's images, OpenRouter's moderation (403), Anthropic's filter, DeepSeek's «Content Exists Risk».
    Rule(_FILTERED, _statuses(400, 403, 422, 451), POLICY_WORDS, _FILTER_TEXT),
    # One request above the limit per minute: waiting would not help it, others may well pass (OpenAI 429, Groq 413).
    Rule(_OVERSIZE, _statuses(413, 429), text=_text("^request too large for"), probe=_FAILURE),
    # Together answers 403 (docs.together.ai/docs/error-codes); Google, vLLM, llama.cpp, Mistral and Anthropic say it in
    # the sentence alone.
    Rule(_TOO_LONG, _statuses(400, 403, 413, 422), CONTEXT_WORDS, _CONTEXT_TEXT),
    # A 402 that goes away by itself: OpenRouter's in-flight spending budget.
    Rule(_LIMITED, _statuses(402), _words("openrouter_in_flight_budget"), probe=_FAILURE),
    Rule(_NO_CREDIT, _statuses(402)),
    # OpenAI answers 429 (help.openai.com 5955604), Anthropic 429 for its own limit and 400 for the customer's, Google
    # 429 for a daily quota, Fireworks 412 for a suspended account.
    Rule(_NO_CREDIT, _statuses(400, 401, 403, 412, 429), MONEY_WORDS, _MONEY_TEXT),
    Rule(_KEY_REFUSED, _statuses(401), own_key=True),
    Rule(_CLIENT_KEY_REFUSED, _statuses(401), own_key=False),
    # Google answers 400 INVALID_ARGUMENT with the reason API_KEY_INVALID.
    Rule(_KEY_REFUSED, _statuses(400), AUTH_WORDS, _KEY_TEXT, own_key=True),
    Rule(_CLIENT_KEY_REFUSED, _statuses(400), AUTH_WORDS, _KEY_TEXT, own_key=False),
    # 404 of most, 400 of DeepSeek and OpenRouter, 403 of OpenAI for a model that the project may not use.
    Rule(_NO_MODEL, _statuses(400, 403, 404, 410, 422), MODEL_WORDS, _MODEL_TEXT),
    Rule(_TOO_LONG, _statuses(413)),
    Rule(_KEY_REFUSED, _statuses(403), own_key=True),
    Rule(_CLIENT_KEY_REFUSED, _statuses(403), own_key=False),
    # Azure's «high demand» is a 429 as well; 498 is Groq's, for its flex tier (console.groq.com/docs/errors).
    Rule(_LIMITED, _statuses(429, 498), probe=_FAILURE),
    Rule(_LIMITED, _statuses(503), _words("slow_down"), probe=_FAILURE),
    Rule(_TIMEOUT_THERE, _statuses(408)),
    Rule(_ERROR_THERE, _statuses(500)),
    # A 404 that does not speak of the model: the path itself is not there.
    Rule(_NOT_OFFERED, _statuses(404, 501, 505)),
    Rule(_OVERLOADED, _statuses(503, 529)),
    # 502, 504, Cloudflare's 520 to 524, and whatever else a server says of itself.
    Rule(_UNAVAILABLE, _statuses(_5XX)),
    Rule(_CONFLICT, _statuses(409, 425)),
    # Not followed: it would take the key to another place.
    Rule(_REDIRECT, _statuses(range(300, 400))),
    # Not the provider's own words: something in front of it answered, so nothing was learnt of the provider.
    Rule(_ON_THE_WAY, _statuses(_4XX), form=Form.HTML),
    # An answer in time is a success of the provider's; to ignore it would starve its recovery (research 3.2).
    Rule(_BAD_REQUEST, _statuses(_4XX)),
)
"""From top to bottom, first match. Every status from 300 to 599 is in it."""


OUTCOMES: tuple[Outcome, ...] = tuple(
    dict.fromkeys((OK, *FAULTS.values(), *(rule.outcome for rule in RULES), EMPTY, PAGE))
)
"""Every row of the table once, in its order: what the users' page lists. A reason names one row."""
