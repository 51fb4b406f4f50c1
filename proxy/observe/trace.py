"""One request's part of a trace, as it is noted along the request's way: ids, times, and nothing that could be read of it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence

import msgspec

from proxy.wire.traceparent import SAMPLED, line

_MODEL = re.compile(rb'(?<!\\)"model"\s*:\s*"([A-Za-z0-9._:/@+-]{1,128})"')
_MODEL_WITHIN = 1024
"""Bytes of an answer in which its model is looked for: every API of the two formats names it near the beginning."""


class Begun(msgspec.Struct, frozen=True):
    """An attempt that was begun: its span's id, when (of `time.perf_counter`), and the origin that was asked."""

    span_id: str
    at: float
    origin: str


class Trace(msgspec.Struct, eq=False):
    """One request's part of a trace: the ids of its span, and of those of its attempts.

    `trace_id`, `span_id`, `parent_id`: as in `Parent`; the last is None for a trace that begins here. `at_ns`: a moment
    in nanoseconds since 1970, which was `at` of `time.perf_counter`. `model`: the one that the answer names.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    flags: int
    at_ns: int
    at: float
    begun: list[Begun] = []
    model: str | None = None

    @property
    def recorded(self) -> bool:
        """Whether spans are made of it."""
        return bool(self.flags & SAMPLED)

    def line(self) -> bytes:
        """The ``traceparent`` line of what this request sends on."""
        return line(self.trace_id, self.span_id, self.flags)

    def attempt(self, origin: str) -> tuple[str, bytes]:
        """Begin an attempt: the id of its span, and the ``traceparent`` line that it sends."""
        span_id = new_id(64)
        self.begun.append(Begun(span_id, time.perf_counter(), origin))
        return span_id, line(self.trace_id, span_id, self.flags)

    def answered(self, held: Sequence[bytes]) -> None:
        """Note the model that an answer names, by its first pieces."""
        beginning = b"".join(piece[:_MODEL_WITHIN] for piece in held[:4])
        found = _MODEL.search(beginning, 0, _MODEL_WITHIN)
        if found is not None:
            self.model = found[1].decode("ascii")

    def ns(self, at: float) -> int:
        """A moment of `time.perf_counter`, in nanoseconds since 1970."""
        return self.at_ns + round((at - self.at) * 1e9)


def new_id(bits: int) -> str:
    """A random id that is not nothing, in hexadecimal. It need not be secret, only different."""
    return f"{random.getrandbits(bits) or 1:0{bits // 4}x}"
