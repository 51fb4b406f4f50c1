"""What the tests of an attempt share: a provider on this machine, requests for it, bodies that still come in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from proxy.attempt.send import Request, Sent, attempt
from proxy.config import schema
from proxy.config.schema import Timeouts
from proxy.config.secrets import KeyRing
from proxy.exchange import Carrier, Endpoint, Format, Target
from proxy.upstream.dial import Origin
from proxy.upstream.egress import EgressProxy
from proxy.upstream.pool import Pool
from proxy.upstream.provider import Provider
from proxy.wire.body import RequestBody
from proxy.wire.headers import read_request
from tests.scripted import Peer, Seen, within
from tests.upstream.support import TIMEOUTS, whole

CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON)
BODY = b'{"model": "gpt-5", "messages": []}'
NONE = schema.Keys("none")
OWN = schema.Keys("own", (schema.KeySource(env="KEY"),))


class Here:
    """A provider on this machine, and its pool."""

    def __init__(self, port: int, *, keys: schema.Keys = NONE, proxy: EgressProxy | None = None) -> None:
        host = "127.0.0.1" if proxy is None else "api.test"
        self.pool = Pool(Origin("http", host, port), None, proxy)
        config = schema.Provider(
            base_url=f"http://{host}:{port}/v1",
            anthropic_url=f"http://{host}:{port}",
            keys=keys,
            auth="bearer",
            anthropic_auth="x-api-key",
        )
        ring = KeyRing(keys.sources, {}) if keys.mode == "own" else None
        self.provider = Provider("here", config, ring, lambda origin, ca: self.pool)

    async def send(self, request: Request, *, model: str | None = None, timeouts: Timeouts = TIMEOUTS) -> Sent:
        """One attempt."""
        total_at = asyncio.get_running_loop().time() + timeouts.total
        return await within(attempt(self.provider, Target("here", model), request, timeouts, total_at))

    async def ask(self, request: Request, *, model: str | None = None) -> bytes:
        """One attempt, and its answer's body."""
        sent = await self.send(request, model=model)
        try:
            return await whole(sent.answer)
        finally:
            await sent.release()


def post(body: RequestBody | bytes = BODY, **options: Any) -> Request:
    """A chat request."""
    if isinstance(body, bytes):
        body = RequestBody(body, carrier=Carrier.JSON, model="gpt-5", length=len(body))
    values: dict[str, Any] = {
        "endpoint": CHAT,
        "method": "POST",
        "path": "/v1/chat/completions",
        "query": None,
        "headers": read_request([(b"Content-Type", b"application/json")], frozenset()),
        "body": body,
        "streamed": False,
    }
    return Request(**(values | options))


async def pieces(*parts: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    """A client's body as it comes in; `error` breaks it off."""
    for part in parts:
        await asyncio.sleep(0)
        yield part
    if error is not None:
        raise error


def recording(seen: list[Seen], answer: bytes) -> Callable[[Peer], Any]:
    """A script that keeps every request, and answers it."""

    async def script(peer: Peer) -> None:
        try:
            while True:
                seen.append(await peer.request())
                await peer.send(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the proxy has gone

    return script
