"""What TLS towards providers trusts and asks for."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from proxy.upstream import tls


def test_names_and_chains_are_verified(ca: trustme.CA, ca_file: str) -> None:
    """With a CA of its own, and without: nothing unverified is ever accepted, and only the named CA is trusted."""
    for context in (tls.context(None), tls.context(ca_file)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(tls.context(ca_file).get_ca_certs()) == 1


def test_only_http_1_1_is_offered(ca_file: str, server_tls: ssl.SSLContext) -> None:
    """A server that would rather speak HTTP/2 is told that this connection does not."""
    server_tls.set_alpn_protocols(["h2", "http/1.1"])
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls.context(ca_file).wrap_bio(to_client, to_server, server_hostname="localhost")
    server = server_tls.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass  # the other side's turn
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == "http/1.1"


def test_a_file_without_a_certificate(tmp_path: Path) -> None:
    """An empty or missing file is an error, not an empty trust store."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(ssl.SSLError):
        tls.context(str(empty))
    with pytest.raises(OSError, match="No such file"):
        tls.context(str(tmp_path / "missing.pem"))
