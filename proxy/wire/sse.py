"""Watching an event stream go by without holding it up (WHATWG HTML section 9.2, "Server-sent events").

The stream is never parsed event by event: what is asked of each span is only whether a data field begins in it, and
at the end whether the stream had said that it was complete.
"""

from __future__ import annotations

import re
from collections import deque

_DATA_FIELD = re.compile(rb"[\r\n]data(?=[:\r\n])")
_LINE_END = re.compile(rb"[\r\n]")
_FIELD = b"data:"
_BOM = b"\xef\xbb\xbf"
_TAIL_SPANS = 8
_TAIL_SPAN_BYTES = 4096

_COMPLETE = re.compile(
    rb'data: ?\[DONE\]|"type": ?"message_stop"|"type": ?"response\.(?:completed|incomplete|failed)"'
    rb'|"finish_reason": ?"|"type": ?"error"'
    rb'|"type": ?"(?:speech\.audio\.done|transcript\.text\.done|image_generation\.completed|image_edit\.completed)"'
)
"""What the last events of a complete stream hold: OpenAI chat and completions, Anthropic messages, OpenAI responses,
speech, transcription and images. A provider's own error event ends a stream honestly, too."""


class Watch:
    """Sees the spans of one event stream, cut anywhere, in order."""

    __slots__ = ("_at_line_start", "_begun", "_line", "_tail")

    def __init__(self) -> None:
        self._at_line_start = True
        # The unfinished line so far, with the line end before it, while it may still become a data field.
        self._line = b"\n"
        self._begun = False
        self._tail: deque[bytes] = deque(maxlen=_TAIL_SPANS)

    def feed(self, span: bytes) -> bool:
        """Whether a data field begins in `span` (or is completed by it, its name having begun in an earlier one)."""
        self._tail.append(span if len(span) <= _TAIL_SPAN_BYTES else span[-_TAIL_SPAN_BYTES:])
        if self._at_line_start and span.startswith(_FIELD):
            self._begun = True
            self._remember(span)
            return True
        if not self._begun:
            span = self._without_bom(span)
        text = self._line + span
        self._remember(text)
        return _DATA_FIELD.search(text) is not None

    def complete(self) -> bool:
        """Whether the stream's last events said that it was complete."""
        return _COMPLETE.search(b"".join(self._tail)) is not None

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
