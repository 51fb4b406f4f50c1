"""What the body of a request holds, as far as policies ask: its size in tokens, tools, images, what the answer is to be.

msgspec reads it in views, so that of a large body nothing is copied but the texts that are looked at, and of those only a
sample. Nothing here judges a body: what is not as expected is known less of, and is the provider's to refuse.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from proxy.exchange import Endpoint, Prompt
from proxy.policy.prompt_contents import ABSENT, DECODE_ERRORS, OPENING_PIECE_MAX, Contents, elements
from proxy.policy.tokens import estimate, estimate_source

Body = bytes | bytearray


class _Body(msgspec.Struct):
    """The members of a request that are looked at; everything else is skipped."""

    messages: msgspec.Raw = ABSENT
    input: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT
    query: msgspec.Raw = ABSENT
    documents: msgspec.Raw = ABSENT
    system: msgspec.Raw = ABSENT
    instructions: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    functions: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT
    output_config: msgspec.Raw = ABSENT
    output_format: msgspec.Raw = ABSENT
    user: msgspec.Raw = ABSENT
    safety_identifier: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT
    max_completion_tokens: msgspec.Raw = ABSENT
    max_output_tokens: msgspec.Raw = ABSENT
    reasoning_effort: msgspec.Raw = ABSENT
    reasoning: msgspec.Raw = ABSENT
    thinking: msgspec.Raw = ABSENT


class _Typed(msgspec.Struct):
    """What an answer's format is looked at for: a type of its own, or one in its ``format``."""

    type: msgspec.Raw = ABSENT
    format: msgspec.Raw = ABSENT


class Reading(msgspec.Struct, frozen=True):
    """A body that has been looked into. `asked`: the last text of the user's in UTF-8, of a long one its beginning and
    its end; `asked_tokens`: the estimated size of all of it. `tool_count`: tools offered. `reasoning`: how much thought is
    asked for, from 0 to 1.
    """

    prompt: Prompt
    asked: bytes = b""
    asked_tokens: float = 0.0
    tool_count: int = 0
    reasoning: float = 0.0


_BODY = msgspec.json.Decoder(_Body)
_TYPED = msgspec.json.Decoder(_Typed)
_ANY = msgspec.json.Decoder()


def read(body: Body, endpoint: Endpoint) -> Reading:
    """Look into the JSON body of a call of `endpoint`. Raises nothing, whatever the body is.

    Tools that a ``tool_choice`` of ``none`` forbids count all the same: they are in the prompt, and cost.
    """
    try:
        found = _BODY.decode(body)
    except DECODE_ERRORS:
        return Reading(Prompt(tokens=int(estimate(memoryview(body))) + 1 if body else 0))
    contents = Contents()
    for part in (found.system, found.instructions):
        if part is not ABSENT:
            contents.system(part)
    for part in (found.messages, found.input, found.prompt, found.query, found.documents):
        if part is not ABSENT:
            contents.said(part)
    tools = 0
    for part in (found.tools, found.functions):
        if part is not ABSENT:
            tools += elements(part)
            contents.tokens += estimate_source(memoryview(part))
    prompt = Prompt(
        tokens=int(contents.tokens + 0.5),
        turns=contents.turns,
        tools=tools > 0,
        images=contents.images > 0,
        audio=contents.audio,
        json=_wants_json(found),
        user=_user(found),
        prefix=_prefix(found, contents) if endpoint.inference else "",
        output=_bound(found),
    )
    return Reading(prompt, contents.asked, contents.asked_tokens, tools, _reasoning(found))


def _value(raw: msgspec.Raw) -> Any:
    """A small value; None for one that is absent or large."""
    if raw is ABSENT or len(memoryview(raw)) > 4096:
        return None
    try:
        return _ANY.decode(raw)
    except DECODE_ERRORS:
        return None


def _wants_json(found: _Body) -> bool:
    """A JSON mode or a schema: OpenAI's chat, its Responses API, Anthropic's."""
    for raw, inside in (
        (found.response_format, False),
        (found.output_format, False),
        (found.text, True),
        (found.output_config, True),
    ):
        if raw is not ABSENT:
            typed = _typed(_typed(raw).format if inside else raw)
            if bytes(typed.type).startswith(b'"json_'):
                return True
    return False


def _typed(raw: msgspec.Raw) -> _Typed:
    try:
        return _TYPED.decode(raw)
    except DECODE_ERRORS:
        return _Typed()


def _user(found: _Body) -> str | None:
    """OpenAI's ``user``, its newer ``safety_identifier``, or Anthropic's ``metadata.user_id``."""
    for raw in (found.user, found.safety_identifier, found.metadata):
        if raw is not ABSENT:
            value = _value(raw)
            if raw is found.metadata and isinstance(value, dict):
                value = value.get("user_id")
            if isinstance(value, str) and value:
                return value
    return None


def _bound(found: _Body) -> int | None:
    for raw in (found.max_completion_tokens, found.max_output_tokens, found.max_tokens):
        if raw is not ABSENT:
            value = _value(raw)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


_EFFORTS = {"none": 0.0, "minimal": 0.1, "low": 0.3, "medium": 0.6, "high": 1.0, "xhigh": 1.0, "max": 1.0}
_BUDGET_FULL = 16_000
"""Tokens of a thinking budget that count as all the thought there is."""


def _reasoning(found: _Body) -> float:
    """How much thought is asked for: OpenAI's effort, Anthropic's thinking budget or effort."""
    asked = 0.0
    for raw in (found.reasoning_effort, found.reasoning, found.output_config):
        if raw is not ABSENT:
            effort = _value(raw)
            if isinstance(effort, dict):
                effort = effort.get("effort")
            if isinstance(effort, str):
                asked = max(asked, _EFFORTS.get(effort, 0.0))
    thinking = None if found.thinking is ABSENT else _value(found.thinking)
    if isinstance(thinking, dict):
        budget = thinking.get("budget_tokens")
        if isinstance(budget, int) and budget > 0:
            asked = max(asked, min(1.0, budget / _BUDGET_FULL))
        elif thinking.get("type") in ("enabled", "adaptive"):
            asked = max(asked, 0.6)
    return asked


def _prefix(found: _Body, contents: Contents) -> str:
    """A digest of what all requests of a conversation begin with, which is what providers' prompt caches go by.

    Of messages only what is said goes in: Anthropic's clients move their ``cache_control`` marks from turn to turn.
    """
    digest = blake2b(digest_size=8, person=b"fusebox-prefix")
    tools = [
        (b"tools", memoryview(raw)[:OPENING_PIECE_MAX]) for raw in (found.tools, found.functions) if raw is not ABSENT
    ]
    pieces = tools + contents.opening
    for who, piece in pieces:
        digest.update(b"%b %d " % (who, len(piece)))
        digest.update(piece)
    return digest.hexdigest() if pieces else ""
