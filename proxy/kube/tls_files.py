"""The server's certificate and key: two files, read again and again, taken up by the next handshake.

How a new certificate gets into a running server was tried out (docs/kubernetes.md, "Certificates in a server that
runs"). To load it into the context that serves is sound only until it fails: OpenSSL drops the old key when it takes the
new certificate, so that a key file that does not fit leaves a server that can greet nobody. Here each pair of files gets
a context of its own, and only a complete one is ever used: the listening context, which has no certificate, hands every
handshake to the current one as it begins (the callback for the server's name, which OpenSSL calls for clients that name
none as well).

What counts is the content, never a file's time or inode: a mounted Secret is swapped behind a link, and no watch on the
file itself sees that.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

from proxy.kube.pem import Told, first_certificate

FILE_MAX = 256 * 1024
"""Bytes of a file: a chain has a few thousand, and a path to something else must not fill memory."""


class Unusable(Exception):
    """The files hold no pair that can serve; the text says which and what to do, and never what is in them."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A pair that can serve. `digest`: of both files, for comparing; it is of a key, too, and is not shown."""

    context: ssl.SSLContext
    told: Told
    digest: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What a look at the files found that is new: a pair in use from now on, or why there is none."""

    certificate: Certificate | None
    problem: str = ""


class TlsFiles:
    """The certificate in use. `context` is for the server; `look` is to be called every few seconds.

    `current` is None until the first good pair: a server should not listen before. Later a bad pair never takes its place.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._said: str | None = None
        self.current: Certificate | None = None
        self.loads = 0
        self.failures = 0
        self.context = _context()
        self.context.num_tickets = 0  # whoever connects again shall see the certificate again
        self.context.sni_callback = self._greet

    def _greet(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        """At the beginning of a handshake: it gets the certificate that is in use now."""
        if self.current is None:
            return int(ssl.ALERT_DESCRIPTION_INTERNAL_ERROR)
        connection.context = self.current.context
        return None

    def look(self) -> Change | None:
        """What is new since the last look, or None. Reads two small files; takes what they hold into use if it is good."""
        try:
            before = self._digest()
            if self.current is not None and before == self.current.digest:
                self._said = None
                return None
            self.current = self._load(before)
        except Unusable as error:
            said = str(error)
            if said == self._said:
                return None
            self._said = said
            self.failures += 1
            return Change(None, said)
        self._said = None
        self.loads += 1
        return Change(self.current)

    def _load(self, digest: bytes) -> Certificate:
        certificate, key = self._files
        try:
            told = first_certificate(_read(certificate).decode("ascii", "replace"))
        except ValueError as error:
            raise Unusable(
                f"{certificate} {error}; put the server's certificate there, its issuers behind it"
            ) from None
        context = _context()
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                said = f"the key in {key} is not that of the certificate in {certificate}; write both again"
            else:
                said = f"{certificate} and {key} cannot be used: {error.reason or 'not PEM'}; write both in PEM form"
            raise Unusable(said) from None
        except OSError as error:
            raise Unusable(f"{error.filename or key} cannot be read: {error.strerror}") from None
        if self._digest() != digest:
            # A swap came between: what was loaded may be half of each. The next look finds the rest.
            raise Unusable(f"{certificate} and {key} were written while they were read")
        return Certificate(context, told, digest)

    def _digest(self) -> bytes:
        """Raises Unusable when one of the files is not there."""
        return b"".join(hashlib.sha256(_read(path)).digest() for path in self._files)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_MAX + 1)
    except FileNotFoundError:
        raise Unusable(
            f"{path} is not there; mount the Secret that `fusebox k8s certs` or cert-manager wrote"
        ) from None
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > FILE_MAX:
        raise Unusable(f"{path} is larger than {FILE_MAX // 1024} KiB")
    return content


def _no_password() -> str:
    raise Unusable("the key file is encrypted; write it without a passphrase, which nobody could enter here")


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # API servers offer HTTP/2 first.
    context.set_alpn_protocols(["http/1.1"])
    return context
