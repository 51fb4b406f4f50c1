"""Whether the process lives, is ready, and how many requests it has under way. Facts that somebody sets, no guesses."""

from __future__ import annotations

import asyncio


class Health:
    """`ready` is set by the composition root; `enter` and `leave` by each request."""

    def __init__(self) -> None:
        self.ready = False
        self.draining = False
        self.active = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """A request begins."""
        self.active += 1
        if self.active == 1:
            self._idle.clear()

    def leave(self) -> None:
        """A request has ended."""
        self.active -= 1
        if self.active == 0:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is under way."""
        await self._idle.wait()
