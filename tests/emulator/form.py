"""multipart/form-data, read from its bytes (RFC 7578), strictly: whatever a relay damaged must not go unnoticed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web

from proxy.dev.demo_stage import Refused


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; `filename` is None for a plain value."""

    name: str
    filename: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form in their order; a name may come several times."""

    parts: tuple[Part, ...]

    def value(self, name: str, default: str | None = None) -> str:
        """The plain value of `name`. Raises Refused 400 when it is missing and has no default."""
        for part in self.parts:
            if part.name == name and part.filename is None:
                return part.content.decode()
        if default is None:
            raise Refused(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
        return default

    def file(self, name: str) -> Part:
        """The file uploaded as `name` or, one of several, as `name[]`. Raises Refused 400 when it is missing."""
        for part in self.parts:
            if part.name in (name, f"{name}[]") and part.filename is not None:
                return part
        raise Refused(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)


def is_form(content_type: str) -> bool:
    """Whether a content type announces a form."""
    return content_type.startswith("multipart/form-data")


async def read_form(request: web.Request) -> Form:
    """The request's body as a form. Raises Refused 400."""
    return parse_form(request.headers.get("Content-Type", ""), await request.read())


def parse_form(content_type: str, body: bytes) -> Form:
    """`body` as a form. Raises Refused 400 unless every delimiter, header and line end is where it belongs."""
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    if not is_form(content_type) or boundary is None:
        raise Refused(400, "Expected multipart/form-data with a boundary.")
    first, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())
    if first or not parts or parts.pop() not in (b"--\r\n", b"--"):
        raise Refused(400, "The form does not begin or end with its boundary.")
    return Form(tuple(parse_part(part) for part in parts))


def parse_part(raw: bytes) -> Part:
    """One part, from the CRLF after its delimiter on. Raises Refused 400."""
    head, blank, content = raw.partition(b"\r\n\r\n")
    disposition = re.search(rb'(?im)^content-disposition: *form-data;.*?\bname="([^"]*)"', head)
    if not blank or not head.startswith(b"\r\n") or disposition is None:
        raise Refused(400, "A part of the form has no head.")
    filename = re.search(rb'(?im)^content-disposition:.*\bfilename="([^"]*)"', head)
    return Part(disposition[1].decode(), filename[1].decode() if filename else None, content)
