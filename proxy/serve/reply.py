"""Fusebox's own answers: errors in the shape that the client's format expects, always marked as its own.

OpenAI: ``{"error": {"message", "type", "param", "code"}}`` (https://platform.openai.com/docs/guides/error-codes).
Anthropic: ``{"type": "error", "error": {"type", "message"}, "request_id"}`` (https://docs.anthropic.com/en/api/errors).
"""

from __future__ import annotations

import http

import orjson

from proxy.errors import BadRequest, FuseboxError
from proxy.exchange import Format
from proxy.wire.headers import block

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(error: FuseboxError, wanted: Format, request_id: str) -> bytes:
    """The JSON body that says `error` in the client's format."""
    message = f"Fusebox: {error}"
    if wanted is Format.ANTHROPIC:
        kind = _ANTHROPIC_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id})
    kind = "invalid_request_error" if error.status < 500 else "upstream_error"
    param = error.param if isinstance(error, BadRequest) else None
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": error.code}})


def error_head(error: FuseboxError, *, length: int, request_id: str, close: bool) -> bytes:
    """The head that goes before `error_body`; `close`: the connection ends with this answer."""
    lines = [
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"%d" % length),
        (b"x-fusebox-error", error.code.encode()),
        (b"x-fusebox-request-id", request_id.encode()),
        *error.headers(),
    ]
    if close:
        lines.append((b"Connection", b"close"))
    return status_line(error.status) + block(lines) + b"\r\n"


def status_line(status: int, reason: bytes = b"") -> bytes:
    """The first line of a response; without a reason phrase the registered one."""
    if status == 200 and reason == b"OK":
        return b"HTTP/1.1 200 OK\r\n"
    if not reason:
        try:
            reason = http.HTTPStatus(status).phrase.encode()
        except ValueError:
            reason = b""
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def json_response(
    status: int, body: bytes, lines: list[tuple[bytes, bytes]], *, close: bool, head_only: bool = False
) -> bytes:
    """A whole response with a JSON body of Fusebox's own making."""
    lines = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body)), *lines]
    if close:
        lines.append((b"Connection", b"close"))
    return status_line(status) + block(lines) + b"\r\n" + (b"" if head_only else body)
