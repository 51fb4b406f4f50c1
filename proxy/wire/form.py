"""The model in a multipart/form-data body (RFC 7578 over RFC 2046 section 5.1), found while the body streams by.

The scanner keeps only the piece of the body that may still hold a part of a delimiter or of a part's head, so a file
of any size passes through it. What it reports are positions in the body; the bytes themselves are the caller's.
"""

from __future__ import annotations

import re

from proxy.errors import BadRequest

PART_HEAD_MAX = 16 * 1024
"""Bytes of the header block of one part; browsers and SDKs write a few hundred."""

MODEL_MAX = 1024
"""Bytes of the `model` field; the longest names known have about a hundred."""

_BOUNDARY = re.compile(r';[ \t]*boundary[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;, \t]+))', re.IGNORECASE)
_NAMED_MODEL = re.compile(
    rb"\r\n(?i:content-disposition)[ \t]*:[ \t]*(?i:form-data)[ \t]*"
    # Parameters before the name, whole: a file's name may hold «; name=model».
    rb'(?:;[ \t]*+(?!(?i:name)[ \t]*=)[^=;"\r\n]*+(?:=[ \t]*(?:"(?:[^"\\\r\n]|\\.)*+"|[^;"\r\n]*+)[ \t]*)?)*+'
    rb';[ \t]*(?i:name)[ \t]*=[ \t]*(?:"model"|model(?=[;\r\n \t]|$))'
)
_PADDING = re.compile(rb"[ \t]*+")


def is_form(content_type: str | None) -> bool:
    """Whether a Content-Type says multipart/form-data."""
    return content_type is not None and content_type[:19].lower() == "multipart/form-data"


def boundary(content_type: str) -> bytes:
    """The boundary that a Content-Type names. Raises BadRequest when it names none that RFC 2046 allows."""
    found = _BOUNDARY.search(content_type)
    value = "" if found is None else found[1] or found[2] or ""
    if not 1 <= len(value) <= 70 or not value.isascii() or not value.isprintable():
        raise BadRequest("the Content-Type multipart/form-data names no valid `boundary` (1 to 70 characters)")
    return value.encode("ascii")


class FormScanner:
    """Finds the values of the fields named ``model``. `feed` it the body in order, in pieces of any size."""

    __slots__ = ("_delimiter", "_buffer", "_at", "_offset", "_state", "_start", "spans", "model", "ended")

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # A body begins with a delimiter whose CRLF is not there; with one in front all delimiters are alike.
        self._buffer = b"\r\n"
        self._offset = -2
        # What stands before this in the buffer is done with. It is cut off once per piece, as each cut is a copy.
        self._at = 0
        self._state = self._skip
        self._start = 0
        self.spans: list[tuple[int, int]] = []
        self.model: str | None = None
        self.ended = False

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes. Raises BadRequest when a part's head or the model is larger than any real one, or not UTF-8."""
        if self.ended:
            return
        self._buffer += data
        while self._state():
            pass
        self._offset += self._at
        self._buffer = self._buffer[self._at :]
        self._at = 0

    # States: each consumes what it can of the buffer and says whether there may be more to do.

    def _skip(self) -> bool:
        """Inside the preamble or a part that is not the model: on to the next delimiter."""
        at = self._buffer.find(self._delimiter, self._at)
        if at < 0:
            self._at = max(self._at, len(self._buffer) - len(self._delimiter) + 1)
            return False
        self._at = at + len(self._delimiter)
        self._state = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        """White space and a line end begin a part; two hyphens end the body; anything else was no delimiter."""
        padding = _PADDING.match(self._buffer, self._at)
        assert padding is not None
        self._at = at = padding.end()
        if len(self._buffer) - at < 2:
            return False
        if self._buffer.startswith(b"--", at):
            self.ended = True
            self._at = len(self._buffer)
            return False
        # The CRLF stays: a part with no headers at all begins with its empty line.
        self._state = self._part_head if self._buffer.startswith(b"\r\n", at) else self._skip
        return True

    def _part_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", self._at)
        size = len(self._buffer) - 3 - self._at if end < 0 else end - self._at
        if size > PART_HEAD_MAX:
            raise BadRequest(f"a part of the multipart body has headers of more than {PART_HEAD_MAX // 1024} KiB")
        if end < 0:
            return False
        named = _NAMED_MODEL.search(self._buffer, self._at, end) is not None
        # The last CRLF stays in the buffer: an empty value is followed by the delimiter at once.
        self._at = end + 2
        self._start = self._offset + self._at + 2
        self._state = self._value if named else self._skip
        return True

    def _value(self) -> bool:
        at = self._buffer.find(self._delimiter, self._at)
        # Without its delimiter the value is at least as long as what cannot be part of one.
        size = (len(self._buffer) - len(self._delimiter) + 1 if at < 0 else at) - self._at - 2
        if size > MODEL_MAX:
            raise BadRequest(f"the `model` field is longer than {MODEL_MAX} bytes", param="model")
        if at < 0:
            return False
        value = self._buffer[self._at + 2 : at]
        try:
            text = value.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise BadRequest("the `model` field is not UTF-8", param="model") from None
        if not text:
            raise BadRequest("`model` is an empty string; name a model", param="model")
        self.model = text
        self.spans.append((self._start, self._start + len(value)))
        self._at = at
        self._state = self._skip
        return True
