"""What the first bytes of an answer say: an error of some provider's shape, a page of HTML, nothing at all, or fine.

Each provider words its errors in its own way. Here every shape becomes one value, `Said`: the machine-readable words
(codes, types), the sentence, and the status that the body itself names. What follows from that is decided in
``attempt/classify``. Nothing here raises, whatever the bytes; the work is linear in their number, which is bounded.

Shapes known, each with where it is described:

- OpenAI ``{"error": {"message", "type", "param", "code"}}``; the Responses API in a stream: ``{"type": "error", "code",
  "message"}`` and ``{"type": "response.failed", "response": {"error": {...}}}`` (platform.openai.com/docs/api-reference)
- Anthropic ``{"type": "error", "error": {"type", "message", "details"}}``, in a stream ``event: error``
  (platform.claude.com/docs/en/api/errors)
- Google ``[{"error": {"code", "message", "status", "details": [...]}}]``, an array on the OpenAI-compatible endpoint
  (ai.google.dev/gemini-api/docs/troubleshooting)
- Mistral and vLLM ``{"object": "error", "message", "type", "code"}`` (docs.mistral.ai; vLLM before 0.10)
- OpenRouter ``{"error": {"code": 502, "message", "metadata": {"raw"}}}``, also inside a 200 and inside ``choices``
  (openrouter.ai/docs/api/reference/errors-and-debugging)
- Azure ``{"error": {"code", "innererror": {"code"}}}`` (learn.microsoft.com/azure/ai-services/openai)
- MiniMax ``{"base_resp": {"status_code", "status_msg"}}`` inside a 200 (platform.minimax.io/docs/api-reference/errorcode)
- ModelsLab ``{"status": "error", "message" or "messege"}`` (docs.modelslab.com/error-codes)
- Ollama ``{"error": "..."}``, FastAPI ``{"detail": ...}``, Cloudflare ``{"errors": [{"code", "message"}]}``
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from enum import Enum
from typing import Any

import msgspec
import orjson

READ_MAX = 64 * 1024
"""Bytes of a body that are read, before and after decompression: no provider's error is longer (research 3.2)."""

PEEK = 1024
"""Bytes of a good JSON answer that are looked at: an error inside a 200 shows itself within them (research 4.1)."""

TEXT_MAX = 8 * 1024
"""Characters of a provider's sentence that are kept."""

WORD_MAX = 100
"""Characters of a code or type; a longer one is none."""

_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_HTML = re.compile(rb"\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_FIRST_KEY = re.compile(
    rb'\s*\[?\s*\{\s*"(?:error"\s*:\s*[{"]|object"\s*:\s*"error"|type"\s*:\s*"(?:error|response\.failed)")'
)
"""An error object of which only the beginning is there: it says so in its first key."""

_PAIR = re.compile(
    rb'"(code|type|status|reason|error_code|message|raw)"\s*:\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)|(\d{1,9}))', re.DOTALL
)
_DELAY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")

MINIMAX = {
    1000: (502, "unknown_error"),
    1001: (504, "timeout_error"),
    1002: (429, "rate_limit_exceeded"),
    1004: (401, "authentication_error"),
    1008: (402, "insufficient_balance"),
    1024: (500, "server_error"),
    1026: (400, "content_filter"),
    1027: (400, "content_filter"),
    1039: (429, "rate_limit_exceeded"),
    2013: (400, "invalid_request_error"),
    2049: (401, "invalid_api_key"),
}
"""MiniMax's `base_resp.status_code` in the terms of everybody else: status and word. Others count as 502."""


class Form(Enum):
    """What kind of thing the bytes are."""

    NOTHING = "nothing"  # the answer is complete and says nothing
    FINE = "fine"  # an answer, or too little of one to tell, or bytes that are not read
    ERROR = "error"
    HTML = "html"


class Said(msgspec.Struct, frozen=True):
    """What a body says. Words and text are lower case.

    `status`: what the body itself gives as HTTP status. `wait_s`: when to come back, in seconds (Google's RetryInfo).
    """

    form: Form
    status: int | None = None
    words: frozenset[str] = frozenset()
    text: str = ""
    wait_s: float | None = None


NOTHING, FINE, HTML = Said(Form.NOTHING), Said(Form.FINE), Said(Form.HTML)


