"""Whether the process lives, is ready, and how many requests it has under way. Facts that somebody sets, no guesses."""

from __future__ import annotations


class Health:
    """`ready` and `draining` are set by the composition root; `active`, the requests under way, by each request; `streams`:
    those of them whose answer has begun and goes on. `cut`: it waits for none of them any more.

    `started_at_s`: when the process started, in seconds since 1970.
    """

    __slots__ = ("active", "cut", "draining", "ready", "started_at_s", "streams")

    def __init__(self, started_at_s: float = 0.0) -> None:
        self.ready = False
        self.draining = False
        self.cut = False
        self.active = 0
        self.streams = 0
        self.started_at_s = started_at_s
