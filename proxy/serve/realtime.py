"""WebSockets: ``/v1/realtime`` and any other upgrade (RFC 6455 over RFC 9110 section 7.8). The model sits in the query.

The handshake goes along the chain like any request; once both sides have switched, bytes pass as they come.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from proxy.attempt.chain import Walk
from proxy.attempt.send import Request, Sent, compose, connect
from proxy.config.schema import Timeouts
from proxy.config.secrets import Key
from proxy.errors import UpstreamFault
from proxy.exchange import Facts, Target
from proxy.policy.decide import Decision
from proxy.serve.asking import note, request_of, terms_of
from proxy.serve.inbound import Inbound
from proxy.serve.turn import Turn
from proxy.upstream.answer import Answer
from proxy.upstream.connection import Limits
from proxy.upstream.provider import Provider
from proxy.upstream.tunnel import Tunnel
from proxy.wire.body import RequestBody

_ASK = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


async def answer(turn: Turn, inbound: Inbound, facts: Facts, decision: Decision) -> bool:
    """Tunnel, or relay the provider's refusal. Raises UpstreamFault and the faults of composing a request."""
    body = RequestBody()
    loop = asyncio.get_running_loop()
    terms = terms_of(decision, inbound, body, facts.model, loop.time())
    # Judged by its status alone; and never raced: a handshake that was won twice would be two conversations.
    terms = msgspec.structs.replace(terms, body_counts=False, hedge=None, whole=False)
    request = request_of(inbound, body, turn.record.trace, streamed=True)
    handshake = _Handshake(turn.transport)
    walk = Walk(turn.snapshot.ground, decision.plan, request, terms, loop, handshake.send)
    try:
        won = await walk.answer()
    except asyncio.CancelledError:
        # Too late to take back when the provider has just switched; then the tunnel holds its transport.
        handshake.tunnel.close()
        raise
    finally:
        note(turn.record, walk)
    reply, tunnel = won.sent.answer, handshake.tunnel
    turn.record.answered(reply.status, won.sent.written_at, won.sent.connect_s)
    if reply.status != 101:
        return await turn.relay(won)
    turn.record.status = 101
    turn.connection.flow = tunnel
    tunnel.open(turn.upgraded(reply.lines, reply.reason))
    turn.record.written_at = time.perf_counter()
    turn.connection.take_over(tunnel)
    try:
        await tunnel.ended()
    finally:
        tunnel.close()
        won.finish()
        turn.record.body_in, turn.record.body_out = tunnel.bytes_in, tunnel.bytes_out
    return False


class _Handshake:
    """Asks one target after the other to switch. `tunnel`: that of the last one asked."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client
        self.tunnel = Tunnel(client)

    async def send(
        self,
        provider: Provider,
        target: Target,
        request: Request,
        timeouts: Timeouts,
        total_at_s: float,
        key: Key | None = None,
    ) -> Sent:
        """One attempt, as ``attempt/send.attempt``."""
        root, head, _ = compose(provider, target, request, _ASK, key)
        tunnel = self.tunnel = Tunnel(self._client)
        reply: Answer | None = None
        try:
            dialled_at = time.perf_counter()
            # A fresh connection: a kept one may be closed under us.
            connection = await connect(root, timeouts, total_at_s)
            reply = connection.begin(Limits(timeouts, True, total_at_s), head_only=False, interim=None)
            connection.on_upgrade(tunnel.switch)
            connection.write(head)
            connection.sent()
            written_at = time.perf_counter()
            await reply.ready()
        except UpstreamFault as fault:
            raise fault.at(root.where) from None
        except asyncio.CancelledError:
            if reply is not None:
                reply.drop()  # nothing, when it has come just now and was no switch: its connection is the pool's again
            raise
        return Sent(reply, False, written_at=written_at, connect_s=written_at - dialled_at)
