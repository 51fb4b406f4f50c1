"""Request targets: which are accepted, and the model where a path or query carries it (RFC 9112 section 3.2, RFC 3986)."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, unquote_plus

from proxy.errors import BadRequest, Refused
from proxy.wire.endpoints import model_in_path

_DECODINGS = 5
"""How often a path is decoded to look for dot segments: servers in a row may each decode once."""

_ABSOLUTE = re.compile(r"http://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_MODEL_IN_QUERY = re.compile(r"(?:^|&)model=([^&]*)")


def split(raw: str, *, own: frozenset[str]) -> tuple[str, str | None]:
    """Path and query (None without ``?``) of a request target, percent-encoding untouched.

    `own`: the authorities this proxy answers to. Raises Refused for a target that means another server, and BadRequest
    for a path that climbs.
    """
    if not raw.startswith("/"):
        raw = _from_absolute(raw, own)
    path, mark, query = raw.partition("?")
    if "/." in path or "%" in path or "\\" in path:
        _refuse_dot_segments(path)
    if not raw.isascii() or not raw.isprintable() or " " in raw or "#" in raw:
        raise BadRequest("the request target holds characters that must be percent-encoded")
    return path, query if mark else None


def _from_absolute(raw: str, own: frozenset[str]) -> str:
    """RFC 9112 section 3.2.2: a server accepts the absolute form of its own addresses. Any other is for a forward proxy."""
    absolute = _ABSOLUTE.fullmatch(raw)
    if absolute is None or absolute[1].lower() not in own:
        raise Refused(
            421,
            "not_a_forward_proxy",
            "this is no forward proxy: use http://HOST:PORT/v1 as base URL of the SDK, and do not set HTTP_PROXY to this address",
        )
    return absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]


def _refuse_dot_segments(path: str) -> None:
    for _ in range(_DECODINGS):
        # Some servers cut path parameters (`..;x`) before they resolve dot segments.
        if any(segment.partition(";")[0] in (".", "..") for segment in re.split(r"[/\\]", path)):
            raise BadRequest("the path holds dot segments (`.` or `..`, plain or encoded), which are not forwarded")
        decoded = unquote(path)
        if decoded == path:
            return
        path = decoded
    raise BadRequest(f"the path is percent-encoded more than {_DECODINGS - 1} times over, which is not forwarded")


def model_of_path(path: str) -> str | None:
    """The model in a path that carries one, decoded."""
    span = model_in_path(path)
    return None if span is None else unquote(path[span[0] : span[1]])


def path_with_model(path: str, model: str) -> str:
    """`path` with its model replaced; slashes stay as they are, as SDKs write them."""
    span = model_in_path(path)
    return path if span is None else path[: span[0]] + quote(model, safe="/:@") + path[span[1] :]


def model_of_query(query: str | None) -> str | None:
    """The model a query names, decoded; the last one counts. None without one."""
    found = _MODEL_IN_QUERY.findall(query or "")
    return unquote_plus(found[-1]) if found else None


def query_with_model(query: str | None, model: str) -> str | None:
    """`query` with each value of ``model`` replaced, everything else as it was to the byte."""
    if query is None:
        return None
    value = quote(model, safe="")
    return _MODEL_IN_QUERY.sub(lambda found: found[0][: found.start(1) - found.start()] + value, query)
