"""From the usage object of an answer to `Usage`: each dialect's names and meanings become one.

OpenAI counts cached tokens inside `prompt_tokens` (https://platform.openai.com/docs/guides/prompt-caching); Anthropic
counts cache reads and writes beside `input_tokens` (https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching).
`Usage.input` is the sum in both. Numbers are taken only if they can be right: a wrong one makes the answer unmetered.
"""

from __future__ import annotations

import math
from typing import Any

from proxy.exchange import Carrier, Endpoint, Format, Usage

Fields = dict[str, Any]

COUNT_MAX = 10**9
"""Tokens or seconds of one exchange above which a number is taken for a fault; a thousand times the largest context."""

BATCH_TIERS = ("batch", "flex")
"""Service tiers that cost what a batch costs."""

_FREE = {"responses.input_tokens", "messages.count_tokens", "realtime", "videos"}
"""Inference calls whose answers hold no usage: counts asked for as such, tunnels, jobs that have only begun."""

_MAYBE = {"deployments", "other"}
"""Paths outside the table; what they answer may be read all the same, if they take a body."""

_INPUT_ONLY = {"embeddings", "rerank", "moderations"}
"""Calls without tokens of output: where they report a total alone, it is the input."""

_THINKING = {"chat.completions", "deployments", "other"}
"""Calls at which `total_tokens` may hold reasoning that `completion_tokens` does not (Gemini, xAI)."""

_TELLING = (
    *("prompt_tokens", "input_tokens", "output_tokens", "completion_tokens", "total_tokens"),
    *("cache_read_input_tokens", "cache_creation_input_tokens", "seconds", "search_units", "prompt_audio_seconds"),
)


def metered(endpoint: Endpoint) -> bool:
    """Whether answers of `endpoint` may report a usage. What reads a stored answer again is not paid again."""
    if endpoint.stored or endpoint.name in _FREE:
        return False
    return endpoint.inference or (endpoint.name in _MAYBE and endpoint.carrier is not Carrier.NONE)


def telling(fields: object) -> bool:
    """Whether `fields` are a usage object that says anything; some streams carry empty ones."""
    if isinstance(fields, dict):
        for name in _TELLING:
            if fields.get(name) is not None:
                return True
    return False


def read(endpoint: Endpoint, fields: Fields) -> Usage | None:
    """The usage that `fields` report; None without one, and where a number cannot be right."""
    try:
        if endpoint.format is Format.ANTHROPIC:
            return _anthropic(fields)
        return _openai(endpoint.name, fields)
    except _Malformed:
        return None


class _Malformed(Exception):
    """A number that cannot be right."""


def _openai(name: str, fields: Fields) -> Usage | None:
    """Chat, completions, responses, embeddings, images, audio, rerank: two families of names, and providers' own."""
    into = _details(fields, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    out_of = _details(fields, "completion_tokens_details", "output_tokens_details", "output_token_details")
    total = _count(fields, "total_tokens")
    input_ = _count(fields, "prompt_tokens", "input_tokens")
    output = _count(fields, "completion_tokens", "output_tokens")
    reasoning = _count(out_of, "reasoning_tokens") or _count(fields, "reasoning_tokens") or 0
    # Mistral's chat puts an empty object here when there is no audio.
    spoken = fields.get("prompt_audio_seconds")
    seconds = _amount(spoken if isinstance(spoken, int | float) else fields.get("seconds"))
    units = _amount(fields.get("search_units"))
    if input_ is None and total is not None and (output is not None or name in _INPUT_ONLY):
        input_ = _not_negative(total - (output or 0))
    if input_ is None:
        if output is not None or (seconds is None and units is None):
            return None
        input_ = 0
    output = output or 0
    if total is not None and seconds is None and name in _THINKING:
        left_out = total - input_ - output
        if left_out > 0 and reasoning in (0, left_out):
            output, reasoning = output + left_out, left_out
    cached = _count(into, "cached_tokens")
    if cached is None:
        cached = _count(
            fields, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens"
        )
    written = _count(into, "cache_write_tokens", "cache_creation_tokens") or 0
    audio_input, audio_output = _count(into, "audio_tokens") or 0, _count(out_of, "audio_tokens") or 0
    return Usage(
        *(input_, output, cached or 0, written, 0, reasoning, audio_input, audio_output, seconds or 0.0, units or 0.0),
        reported_usd=_usd(fields.get("cost")),
        batch=fields.get("service_tier") in BATCH_TIERS,
    )


def _anthropic(fields: Fields) -> Usage | None:
    """Messages: three counts that exclude each other make the input."""
    fresh = _count(fields, "input_tokens")
    output = _count(fields, "output_tokens")
    read_ = _count(fields, "cache_read_input_tokens") or 0
    made = _details(fields, "cache_creation")
    hour = _count(made, "ephemeral_1h_input_tokens") or 0
    write = _count(fields, "cache_creation_input_tokens")
    if write is None:
        write = hour + (_count(made, "ephemeral_5m_input_tokens") or 0)
    if fresh is None:
        return None
    thinking = _count(_details(fields, "output_tokens_details"), "thinking_tokens") or 0
    parts = (read_, write, min(hour, write), thinking)
    return Usage(
        fresh + read_ + write,
        output or 0,
        *parts,
        reported_usd=_usd(fields.get("cost")),
        batch=fields.get("service_tier") in BATCH_TIERS,
    )


def _count(fields: Fields, *names: str) -> int | None:
    """The first of `names` that has a value; None: none has."""
    for name in names:
        value = fields.get(name)
        if value is not None:
            if type(value) is not int or not 0 <= value <= COUNT_MAX:
                raise _Malformed
            return value
    return None


def _details(fields: Fields, *names: str) -> Fields:
    for name in names:
        value = fields.get(name)
        if value is not None:
            if type(value) is not dict:
                raise _Malformed
            return value
    return {}


def _amount(value: object) -> float | None:
    """Seconds and units may have a fraction."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= COUNT_MAX:
        raise _Malformed
    return float(value)


def _usd(value: object) -> float | None:
    """A cost is the provider's courtesy: one that cannot be right is left out, and the tokens stay."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or value < 0:
        return None
    return float(value)


def _not_negative(count: int) -> int:
    if count < 0:
        raise _Malformed
    return count