def decoded(body: bytes, encoding: bytes, limit: int = READ_MAX) -> tuple[bytes, bool] | None:
    """At most `limit` bytes of `body` without its content coding, and whether that is all. None: not to be decoded.

    gzip and deflate, the latter with or without the zlib header (RFC 9110 section 8.4.1.2). A body whose end is still
    missing gives what it has so far.
    """
    encoding = encoding.strip().lower()
    if encoding in (b"", b"identity"):
        return body[:limit], len(body) <= limit
    if encoding in (b"gzip", b"x-gzip"):
        windows: tuple[int, ...] = (31,)
    elif encoding == b"deflate":
        windows = (15, -15)
    else:
        return None
    for window in windows:
        inflate = zlib.decompressobj(window)
        try:
            plain = inflate.decompress(body[:READ_MAX], limit)
        except zlib.error:
            continue
        return plain, inflate.eof
    return None


def read(body: bytes, media: bytes, *, failed: bool, event_stream: bool = False, complete: bool = True) -> Said:
    """What a decoded body says. `media`: its media type, lower case, without parameters. `complete`: nothing follows.

    `failed`: the status is one of an error already, so that any object is taken for the error's.
    """
    if len(body) > READ_MAX:
        body, complete = body[:READ_MAX], False
    if event_stream and not failed:
        return _read_events(body, complete)
    text = body.removeprefix(_BOM).lstrip(_BLANK)
    if not text:
        return NOTHING if complete else FINE
    if media in (b"text/html", b"application/xhtml+xml") or _HTML.match(text):
        return HTML
    if failed and (event_stream or text.startswith((b"data:", b"event:"))):
        event = _first_event(body)
        if event is not None:
            return _said_of(event[1], failed=True, complete=complete, event=event[0])
    if text[:1] in (b"{", b"["):
        # The body as it is, BOM aside: orjson takes white space around it.
        return _said_of(text, failed=failed, complete=complete)
    if failed:
        return Said(Form.ERROR, text=_lower(text))
    if is_json(media):
        return _said_of(text, failed=False, complete=complete)
    return FINE


def is_json(media: bytes) -> bool:
    """Whether a media type (lower case, no parameters) promises one JSON value (RFC 6839 section 3.1)."""
    return media == b"application/json" or media.endswith(b"+json")


def event_decided(body: bytes) -> bool:
    """Whether the first data event of a stream is there, as far as it takes to judge it."""
    event = _first_event(body)
    if event is None:
        # Not an event stream after all: its JSON must be whole.
        text = body.lstrip(_BLANK)
        return _HTML.match(text) is not None or (text[:1] in (b"{", b"[") and _parsed(text) is not _UNREADABLE)
    _, data, ended = event
    return ended or data[:1] not in (b"{", b"[", b"") or _parsed(data) is not _UNREADABLE


def first_data(body: bytes) -> bytes:
    """The data of a stream's first event; the body itself when it has none."""
    event = _first_event(body)
    return body if event is None else event[1]


def _read_events(body: bytes, complete: bool) -> Said:
    event = _first_event(body)
    if event is not None:
        name, data, ended = event
        if data.strip() == b"[DONE]":
            return NOTHING
        return _said_of(data, failed=name == b"error", complete=ended or complete, event=name)
    text = body.removeprefix(_BOM).lstrip(_BLANK)
    if text[:1] in (b"{", b"["):
        return _said_of(text, failed=False, complete=complete)
    if _HTML.match(text):
        return HTML
    return NOTHING if complete else FINE


def _first_event(body: bytes) -> tuple[bytes, bytes, bool] | None:
    """Name, data and whether it has ended, of the first event with data (WHATWG HTML section 9.2.6); pings are passed."""
    name = b""
    data: list[bytes] = []
    for line in body.removeprefix(_BOM).splitlines(keepends=True):
        field = line.rstrip(b"\r\n")
        if not field:
            if data and not _is_ping(name, data):
                return name, b"\n".join(data), True
            name, data = b"", []
        elif field.startswith(b"data:"):
            value = field[5:].removeprefix(b" ")
            data.append(value)
        elif field.startswith(b"event:"):
            name = field[6:].strip()
    if not data or _is_ping(name, data):
        return None
    # Without its empty line the event may go on, but a whole line of data is as good as an event: nobody splits JSON.
    return name, b"\n".join(data), body.endswith((b"\n", b"\r"))


def _is_ping(name: bytes, data: list[bytes]) -> bool:
    return name == b"ping" or not any(data)


_UNREADABLE = object()


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        pass
    # The standard library's reader takes what orjson is too strict for and servers do write: NaN and Infinity (logprobs),
    # lone surrogates. And a lone byte that is no UTF-8 must not hide what the rest says.
    try:
        return json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return _UNREADABLE


def _said_of(text: bytes, *, failed: bool, complete: bool, event: bytes = b"") -> Said:
    """What a JSON text says, of which the end may be missing."""
    value = _parsed(text)
    if value is _UNREADABLE:
        if failed or _FIRST_KEY.match(text):
            return _scanned(text)
        return FINE  # bytes that are not JSON, whatever they were declared as, pass as they came
    error = _error_in(value, event)
    if error is None and failed:
        error = value if isinstance(value, dict) else {"message": value}
    return FINE if error is None else _collected(error)


