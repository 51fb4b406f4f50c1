"""Measure the memory of a sidecar as a pod runs it: idle, with open streams, after them. For docs/kubernetes.md.

    python -m deploy.image.memory build/rootfs

Fusebox runs in the assembled root filesystem, on a read-only mount, as the image's user; the provider speaks TLS on
loopback and sends an event a second on each stream, half a kilobyte of JSON, as chat completions have it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from bench.load import Stage, stream_load
from bench.measure import memory
from bench.processes import Child, free_port
from bench.tls import make_certificates
from bench.upstream import Kind, Upstream, start_upstream
from deploy.image import sandbox

STREAMS = (50, 200, 1000)
SETTLE_S, WINDOW_S = 3.0, 10.0
EVENTS_MS = 1000.0


def sidecar(root: Path, upstream: Upstream, folder: Path) -> tuple[Child, int]:
    """A sidecar that is ready, and its data port."""
    port, admin = free_port(), free_port()
    policy = folder / "policy"
    policy.mkdir(exist_ok=True)
    folder.chmod(0o755)
    (policy / "config.yaml").write_text(
        f"listen: 127.0.0.1:{port}\nadmin: 127.0.0.1:{admin}\nproviders:\n"
        f"  local: {{base_url: '{upstream.url}/v1', keys: none, ca: /etc/fusebox/ca.pem}}\n"
        "routes: [{name: all, match: {}, to: [local]}]\n"
    )
    if upstream.ca is not None:
        (policy / "ca.pem").write_bytes(upstream.ca.read_bytes())
    inside = ["serve", "--config=/etc/fusebox/config.yaml"]
    child = Child("sidecar", sandbox.command(root, inside, {"/etc/fusebox": policy}), folder / "sidecar.log")
    ready_s = child.wait_ready(admin, "/readyz")
    print(f"ready after {ready_s:.2f} s")
    return child, port


def main() -> None:
    """Print a table of Markdown."""
    parser = argparse.ArgumentParser(description="Measure the memory of a sidecar.")
    parser.add_argument("root", type=Path, help="what rootfs.py assembled")
    root: Path = parser.parse_args().root
    os.environ.update(sandbox.ENVIRONMENT, PATH=os.environ["PATH"])
    rows = []
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        kind = Kind("stream", interval_ms=EVENTS_MS, slots=100)
        upstream = start_upstream(kind, make_certificates(folder), folder)
        try:
            for streams in (0, *STREAMS):
                child, port = sidecar(root, upstream, folder)
                with child:
                    if streams:
                        stage = Stage(port, None, folder, child, upstream.child)
                        used = stream_load(stage, streams, False, SETTLE_S, WINDOW_S).used
                    else:
                        used = memory(child.pids())
                    rows.append((streams, used.rss_mib, used.pss_mib, used.peak_rss_mib))
        finally:
            upstream.child.stop()
    print("| open streams | RSS, MiB | of it its own (PSS) | highest |\n|---|---|---|---|")
    for streams, rss, pss, peak in rows:
        print(f"| {streams or 'none (idle)'} | {rss:.0f} | {pss:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
