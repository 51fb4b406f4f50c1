"""Starts the upstream of a measurement: nginx for small JSON answers, our own server for streams and large bodies."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench import payloads
from bench.processes import BenchError, Child, free_port
from bench.tls import Certificates

KEPT_ALIVE_REQUESTS = 100_000_000
"""Requests per connection before nginx closes it: never within a run."""
DESCRIPTORS_PER_WORKER = 20_000


@dataclass(frozen=True, slots=True)
class Kind:
    """What an upstream does. `nginx` answers JSON only; the others are the modes of ``bench/upstream_server``."""

    mode: Literal["nginx", "answer", "first", "stream"]
    interval_ms: float = 10.0
    burst: int = 1
    slots: int = 1

    @property
    def events_per_s(self) -> float:
        """Events that one open stream gets per second; 0 for the other modes."""
        return self.burst * 1000 / self.interval_ms if self.mode == "stream" else 0.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running upstream on loopback. `ca` is the file with the authority to trust; ``None`` means no TLS."""

    child: Child
    port: int
    ca: Path | None

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"


def find_nginx() -> str:
    """Path of the nginx command; Debian keeps it in /usr/sbin, which is not on every user's PATH."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        raise BenchError("the nginx command is absent: install Debian's package nginx-core (or nginx-light)")
    return found


def nginx_command(folder: Path, http: str) -> list[str]:
    """Writes nginx.conf with one worker and the given `http` block into `folder`; the command that runs it there."""
    user = "user root;\n" if os.geteuid() == 0 else ""  # else the worker could not use the temporary folder
    temporary = "".join(
        f"  {name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\nworker_rlimit_nofile {DESCRIPTORS_PER_WORKER};\n"
        f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log warn;\n"
        f"events {{ worker_connections {DESCRIPTORS_PER_WORKER}; }}\n"
        f"http {{\n  access_log off;\n  tcp_nodelay on;\n  keepalive_requests {KEPT_ALIVE_REQUESTS};\n"
        f"{temporary}{http}}}\n"
    )
    return [find_nginx(), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def start_upstream(kind: Kind, certificates: Certificates | None, folder: Path) -> Upstream:
    """Starts an upstream, over TLS when there are `certificates`, and waits until it accepts connections.

    `folder` must be its own; the caller stops ``child``. Raises BenchError when it does not start.
    """
    port = free_port()
    if kind.mode == "nginx":
        child = Child("upstream (nginx)", nginx_command(folder, _answering(port, certificates)), folder / "out.log")
    else:
        command = [
            sys.executable, "-m", "bench.upstream_server", "--port", str(port), "--mode", kind.mode,
            "--interval-ms", str(kind.interval_ms), "--burst", str(kind.burst), "--slots", str(kind.slots),
        ]  # fmt: skip
        if certificates:
            command += ["--certificate", str(certificates.certificate), "--key", str(certificates.key)]
        child = Child("upstream", command, folder / "out.log", held=True)
    try:
        child.wait_ready(port)
    except BaseException:
        child.stop()
        raise
    return Upstream(child, port, certificates.ca if certificates else None)


def _answering(port: int, certificates: Certificates | None) -> str:
    tls = ""
    if certificates:
        tls = f"  ssl_certificate {certificates.certificate};\n  ssl_certificate_key {certificates.key};\n"
    return (
        f"{tls}  server {{\n    listen 127.0.0.1:{port}{' ssl' if certificates else ''} backlog=4096;\n"
        f"    default_type application/json;\n    location / {{ return 200 '{payloads.answer_body().decode()}'; }}\n"
        "  }\n"
    )
