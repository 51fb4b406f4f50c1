"""Watching an answer go by for what it used, without parsing it and without holding it up.

An event stream is searched, span by span, for the key that every format uses; only a line that holds it with an object is
decoded. Of other bodies a bounded part is kept and looked at after the end. Compressed ones are kept as they are, and
unpacked after the end, within bounds. Whatever cannot be known is None, never zero; nothing here raises, whatever the
bytes. Only answers of success are to be watched: a failed attempt is not billed.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from proxy.exchange import Endpoint, Format, Usage
from proxy.wire.usage_fields import Fields, metered, read
from proxy.wire.usage_plain import plain
from proxy.wire.usage_text import (
    BILLED,
    MARK,
    OBJECT,
    WHOLE_MAX,
    Kept,
    in_body,
    in_event,
    in_long_body,
    in_long_event,
)

PACKED_MAX = 1024 * 1024
"""Bytes of a compressed answer that are kept; a longer one is unmetered. About 5 MB of JSON or 10 of events."""

UNPACKED_MAX = 32 * 1024 * 1024
"""Bytes that a compressed answer may unpack to, a tenth of a second's work; one that goes on is unmetered."""

_STEP = 256 * 1024
_MEMBERS = 16
"""Parts of a gzip body; each is copied with all that follow it. Servers send one."""

_SLOW = 16 * 1024
_AT_ONCE = 16 * 1024
"""Bytes of a line that is decoded as it comes by, in about 20 µs; a longer one (a whole response) after the end."""

_ANTHROPIC = Format.ANTHROPIC  # members of an enum are slow to look up
_OPEN_MAX = 4096
"""Bytes of an unfinished line that are put before the next span; more of them are gathered without copying."""

_NEVER = (b"audio/", b"video/", b"image/", b"multipart/", b"application/octet-stream")
_FIELD = b"data:"
_BOM = b"\xef\xbb\xbf"
_search = OBJECT.search


class UsageWatch(Protocol):
    """Sees the body of one answer in order, in spans cut anywhere, as it came from the provider."""

    @property
    def slow(self) -> bool:
        """Whether `usage` takes so long that it belongs into a thread: up to 0.2 s instead of well below 1 ms."""

    def feed(self, span: bytes) -> None:
        """The next bytes of the body."""

    def usage(self) -> Usage | None:
        """What the answer used, to be asked once, after its end; None: it does not say (unmetered).

        A stream that was cut used at least this: it is what the provider had said by then. Of any other body that was
        cut, do not ask: its end, by which a long one is read, is another's.
        """


def watch(endpoint: Endpoint, content_type: bytes, content_encoding: bytes = b"") -> UsageWatch | None:
    """A watch for one answer's body, by the values of its two headers; None: it cannot tell a usage, pass it by."""
    if not metered(endpoint):
        return None
    kind = content_type if content_type == b"application/json" else content_type.partition(b";")[0].strip().lower()
    if kind.startswith(_NEVER):
        return None
    inner = EventWatch(endpoint) if kind == b"text/event-stream" else BodyWatch(endpoint)
    coding = content_encoding.strip().lower()
    if coding in (b"", b"identity"):
        return inner
    return PackedWatch(inner) if coding in (b"gzip", b"x-gzip", b"deflate") else None


def of_body(endpoint: Endpoint, content_type: bytes, content_encoding: bytes, body: bytes) -> Usage | None:
    """What an answer used whose body is there in one piece; as slow as its watch would be."""
    if content_type == b"application/json" and not content_encoding and len(body) <= WHOLE_MAX:
        # Nearly all of them: no copy.
        if not metered(endpoint) or (body.rfind(MARK) < 0 and body.rfind(BILLED) < 0):
            return None
        usual = plain(body) if endpoint.format is not _ANTHROPIC else None
        if usual is not None:
            return usual
        fields = in_body(body)
        return read(endpoint, fields) if fields is not None else None
    watching = watch(endpoint, content_type, content_encoding)
    if watching is None:
        return None
    watching.feed(body)
    return watching.usage()


