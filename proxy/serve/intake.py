"""Reading a request: its facts for the policy, and its body, held or still streaming.

What has to be in memory is what the model may stand in: a JSON body whole, a form up to its `model` field. Anything else
is passed on as it comes, so a file of any size costs the same.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping

from aiohttp import web
from aiohttp.streams import StreamReader

from proxy.errors import BadRequest, ClientFault, Refused, TooLarge
from proxy.exchange import Carrier, Endpoint
from proxy.serve.client import take_whole
from proxy.wire import payload
from proxy.wire.body import RequestBody
from proxy.wire.form import FormScanner, boundary, is_form

_JSON, _MULTIPART = Carrier.JSON, Carrier.MULTIPART

HOLD_MAX = 64 * 1024
"""Bytes of an opaque body that are held, so that it can be sent again; a larger one streams through."""


class RequestTimeout(Refused):
    """408: the client stopped sending in the middle of its body."""

    def __init__(self, seconds: float) -> None:
        super().__init__(408, "request_timeout", f"the request body was not complete within {seconds:g} s")


def at_once(content: StreamReader, headers: Mapping[str, str], endpoint: Endpoint, body_max: int) -> RequestBody | None:
    """The body, if it has come in whole and is plain JSON: the usual case, without waiting.

    None: an `Intake` reads it. Raises ClientFault.
    """
    if (
        endpoint.carrier is not _JSON
        or not content.is_eof()
        or not 0 < content.total_bytes <= body_max
        or "content-encoding" in headers
    ):
        return None
    kind = headers.get("content-type")
    if kind != "application/json" and (is_form(kind) or (endpoint.name == "other" and not _says_json(kind))):
        return None
    body = take_whole(content) or content.read_nowait(-1)
    facts = payload.read(body)
    return RequestBody(body, _JSON, facts.model, facts.stream, facts.tied, length=len(body))


class Intake:
    """Reads the body of one request.

    `body_max`: the most that is held, in bytes; `wait_s`: the longest silence of the client's. `model_needed`: whether the
    policy asks for the model at all; if not, a body that is too large to be held streams through.
    """

    def __init__(
        self,
        content: StreamReader,
        headers: Mapping[str, str],
        *,
        body_max: int,
        wait_s: float,
        model_needed: bool = True,
    ) -> None:
        self._content = content
        self._headers = headers
        self._body_max = body_max
        self._wait_s = wait_s
        self._model_needed = model_needed
        length = headers.get("content-length")
        self._length = None if length is None else int(length)
        self._chunked = "transfer-encoding" in headers

    async def read(self, endpoint: Endpoint) -> RequestBody:
        """The body, read as far as `endpoint` needs it. Raises ClientFault."""
        if not self._chunked and not self._length:
            return self._empty(endpoint)
        if endpoint.carrier in (_JSON, _MULTIPART):
            content_type = self._headers.get("content-type")
            if is_form(content_type):
                assert content_type is not None
                return await self._form(boundary(content_type), insist=self._model_needed and endpoint.name != "other")
            if endpoint.name != "other" or _says_json(content_type):
                held = await self._whole()
                return self._json(held) if held is not None else await self._opaque()
        return await self._opaque()

    def _empty(self, endpoint: Endpoint) -> RequestBody:
        """No body, or one of no length; which of the two is the client's to say."""
        if endpoint.carrier in (_JSON, _MULTIPART) and endpoint.name != "other":
            raise BadRequest("the request has no body, but this call needs one")
        return RequestBody(length=self._length)

    def _json(self, body: bytes | bytearray) -> RequestBody:
        coding = self._headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            return self._compressed(body, coding)
        facts = payload.read(body)
        return RequestBody(body, _JSON, facts.model, facts.stream, facts.tied, length=len(body))

    def _compressed(self, body: bytes | bytearray, coding: str) -> RequestBody:
        """A compressed body is looked into for the policy's sake. It goes on as it came, unless its model is replaced."""
        if coding not in ("gzip", "deflate"):
            raise Refused(
                415,
                "unsupported_encoding",
                f"a body with Content-Encoding {coding[:40]!r} cannot be looked into; send it uncompressed",
            )
        inflate = zlib.decompressobj(wbits=47)
        try:
            plain = inflate.decompress(body, self._body_max)
        except zlib.error as error:
            raise BadRequest(f"the request body is not valid {coding}: {error}") from None
        if inflate.unconsumed_tail:
            raise TooLarge(f"the request body is larger than limits.body ({self._body_max} bytes) once decompressed")
        facts = payload.read(plain)
        return RequestBody(plain, _JSON, facts.model, facts.stream, facts.tied, length=len(plain), packed=body)

    async def _form(self, mark: bytes, *, insist: bool) -> RequestBody:
        """A form, held up to its model; what comes behind streams on, and may not name another model.

        `insist` False: without a model near its beginning the form goes on unread.
        """
        scanner = FormScanner(mark)
        held = bytearray()
        while not self._content.at_eof():
            part = await self._next()
            held += part
            scanner.feed(part)
            if len(held) > HOLD_MAX and (scanner.spans or not insist) and not self._content.is_eof():
                break
            if len(held) > self._body_max:
                raise TooLarge(
                    f"no `model` field within the first {self._body_max} bytes (limits.body) of the form: put it before"
                    " the file, as the routing needs it first"
                )
        rest = None
        if not self._content.at_eof():
            rest = self._rest_of_form(scanner) if scanner.spans else self._rest()
        length = len(held) if rest is None else self._length
        return RequestBody(held, carrier=_MULTIPART, model=scanner.model, spans=scanner.spans, length=length, rest=rest)

    async def _rest_of_form(self, scanner: FormScanner) -> AsyncIterator[bytes]:
        found = len(scanner.spans)
        async for part in self._rest():
            scanner.feed(part)
            if len(scanner.spans) != found:
                raise BadRequest(
                    "the form names `model` a second time, behind a file; name it once, before the file", param="model"
                )
            yield part

    async def _opaque(self) -> RequestBody:
        held = bytearray()
        while not self._content.at_eof():
            if len(held) >= HOLD_MAX:
                return RequestBody(held, length=self._length, rest=self._rest())
            held += await self._next()
        return RequestBody(held, length=len(held))

    async def _whole(self) -> bytearray | None:
        """The whole body in one piece of memory; None, unread, when it is too large and nobody needs it.

        Raises TooLarge.
        """
        content = self._content
        if self._length is not None and self._length > self._body_max:
            if not self._model_needed:
                return None
            raise TooLarge(
                f"the request body has {self._length} bytes; at most {self._body_max} (limits.body) are held to find its model"
            )
        body = bytearray()
        while not content.at_eof():
            body += await self._next()
            if len(body) > self._body_max:
                raise TooLarge(f"the request body is larger than {self._body_max} bytes (limits.body)")
        return body

    async def _next(self) -> bytes:
        """What has come in, at least one byte unless the body ends. Raises ClientFault."""
        try:
            if self._content.is_eof():
                return await self._content.readany()
            async with asyncio.timeout(self._wait_s):
                return await self._content.readany()
        except TimeoutError:
            raise RequestTimeout(self._wait_s) from None
        except (web.RequestPayloadError, RuntimeError) as error:  # RuntimeError: aiohttp's for a client that has gone
            raise _broken(error) from None

    async def _rest(self) -> AsyncIterator[bytes]:
        while not self._content.at_eof():
            part = await self._next()
            if part:
                yield part


def _broken(error: Exception) -> ClientFault:
    return BadRequest(f"the request body broke off or is wrongly framed: {str(error).partition(chr(10))[0]}")


def _says_json(content_type: str | None) -> bool:
    return content_type is not None and "json" in content_type.lower()
