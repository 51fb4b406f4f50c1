"""TLS towards providers: the system's trust store, or a CA file that the policy names."""

from __future__ import annotations

import ssl


def context(ca: str | None) -> ssl.SSLContext:
    """A client context that verifies names and chains; `ca`: PEM file to trust instead of the system's store.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured as OpenSSL does. Raises OSError when `ca` cannot be read and
    ssl.SSLError when it holds no certificate.
    """
    made = ssl.create_default_context(cafile=ca)
    # The connection speaks HTTP/1.1 only; saying so keeps a server from choosing anything else.
    made.set_alpn_protocols(["http/1.1"])
    return made
