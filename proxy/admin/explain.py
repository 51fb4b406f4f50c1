"""``POST /api/explain``: what would become of a request now, by the real state of breakers, cool-downs, places, latencies.

Nothing is sent and nothing changes. It takes a caller on this machine all the same: a page that is open in somebody's
browser shall not find out which providers there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from proxy.admin.caller import from_here, json_answer, refusal
from proxy.attempt.forecast import forecast
from proxy.config.problems import BadValue
from proxy.exchange import Target
from proxy.policy.explain import answer
from proxy.policy.explain_asked import Asked, Question, looking
from proxy.policy.explain_story import Explanation
from proxy.policy.explain_world import World
from proxy.serve.snapshot import Snapshot

ASKED_MAX = 8 * 1024 * 1024
"""Bytes of a question; a saved request may be long, but what is read here takes the loop's time."""


def add_routes(app: web.Application, snapshot: Callable[[], Snapshot]) -> None:
    """Add the path to the admin application. `snapshot`: the one in force when it is asked."""

    async def explain(request: web.Request) -> web.Response:
        from_here(request)
        try:
            text = await request.clone(client_max_size=ASKED_MAX).read()
        except web.HTTPRequestEntityTooLarge:
            raise refusal(400, f"the question has more than {ASKED_MAX} bytes; leave most of the body out") from None
        try:
            asked = msgspec.json.decode(text, type=Asked)
            return json_answer(msgspec.to_builtins(explained(snapshot(), asked, time.time())))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise refusal(400, f'not understood: {error}; send {{"model": "gpt-5"}} or the like') from None
        except BadValue as error:
            raise refusal(400, str(error)) from None

    app.router.add_post("/api/explain", explain)


def explained(snapshot: Snapshot, asked: Asked, now_s: float) -> Explanation:
    """The explanation by the state that stands now. Raises BadValue."""
    return answer(
        asked,
        snapshot.config,
        snapshot.policy,
        looking(snapshot.config.complexity),
        now_s=now_s,
        latency=snapshot.latency,
        world_of=lambda question: _world(snapshot, asked, question),
    )


def _world(snapshot: Snapshot, asked: Asked, question: Question) -> World:
    """Of every target that may come of the policy."""
    facts, past = question.facts, question.past
    if past is None:
        targets = [target for one in snapshot.policy.routes for step in one.route.to for target, _ in step.choices]
    else:
        targets = [Target(past)] if past in snapshot.providers else []
    return forecast(
        snapshot.ground,
        targets,
        model=facts.model,
        wanted=facts.endpoint.format if past is None else None,
        headers=[
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in asked.headers.items()
        ],
    )
