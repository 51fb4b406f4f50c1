"""``GET /api/requests``: the requests that ended last, with the fields of the log (docs/logging.md). Metadata only."""

from __future__ import annotations

from aiohttp import web

from proxy.admin.caller import json_answer, refusal
from proxy.observe.recent import KEPT, Recent

BY = ("route", "target", "model", "status", "request_id", "error_code")
"""The fields that requests can be asked for by."""


def add_routes(app: web.Application, recent: Recent) -> None:
    """Add the path to the admin application."""

    async def requests(request: web.Request) -> web.Response:
        limit = _limit(request)
        unknown = request.query.keys() - {"limit", *BY}
        if unknown:
            raise refusal(400, f"not understood: {min(unknown)[:40]!r}; there are limit, {', '.join(BY)}")
        lines = [ended.line for ended in recent.all()]
        for name in BY:
            wanted = request.query.get(name)
            if wanted is not None:
                lines = [line for line in lines if str(line.get(name)) == wanted]
        return json_answer({"requests": lines[-limit:], "ended": recent.seq})

    app.router.add_get("/api/requests", requests)


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(KEPT))
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= KEPT:
        raise refusal(400, f"limit is a number from 1 to {KEPT}, not {text[:20]!r}")
    return int(text)
