"""The model in a JSON body: read it, and replace just its bytes (RFC 8259).

Reading is done by msgspec, which checks the whole text while it skips what is not asked for: no second copy of a
large body comes to be. It tells what the model is, not where. The place is found in the first of three ways that can:

1. The bytes ``"model"`` stand in the text only once, with the model's value behind them, unescaped. Inside a string the quotes
   would be escaped, so this is the key. True of most requests, and costs two searches at memory speed.
2. The bytes stand there more often (a tool with a ``model`` parameter, an escaped spelling): msgspec tells how long each
   top-level value is, and the walk steps over whole values.
3. A key stands there twice, so that a length is not to be trusted: each value is stepped over by regular expressions.
   They are possessive, so their time is linear.

A duplicate key means the last one to every common parser, but not to all; so each occurrence is replaced.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import orjson

from proxy.errors import BadRequest

Body = bytes | bytearray
Piece = bytes | bytearray | memoryview


class _Head(msgspec.Struct):
    """The members of a request that routing reads; everything else is skipped."""

    model: Any = msgspec.UNSET
    stream: Any = None


_HEAD = msgspec.json.Decoder(_Head)


class JsonFacts(msgspec.Struct, frozen=True):
    """What routing needs of a JSON body."""

    model: str | None
    stream: bool


def read(body: Body) -> JsonFacts:
    """Read a request body. Raises BadRequest when it is not a JSON object, or when `model` is not a string."""
    try:
        head = _HEAD.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        head = _read_leniently(body, error)
    model = head.model
    if model is msgspec.UNSET or model is None:
        model = None
    elif type(model) is not str:
        raise BadRequest(f"`model` must be a string, but the request has {_kind(model)}", param="model")
    elif not model:
        raise BadRequest("`model` is an empty string; name a model", param="model")
    return JsonFacts(model, head.stream is True)


_LENIENT_MAX = 4 * 1024 * 1024
"""Bytes up to which a body that msgspec refuses is read once more; above it the slow reader would hold up other streams."""


def _read_leniently(body: Body, error: Exception) -> _Head:
    """Python's own writer emits lone surrogates and NaN, and some providers take them: that is not ours to refuse."""
    try:
        document = json.loads(body) if len(body) <= _LENIENT_MAX else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadRequest(f"the request body is not a JSON object that can be read: {_reason(body, error)}") from None
    return _Head(document.get("model", msgspec.UNSET), document.get("stream"))


def _reason(body: Body, error: Exception) -> str:
    if not body.strip(b" \t\r\n"):
        return "it is empty"
    if body.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark, which JSON does not allow (RFC 8259 section 8.1)"
    return str(error).removesuffix(" - at `$`")


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    names: dict[type, str] = {int: "a number", float: "a number", list: "an array", dict: "an object"}
    return names.get(type(value), "something else")


def encode_model(model: str) -> bytes:
    """`model` as a JSON string, escaped as needed. Raises BadRequest when it is no valid Unicode."""
    try:
        return orjson.dumps(model)
    except (orjson.JSONEncodeError, UnicodeEncodeError):
        raise BadRequest("`model` holds a lone surrogate, which no text can carry", param="model") from None


def find_model(body: Body, model: str) -> list[tuple[int, int]]:
    """Where the values of the top-level key ``model`` stand: (start, end) of each, quotes included, in order.

    `body` must have been accepted by `read`, which said `model`.
    """
    at = body.find(_KEY)
    if at >= 0 and body.find(_KEY, at + len(_KEY)) < 0 and body.find(_ESCAPED_LETTER) < 0:
        # A string that merely ends in «\\"model"» has no colon behind it, a value "model" neither.
        found = _VALUE_AFTER_KEY.match(body, at + len(_KEY))
        if found is not None:
            start = found.end()
            value = b'"%b"' % model.encode()
            if body.startswith(value, start):
                return [(start, start + len(value))]
    spans = _by_lengths(body)
    return _by_scanning(body) if spans is None else spans


COPIED_MAX = 64 * 1024
"""Bytes up to which a spliced body is simply built anew: cheaper than pieces."""


def splice(body: Body, spans: list[tuple[int, int]], value: bytes) -> list[Piece]:
    """`body` with each span replaced by `value`, as pieces in order; those of a large body share its memory."""
    if len(spans) == 1 and len(body) <= COPIED_MAX:
        start, end = spans[0]
        return [b"".join((body[:start], value, body[end:]))]
    view = memoryview(body)
    pieces: list[Piece] = []
    position = 0
    for start, end in spans:
        pieces.append(view[position:start])
        pieces.append(value)
        position = end
    pieces.append(view[position:])
    return pieces


_KEY = b'"model"'
_ESCAPED_LETTER = b"\\u006"
"""Begins each escaped spelling of the letters of «model» (U+006D, 6F, 64, 65, 6C)."""

_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_VALUE_AFTER_KEY = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+")
_MEMBER = re.compile(rb"[ \t\r\n,]*+(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+", re.DOTALL)
_SCALAR = re.compile(_STRING + rb'|[^\[\]{}",\s]++', re.DOTALL)
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+([\[\]{}])", re.DOTALL)
_AFTER_VALUE = re.compile(rb"[ \t\r\n]*+[,}]")
_OPENING = (b"[", b"{")

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _is_model(key: bytes) -> bool:
    # Python's reader, not orjson: a key may hold a lone surrogate, which `read` let through.
    return key == _KEY or (b"\\" in key and bool(json.loads(key) == "model"))


def _by_lengths(body: Body) -> list[tuple[int, int]] | None:
    """The spans, or None when a key stands there twice.

    Sound without trust in the order: each value found must be, to the byte, the one msgspec read for that key, and a
    JSON value is no prefix of another but for numbers, which the delimiter behind decides.
    """
    try:
        members = _MEMBERS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    spans = []
    position = body.index(b"{") + 1
    for name, raw in members.items():
        member = _MEMBER.match(body, position)
        if member is None or (member[1][1:-1] != name.encode() and orjson.loads(member[1]) != name):
            return None
        start, value = member.end(), bytes(raw)
        position = start + len(value)
        if not body.startswith(value, start) or _AFTER_VALUE.match(body, position) is None:
            return None
        if name == "model":
            spans.append((start, position))
    return spans if _MEMBER.match(body, position) is None else None


def _by_scanning(body: Body) -> list[tuple[int, int]]:
    spans = []
    position = body.index(b"{") + 1
    while (member := _MEMBER.match(body, position)) is not None:
        start = member.end()
        position = _value_end(body, start)
        if _is_model(member[1]):
            spans.append((start, position))
    return spans


def _value_end(body: Body, start: int) -> int:
    scalar = _SCALAR.match(body, start)
    if scalar is not None:
        return scalar.end()
    depth = 0
    position = start
    while True:
        bracket = _TO_BRACKET.match(body, position)
        if bracket is None:  # cannot be in a text that `read` accepted
            raise BadRequest("the request body has brackets that do not match")
        depth += 1 if bracket[1] in _OPENING else -1
        position = bracket.end()
        if depth == 0:
            return position
