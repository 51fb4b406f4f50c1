"""How a connection reads: a plain socket hands its bytes over, TLS decrypts into one buffer that all connections share.

Both event loops read TLS for an ordinary protocol into a new object of 256 KiB each time, which the system allocates page
by page: more work than decrypting an event. A buffered protocol brings its own buffer. One is enough for all, because
what was read is used up before anything else can be read (`buffer_updated` never waits).
"""

from __future__ import annotations

import asyncio

from proxy.upstream.connection import Connection

_SHARED = memoryview(bytearray(256 * 1024))


class PlainConnection(Connection, asyncio.Protocol):
    """Without TLS."""

    __slots__ = ()


class TlsConnection(Connection, asyncio.BufferedProtocol):
    """With TLS."""

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to decrypt to."""
        return _SHARED

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` have been decrypted."""
        self.data_received(_SHARED[:nbytes])
