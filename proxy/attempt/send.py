"""One attempt: the request goes out to one target, and the answer is waited for until it may be handed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from proxy.config.schema import Timeouts
from proxy.config.secrets import Key
from proxy.errors import AnswerTimeout, ConnectionLost, ConnectTimeout, FuseboxError, UpstreamFault
from proxy.exchange import Carrier, Endpoint, Target
from proxy.observe.trace import Trace
from proxy.upstream.answer import Answer, Interim
from proxy.upstream.connection import Connection, Limits
from proxy.upstream.provider import Provider, Root
from proxy.wire import headers as wire_headers
from proxy.wire.address import path_with_model, query_with_model
from proxy.wire.body import Piece, RequestBody

_JSON = Carrier.JSON

AT_ONCE_MAX = 64 * 1024
"""Bytes of a body that are written in one go, without asking whether the transport is full."""

SLICE = 256 * 1024
"""Bytes of a larger body per write: what the transport may hold beside the body itself."""


class Request(msgspec.Struct, frozen=True):
    """A client's request, ready to be sent to any target of its plan."""

    endpoint: Endpoint
    method: str
    path: str
    query: str | None
    headers: wire_headers.RequestHeaders
    body: RequestBody
    streamed: bool
    interim: Interim | None = None
    passthrough: bool = False
    """The path is the provider's own (``/p/{provider}/...``): nothing in it is mapped or replaced."""
    trace: Trace | None = None
    """Each attempt is a span of its own in it."""
    traceparent: bytes = b""
    """The line to send, in place of the client's, which is then not among `headers`; empty: that goes on as it came."""


class Sent(msgspec.Struct):
    """An attempt under way: its answer, and the upload that may still go on beside it.

    `written_at`: when the request had been handed to the transport, of `time.perf_counter`; `connect_s`: how long the
    connection took before that.
    """

    answer: Answer
    reused: bool
    upload: asyncio.Task[None] | None = None
    written_at: float = 0.0
    connect_s: float = 0.0

    async def release(self) -> None:
        """End the upload, if one is still going on. The answer's connection is not touched."""
        upload = self.upload
        if upload is not None and not upload.done():
            upload.cancel()
            await asyncio.wait((upload,))


Send = Callable[[Provider, Target, Request, Timeouts, float, Key | None], Awaitable[Sent]]
"""One attempt: `attempt`, or another way to ask (a tunnel, a fault that is played)."""


def compose(
    provider: Provider, target: Target, request: Request, framing: bytes | None = None, key: Key | None = None
) -> tuple[Root, bytes, list[Piece]]:
    """The root to send to, the head, and the body's pieces, for `target`. Raises NoKey.

    `framing` given: lines that ask for an upgrade, in place of those for a body. `key`: the provider's own to send; None:
    the next in turn, if it has any.
    """
    if request.passthrough:
        root = provider.origin_root()
        path, query, model = request.path, request.query, None
    else:
        root = provider.root(request.endpoint.format)
        path, query, model = request.path, request.query, target.model
        carrier = request.endpoint.carrier
        if model is not None and carrier is not _JSON:
            if carrier is Carrier.PATH:
                path = path_with_model(path, model)
            elif carrier is Carrier.QUERY:
                query = query_with_model(query, model)
    body, headers = request.body, request.headers
    if body.packed is not None and body.replaces(model):
        headers = headers.without(b"content-encoding")  # a replaced model goes out in plain text
    pieces, length = body.with_model(model)
    if framing is None:
        if length is not None:
            framing = b"Content-Length: %d\r\n" % length
        else:
            framing = b"Transfer-Encoding: chunked\r\n" if request.body.rest is not None else b""
    opening = root.opening(request.method, path, query)
    return root, provider.request_head(root, opening, headers, request.traceparent + framing, key), pieces


