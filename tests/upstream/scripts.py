"""Scripts and cut answers that the tests of plain and of secure connections share."""

from __future__ import annotations

from tests.scripted import Peer, Script
from tests.upstream.answers import CHUNKED_HEAD, EVENTS, EVENTS_HEAD, HEAD_OK

CUT = HEAD_OK + b"Content-Length: 10\r\n\r\nhello"
CUT_CHUNKED = CHUNKED_HEAD + b"5\r\nhello\r\n"
CUT_STREAM = EVENTS_HEAD + b"\r\n" + EVENTS[: EVENTS.index(b"[DONE]")]


def answering(raw: bytes, *, closes: bool = False, reset: bool = False) -> Script:
    """A script for one request: `raw`, then the end of the connection, if any."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(raw)
        if reset:
            peer.reset()
        elif closes:
            peer.fin()

    return script
