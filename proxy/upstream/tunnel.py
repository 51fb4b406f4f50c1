"""A connection that is no longer HTTP: bytes both ways, as they come (RFC 9110 section 7.8, RFC 6455)."""

from __future__ import annotations

import asyncio


class Tunnel:
    """The two halves of a tunnel. The client's connection feeds it; the provider's side is `Far`.

    It ends when either side ends: the other is closed, after what is still to be written to it.
    """

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client
        self._far: asyncio.Transport | None = None
        self._early: list[bytes] | None = []
        self._far_gone = False
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.bytes_out = 0
        self.bytes_in = 0

    def switch(self, far: asyncio.Transport, behind: bytes) -> Far:
        """The provider has switched protocols: `far` is its transport, `behind` what it sent after its head."""
        self._far = far
        if behind:
            self.from_far(behind)
        return Far(self)

    def open(self, head: bytes) -> None:
        """Tell the client, then let the provider's early bytes through."""
        early, self._early = self._early or [], None
        self._client.write(b"".join((head, *early)))
        self.bytes_out += sum(map(len, early))
        if self._far_gone:
            self.close()

    async def ended(self) -> None:
        """Wait for the end of the tunnel."""
        await self._ended

    def close(self) -> None:
        """End it: both sides are closed."""
        if self._far is not None:
            self._far.close()
        self._client.close()
        if not self._ended.done():
            self._ended.set_result(None)

    # The client's bytes, as aiohttp's protocol hands them over.

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes from the client. The pair is aiohttp's: whether the parser is done, and what it left over."""
        self.bytes_in += len(data)
        if self._far is not None and not self._far.is_closing():
            self._far.write(data)
        return False, b""

    def feed_eof(self) -> None:
        """The client is gone."""
        self.close()

    # The client's pace.

    def gone(self) -> None:
        """The client has hung up."""
        self.close()

    def pause(self) -> None:
        """The client is slow."""
        if self._far is not None and not self._far.is_closing():
            self._far.pause_reading()

    def resume(self) -> None:
        """The client reads again."""
        if self._far is not None and not self._far.is_closing():
            self._far.resume_reading()

    # The provider's bytes and pace.

    def from_far(self, data: bytes) -> None:
        """Bytes from the provider. The head of the switch goes to the client first, in a later turn of the loop."""
        if self._early is not None:
            self._early.append(data)
        elif not self._client.is_closing():
            self.bytes_out += len(data)
            self._client.write(data)

    def far_lost(self) -> None:
        """The provider is gone."""
        self._far_gone = True
        if self._early is None:
            self.close()

    def far_slow(self, slow: bool) -> None:
        """The provider stops, or goes on, taking bytes."""
        if self._client.is_closing():
            return
        if slow:
            self._client.pause_reading()
        else:
            self._client.resume_reading()


class Far(asyncio.Protocol):
    """The provider's end of a tunnel."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def data_received(self, data: bytes) -> None:
        self._tunnel.from_far(data)

    def pause_writing(self) -> None:
        self._tunnel.far_slow(True)

    def resume_writing(self) -> None:
        self._tunnel.far_slow(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.far_lost()
