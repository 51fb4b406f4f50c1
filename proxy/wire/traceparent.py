"""W3C Trace Context: the ``traceparent`` header, read and written (https://www.w3.org/TR/trace-context/).

``tracestate`` belongs to others and passes as it is, so nothing here reads it.
"""

from __future__ import annotations

import re

import msgspec

SAMPLED = 0x01
"""The flag that says: whoever began the trace records it."""

_KNOWN_FLAGS = 0x03
"""Sampled, and the second edition's "the trace id is random"; the others must go out as zeros (section 3.2.2.5)."""

_VALUE = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


class Parent(msgspec.Struct, frozen=True):
    """The caller's place in its trace: both ids in lower-case hexadecimal (32 and 16 digits), and its flags."""

    trace_id: str
    span_id: str
    flags: int

    @property
    def sampled(self) -> bool:
        """Whether the caller records the trace."""
        return bool(self.flags & SAMPLED)


def parse(value: str) -> Parent | None:
    """What a ``traceparent`` says; None for one that is not valid, which counts as none at all (section 4.3).

    A later version than 00 may say more behind what is known; that is read as 00 (section 4.1).
    """
    found = _VALUE.fullmatch(value)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Parent(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS)


def line(trace_id: str, span_id: str, flags: int) -> bytes:
    """The header line that has the next one continue the trace as a child of `span_id`."""
    return f"traceparent: 00-{trace_id}-{span_id}-{flags:02x}\r\n".encode("ascii")
