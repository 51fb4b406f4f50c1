"""Reading a body whose client is gone: a fault of the client's, never an exception that nobody expects."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from proxy.errors import BadRequest
from proxy.serve.intake import HOLD_MAX, Intake, RequestTimeout
from proxy.wire.endpoints import classify

ENDPOINTS = {
    "/v1/chat/completions": "application/json",
    "/v1/audio/transcriptions": "multipart/form-data; boundary=b",
    "/v1/files": "audio/wav",
}


def intake(content: StreamReader, kind: str, wait_s: float = 20) -> Intake:
    """The reader of a body of a stated length that has not come in whole."""
    return Intake(content, {"content-type": kind, "content-length": "900000"}, body_max=2**20, wait_s=wait_s)


def reader() -> StreamReader:
    """A body's reader whose connection has gone already."""
    loop = asyncio.get_running_loop()
    return StreamReader(BaseProtocol(loop), 2**16, loop=loop)


@pytest.mark.parametrize("path", list(ENDPOINTS))
async def test_a_client_that_has_gone(path: str) -> None:
    """aiohttp says so with a bare RuntimeError."""
    with pytest.raises(BadRequest, match="broke off"):
        await intake(reader(), ENDPOINTS[path]).read(classify("POST", path, anthropic_header=False))


async def test_a_client_that_goes_while_its_upload_streams() -> None:
    """The same behind the bytes that were held."""
    content = reader()
    content.feed_data(b"u" * HOLD_MAX)
    body = await intake(content, "audio/wav").read(classify("POST", "/v1/files", anthropic_header=False))
    assert body.rest is not None and len(body.held) == HOLD_MAX
    with pytest.raises(BadRequest, match="broke off"):
        await anext(body.rest)


async def test_a_client_that_stops_sending() -> None:
    """408 with the time that was waited."""
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    content = StreamReader(protocol, 2**16, loop=loop)
    with pytest.raises(RequestTimeout, match=r"0\.01 s") as raised:
        await intake(content, "application/json", 0.01).read(
            classify("POST", "/v1/chat/completions", anthropic_header=False)
        )
    assert raised.value.status == 408
