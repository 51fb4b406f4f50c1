"""``POST /api/reload``: read the configuration's files again, now, and say what came of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from aiohttp import web

from proxy.admin.caller import from_here, json_answer
from proxy.config.problems import ConfigError, Problem
from proxy.config.report import Checked, as_json
from proxy.observe.reloads import Failure
from proxy.serve.live import Live


def add_routes(app: web.Application, live: Live) -> None:
    """Add the path to the admin application."""

    async def reload(request: web.Request) -> web.Response:
        from_here(request)
        outcome = await live.reload("api")
        if isinstance(outcome, Failure):
            # 422: the file itself is at fault. 409: something else keeps it out, such as a CA file.
            status = 409 if outcome.config is None else 422
            return json_answer({"reloaded": False, "hash": live.reloads.digest, **failure(outcome)}, status)
        return json_answer(
            {
                "reloaded": True,
                "hash": outcome.digest,
                "was": outcome.was,
                "changes": msgspec.to_builtins(outcome.changes),
                "restart_needed": outcome.restart_needed,
                **_problems(list(map(str, live.document.files)), outcome.warnings),
            }
        )

    app.router.add_post("/api/reload", reload)


def failure(failed: Failure) -> dict[str, Any]:
    """What was wrong: ``error``, and for bad files what ``fusebox check --format json`` prints."""
    told: dict[str, Any] = {"error": failed.message}
    if failed.config is not None:
        told |= problems(failed.config)
    return told


def problems(error: ConfigError) -> dict[str, Any]:
    """The problems of bad files as ``fusebox check --format json`` prints them."""
    return _problems([error.source, *map(str, error.files)], error.problems)


def _problems(files: list[str], found: tuple[Problem, ...]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(as_json([Checked(tuple(dict.fromkeys(files)), found)], strict=False))
    return told