async def attempt(
    provider: Provider,
    target: Target,
    request: Request,
    timeouts: Timeouts,
    total_at_s: float,
    key: Key | None = None,
) -> Sent:
    """Send to one target and return once the answer may be handed on.

    A kept-alive connection that turns out to be closed is not the provider's failure: the request goes once more over a
    fresh one, if its body is still there. Raises UpstreamFault (with its provider), NoKey, or a ClientFault from the
    client's own upload.
    """
    root, head, pieces = compose(provider, target, request, key=key)
    limits = Limits(timeouts, request.streamed, total_at_s)
    try:
        # A body that cannot be sent again is not risked on a socket that the provider may be closing just now.
        connection = root.pool.take() if request.body.replayable else None
        if connection is not None:
            try:
                sent = begin(connection, head, pieces, request, limits, reused=True)
                await arrive(sent)
                return sent
            except ConnectionLost as lost:
                # `reused` says that not a byte of an answer had come.
                if not lost.reused:
                    raise
        dialled_at = time.perf_counter()
        connection = await connect(root, timeouts, total_at_s)
        connect_s = time.perf_counter() - dialled_at
        sent = begin(connection, head, pieces, request, limits, reused=False)
        sent.connect_s = connect_s
        await arrive(sent)
        return sent
    except UpstreamFault as fault:
        raise fault.at(root.where) from None


async def connect(root: Root, timeouts: Timeouts, total_at_s: float) -> Connection:
    """A new connection, in the time that the request has left at most."""
    left = total_at_s - asyncio.get_running_loop().time()
    if left >= timeouts.connect:
        return await root.pool.connect(timeouts.connect)
    try:
        return await root.pool.connect(left)
    except ConnectTimeout:
        late = AnswerTimeout("total", timeouts.total)
        late.received = False  # nothing was sent, nobody was reached
        raise late from None


def begin(
    connection: Connection, head: bytes, pieces: list[Piece], request: Request, limits: Limits, *, reused: bool
) -> Sent:
    """Send the request, or begin to. `arrive` must follow."""
    body = request.body
    sent = Sent(connection.begin(limits, head_only=request.method == "HEAD", interim=request.interim), reused)
    if body.rest is None and len(body.held) <= AT_ONCE_MAX:
        connection.write(b"".join((head, *pieces)))
        connection.sent()
    else:
        connection.write(head)
        sent.upload = asyncio.get_running_loop().create_task(_upload(connection, body, pieces))
    sent.written_at = time.perf_counter()
    return sent


async def arrive(sent: Sent) -> None:
    """Wait until the answer may be handed on. Raises the fault that came instead."""
    answer = sent.answer
    try:
        arriving = answer.arrival()
        if arriving is not None:
            await arriving
        if answer.fault is not None:
            raise answer.fault
    except BaseException:
        answer.drop()
        await sent.release()
        raise


async def _upload(connection: Connection, body: RequestBody, pieces: list[Piece]) -> None:
    """Write a large or still growing body as fast as the provider takes it."""
    chunked = body.length is None
    try:
        for piece in pieces:
            view = memoryview(piece)
            for start in range(0, len(view), SLICE):
                part = view[start : start + SLICE]
                connection.write(b"".join(_chunks([part])) if chunked else part)
                if not await connection.flush():
                    return
        if body.rest is not None:
            async for more in body.rest:
                connection.write(b"".join(_chunks([more])) if chunked else more)
                if not await connection.flush():
                    return
        if chunked:
            connection.write(b"0\r\n\r\n")
        connection.sent()
    except FuseboxError as fault:
        # The client's side broke: its own fault, whatever the provider was about to say.
        connection.fail(fault)


def _chunks(pieces: list[Piece]) -> list[Piece]:
    """`pieces` as chunks (RFC 9112 section 7.1); an empty one would end the body, so it is left out."""
    framed: list[Piece] = []
    for piece in pieces:
        if len(piece):
            framed += (b"%x\r\n" % len(piece), piece, b"\r\n")
    return framed
