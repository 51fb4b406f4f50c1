"""The open connections to one origin: the last one used is taken first, old and idle ones are let go."""

from __future__ import annotations

import asyncio
import ssl

from proxy.upstream.connection import Connection
from proxy.upstream.dial import Origin, dial
from proxy.upstream.egress import EgressProxy

IDLE_MAX_S = 50.0
"""How long a connection waits for its next exchange: below the 60 s after which common load balancers close theirs,
so that a request seldom meets a socket that is being closed under it."""

AGE_MAX_S = 300.0
"""How long a connection is reused at all: a provider's new address (DNS) is taken up within this."""

IDLE_CONNECTIONS_MAX = 256
"""Idle connections kept; above it the one coming back is closed."""


class Pool:
    """Connections to one origin with one trust store through one way out."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, proxy: EgressProxy | None) -> None:
        self.origin = origin
        self.proxy = proxy
        self._tls = tls
        self._idle: list[Connection] = []
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Pool {self.origin}, {len(self._idle)} idle>"

    @property
    def idle(self) -> int:
        """How many connections wait for an exchange."""
        return len(self._idle)

    def take(self) -> Connection | None:
        """An idle connection that can be used again, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    async def connect(self, timeout_s: float) -> Connection:
        """A new connection. Raises ConnectFailed or ConnectTimeout."""
        return await dial(self.origin, tls=self._tls, proxy=self.proxy, timeout_s=timeout_s, on_idle=self._give_back)

    def _give_back(self, connection: Connection) -> None:
        now = self._loop.time()
        left = connection.born_at + AGE_MAX_S - now
        if len(self._idle) >= IDLE_CONNECTIONS_MAX:
            # Some may have been closed from the other side while they lay below the ones in use.
            self._idle = [idle for idle in self._idle if idle.usable]
        if self._closed or left <= 0 or len(self._idle) >= IDLE_CONNECTIONS_MAX:
            connection.abort()
            return
        connection.expire_idle_at(now + min(IDLE_MAX_S, left))
        self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle, and what comes back from now on."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()
