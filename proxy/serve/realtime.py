"""WebSockets: ``/v1/realtime`` and any other upgrade (RFC 6455 over RFC 9110 section 7.8). The model sits in the query.

The handshake goes to the target like any request; once both sides have switched, bytes pass as they come.
"""

from __future__ import annotations

import asyncio
import time

from proxy.attempt.send import Request, Sent, compose
from proxy.errors import UpstreamFault
from proxy.exchange import Facts
from proxy.policy.decide import Decision
from proxy.serve.inbound import Inbound, total_s
from proxy.serve.turn import Turn
from proxy.upstream.connection import Limits
from proxy.upstream.tunnel import Tunnel
from proxy.wire.body import RequestBody

_ASK = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


async def answer(turn: Turn, inbound: Inbound, facts: Facts, decision: Decision) -> bool:
    """Tunnel, or relay the provider's refusal. Raises UpstreamFault and the faults of composing a request."""
    target = decision.plan.targets[0]
    provider = turn.snapshot.providers[target.provider]
    timeouts = decision.timeouts
    request = Request(
        endpoint=inbound.endpoint,
        method=inbound.method,
        path=inbound.path,
        query=inbound.query,
        headers=inbound.headers,
        body=RequestBody(),
        streamed=True,
        passthrough=inbound.provider is not None,
    )
    root, head, _ = compose(provider, target, request, _ASK)
    turn.record.attempts = 1
    tunnel = Tunnel(turn.transport)
    total_at = asyncio.get_running_loop().time() + total_s(timeouts.total, inbound.headers.facts)
    connection = None
    try:
        # A fresh connection: a kept one may be closed under us, and this one will not come back to the pool.
        connection = await root.pool.connect(timeouts.connect)
        reply = connection.begin(Limits(timeouts, True, total_at), head_only=False, interim=None)
        connection.on_upgrade(tunnel.switch)
        connection.write(head)
        connection.sent()
        written_at = time.perf_counter()
        await reply.ready()
    except UpstreamFault as fault:
        raise fault.at(root.where) from None
    except asyncio.CancelledError:
        # Too late to take back when the provider has just switched; then the tunnel holds its transport.
        if connection is not None:
            connection.abort()
        tunnel.close()
        raise
    turn.record.answered(written_at, 0.0)
    if reply.status != 101:
        return await turn.relay(Sent(reply, reused=False))
    turn.record.status = 101
    turn.connection.flow = tunnel
    tunnel.open(turn.upgraded(reply.lines, reply.reason))
    turn.record.written_at = time.perf_counter()
    turn.connection.take_over(tunnel)
    try:
        await tunnel.ended()
    finally:
        tunnel.close()
        turn.record.body_in, turn.record.body_out = tunnel.bytes_in, tunnel.bytes_out
    return False
