"""``/api/faults``: have a provider behave as if it failed, see which ones do, and end it.

Reading is free. A fault is set where the process allows it; ending one is never refused for that reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web

from proxy.admin.caller import from_here, json_answer, refusal
from proxy.attempt.faults import Fault, Faults

NOT_ALLOWED = (
    "faults are not allowed here: `fusebox dev` and `fusebox run` allow them, `fusebox serve` does with `faults: true` in"
    " its configuration"
)


def add_routes(app: web.Application, faults: Faults, providers: Callable[[], Iterable[str]]) -> None:
    """Add the paths to the admin application. `providers`: the names of those in force when it is asked."""

    async def read_all(request: web.Request) -> web.Response:
        return json_answer({"allowed": faults.allowed(), "faults": _shown(faults), "providers": list(providers())})

    async def begin(request: web.Request) -> web.Response:
        from_here(request)
        if not faults.allowed():
            raise refusal(403, NOT_ALLOWED)
        sent = await request.read()
        name = _known(request, providers())
        try:
            fault = msgspec.json.decode(sent, type=Fault)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise refusal(400, f'not understood: {error}; send {{"status": 503, "for_s": 60}} or the like') from None
        faults.begin(name, fault)
        return json_answer(next(one for one in _shown(faults) if one["provider"] == name))

    async def clear_one(request: web.Request) -> web.Response:
        from_here(request)
        name = request.match_info["provider"]
        if name not in faults.standing():  # which may be one that the policy no longer has
            _known(request, providers())
        return json_answer({"cleared": faults.clear(name)})

    async def clear_all(request: web.Request) -> web.Response:
        from_here(request)
        return json_answer({"cleared": faults.clear()})

    app.router.add_get("/api/faults", read_all)
    app.router.add_post("/api/faults/{provider}", begin)
    app.router.add_delete("/api/faults/{provider}", clear_one)
    app.router.add_delete("/api/faults", clear_all)


def _shown(faults: Faults) -> list[dict[str, Any]]:
    """Each fault as it was ordered, with `ends_in_s`, `until` (RFC 3339) and `struck`, the attempts that it met."""
    now = datetime.now(UTC)
    return [
        {
            "provider": name,
            "does": str(one.fault),
            **msgspec.to_builtins(one.fault),
            "share": one.fault.share,
            "for_s": one.fault.for_s,
            "ends_in_s": round(left_s, 3),
            "until": (now + timedelta(seconds=left_s)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "struck": one.struck,
        }
        for name, (one, left_s) in faults.standing().items()
    ]


def _known(request: web.Request, providers: Iterable[str]) -> str:
    """The provider that the path names. Raises 404."""
    name, names = request.match_info["provider"], list(providers)
    if name not in names:
        raise refusal(404, f"no provider {name!r}: there {'are' if len(names) > 1 else 'is'} {', '.join(names)}")
    return name
