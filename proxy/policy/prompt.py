"""What the body of a request holds, as far as policies ask: its size in tokens, tools, images, what the answer is to be.

msgspec reads it in views, so that of a large body nothing is copied but the texts that are looked at, and of those only a
sample. Nothing here judges a body: what is not as expected is known less of, and is the provider's to refuse.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from proxy.exchange import Endpoint, Prompt
from proxy.policy.tokens import estimate

Body = bytes | bytearray

_ABSENT = msgspec.Raw(b"")

PER_MESSAGE = 4.0
"""Tokens that the format itself costs for each message: its role and the marks around it."""

PER_IMAGE, PER_SMALL_IMAGE = 1000.0, 85.0
"""Tokens of an image: OpenAI's tiles come to 765 for a square of 1,024 pixels, Anthropic's rule (width x height / 750) to
1,400; of one at low detail OpenAI counts 85."""

AUDIO_BYTES_PER_TOKEN = 2130
"""Of base64: speech in MP3 has 16 KB a second, for which OpenAI counts ten tokens."""

DOCUMENT_BYTES_PER_TOKEN = 27
"""Of base64: a page of a PDF has some 40 KB and some 2,000 tokens. The roughest of these numbers."""

LOOKED_AT_MAX = 16 * 1024
"""Bytes of the last message that are kept, to see what kind of work it is."""

PREFIX_MAX = 64 * 1024
"""Bytes of each part that go into the digest of the prompt's beginning."""

DEPTH_MAX = 6
"""How deep contents may stand in contents: a tool's result inside a message has two levels."""


class _Item(msgspec.Struct):
    """A message, an item of the Responses API, or a part of a content: all that any of them is looked at for."""

    type: msgspec.Raw = _ABSENT
    role: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    arguments: msgspec.Raw = _ABSENT
    output: msgspec.Raw = _ABSENT
    tool_calls: msgspec.Raw = _ABSENT
    function: msgspec.Raw = _ABSENT
    image_url: msgspec.Raw = _ABSENT
    detail: msgspec.Raw = _ABSENT
    input_audio: msgspec.Raw = _ABSENT
    source: msgspec.Raw = _ABSENT
    file: msgspec.Raw = _ABSENT
    file_data: msgspec.Raw = _ABSENT
    thinking: msgspec.Raw = _ABSENT


class _Body(msgspec.Struct):
    """The members of a request that are looked at; everything else is skipped."""

    messages: msgspec.Raw = _ABSENT
    input: msgspec.Raw = _ABSENT
    prompt: msgspec.Raw = _ABSENT
    query: msgspec.Raw = _ABSENT
    documents: msgspec.Raw = _ABSENT
    system: msgspec.Raw = _ABSENT
    instructions: msgspec.Raw = _ABSENT
    tools: msgspec.Raw = _ABSENT
    functions: msgspec.Raw = _ABSENT
    response_format: msgspec.Raw = _ABSENT
    text: msgspec.Raw = _ABSENT
    output_config: msgspec.Raw = _ABSENT
    output_format: msgspec.Raw = _ABSENT
    user: msgspec.Raw = _ABSENT
    safety_identifier: msgspec.Raw = _ABSENT
    metadata: msgspec.Raw = _ABSENT
    max_tokens: msgspec.Raw = _ABSENT
    max_completion_tokens: msgspec.Raw = _ABSENT
    max_output_tokens: msgspec.Raw = _ABSENT
    reasoning_effort: msgspec.Raw = _ABSENT
    reasoning: msgspec.Raw = _ABSENT
    thinking: msgspec.Raw = _ABSENT


class Reading(msgspec.Struct, frozen=True):
    """A body that has been looked into. `asked`: the last message of the user's, as far as it is kept, in UTF-8.
    `tool_count`: tools offered. `reasoning`: how much thought is asked for, from 0 to 1.
    """

    prompt: Prompt
    asked: bytes = b""
    tool_count: int = 0
    reasoning: float = 0.0