def _error_in(value: Any, event: bytes) -> dict[str, Any] | None:
    """The object that describes an error, if `value` is one of the shapes in which providers say that."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict):
        # A job that is well says {"error": {"code": null, ...}}.
        if any(part is not None and part != "" for part in error.values()):
            return error
    elif (isinstance(error, str) and error) or (isinstance(error, list | bool) and error):
        return {**value, "message": [error, value.get("message")]}
    if value.get("type") == "response.failed":
        response = value.get("response")
        inner = response.get("error") if isinstance(response, dict) else None
        return inner if isinstance(inner, dict) else {}
    if value.get("type") == "error" or value.get("object") == "error" or event == b"error":
        return value
    if value.get("status") == "error" and ("message" in value or "messege" in value):
        return {"message": [value.get("message"), value.get("messege")], "code": value.get("code")}
    return _error_of_minimax(value.get("base_resp")) or _error_in_choice(value.get("choices"))


def _error_of_minimax(base: Any) -> dict[str, Any] | None:
    number = base.get("status_code") if isinstance(base, dict) else None
    if type(number) is not int or number == 0:
        return None
    status, word = MINIMAX.get(number, (502, ""))
    return {"code": status, "type": word, "message": base.get("status_msg")}


def _error_in_choice(choices: Any) -> dict[str, Any] | None:
    first = choices[0] if isinstance(choices, list) and choices else None
    error = first.get("error") if isinstance(first, dict) else None
    return error if isinstance(error, dict) and error else None


def _collected(error: dict[str, Any]) -> Said:
    """Words, sentence and status out of an error object and the objects inside it."""
    words: set[str] = set()
    texts: list[str] = []
    status: int | None = None
    wait_s: float | None = None
    for part in _parts(error):
        for key in ("code", "type", "status", "reason", "error_code", "error_type", "limit_source"):
            value = part.get(key)
            if status is None and key in ("code", "status"):
                status = _status(value)
            if isinstance(value, str) and 0 < len(value) <= WORD_MAX:
                words.add(value.lower())
        for key in ("message", "messege", "msg", "detail", "raw", "errors"):
            text = part.get(key)
            if text:
                texts.append(_sentence(text))
        if "flagged_input" in part:
            words.add("flagged_input")
        quota = part.get("quotaId")
        if isinstance(quota, str) and "perday" in quota.lower():
            words.add("quota_per_day")
        delay = part.get("retryDelay")
        if isinstance(delay, str) and (match := _DELAY.fullmatch(delay)):
            wait_s = float(match[1])
    return Said(Form.ERROR, status, frozenset(words), " ".join(texts)[:TEXT_MAX].lower(), wait_s)


def _parts(error: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An error object, and the objects in which some providers say more."""
    yield error
    for key in ("innererror", "inner_error", "metadata", "details", "errors"):
        inner = error.get(key)
        for part in inner if isinstance(inner, list) else (inner,):
            if isinstance(part, dict):
                yield part
                violations = part.get("violations")
                if isinstance(violations, list):
                    yield from (each for each in violations if isinstance(each, dict))


def _status(value: Any) -> int | None:
    """A code that is an HTTP status of an error."""
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        value = int(value)
    return value if type(value) is int and 400 <= value <= 599 else None


def _sentence(value: Any) -> str:
    if isinstance(value, str):
        return value[:TEXT_MAX]
    if isinstance(value, list) and all(part is None or isinstance(part, str) for part in value):
        return " ".join(part for part in value if part)[:TEXT_MAX]
    try:
        return orjson.dumps(value).decode()[:TEXT_MAX]
    except TypeError:  # nested deeper than orjson writes, although it reads it
        return ""


def _scanned(text: bytes) -> Said:
    """Words and sentence of an error object that cannot be parsed, because its end is missing, say."""
    words: set[str] = set()
    texts: list[str] = []
    status: int | None = None
    for match in _PAIR.finditer(text):
        key, word, number = match.groups()
        if number is not None:
            if status is None and key in (b"code", b"status"):
                status = _status(int(number))
        elif key in (b"message", b"raw"):
            texts.append(_lower(word))
        elif 0 < len(word) <= WORD_MAX:
            words.add(_lower(word))
            if status is None and key in (b"code", b"status"):
                status = _status(_lower(word))
    return Said(Form.ERROR, status, frozenset(words), " ".join(texts)[:TEXT_MAX] or _lower(text))


def _lower(text: bytes) -> str:
    return text[:TEXT_MAX].decode("utf-8", "replace").lower()
