"""Which header lines go on, and how a head is written (RFC 9110 section 7.6.1, RFC 9112)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

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


_KINDS: dict[bytes, Kind] = {}
_KINDS_MAX = 2048
"""How many spellings of names are remembered: clients repeat theirs, and a flood of new ones must not grow memory."""


def kind(name: bytes) -> Kind:
    """What the request header `name` (any case) means."""
    found = _KINDS.get(name)
    if found is None:
        found = _classify(name.lower())
        if len(_KINDS) < _KINDS_MAX:
            _KINDS[name] = found
    return found


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


def request_lines(headers: RawHeaders, *, credentials: bool) -> list[tuple[bytes, bytes]]:
    """The end-to-end lines of a request, order and case kept; the client's credentials only when `credentials`."""
    kept: list[tuple[bytes, bytes]] = []
    named: frozenset[bytes] = frozenset()
    for line in headers:
        meaning = kind(line[0])
        if meaning is Kind.KEEP:
            kept.append(line)
        elif meaning is Kind.CONNECTION:
            named |= named_by_connection(line[1])
        elif meaning is Kind.CREDENTIAL:
            if credentials:
                kept.append(line)
        elif meaning is Kind.PROTOCOL:
            value = line[1] if credentials else without_key_protocols(line[1])
            if value:
                kept.append((line[0], value))
    if named - _USUAL_OPTIONS:
        kept = [line for line in kept if line[0].lower() not in named]
    return kept


_USUAL_OPTIONS = frozenset((b"keep-alive", b"close", b"upgrade", b"te", b""))


def without_key_protocols(value: bytes) -> bytes:
    """Sec-WebSocket-Protocol without the entries that carry a key (OpenAI's ``openai-insecure-api-key.KEY``)."""
    entries = (entry.strip() for entry in value.split(b","))
    return b", ".join(entry for entry in entries if b"api-key." not in entry.lower())


_RESPONSE_DROPPED: dict[bytes, bool] = {}

_REPLACED = frozenset((b"x-fusebox-route", b"x-fusebox-target", b"x-fusebox-attempts", b"x-fusebox-request-id"))


def response_lines(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The end-to-end lines of a response, order and case kept; Content-Length is among them.

    Lines of another Fusebox behind this one are dropped where this one writes its own; its ``x-fusebox-error`` stays.
    """
    kept: list[tuple[bytes, bytes]] = []
    named: frozenset[bytes] = frozenset()
    for line in headers:
        name = line[0]
        drop = _RESPONSE_DROPPED.get(name)
        if drop is None:
            lower = name.lower()
            drop = lower in HOP_BY_HOP or lower in _REPLACED
            if len(_RESPONSE_DROPPED) < _KINDS_MAX:
                _RESPONSE_DROPPED[name] = drop
        if not drop:
            kept.append(line)
        elif name.lower() == b"connection":
            named |= named_by_connection(line[1])
    if named - _USUAL_OPTIONS:
        kept = [line for line in kept if line[0].lower() not in named]
    return kept


def block(lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header lines as they go on the wire, each ended by CRLF, without the empty line that ends a head."""
    return b"".join([b"%b: %b\r\n" % line for line in lines])


def find(headers: RawHeaders, name: bytes) -> bytes | None:
    """The first value of `name` (lower case), or None."""
    for key, value in headers:
        if len(key) == len(name) and key.lower() == name:
            return value
    return None