_BODY = msgspec.json.Decoder(_Body)
_ITEM = msgspec.json.Decoder(_Item)
_ITEMS = msgspec.json.Decoder(list[_Item])
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_WRONG = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read(body: Body, endpoint: Endpoint) -> Reading:
    """Look into the JSON body of a call of `endpoint`. Raises nothing, whatever the body is."""
    try:
        found = _BODY.decode(body)
    except _WRONG:
        return Reading(Prompt(tokens=int(estimate(memoryview(body))) + 1 if body else 0))
    tally = _Tally()
    for part in (found.system, found.instructions):
        tally.role = b'"system"'
        tally.take(part)
    tally.role = b'"user"'
    for part in (found.messages, found.input, found.prompt, found.query, found.documents):
        tally.take(part)
    tools = _elements(found.tools) or _elements(found.functions)
    for part in (found.tools, found.functions):
        tally.tokens += estimate(memoryview(part))
    prompt = Prompt(
        tokens=int(tally.tokens + 0.5),
        turns=tally.turns,
        tools=bool(tools),
        images=tally.images > 0,
        audio=tally.audio,
        json=_wants_json(found),
        user=_user(found),
        prefix=_prefix(found, tally) if endpoint.inference else "",
        output=_bound(found),
    )
    return Reading(prompt, tally.asked, tools, _reasoning(found))


class _Tally:
    """What is counted on the way through the contents."""

    __slots__ = ("asked", "audio", "first", "images", "role", "tokens", "turns")

    def __init__(self) -> None:
        self.tokens = 0.0
        self.turns = 0
        self.images = 0
        self.audio = False
        self.asked = b""
        self.first: list[msgspec.Raw] = []
        self.role: bytes = b'"user"'

    def take(self, raw: msgspec.Raw, depth: int = 0) -> None:
        """A content: a text, an item, or a list of them."""
        first = bytes(memoryview(raw)[:1])
        if first == b'"':
            self._text(raw, depth)
        elif first == b"[" and depth < DEPTH_MAX:
            for item in _items(raw):
                self._item(item, depth + 1)
        elif first == b"{" and depth < DEPTH_MAX:
            item = _item(raw)
            if item is not None:
                self._item(item, depth + 1)
        elif first in b"[{" and first:
            self.tokens += estimate(memoryview(raw))

    def _text(self, raw: msgspec.Raw, depth: int) -> None:
        view = memoryview(raw)
        text = _unescaped(raw) if len(view) <= LOOKED_AT_MAX else None
        self.tokens += estimate(view[1:-1] if text is None else text)
        if self.role == b'"user"':
            if depth == 0:
                self.turns += 1
                self.first.append(raw)
            self.asked = bytes(view[1 : LOOKED_AT_MAX + 1]) if text is None else text

    def _item(self, item: _Item | msgspec.Raw, depth: int) -> None:
        if not isinstance(item, _Item):
            self.take(item, depth)
            return
        role = bytes(item.role)
        if role:
            self.role = role
            self.tokens += PER_MESSAGE
            if len(self.first) < 8 and not self.turns:
                self.first.append(item.content)  # up to the first message of the user's
            self.turns += role == b'"user"'
        speaker = self.role
        if bytes(item.type) == b'"tool_result"':
            self.role = b'"tool"'  # Anthropic has it in a message of the user's, who did not write it
        for text in (item.content, item.text, item.thinking):
            if text is not _ABSENT:
                self.take(text, depth)
        self.role = speaker
        for said in (item.input, item.arguments, item.output, item.tool_calls, item.function):
            if said is not _ABSENT:
                self.tokens += estimate(memoryview(said))
        if item.image_url is not _ABSENT or item.source is not _ABSENT:
            self._picture(item)
        if item.input_audio is not _ABSENT:
            self.audio = True
            self.tokens += len(memoryview(item.input_audio)) / AUDIO_BYTES_PER_TOKEN
        for data in (item.file, item.file_data):
            self.tokens += len(memoryview(data)) / DOCUMENT_BYTES_PER_TOKEN

    def _picture(self, item: _Item) -> None:
        """An image, by URL or base64: neither is text. Anthropic's `source` may be a document's."""
        if bytes(item.type) == b'"document"':
            self.tokens += len(memoryview(item.source)) / DOCUMENT_BYTES_PER_TOKEN
            return
        self.images += 1
        settings = bytes(memoryview(item.image_url)[-40:]) + bytes(item.detail)
        self.tokens += PER_SMALL_IMAGE if b'"low"' in settings else PER_IMAGE


