"""Who may read the admin port, and who may change anything: decided for every request before anything else.

On loopback a web page of anybody's, open in a browser of this machine, is the danger: by DNS rebinding (its own name leads
here, so the Host names that), or by asking across sites. Elsewhere everybody on the network is; so a token is needed.

`/livez`, `/readyz` and `/metrics` answer everybody who can reach the port: kubelet and Prometheus ask by the pod's address.
Only a browser gets no numbers for a page of another site.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from proxy.admin.caller import PROVEN, host_of, is_loopback, refusal
from proxy.config.secrets import KeyRing

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEALTH = frozenset(("/livez", "/readyz"))
"""Paths for everybody, which say one word."""

METRICS = "/metrics"
"""For everybody but pages of other sites: names of the policy, and numbers."""

STATIC = frozenset(("/", "/page.css", "/page.js", "/icon.svg"))
"""What the page is made of; it holds nothing until it has asked for that."""

TOKEN: web.AppKey[Callable[[], KeyRing | None]] = web.AppKey("token")
"""Gives what the token is in, if one is configured."""

_ELSEWHERE = (
    "only callers on this machine may read this: ask for a loopback address (kubectl port-forward does), or set `admin_token` in"
    " the configuration"
)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse who may not; say of others what they may."""
    try:
        if request.path not in HEALTH:
            _admit(request)
        response = await handler(request)
    except web.HTTPException as refused:
        _plain(refused)
        raise
    if not response.prepared:
        _plain(response)
    return response


def _plain(response: web.StreamResponse) -> None:
    """An answer is what it says it is, and is kept by nobody."""
    response.headers.setdefault(hdrs.X_CONTENT_TYPE_OPTIONS, "nosniff")
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")


def _admit(request: web.Request) -> None:
    """Raises 401 or 403 for who may not even read."""
    _same_site(request)
    here = _from_this_machine(request)
    if request.path == METRICS:
        return
    token = request.app[TOKEN]()
    request[PROVEN] = token is not None and _has(request, token)
    if request.path not in STATIC and not request[PROVEN]:
        if token is not None:
            raise _unauthorised()
        if not here:
            raise refusal(403, _ELSEWHERE)


def _same_site(request: web.Request) -> None:
    """Raises 403 for what a browser sends for a page of another site (Fetch Metadata, https://www.w3.org/TR/fetch-metadata/)."""
    site = request.headers.get("Sec-Fetch-Site")
    # A link from anywhere may open the page itself; nothing can be read or done by that.
    opened = request.path == "/" and request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
    if site in ("cross-site", "same-site") and not opened:
        raise refusal(403, "a browser sent this for a page of another site")
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and origin.partition("://")[2] != request.headers.get(hdrs.HOST):
        raise refusal(403, "a browser sent this for a page of another host")


def _from_this_machine(request: web.Request) -> bool:
    """Whether a loopback address was asked by a loopback address; raises 403 where a foreign name led there."""
    if not is_loopback(request.remote or ""):
        return False
    asked = request.headers.get(hdrs.HOST)  # without one it was no browser
    if asked is not None and not is_loopback(host_of(asked)):
        own = request.transport.get_extra_info("sockname") if request.transport is not None else None
        if own is not None and is_loopback(own[0]):
            raise refusal(
                403, f"this port is asked for as localhost or a loopback address, not as {asked[:80]!r} (DNS rebinding)"
            )
        return False
    return True


def _has(request: web.Request, token: KeyRing) -> bool:
    """Whether the request brings the token (RFC 6750 section 2.1). One that could not be read is brought by nobody."""
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    known = token.turn()
    given_bytes = given.strip().encode("utf-8", "surrogateescape")  # as it came: a header may hold any byte
    return scheme.lower() == "bearer" and bool(known) and hmac.compare_digest(given_bytes, known[0].secret)


def _unauthorised() -> web.HTTPUnauthorized:
    return web.HTTPUnauthorized(
        text='{"error": "this needs the token of `admin_token`: Authorization: Bearer TOKEN"}',
        content_type="application/json",
        headers={hdrs.WWW_AUTHENTICATE: 'Bearer realm="fusebox"'},
    )
