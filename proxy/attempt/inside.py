"""Which HTTP status an error inside a 200 stands for: OpenRouter, MiniMax, ModelsLab and every stream can hold one.

By its number, else by its code or type, else by its sentence.
"""

from __future__ import annotations

import re

from proxy.attempt.bodies import Said
from proxy.attempt.outcomes import POLICY_WORDS

STATUS_OF: dict[str, int] = {
    # OpenAI: type and code of errors, code of a failed response
    **dict.fromkeys(("server_error", "api_error", "internal_error", "internalservererror", "internal"), 500),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "rate_limited", "slow_down", "too_many_requests"), 429),
    **dict.fromkeys(("resource_exhausted", "insufficient_quota"), 429),
    **dict.fromkeys(("server_is_overloaded", "service_unavailable_error", "service_unavailable", "unavailable"), 503),
    **dict.fromkeys(("provider_overloaded",), 503),
    **dict.fromkeys(("provider_unavailable", "unknown_error"), 502),
    # Anthropic
    "overloaded_error": 529,
    **dict.fromkeys(("timeout_error", "deadline_exceeded"), 504),
    **dict.fromkeys(("billing_error", "insufficient_balance", "insufficient_credits"), 402),
    **dict.fromkeys(("authentication_error", "invalid_api_key", "unauthenticated"), 401),
    **dict.fromkeys(("permission_error", "permission_denied"), 403),
    **dict.fromkeys(("not_found_error", "not_found", "notfounderror", "model_not_found"), 404),
    "request_too_large": 413,
    **dict.fromkeys(("invalid_request_error", "invalid_prompt", "badrequesterror", "invalid_argument"), 400),
    **dict.fromkeys(("context_length_exceeded", "failed_precondition"), 400),
    **dict.fromkeys(POLICY_WORDS, 400),
}
"""The status that a code or type stands for, for an error inside a 200 that gives no number."""

_GRAVITY = (401, 402, 403, 404, 413, 429, 529, 503, 504, 500, 502, 400)
"""Of several words the one that says most: «invalid_request_error» is the type of many an error with a better code."""

GUESSES: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile("rate limit|too many requests"), 429),
    (re.compile("invalid api key|api key is invalid|unauthorized"), 401),
    (re.compile("insufficient (?:credits|balance)|out of credits"), 402),
    (re.compile(r"\bis required\b|\binvalid\b|\bmust be\b|maximum context length"), 400),
)
"""The status that a sentence stands for, for an error inside a 200 that has no code at all (ModelsLab)."""

UNKNOWN_INSIDE = 502
"""An error inside a 200 that says nothing else."""


def status_inside(said: Said) -> int:
    if said.status is not None:
        return said.status
    found = {STATUS_OF[word] for word in said.words if word in STATUS_OF}
    for status in _GRAVITY:
        if status in found:
            return status
    for pattern, status in GUESSES:
        if pattern.search(said.text):
            return status
    return UNKNOWN_INSIDE
