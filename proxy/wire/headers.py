"""Which header lines go on, and how a head is written (RFC 9110 section 7.6.1, RFC 9112)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from itertools import chain

import msgspec

from proxy.exchange import RawHeaders

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authorization",
    )
)
"""Belong to one connection, never to the message: RFC 9110 section 7.6.1, and the Proxy- ones of section 11.7."""

CREDENTIALS = frozenset((b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie"))
"""Header lines that say who the client is to a provider. They go to one provider or to none."""

PREFIX = b"x-fusebox-"


class Kind(IntEnum):
    """What a request header line means to the proxy."""

    KEEP = 0
    HOP = 1
    FRAMING = 2  # host, content-length, expect: written anew for the next hop
    CREDENTIAL = 3
    OWN = 4  # x-fusebox-*: for Fusebox, not for the provider
    CONNECTION = 5  # names further hop-by-hop lines
    PROTOCOL = 6  # sec-websocket-protocol: may carry a key (a browser has no other place for it)


# A member of an enum costs ten times a global to look up, on the way of every header line.
_KEEP, _CONNECTION, _PROTOCOL = Kind.KEEP, Kind.CONNECTION, Kind.PROTOCOL

_NAMES: dict[bytes, tuple[str, Kind]] = {}
_NAMES_MAX = 2048
"""How many spellings of names are remembered: clients repeat theirs, and a flood of new ones must not grow memory."""


def _remember(raw: bytes) -> tuple[str, Kind]:
    known = raw.decode("latin-1").lower(), _classify(raw.lower())
    if len(_NAMES) < _NAMES_MAX:
        _NAMES[raw] = known
    return known


def _classify(name: bytes) -> Kind:
    if name == b"connection":
        return Kind.CONNECTION
    if name in HOP_BY_HOP:
        return Kind.HOP
    if name in (b"host", b"content-length", b"expect"):
        return Kind.FRAMING
    if name in CREDENTIALS:
        return Kind.CREDENTIAL
    if name == b"sec-websocket-protocol":
        return Kind.PROTOCOL
    return Kind.OWN if name.startswith(PREFIX) else Kind.KEEP


def named_by_connection(value: bytes) -> frozenset[bytes]:
    """The lower-case names that a Connection line makes hop-by-hop."""
    return frozenset(option.strip().lower() for option in value.split(b","))


class RequestHeaders(msgspec.Struct, frozen=True):
    """The header lines of a client's request, sorted into what goes on and what is read here.

    `raw`: as they came. `plain`: those that go on to a provider that is not to see the client's credentials, as they go
    on the wire, order and case kept. `facts`: values by lower-case name, the first of several, for the names that were
    asked for. `named`: lower-case names that a Connection line made hop-by-hop.
    """

    raw: RawHeaders
    plain: bytes
    facts: dict[str, str]
    named: frozenset[bytes]
    size: int
    """Bytes of all names and values together."""

    def block(self, *, credentials: bool) -> bytes:
        """The end-to-end lines as they go on the wire, with the client's credentials or without."""
        return block(_with_credentials(self.raw, self.named)) if credentials else self.plain

    def without(self, name: bytes) -> RequestHeaders:
        """The same lines but for those called `name` (lower case)."""
        raw = [line for line in self.raw if line[0].lower() != name]
        return msgspec.structs.replace(read_request(raw, frozenset()), facts=self.facts)


def read_request(headers: RawHeaders, wanted: frozenset[str]) -> RequestHeaders:
    """Sort a request's header lines, in one pass; `wanted`: lower-case names whose values become facts."""
    plain: list[bytes] = []
    facts: dict[str, str] = {}
    named: frozenset[bytes] = frozenset()
    known = _NAMES
    for raw, value in headers:
        name, meaning = known.get(raw) or _remember(raw)
        if name in wanted and name not in facts:
            facts[name] = value.decode("latin-1")
        if meaning is _KEEP:
            plain += (raw, b": ", value, b"\r\n")
        elif meaning is _CONNECTION and value not in _USUAL_CONNECTIONS:
            named |= named_by_connection(value)
        elif meaning is _PROTOCOL:
            public = without_key_protocols(value)
            if public or not value:
                plain += (raw, b": ", public, b"\r\n")
    size = sum(map(len, chain.from_iterable(headers)))
    if named:
        # Rare: once more, without the Connection lines and what they name.
        dropped = named | {b"connection"}
        rest = read_request([line for line in headers if line[0].lower() not in dropped], frozenset())
        return RequestHeaders(headers, rest.plain, facts, named, size)
    return RequestHeaders(headers, b"".join(plain), facts, named, size)


_GO_ON = frozenset((Kind.KEEP, Kind.CREDENTIAL, Kind.PROTOCOL))


