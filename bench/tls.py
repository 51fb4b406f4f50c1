"""A certification authority and a certificate for loopback, made for one run with the ``openssl`` command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: the authority to trust, and the server's certificate and key (for localhost and 127.0.0.1)."""

    ca: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Writes an ECDSA P-256 authority and a certificate signed by it into `folder`; valid for two days.

    Raises BenchError when the ``openssl`` command is absent or fails.
    """
    if shutil.which("openssl") is None:
        raise BenchError("the openssl command is absent: install Debian's package openssl")
    made = Certificates(folder / "ca.pem", folder / "leaf.pem", folder / "leaf.key")
    ca_key, request, extensions = folder / "ca.key", folder / "leaf.csr", folder / "leaf.ext"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
    _openssl("req", "-x509", *new_key, "-days", "2", "-subj", "/CN=bench authority", *authority,
             "-keyout", str(ca_key), "-out", str(made.ca))  # fmt: skip
    _openssl("req", *new_key, "-subj", "/CN=localhost", "-keyout", str(made.key), "-out", str(request))
    _openssl("x509", "-req", "-in", str(request), "-CA", str(made.ca), "-CAkey", str(ca_key), "-CAcreateserial",
             "-days", "2", "-extfile", str(extensions), "-out", str(made.certificate))  # fmt: skip
    return made


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise BenchError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
