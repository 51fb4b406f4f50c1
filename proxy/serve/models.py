"""``GET /v1/models``: the names that the policy's routes take, merged with what the default provider lists.

So a client that offers its user a choice of models offers the policy's names as well. Without such names the call is
an ordinary one, and its answer passes through untouched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from proxy.attempt.chain import Walk
from proxy.errors import LocalFault, NoRoute, UpstreamFault
from proxy.exchange import Format
from proxy.policy.compiled import Policy
from proxy.policy.decide import Decision
from proxy.serve.asking import note, request_of, terms_of
from proxy.serve.inbound import Inbound
from proxy.serve.turn import Turn
from proxy.upstream.answer import Answer, Lines
from proxy.wire.body import RequestBody
from proxy.wire.headers import find, read_request

LIST_MAX = 4 * 1024 * 1024
"""Bytes of a provider's list that are read; the largest known have a few hundred KB."""


def is_merged(inbound: Inbound, policy: Policy) -> bool:
    """Whether this is the call to answer here."""
    return inbound.endpoint.name == "models" and inbound.method == "GET" and bool(policy.model_names)


async def answer(turn: Turn, inbound: Inbound, decide: Callable[[], Decision]) -> bool:
    """Answer with the merged list. Where no route takes the call, the policy's own names are all."""
    names = turn.snapshot.policy.model_names
    listed: dict[str, Any] = (
        {"object": "list", "data": []} if turn.format is Format.OPENAI else {"data": [], "has_more": False}
    )
    try:
        listed = await _provider_list(turn, inbound, decide()) or listed
    except NoRoute:
        pass
    except (UpstreamFault, LocalFault) as fault:
        # The names of the policy are true all the same; what is missing is said in the log.
        turn.record.error_code, turn.record.error = fault.code, str(fault)
    ids = [entry.get("id") if isinstance(entry, dict) else None for entry in listed["data"]]
    known = {one for one in ids if isinstance(one, str)}
    own = [name for name in names if name not in known]
    listed["data"] = [_entry(name, turn.format) for name in own] + listed["data"]
    if turn.format is Format.ANTHROPIC and listed["data"]:
        listed["first_id"] = (own + ids)[0]
        listed.setdefault("last_id", (own + ids)[-1])
    return turn.send_json(200, orjson.dumps(listed))


def _entry(name: str, wanted: Format) -> dict[str, Any]:
    """One model as each API lists it; the date is the epoch, for a name of the policy has none."""
    if wanted is Format.ANTHROPIC:
        return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": 0, "owned_by": "fusebox"}


async def _provider_list(turn: Turn, inbound: Inbound, decision: Decision) -> dict[str, Any] | None:
    """The provider's list; None when it answered with something else, such as a refusal of the key."""
    lines = [line for line in inbound.headers.raw if line[0].lower() != b"accept-encoding"]
    plain = msgspec.structs.replace(
        inbound, method="GET", headers=read_request([*lines, (b"Accept-Encoding", b"identity")], frozenset())
    )
    loop = asyncio.get_running_loop()
    body = RequestBody()
    terms = terms_of(decision, inbound, body, None, loop.time())
    request = request_of(plain, body, turn.record.trace, streamed=False)
    walk = Walk(turn.snapshot.ground, decision.plan, request, terms, loop)
    try:
        won = await walk.answer()
    finally:
        note(turn.record, walk)
    answer = won.sent.answer
    try:
        listed = await _Collected(answer).whole()
    finally:
        won.finish()
        answer.drop()
    if answer.status != 200 or listed is None or find(answer.lines, b"content-encoding") is not None:
        return None
    try:
        found = orjson.loads(listed)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("data"), list):
        return None
    return found


class _Collected:
    """A sink that keeps a bounded body."""

    def __init__(self, source: Answer) -> None:
        self._answer = source
        self._size = 0
        self._spans: list[bytes] = []
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def whole(self) -> bytes | None:
        """The body; None when it is larger than `LIST_MAX` or was cut."""
        for span in self._answer.held:
            self.feed(span)
        if not self._answer.complete:
            self._answer.attach(self)
            await self._done
        return b"".join(self._spans) if self._size <= LIST_MAX and self._answer.complete else None

    def feed(self, span: bytes) -> None:
        self._size += len(span)
        if self._size <= LIST_MAX:
            self._spans.append(span)
        elif not self._done.done():
            self._done.set_result(None)

    def end(self, trailers: Lines) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def broken(self, fault: Exception) -> None:
        if not self._done.done():
            self._done.set_result(None)
