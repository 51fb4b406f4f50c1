"""Who may change something through the admin port, and how it answers.

Changing takes the token, or, where none is configured, a caller on this machine and a Host that names it; and a JSON body:
a web page that is open in somebody's browser can send none of these together (another site's page cannot name the host,
nor send JSON unasked). Who may read: ``admin/guard``.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import orjson
from aiohttp import web

PROVEN = web.RequestKey("proven", bool)
"""Whether the request has brought the admin port's token."""


def from_here(request: web.Request) -> None:
    """Raises 403 or 415 for a request that may not change anything."""
    if request.get(PROVEN):
        if request.content_type != "application/json":
            raise refusal(415, "send it as application/json")
        return
    if not is_loopback(request.remote or "") or not is_loopback(host_of(request.host)):
        raise refusal(403, "only callers on this machine may change anything (kubectl port-forward makes you one)")
    origin = request.headers.get("Origin")
    if origin is not None and not is_loopback(host_of(origin.partition("://")[2])):
        raise refusal(403, "a browser sent this for a page of another host")
    if request.content_type != "application/json":
        raise refusal(415, "send it as application/json")


def host_of(authority: str) -> str:
    """The host of HOST or HOST:PORT; one of IPv6 without its brackets."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine and no other."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def json_answer(value: Any, status: int = 200) -> web.Response:
    """`value` as the whole answer."""
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")


def refusal(status: int, text: str) -> web.HTTPException:
    """An answer to be raised: 400, 403, 404, 409 or 415, and what to do."""
    kinds = {400: web.HTTPBadRequest, 403: web.HTTPForbidden, 404: web.HTTPNotFound, 409: web.HTTPConflict}
    kind = kinds.get(status, web.HTTPUnsupportedMediaType)
    return kind(text=orjson.dumps({"error": text}).decode(), content_type="application/json")
