"""The model in a JSON body: read it, and replace just its bytes (RFC 8259).

Reading is done by msgspec, which checks the whole text while it skips what is not asked for: no second copy of a
large body comes to be. It tells what the model is, not where. The place is found in the first of three ways that can:

1. The bytes ``"model"`` stand in the text only once, with the model's value behind them, unescaped. Inside a string the
   quotes would be escaped, so this is the key. True of most requests; costs three searches, little for a small body.
2. The bytes stand there more often (a tool with a ``model`` parameter, an escaped spelling), or the body is large:
   msgspec tells how long each top-level value is, and the walk steps over whole values.
3. A key stands there twice, so that a length is not to be trusted: each value is stepped over by regular expressions.
   They are possessive, so their time is linear.

A duplicate key means the last one to every common parser, but not to all; so each occurrence is replaced.
"""

from __future__ import annotations

import json
import re

import msgspec
import orjson

from proxy.errors import BadRequest

Body = bytes | bytearray
Piece = bytes | bytearray | memoryview


MODEL_MAX = 1024
"""Characters of a model's name; the longest known have about a hundred. It stands in log lines and error messages."""


_NULL = msgspec.Raw(b"null")


class _Model(msgspec.Struct):
    """The model and what the request goes on from, for one whose other members are not of the expected types."""

    model: str | None = None
    # Raw: of a value that may be as large as the body nothing is built.
    previous_response_id: msgspec.Raw = _NULL
    conversation: msgspec.Raw = _NULL

    @property
    def tied(self) -> bool:
        return self.previous_response_id != _NULL or self.conversation != _NULL


class _Head(_Model):
    """The members of a request that routing reads; everything else is skipped."""

    stream: bool | None = None


_HEAD = msgspec.json.Decoder(_Head)
_MODEL = msgspec.json.Decoder(_Model)


class JsonFacts(msgspec.Struct, frozen=True):
    """What routing needs of a JSON body."""

    model: str | None
    stream: bool
    tied: bool = False
    """The request goes on from an object that lives at one provider (OpenAI's Responses API)."""


def read(body: Body) -> JsonFacts:
    """Read a request body. Raises BadRequest when it is not a JSON object, or when `model` is not a string."""
    try:
        head = _HEAD.decode(body)
        model, stream, tied = head.model, head.stream is True, head.tied
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        model, stream, tied = _read_unusual(body, error)
    if model is None:
        return JsonFacts(None, stream, tied)
    if not model:
        raise BadRequest("`model` is an empty string; name a model", param="model")
    if len(model) > MODEL_MAX:
        raise BadRequest(f"`model` is longer than {MODEL_MAX} characters", param="model")
    return JsonFacts(model, stream, tied)


def _read_unusual(body: Body, error: Exception) -> tuple[str | None, bool, bool]:
    """Model, stream and tied of a body that is not as expected. A `stream` of another type is the provider's to judge."""
    if isinstance(error, msgspec.ValidationError):
        try:
            found_model = _MODEL.decode(body)
            return found_model.model, False, found_model.tied
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as another:
            error = another
    if isinstance(error, msgspec.ValidationError):
        wrong = _WRONG_MODEL.search(str(error))
        if wrong is not None:
            raise BadRequest(f"`model` must be a string, but the request has {_KINDS[wrong[1]]}", param="model")
    elif not isinstance(error, RecursionError) and len(body) <= _LENIENT_MAX:
        found = _read_leniently(body)
        if found is not None:
            return found
    raise BadRequest(f"the request body is not a JSON object that can be read: {_reason(body, error)}")


_WRONG_MODEL = re.compile(r"(?:got `)?(int|float|Number|bool|array|object)(?:`| out of range) - at `\$\.model`$")
_KINDS = {
    "int": "a number",
    "float": "a number",
    "Number": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
}


_LENIENT_MAX = 4 * 1024 * 1024
"""Bytes up to which a body that msgspec refuses is read once more; above it the slow reader would hold up other streams."""


