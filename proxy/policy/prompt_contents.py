"""The way through a body's messages: what their texts, images, sounds and files come to.

Contents come as texts, as items and as lists of both, in each other. Everything is seen through views of the body: copied
are only texts, and of long ones only samples. A list of very many elements is not taken apart at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from proxy.policy.tokens import SAMPLED_MAX, estimate, estimate_source, unescaped

ABSENT = msgspec.Raw(b"")
"""Stands in for a member that a body does not have."""

PER_MESSAGE = 4.0
"""Tokens that the format itself costs for each message: its role and the marks around it."""

PER_IMAGE, PER_SMALL_IMAGE = 1000.0, 85.0
"""Tokens of an image: OpenAI's tiles come to 765 for a square of 1,024 pixels, Anthropic's rule (width x height / 750) to
1,400; of one at low detail OpenAI counts 85."""

AUDIO_BYTES_PER_TOKEN = 2130
"""Of base64: speech in MP3 has 16 KB a second, for which OpenAI counts ten tokens."""

DOCUMENT_BYTES_PER_TOKEN = 27
"""Of base64: a page of a PDF has some 40 KB and some 2,000 tokens. The roughest of these numbers."""

LOOKED_AT_MAX = 2 * 1024
"""Bytes of the last text that are kept, to see what kind of work it is. Of a longer one its beginning and its end: what is to
be done stands there, and what it is to be done with between them."""

WHOLE_MAX = 16 * 1024
"""Bytes of a text of which all is looked at; of a longer one samples."""

CLOSELY_MAX = 1024 * 1024
"""Bytes of texts after which only `LATER_MAX` bytes of each further one are looked at."""

LATER_MAX = 512

DEPTH_MAX = 6
"""How deep contents may stand in contents: a tool's result inside a message has two levels."""

ELEMENTS_MAX = 50_000
"""Elements of a list that is taken apart; one with more is measured as a text. An element takes some 200 bytes of memory."""

OPENING_PIECES_MAX = 64
OPENING_PIECE_MAX = 64 * 1024
"""Pieces of the prompt's beginning that count as such, and bytes of each."""

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_SYSTEM, _USER, _TOOL = b'"system"', b'"user"', b'"tool"'
_IMAGES = frozenset((b'"image_url"', b'"input_image"', b'"image"'))
_QUOTE, _LIST, _OBJECT = ord('"'), ord("["), ord("{")
_NUMBER = b"-0123456789"
_CHUNK = 64 * 1024


class _Item(msgspec.Struct):
    """A message, an item of the Responses API, or a part of a content: all that any of them is looked at for."""

    type: msgspec.Raw = ABSENT
    role: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT
    input: msgspec.Raw = ABSENT
    arguments: msgspec.Raw = ABSENT
    output: msgspec.Raw = ABSENT
    tool_calls: msgspec.Raw = ABSENT
    function_call: msgspec.Raw = ABSENT
    image_url: msgspec.Raw = ABSENT
    detail: msgspec.Raw = ABSENT
    input_audio: msgspec.Raw = ABSENT
    source: msgspec.Raw = ABSENT
    file: msgspec.Raw = ABSENT
    file_data: msgspec.Raw = ABSENT
    thinking: msgspec.Raw = ABSENT


class _Source(msgspec.Struct):
    """Where an Anthropic document comes from; only what is text or contents is looked at."""

    type: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT


_ITEM = msgspec.json.Decoder(_Item)
_ITEMS = msgspec.json.Decoder(list[_Item])
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_SOURCE = msgspec.json.Decoder(_Source)
_STRING = msgspec.json.Decoder(str)


