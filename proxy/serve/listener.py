"""The data port: sockets, the server on them, and their end without cutting anybody off."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from proxy.config.schema import Limits, Listen
from proxy.errors import FuseboxError
from proxy.serve.client import ClientServer
from proxy.serve.handler import Handler

BACKLOG = 1024
"""Connections the kernel holds for us while the loop is busy; thousands of streams may open at once."""

ACCEPTS_PER_TURN = 16
"""Connections accepted in one turn of the loop. libuv, and so uvloop, accepts one per turn and listening descriptor: when
a turn is full of work, 256 clients that come at once would wait a second. So the same socket listens under several
descriptors; an accept that comes too late costs a microsecond."""

HEADER_LINES_MAX = 256
"""Header lines of a request; SDKs send about twenty."""

READ_AHEAD = 256 * 1024
"""Bytes of a body that are read ahead of who wants them: as much as one read of the event loop brings, so that an upload
does not stop and start reading with every read."""

KEEP_ALIVE_S = 3630.0
"""How long a client's connection may idle: longer than any SDK keeps one, so that it is never us who close it under a
request that is on its way."""


def bind(address: Listen) -> list[socket.socket]:
    """Listening sockets for `address`: two for ``localhost`` and ``*``. Raises OSError, whose text names the address."""
    bound: list[socket.socket] = []
    try:
        for host in address.hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                sock = socket.create_server((host, address.port), family=family, backlog=BACKLOG, reuse_port=False)
            except OSError as error:
                if host in ("::1", "::") and bound and error.errno != errno.EADDRINUSE:
                    continue  # a machine without IPv6 still has the other address; one that another has is not without
                raise OSError(error.errno, f"cannot listen on {host} port {address.port}: {error.strerror}") from None
            sock.setblocking(False)
            bound.append(sock)
    except BaseException:
        for sock in bound:
            sock.close()
        raise
    return bound


class Listener:
    """Accepts clients on bound sockets."""

    def __init__(
        self, sockets: list[socket.socket], handler: Handler, limits: Limits, on_refused: Callable[[FuseboxError], None]
    ) -> None:
        self._sockets = sockets
        self._server = ClientServer(
            handler,
            on_refused=on_refused,
            access_log=None,
            # Bodies pass as they are: a compressed one stays compressed.
            auto_decompress=False,
            read_bufsize=READ_AHEAD,
            keepalive_timeout=KEEP_ALIVE_S,
            max_line_size=int(limits.headers),
            max_field_size=int(limits.headers),
            max_headers=HEADER_LINES_MAX,
        )
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Begin to accept."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            for one in (sock, *(sock.dup() for _ in range(ACCEPTS_PER_TURN - 1))):
                self._servers.append(await loop.create_server(self._server, sock=one, backlog=BACKLOG))

    def stop_accepting(self) -> None:
        """Take no new connections, and close those without a request; the others go on."""
        for server in self._servers:
            server.close()
        self._server.close_idle()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._server.connections)

    async def emptied(self) -> None:
        """Wait until no client is connected any more. For use after `stop_accepting`, when each leaves after its answer."""
        await self._server.emptied()

    async def stop(self) -> None:
        """Close everything now. Answers under way are cut."""
        self.stop_accepting()
        await self._server.shutdown(0.1)