def _read_leniently(body: Body) -> tuple[str | None, bool, bool] | None:
    """Python's own writer emits lone surrogates and NaN, and some providers take them: that is not ours to refuse.

    None when the body is no JSON object even so. Decoded here, as `json.loads` would take bytes in UTF-16 as well, in
    which no model could be found; integers are read as floats, as Python bounds their digits.
    """
    try:
        document = json.loads(body.decode("utf-8"), parse_int=float)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    model = document.get("model")
    if model is not None and type(model) is not str:
        return None
    if model is not None:
        encode_model(model)
    tied = document.get("previous_response_id") is not None or document.get("conversation") is not None
    return model, document.get("stream") is True, tied


def _reason(body: Body, error: Exception) -> str:
    if not body.strip(b" \t\r\n"):
        return "it is empty"
    if body.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark, which JSON does not allow (RFC 8259 section 8.1)"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error).removesuffix(" - at `$`")


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
    if len(body) <= COPIED_MAX:
        spans = _by_search(body, model) or _by_lengths(body)
    else:
        # Here the searches cost more than the lengths.
        spans = _by_lengths(body) or _by_search(body, model)
    if spans:
        return spans
    if len(body) > SCANNED_MAX:
        raise BadRequest(f"a key stands twice in the request body, which is looked into only up to {SCANNED_MAX} bytes")
    return _by_scanning(body)


def _by_search(body: Body, model: str) -> list[tuple[int, int]] | None:
    # From the end: Python looks backwards more than twice as fast as forwards.
    at = body.rfind(_KEY)
    if at < 0 or body.rfind(_KEY, 0, at) >= 0 or body.rfind(_ESCAPED_LETTER) >= 0:
        return None
    # A string that merely ends in «\\"model"» has no colon behind it, a value "model" neither.
    start = at + len(_KEY)
    value = f'"{model}"'.encode()
    # As Python's and JavaScript's writers have it, with one space or none; else as it may be.
    for between in (b":", b": "):
        if body.startswith(between + value, start):
            start += len(between)
            return [(start, start + len(value))]
    found = _VALUE_AFTER_KEY.match(body, start)
    if found is None or not body.startswith(value, found.end()):
        return None
    return [(found.end(), found.end() + len(value))]


SCANNED_MAX = 4 * 1024 * 1024
"""Bytes of a body with duplicate keys that are scanned: a second of work at the worst, in which other streams wait."""

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
    # Python's reader, not orjson: a key may hold a lone surrogate, or bytes that are no UTF-8, which `read` let through.
    return key == _KEY or (b"\\" in key and bool(json.loads(key.decode("utf-8", "replace")) == "model"))


def _by_lengths(body: Body) -> list[tuple[int, int]] | None:
    """The spans, or None when a key stands there twice.

    Sound without trust in the order: each value found must be, to the byte, the one msgspec read for that key, and a
    JSON value is no prefix of another but for numbers, which the delimiter behind decides.
    """
    try:
        members = _MEMBERS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    spans = []
    position = body.index(b"{") + 1
    for name, raw in members.items():
        member = _MEMBER.match(body, position)
        if member is None or (member[1][1:-1] != name.encode() and orjson.loads(member[1]) != name):
            return None
        start, value = member.end(), memoryview(raw)
        position = start + len(value)
        if not _stands_at(body, value, start) or _AFTER_VALUE.match(body, position) is None:
            return None
        if name == "model":
            spans.append((start, position))
    return spans if _MEMBER.match(body, position) is None else None


def _stands_at(body: Body, value: memoryview, start: int) -> bool:
    """Whether `value` stands in `body` at `start`; compared in slices, so that no second copy of a large one is made."""
    for offset in range(0, len(value), COPIED_MAX):
        part = bytes(value[offset : offset + COPIED_MAX])
        if not body.startswith(part, start + offset):
            return False
    return True


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