class EventWatch:
    """Of an event stream: the usage objects of its lines, of which the last counts. Keeps at most two lines."""

    __slots__ = ("_endpoint", "_fields", "_late", "_line")

    slow = False

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._line: bytes | Kept = b""  # the unfinished line
        self._late: bytes | Kept | None = None  # a long line, to be decoded after the end
        self._fields: Fields | None = None

    def feed(self, span: bytes) -> None:
        """The next bytes of the stream."""
        if not self._line and span.endswith(b"\n"):
            # Whole lines after whole lines, nearly always without the key: nothing to remember.
            if _search(span) is not None:
                self._lines(span)
            return
        self._unfinished(span)

    def usage(self) -> Usage | None:
        """See `UsageWatch`. The last line counts without its line end, too: some streams lack it."""
        line, self._line = self._line, b""
        if isinstance(line, Kept):
            self._done(line)
        elif _search(line) is not None:
            self._event(line)
        self._settle()
        return None if self._fields is None else read(self._endpoint, self._fields)

    def _unfinished(self, span: bytes) -> None:
        """A span at whose beginning or end a line is open."""
        line = self._line
        if isinstance(line, Kept):
            end = _line_end(span)
            line.add(span[:end])
            if end == len(span):
                return
            self._done(line)
            span = span[end:]
        elif line:
            span = line + span
        start = max(span.rfind(b"\n"), span.rfind(b"\r")) + 1
        if start and _search(span, 0, start) is not None:
            self._lines(span[:start])
        self._line = span[start:]
        if len(self._line) > _OPEN_MAX:
            line = Kept()
            line.add(self._line)
            self._line = line

    def _lines(self, text: bytes) -> None:
        """Whole lines, one of them with the key."""
        for line in text.splitlines():
            if _search(line) is not None:
                self._event(line)

    def _done(self, line: Kept) -> None:
        if line.tail is None:
            if _search(line.head) is not None:
                self._event(bytes(line.head))
        elif MARK in line.tail and line.head.removeprefix(_BOM).startswith(_FIELD):
            self._settle()
            self._late = line

    def _event(self, line: bytes) -> None:
        """A whole line with the key in it."""
        line = line.removeprefix(_BOM)
        if not line.startswith(_FIELD):
            return
        self._settle()
        if len(line) > _AT_ONCE:
            self._late = line
        else:
            self._take(in_event(line[len(_FIELD) :]))

    def _settle(self) -> None:
        """Decode the long line, if one waits: something has come after it."""
        late, self._late = self._late, None
        if late is not None:
            self._take(in_event(late[len(_FIELD) :]) if isinstance(late, bytes) else in_long_event(late))

    def _take(self, fields: Fields | None) -> None:
        """Every count is of all tokens so far. Anthropic's events tell some of them each: what one leaves out stays."""
        if fields is None:
            return
        if self._fields is not None and self._endpoint.format is _ANTHROPIC:
            self._fields |= {name: value for name, value in fields.items() if value is not None}
        else:
            self._fields = fields


class BodyWatch:
    """Of any other body: whole if it is short, else its head and tail."""

    __slots__ = ("_body", "_endpoint")

    slow = False

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._body = Kept()

    def feed(self, span: bytes) -> None:
        """The next bytes of the body."""
        self._body.add(span)

    def usage(self) -> Usage | None:
        """See `UsageWatch`."""
        body = self._body
        fields = in_body(body.head) if body.tail is None else in_long_body(body)
        return None if fields is None else read(self._endpoint, fields)


class PackedWatch:
    """Of a compressed body (gzip, deflate): all of it, up to `PACKED_MAX`; `inner` sees it unpacked after the end."""

    __slots__ = ("_inner", "_packed")

    def __init__(self, inner: UsageWatch) -> None:
        self._inner = inner
        self._packed: bytearray | None = bytearray()

    @property
    def slow(self) -> bool:
        """See `UsageWatch`."""
        return self._packed is not None and len(self._packed) > _SLOW

    def feed(self, span: bytes) -> None:
        """The next bytes of the body."""
        packed = self._packed
        if packed is not None:
            if len(packed) + len(span) > PACKED_MAX:
                self._packed = None
            else:
                packed += span

    def usage(self) -> Usage | None:
        """See `UsageWatch`."""
        packed, self._packed = self._packed, None
        return self._inner.usage() if packed and _unpack(bytes(packed), self._inner) else None


def _line_end(span: bytes) -> int:
    """Where the first line of `span` ends; its length: nowhere."""
    end = span.find(b"\n")
    if end < 0:
        end = len(span)
    carriage = span.find(b"\r", 0, end)
    return end if carriage < 0 else carriage


def _unpack(packed: bytes, inner: UsageWatch) -> bool:
    """Feed `inner` with what `packed` holds; whether that was within bounds, and sound as far as it came.

    What follows a whole member and is none itself is ignored, as clients do: some servers pad.
    """
    # RFC 9110 section 8.4.1.2: "deflate" means the zlib format; some servers send the bare stream all the same.
    wrapped = packed.startswith(b"\x1f\x8b") or (packed[0] & 15 == 8 and int.from_bytes(packed[:2]) % 31 == 0)
    left = UNPACKED_MAX
    for member in range(_MEMBERS):
        decoder = zlib.decompressobj(47 if wrapped else -15)
        while not decoder.eof:
            try:
                span = decoder.decompress(packed, _STEP)
            except zlib.error:
                return member > 0
            if not span:
                break
            left -= len(span)
            if left < 0:
                return False
            inner.feed(span)
            packed = decoder.unconsumed_tail
        packed = decoder.unused_data  # a gzip body may have several members (RFC 1952 section 2.2)
        if not packed:
            return True
    return False
