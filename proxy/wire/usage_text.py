"""Finding the usage object in a text of JSON that may be large, without decoding the rest where that can be spared.

In valid JSON an unescaped ``"usage"`` before a colon is always the key of an object. If an opening brace and the text
from that key on are a whole JSON value, then nothing but that one object closes behind the key: it is a key of the
outermost object. So a short end of a long body proves by itself what it holds; a text of the model's that quotes the
word, or a tool's argument of that name, does not pass.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from proxy.wire.usage_fields import Fields, telling

MARK = b'"usage"'
_VALUE = re.compile(rb"\s*:\s*\{")
OBJECT = re.compile(rb'"usage"\s*:\s*\{')
"""What an event must hold to be decoded. OpenAI sends ``"usage":null`` in all events but the last."""

WHOLE_MAX = 256 * 1024
"""Bytes up to which a text is kept whole. An answer of 60,000 tokens fits; vectors and pictures do not."""

HEAD_MAX = 16 * 1024
TAIL_MAX = 64 * 1024
"""Bytes kept of a longer one: nearly all providers put the usage behind the answer, a few rerankers before it. Behind it
stand short fields only (Responses: the client's own `metadata`, at most 16 values of 512 characters)."""

_SHORT = 2048
"""Bytes up to which a body is decoded in no more time than it takes to find its end."""

BILLED = b'"billed_units"'

_TRIES = 8
"""Keys of that name looked at in one text; each look may cost a decoding."""

_WRONG = (ValueError, RecursionError)
"""What decoding raises: msgspec's errors and broken UTF-8 are ValueErrors, deep nesting is the other."""

_RESPONSE_ENDS = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete|failed)"')


class _Holder(msgspec.Struct):
    usage: Any = None
    billed_units: Any = None
    service_tier: Any = None


class _Top(msgspec.Struct):
    """An event or a body: its own usage, and the members that may hold one in its place."""

    usage: Any = None
    service_tier: Any = None
    response: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    x_groq: msgspec.Raw = msgspec.Raw()
    choices: msgspec.Raw = msgspec.Raw()
    meta: msgspec.Raw = msgspec.Raw()


_top = msgspec.json.Decoder(_Top)
_holder = msgspec.json.Decoder(_Holder)
_holders = msgspec.json.Decoder(list[_Holder])


class Kept:
    """A text that arrives in spans, whole up to `WHOLE_MAX` bytes, and head and tail of a longer one.

    Holds at most `WHOLE_MAX` bytes, or `HEAD_MAX` and twice `TAIL_MAX`; a span more while it is added.
    """

    __slots__ = ("head", "tail")

    def __init__(self) -> None:
        self.head = bytearray()
        self.tail: bytearray | None = None

    def add(self, span: bytes) -> None:
        """The next bytes."""
        tail = self.tail
        if tail is None:
            if len(self.head) + len(span) <= WHOLE_MAX:
                self.head += span
                return
            missing = max(HEAD_MAX - len(self.head), 0)
            self.head += span[:missing]
            span = span[missing:]
            tail = self.tail = self.head[HEAD_MAX:]
            self.head = self.head[:HEAD_MAX]
        tail += span if len(span) <= TAIL_MAX else span[-TAIL_MAX:]
        if len(tail) > 2 * TAIL_MAX:
            del tail[:-TAIL_MAX]

    def __len__(self) -> int:
        return len(self.head) + (len(self.tail) if self.tail is not None else 0)


def in_event(data: bytes) -> Fields | None:
    """The usage object of an event's data (or of a whole body), wherever its format puts it; None: it has none."""
    try:
        top = _top.decode(data)
    except _WRONG:
        return None
    if telling(top.usage):
        return top.usage if top.service_tier is None else {"service_tier": top.service_tier, **top.usage}
    for raw in (top.response, top.message, top.x_groq):
        if raw:
            inner = _of(raw)
            if telling(inner.usage):
                tier = inner.service_tier
                return inner.usage if tier is None else {"service_tier": tier, **inner.usage}
    if top.choices:
        for choice in reversed(_all_of(top.choices)):
            if telling(choice.usage):
                return choice.usage  # type: ignore[no-any-return]
    if top.meta and telling(fields := _of(top.meta).billed_units):
        return fields  # type: ignore[no-any-return]
    return None


def in_long_event(data: Kept) -> Fields | None:
    """The same for an event of which only head and tail were kept: a picture, or a whole response in its last event."""
    begin = b'{"response":{' if _RESPONSE_ENDS.search(data.head) else b"{"
    return _from_last_key(data.tail or b"", begin, _TRIES)


def in_body(body: bytes | bytearray) -> Fields | None:
    """The usage object of a whole JSON body; None: it has none."""
    if body.rfind(MARK) < 0 and body.rfind(BILLED) < 0:
        return None
    found = _from_last_key(body, b"{", 1) if len(body) > _SHORT else None
    if found is None or ("service_tier" not in found and tiered(body)):
        return in_event(bytes(body))
    return found


def tiered(body: bytes | bytearray) -> bool:
    """Whether a tier with a price of its own may be told somewhere: Responses do it long before the usage."""
    return body.rfind(b'"flex"') >= 0 or body.rfind(b'"batch"') >= 0


def in_long_body(body: Kept) -> Fields | None:
    """The same for a body of which only head and tail were kept."""
    return _from_last_key(body.tail or b"", b"{", _TRIES) or _from_head(bytes(body.head))


def _from_last_key(text: bytes | bytearray, begin: bytes, tries: int) -> Fields | None:
    """What the last of the keys in `text` holds with which it becomes, after `begin`, a whole JSON value."""
    end = len(text)
    for _ in range(tries):
        end = _key_before(text, end)
        if end < 0:
            return None
        found = in_event(begin + text[end:])
        if found is not None:
            return found
    return None


def _key_before(text: bytes | bytearray, end: int) -> int:
    """Where the last key `usage` with an object begins in `text[:end]`; -1: nowhere."""
    for _ in range(64):
        end = text.rfind(MARK, 0, end)
        if end <= 0:
            return -1
        if text[end - 1] != 0x5C and _VALUE.match(text, end + len(MARK)):  # a quote behind a backslash opens nothing
            return end
    return -1


def _from_head(head: bytes) -> Fields | None:
    """What stands before a long body's data: the head up to a brace behind the key, and one more, is a whole value."""
    for tries, key in enumerate(OBJECT.finditer(head)):
        end = key.end()
        for _ in range(_TRIES if tries < _TRIES else 0):
            end = head.find(b"}", end) + 1
            if not end:
                break
            found = in_event(head[:end] + b"}")
            if found is not None:
                return found
    return None


def _of(raw: msgspec.Raw) -> _Holder:
    try:
        return _holder.decode(raw)
    except _WRONG:
        return _Holder()


def _all_of(raw: msgspec.Raw) -> list[_Holder]:
    try:
        return _holders.decode(raw)
    except _WRONG:
        return []