class Contents:
    """What is counted on the way. `asked`: the last text of the user's, in UTF-8; `asked_tokens`: its size. `opening`: the
    pieces of the prompt's beginning, up to and with the first message of the user's, each with who said it, as they stand
    in the body.
    """

    __slots__ = (
        "_closely",
        "_opened",
        "_role",
        "asked",
        "asked_tokens",
        "audio",
        "images",
        "opening",
        "tokens",
        "turns",
    )

    def __init__(self) -> None:
        self.tokens = 0.0
        self.turns = 0
        self.images = 0
        self.audio = False
        self.asked = b""
        self.asked_tokens = 0.0
        self.opening: list[tuple[bytes, memoryview]] = []
        self._role = _USER
        self._opened = False
        self._closely = 0

    def system(self, raw: msgspec.Raw) -> None:
        """Take the system text that stands apart from the messages."""
        self._role = _SYSTEM
        self._take(memoryview(raw), 0)

    def said(self, raw: msgspec.Raw) -> None:
        """Take messages, or a text that is one message of the user's."""
        self._role = _USER
        view = memoryview(raw)
        if view[0] == _QUOTE:
            self.turns += 1
        self._take(view, 0)

    def _take(self, view: memoryview, depth: int) -> None:
        """A content: a text, an item, or a list of them. Numbers are tokens already; of others there is nothing to know."""
        first = view[0] if len(view) else 0
        if first == _QUOTE:
            self._text(view)
        elif first not in (_LIST, _OBJECT):
            return
        elif depth >= DEPTH_MAX:
            self.tokens += self._estimate(view)
        elif first == _LIST:
            self._list(view, depth + 1)
        else:
            item = _decoded(_ITEM, view)
            if item is not None:
                self._item(item, depth + 1)

    def _list(self, view: memoryview, depth: int) -> None:
        if _few(view, b"{"):
            items = _decoded(_ITEMS, view)
            if items is not None:
                for item in items:
                    self._item(item, depth)
                return
            start = bytes(view[:64]).lstrip(b"[ \t\r\n")
            if start[:1] and start[:1] in _NUMBER:
                self.tokens += 1 + sum(_count(view, b","))
                return
            elements = _decoded(_RAWS, view) if _few(view, b",") else None
            if elements is not None:
                for element in elements:
                    self._take(memoryview(element), depth)
                return
        self._open(view)
        self.tokens += self._estimate(view)

    def _text(self, view: memoryview) -> None:
        """A string, with its quotes."""
        inside = view[1:-1]
        size = len(inside)
        text = b""
        if size <= WHOLE_MAX and self._closely <= CLOSELY_MAX:
            self._closely += size
            text = _text_of(view)
            tokens = estimate(text)
        else:
            tokens = self._estimate(inside)
        self.tokens += tokens
        self._open(inside)
        if self._role == _USER:
            self.asked_tokens = tokens
            half = LOOKED_AT_MAX // 2
            if not text:
                text = unescaped(inside, 0, half) + b"\n" + unescaped(inside, max(half, size - half), size)
            self.asked = text if len(text) <= LOOKED_AT_MAX else text[:half] + b"\n" + text[-half:]

    def _estimate(self, source: memoryview) -> float:
        """Of many long texts, as of one long text, only so much is looked at."""
        sampled = SAMPLED_MAX if self._closely <= CLOSELY_MAX else LATER_MAX
        self._closely += min(len(source), sampled)
        return estimate_source(source, sampled)

    def _open(self, piece: memoryview) -> None:
        if not self._opened and len(self.opening) < OPENING_PIECES_MAX:
            self.opening.append((self._role, piece[:OPENING_PIECE_MAX]))

    def _item(self, item: _Item, depth: int) -> None:
        if item.role is not ABSENT:
            self._opened = self._opened or self.turns > 0
            self._role = bytes(item.role)
            self.tokens += PER_MESSAGE
            self.turns += self._role == _USER
            if item.type is ABSENT:  # a message, and no part of one: by far the most
                self._take(memoryview(item.content), depth)
                if item.tool_calls is not ABSENT or item.function_call is not ABSENT:
                    self._calls(item)
                return
        speaker, kind = self._role, bytes(item.type)
        if kind == b'"tool_result"':
            self._role = _TOOL  # Anthropic has it in a message of the user's, who did not write it
        for text in (item.content, item.text, item.thinking):
            if text is not ABSENT:
                self._take(memoryview(text), depth)
        self._calls(item)
        if item.output is not ABSENT:
            self._role = _TOOL
            self._take(memoryview(item.output), depth)
        self._role = speaker
        self._attached(item, kind, depth)

    def _calls(self, item: _Item) -> None:
        """Calls of tools in a message, or one as an item."""
        for call in (item.tool_calls, item.function_call, item.arguments, item.input):
            if call is not ABSENT:
                self.tokens += self._estimate(memoryview(call))

    def _attached(self, item: _Item, kind: bytes, depth: int) -> None:
        """Images, sounds and files, by URL or base64: neither is text."""
        if kind in _IMAGES or item.image_url is not ABSENT:
            self.images += 1
            picture = memoryview(item.source if item.image_url is ABSENT else item.image_url)
            self._open(picture)
            settings = bytes(picture[:40]) + bytes(picture[-40:]) + bytes(item.detail)
            self.tokens += PER_SMALL_IMAGE if b'"low"' in settings else PER_IMAGE
        elif kind == b'"document"':
            self._document(item.source, depth)
        if item.input_audio is not ABSENT:
            self.audio = True
            self.tokens += len(memoryview(item.input_audio)) / AUDIO_BYTES_PER_TOKEN
        for file in (item.file, item.file_data):
            if file is not ABSENT:
                self._open(memoryview(file))
                self.tokens += len(memoryview(file)) / DOCUMENT_BYTES_PER_TOKEN

    def _document(self, raw: msgspec.Raw, depth: int) -> None:
        source = _decoded(_SOURCE, memoryview(raw)) or _Source()
        self._open(memoryview(raw))
        if bytes(source.type) == b'"text"':
            self.tokens += self._estimate(memoryview(source.data))
        elif source.content is not ABSENT:
            self._take(memoryview(source.content), depth)
        else:
            self.tokens += len(memoryview(raw)) / DOCUMENT_BYTES_PER_TOKEN


def _count(view: memoryview, sign: bytes) -> Iterator[int]:
    """How often `sign`, one byte, occurs, in portions: a view cannot be asked, and a copy of all of it is not wanted."""
    for at in range(0, len(view), _CHUNK):
        yield bytes(view[at : at + _CHUNK]).count(sign)


def _few(view: memoryview, sign: bytes) -> bool:
    """Whether `sign`, which each element of a list comes with, occurs no more than `ELEMENTS_MAX` times."""
    if len(view) <= ELEMENTS_MAX:
        return True
    found = 0
    for part in _count(view, sign):
        found += part
        if found > ELEMENTS_MAX:
            return False
    return True


def _text_of(view: memoryview) -> bytes:
    """The text of a whole string in UTF-8."""
    text = bytes(view)
    if b"\\" in text:
        try:
            return _STRING.decode(text).encode()
        except DECODE_ERRORS:  # half of a surrogate pair
            return unescaped(view[1:-1], 0, len(text) - 2)
    return text[1:-1]


def _decoded(decoder: Any, view: memoryview) -> Any:
    """What `decoder` makes of the view; None where it is something else."""
    try:
        return decoder.decode(view)
    except DECODE_ERRORS:
        return None


def elements(raw: msgspec.Raw) -> int:
    """How many elements a list has; at least so many, of a very long one; 0 of what is no list."""
    view = memoryview(raw)
    if not len(view) or view[0] != _LIST:
        return 0
    if not _few(view, b","):
        return ELEMENTS_MAX
    return len(_decoded(_RAWS, view) or ())