def _with_credentials(headers: RawHeaders, named: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    return [
        line
        for line in headers
        if (_NAMES.get(line[0]) or _remember(line[0]))[1] in _GO_ON and line[0].lower() not in named
    ]


_USUAL_CONNECTIONS = frozenset((b"keep-alive", b"close", b"Keep-Alive", b"Close", b"Upgrade", b"upgrade"))
"""Values of Connection that name no header line beside those that are hop-by-hop anyway."""


def without_key_protocols(value: bytes) -> bytes:
    """Sec-WebSocket-Protocol without the entries that carry a key (OpenAI's ``openai-insecure-api-key.KEY``).

    A value without any stays as it is, to the byte.
    """
    if b"api-key." not in value.lower():
        return value
    entries = (entry.strip() for entry in value.split(b","))
    return b", ".join(entry for entry in entries if b"api-key." not in entry.lower())


_REPLACED = frozenset((b"x-fusebox-route", b"x-fusebox-target", b"x-fusebox-attempts", b"x-fusebox-request-id"))


class ResponseHeaders(msgspec.Struct, frozen=True):
    """The header lines of a provider's answer: what frames it, and what goes on.

    `block`: the end-to-end lines as they go on the wire, order and case kept; Content-Length is among them. `length`: of
    the body, as stated. `chunked`: it comes in chunks. `events`: it is an event stream, and not in a content coding that
    would hide its events. `coding`: its content coding, lower case; empty without one.
    """

    block: bytes
    length: int | None
    chunked: bool
    events: bool
    content_type: bytes = b""
    coding: bytes = b""


class Sense(IntEnum):
    """What a header line is to an answer on its way to the client."""

    KEEP = 0
    DROP = 1  # hop-by-hop, or a line of Fusebox's own in its place
    CONNECTION = 2
    LENGTH = 3
    TRANSFER = 4
    TYPE = 5
    CODING = 6


_PLAIN, _DROP, _LENGTH, _TRANSFER, _TYPE, _CODING = (
    Sense.KEEP,
    Sense.DROP,
    Sense.LENGTH,
    Sense.TRANSFER,
    Sense.TYPE,
    Sense.CODING,
)
_SENSES: dict[bytes, Sense] = {}
_SENSE_OF = {
    b"connection": Sense.CONNECTION,
    b"content-length": Sense.LENGTH,
    b"transfer-encoding": Sense.TRANSFER,
    b"content-type": Sense.TYPE,
    b"content-encoding": Sense.CODING,
}


def _sense(raw: bytes) -> Sense:
    name = raw.lower()
    sense = _SENSE_OF.get(name) or (Sense.DROP if name in HOP_BY_HOP or name in _REPLACED else Sense.KEEP)
    if len(_SENSES) < _NAMES_MAX:
        _SENSES[raw] = sense
    return sense


def read_response(headers: RawHeaders) -> ResponseHeaders:
    """Read an answer's header lines in one pass. Raises ValueError for a transfer coding that nobody asked for.

    Lines of another Fusebox behind this one are dropped where this one writes its own; its ``x-fusebox-error`` stays.
    """
    parts: list[bytes] = []
    length: int | None = None
    chunked = events = named = False
    content_type = coding = b""
    senses = _SENSES
    for name, value in headers:
        sense = senses.get(name)
        if sense is None:
            sense = _sense(name)
        if sense is _PLAIN:
            pass
        elif sense is _LENGTH:
            length = int(value)
        elif sense is _TYPE:
            content_type = value
            events = value[:17].lower() == b"text/event-stream"
        elif sense is _CODING:
            coding = value.strip().lower()
            if coding == b"identity":
                coding = b""
        elif sense is _DROP:
            continue
        elif sense is _TRANSFER:
            if value.strip().lower() != b"chunked":
                # Its value stays out of the error: a provider may write anything there.
                raise ValueError("a Transfer-Encoding other than chunked, which nobody asked for")
            chunked = True
            continue
        else:
            named = named or value not in _USUAL_CONNECTIONS
            continue
        parts += (name, b": ", value, b"\r\n")
    # Rare: a Connection line that names others.
    kept = end_to_end(headers) if named else b"".join(parts)
    return ResponseHeaders(kept, length, chunked, events and not coding, content_type, coding)


def end_to_end(headers: RawHeaders) -> bytes:
    """Those lines of an answer, or of its trailers, that go on, without the ones that a Connection line names.

    The length stays even then, as the body is framed by it.
    """
    dropped = HOP_BY_HOP | _REPLACED
    for name, value in headers:
        if name.lower() == b"connection":
            dropped |= named_by_connection(value)
    dropped -= {b"content-length"}
    return block(line for line in headers if line[0].lower() not in dropped)


def block(lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header lines as they go on the wire, each ended by CRLF, without the empty line that ends a head."""
    parts: list[bytes] = []
    for name, value in lines:
        parts += (name, b": ", value, b"\r\n")
    return b"".join(parts)


def find(headers: RawHeaders, name: bytes) -> bytes | None:
    """The first value of `name` (lower case), or None."""
    for key, value in headers:
        if len(key) == len(name) and key.lower() == name:
            return value
    return None
