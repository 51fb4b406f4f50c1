"""What a certificate in PEM form says of itself, as far as the injector wants to know: until when it is valid. Pure.

Python's ``ssl`` tells that only of a certificate that it has verified in a handshake, and the package ``cryptography``
would be the largest in the image for the sake of one date. X.509 puts it at a fixed place (RFC 5280 section 4.1):

    Certificate ::= SEQUENCE { tbsCertificate SEQUENCE {
        [0] version OPTIONAL, serialNumber, signature, issuer, validity SEQUENCE { notBefore, notAfter }, ...
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_INTEGER, _SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x02, 0x30, 0x17, 0x18, 0xA0


@dataclass(frozen=True, slots=True)
class Told:
    """Of one certificate: from when until when it is valid, in seconds since 1970, and the SHA-256 of it in hexadecimal."""

    not_before_s: float
    not_after_s: float
    fingerprint: str


def first_certificate(pem: str) -> Told:
    """Of the first certificate in `pem`, which for a server is its own. Raises ValueError, without quoting the text."""
    begin, end = pem.find(_BEGIN), pem.find(_END)
    if begin < 0 or end < begin:
        raise ValueError("holds no certificate in PEM form")
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)])
        not_before_s, not_after_s = _validity(der)
    except (ValueError, IndexError):
        raise ValueError("holds a certificate that cannot be read") from None
    return Told(not_before_s, not_after_s, hashlib.sha256(der).hexdigest())


def _validity(der: bytes) -> tuple[float, float]:
    certificate, _ = _element(der, 0, _SEQUENCE)
    body, _ = _element(certificate, 0, _SEQUENCE)
    at = 0
    if body[0] == _VERSION:
        _, at = _element(body, 0, _VERSION)
    for tag in (_INTEGER, _SEQUENCE, _SEQUENCE):  # serialNumber, signature, issuer
        _, at = _element(body, at, tag)
    validity, _ = _element(body, at, _SEQUENCE)
    before, after_at = _time(validity, 0)
    return before, _time(validity, after_at)[0]


def _element(data: bytes, at: int, tag: int) -> tuple[bytes, int]:
    """The content of the element at `at`, and where the next one begins. Raises ValueError, IndexError."""
    if data[at] != tag:
        raise ValueError("another element")
    length, start = data[at + 1], at + 2
    if length & 0x80:
        digits = length & 0x7F
        length, start = int.from_bytes(data[start : start + digits], "big"), start + digits
    if start + length > len(data):
        raise ValueError("cut short")
    return data[start : start + length], start + length


def _time(data: bytes, at: int) -> tuple[float, int]:
    """A moment in seconds since 1970: RFC 5280 section 4.1.2.5 has both forms end in Z and hold seconds."""
    form = data[at]
    if form not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no time")
    content, following = _element(data, at, form)
    text = content.decode("ascii")
    if form == _UTC_TIME:
        # Two digits of a year: from 50 on they mean 19YY.
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp(), following
