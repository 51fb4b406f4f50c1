"""Watching an event stream go by without holding it up (WHATWG HTML section 9.2, "Server-sent events").

The stream is never parsed event by event: what is asked of each span is only whether a data field begins in it, and
at the end whether the stream had said that it was complete.
"""

from __future__ import annotations

import re
from collections import deque

_DATA_FIELD = re.compile(rb"[\r\n]data(?=[:\r\n])")
_FIELD = b"data:"
_BOM = b"\xef\xbb\xbf"
_TAIL_SPANS = 8
_TAIL_SPAN_BYTES = 4096
"""Of each span kept for `complete`; an event may be a hundred times longer (a whole response, an image)."""

_COMPLETE = re.compile(
    rb'data: ?\[DONE\]|"type": ?"message_stop"|"type": ?"response\.(?:completed|incomplete|failed)"'
    rb'|"finish_reason": ?"|"type": ?"error"'
    rb'|"type": ?"(?:speech\.audio\.done|transcript\.text\.done|image_generation\.completed|image_edit\.completed)"'
)
"""What the last events of a complete stream hold: OpenAI chat and completions, Anthropic messages, OpenAI responses,
speech, transcription and images. A provider's own error event ends a stream honestly, too."""


class Watch:
    """Sees the spans of one event stream, cut anywhere, in order."""

    __slots__ = ("_at_line_start", "_begun", "_line", "_rest", "_tail")

    def __init__(self) -> None:
        self._at_line_start = True
        # The unfinished line so far, with the line end before it, while it may still become a data field.
        self._line = b"\n"
        self._begun = False
        # The last spans in which a data field began, and between them what came in the spans that followed each.
        self._tail: deque[bytes] = deque(maxlen=_TAIL_SPANS)
        self._rest = b""

    def feed(self, span: bytes) -> bool:
        """Whether a data field begins in `span` (or is completed by it, its name having begun in an earlier one)."""
        if self._at_line_start and span.startswith(_FIELD):
            self._begun = True
            if span.endswith(b"\n") and len(span) <= _TAIL_SPAN_BYTES and not self._rest:
                # Whole lines after whole lines: nothing to remember. Nearly every span of nearly every stream.
                self._tail.append(span)
                self._line = b"\n"
                return True
            self._remember(span)
            self._keep(span)
            return True
        if not self._begun:
            span = self._without_bom(span)
        text = self._line + span
        self._remember(text)
        if _DATA_FIELD.search(text) is None:
            self._rest = _ends(self._rest + span, 0)
            return False
        self._keep(span)
        return True

    def complete(self) -> bool:
        """Whether the stream's last events said that it was complete, and the last of them came whole."""
        tail = b"".join((*self._tail, self._rest))
        # Some streams lack the last line end; but a long event may be cut far behind the name that it begins with.
        return tail.endswith((b"\n", b"\r", b"}", b"[DONE]")) and _COMPLETE.search(tail) is not None

    def _keep(self, span: bytes) -> None:
        if self._rest:
            self._tail.append(self._rest)
            self._rest = b""
        if len(span) > _TAIL_SPAN_BYTES:
            span = _ends(span, max(span.rfind(b"\ndata:"), span.rfind(b"\rdata:"), 0))
        self._tail.append(span)

    def _remember(self, text: bytes) -> None:
        if text.endswith(b"\n"):
            self._at_line_start = True
            self._line = b"\n"
            return
        start = max(text.rfind(b"\n"), text.rfind(b"\r"))
        line = text[start:] if start >= 0 else b"."
        # «\ndata» is still open: the next byte decides. Anything longer is decided already, or is no data field.
        self._line = line if len(line) <= len(_FIELD) else b"."
        self._at_line_start = line in (b"\n", b"\r")

    def _without_bom(self, span: bytes) -> bytes:
        """The one byte order mark that may stand at the very beginning is no part of the first line."""
        text = self._line[1:] + span
        if text.startswith(_BOM):
            self._begun, self._line = True, b"\n"
            return text[len(_BOM) :]
        self._begun = len(text) >= len(_BOM) or not _BOM.startswith(text)
        return span


def _ends(text: bytes, start: int) -> bytes:
    """The last bytes of `text`, and those behind `start` as well: an event may say what it is at either of its ends."""
    if len(text) - start <= _TAIL_SPAN_BYTES:
        return text[-_TAIL_SPAN_BYTES:]
    half = _TAIL_SPAN_BYTES // 2
    return text[start : start + half] + text[-half:]