def _items(raw: msgspec.Raw) -> list[Any]:
    try:
        return _ITEMS.decode(raw)
    except _WRONG:
        pass
    try:
        return [_item(one) or one for one in _RAWS.decode(raw)]
    except _WRONG:
        return []


def _item(raw: msgspec.Raw) -> _Item | None:
    try:
        return _ITEM.decode(raw)
    except _WRONG:
        return None


def _elements(raw: msgspec.Raw) -> int:
    try:
        return len(_RAWS.decode(raw))
    except _WRONG:
        return 0


def _unescaped(raw: msgspec.Raw) -> bytes:
    """The text of a JSON string in UTF-8."""
    if b"\\" not in bytes(raw):
        return bytes(memoryview(raw)[1:-1])
    try:
        return str(msgspec.json.decode(raw)).encode("utf-8", "replace")
    except _WRONG:  # a lone surrogate
        return bytes(memoryview(raw)[1:-1])


def _value(raw: msgspec.Raw) -> Any:
    """A small value; None for one that is absent or large."""
    if raw is _ABSENT or len(memoryview(raw)) > 4096:
        return None
    try:
        return msgspec.json.decode(raw)
    except _WRONG:
        return None


def _wants_json(found: _Body) -> bool:
    """A JSON mode or a schema: OpenAI's chat, its Responses API, Anthropic's."""
    formats = [
        bytes(memoryview(one)[:4096]) for one in (found.response_format, found.output_config, found.output_format)
    ]
    return any(b'"json_' in one for one in formats) or b'"json_' in bytes(memoryview(found.text)[:4096])


def _user(found: _Body) -> str | None:
    metadata = _value(found.metadata)
    named = metadata.get("user_id") if isinstance(metadata, dict) else None
    for user in (_value(found.user), _value(found.safety_identifier), named):
        if isinstance(user, str) and user:
            return user
    return None


def _bound(found: _Body) -> int | None:
    for raw in (found.max_completion_tokens, found.max_output_tokens, found.max_tokens):
        value = _value(raw)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


_EFFORTS = {"none": 0.0, "minimal": 0.1, "low": 0.3, "medium": 0.6, "high": 1.0, "xhigh": 1.0, "max": 1.0}
_BUDGET_FULL = 16_000
"""Tokens of a thinking budget that count as all the thought there is."""


def _reasoning(found: _Body) -> float:
    """How much thought is asked for: OpenAI's effort, Anthropic's thinking budget or effort."""
    nested = [_value(one) for one in (found.reasoning, found.output_config)]
    efforts = [_value(found.reasoning_effort), *(one.get("effort") for one in nested if isinstance(one, dict))]
    asked = max((_EFFORTS.get(one, 0.0) for one in efforts if isinstance(one, str)), default=0.0)
    thinking = _value(found.thinking)
    if isinstance(thinking, dict):
        budget = thinking.get("budget_tokens")
        if isinstance(budget, int) and budget > 0:
            asked = max(asked, min(1.0, budget / _BUDGET_FULL))
        elif thinking.get("type") in ("enabled", "adaptive"):
            asked = max(asked, 0.6)
    return asked


def _prefix(found: _Body, tally: _Tally) -> str:
    """A digest of what all requests of a conversation begin with, which is what providers' prompt caches go by."""
    digest = blake2b(digest_size=8, person=b"fusebox-prefix")
    parts = (found.tools, found.system, found.instructions, *tally.first)
    empty = True
    for part in parts:
        if part is not _ABSENT:
            view = memoryview(part)[:PREFIX_MAX]
            digest.update(len(view).to_bytes(4, "big"))
            digest.update(view)
            empty = False
    return "" if empty else digest.hexdigest()
