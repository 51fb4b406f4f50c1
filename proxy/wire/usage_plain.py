"""The usual usage object of OpenAI's chat answers, read in a fifth of the time that it takes to allow for every dialect.

Only what stands here to the letter is taken: any other field, a number that cannot be right, a total that is not the sum,
and `plain` says nothing, so that ``wire/usage_text`` and ``wire/usage_fields`` look at the same bytes with all their care.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from proxy.exchange import Usage
from proxy.wire.usage_fields import BATCH_TIERS, COUNT_MAX
from proxy.wire.usage_text import tiered

_Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]

_MARK = b'"usage"'

_SHORT = 2048
"""Bytes up to which a body is decoded in no more time than it takes to find its end."""

_BACKSLASH = 0x5C


class _Into(msgspec.Struct, forbid_unknown_fields=True):
    cached_tokens: _Count = 0
    audio_tokens: _Count = 0


class _OutOf(msgspec.Struct, forbid_unknown_fields=True):
    reasoning_tokens: _Count = 0
    audio_tokens: _Count = 0
    accepted_prediction_tokens: _Count = 0
    rejected_prediction_tokens: _Count = 0


class _Fields(msgspec.Struct, forbid_unknown_fields=True):
    """https://platform.openai.com/docs/api-reference/chat/object, `usage`; of embeddings the first and the last."""

    prompt_tokens: _Count
    total_tokens: _Count
    completion_tokens: _Count = 0
    prompt_tokens_details: _Into | None = None
    completion_tokens_details: _OutOf | None = None


class _Body(msgspec.Struct):
    usage: _Fields
    service_tier: str | None = None


_decode = msgspec.json.Decoder(_Body).decode


def plain(body: bytes) -> Usage | None:
    """What an answer of OpenAI's format used, if it says so in the plain way; None: look closer."""
    whole, cut = body, len(body) > _SHORT
    if cut:
        # What stands behind an unescaped key, and makes a whole object of its own, is of the outermost one: see `usage_text`.
        at = body.rfind(_MARK)
        if at <= 0 or body[at - 1] == _BACKSLASH:
            return None
        body = b"{" + body[at:]
    try:
        read = _decode(body)
    except (ValueError, RecursionError):  # msgspec's errors and broken UTF-8 are ValueErrors
        return None
    if read.service_tier is None and cut and tiered(whole):
        return None
    fields = read.usage
    input_, output = fields.prompt_tokens, fields.completion_tokens
    if fields.total_tokens != input_ + output:
        return None
    into, out_of, batch = (
        fields.prompt_tokens_details,
        fields.completion_tokens_details,
        read.service_tier in BATCH_TIERS,
    )
    if into is None and out_of is None and not batch:
        return Usage(input_, output)
    return Usage(
        input_,
        output,
        cached_input=0 if into is None else into.cached_tokens,
        reasoning=0 if out_of is None else out_of.reasoning_tokens,
        audio_input=0 if into is None else into.audio_tokens,
        audio_output=0 if out_of is None else out_of.audio_tokens,
        batch=batch,
    )
