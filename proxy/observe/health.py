"""Whether the process lives, is ready, and how many requests it has under way. Facts that somebody sets, no guesses."""

from __future__ import annotations


class Health:
    """`ready` and `draining` are set by the composition root; `active`, the requests under way, by each request."""

    __slots__ = ("active", "draining", "ready")

    def __init__(self) -> None:
        self.ready = False
        self.draining = False
        self.active = 0
