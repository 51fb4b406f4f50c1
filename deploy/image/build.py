"""``make image``: the image, by docker or podman; on a machine without them the same files, assembled and started.

    python -m deploy.image.build [--engine docker|podman] [--tag NAME:TAG] [--print]

The image's version is that of the package, its revision that of the checkout, and its date that of the revision, so that a
revision gives the same labels whenever it is built. ``PYTHON_DIGEST`` and ``SOURCE`` are passed on from the environment; the
Dockerfile says what they are. An engine counts when it answers: a client whose daemon does not run builds nothing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import memory
from bench.processes import Child, free_port
from deploy.image import environment, rootfs, sandbox
from proxy import __version__

ENGINES = ("docker", "podman")
ANSWERS_S = 15
"""Seconds in which an engine must say that it is there."""

ROOT = environment.ROOT
KEPT = ROOT / "build" / "rootfs"

POLICY = """\
listen: 127.0.0.1:{port}
admin: 127.0.0.1:{admin}
providers: {{nobody: {{base_url: "http://127.0.0.1:9/v1", keys: none}}}}
routes: [{{name: all, match: {{}}, to: [nobody]}}]
"""


@dataclass(frozen=True, slots=True)
class Tried:
    """What a sidecar in the assembled files did. `ready_s`: from the command on; `rss_mib`: idle; `code`: after SIGTERM."""

    ready_s: float
    rss_mib: float
    code: int


def engine(names: tuple[str, ...] = ENGINES) -> tuple[str | None, list[str]]:
    """The first of `names` that answers, or None; and why those before it do not."""
    why = []
    for name in names:
        if shutil.which(name) is None:
            why.append(f"{name} is not installed")
            continue
        try:
            ran = subprocess.run([name, "info"], capture_output=True, text=True, timeout=ANSWERS_S, check=False)
        except subprocess.TimeoutExpired:
            why.append(f"{name} does not answer within {ANSWERS_S} s")
            continue
        if ran.returncode == 0:
            return name, why
        said = ran.stderr.strip().splitlines()
        why.append(f"{name} does not work here: {said[-1].strip() if said else f'exit code {ran.returncode}'}")
    return None, why


def command(program: str, tag: str, given: Mapping[str, str]) -> list[str]:
    """What builds the image from this checkout. `given`: the environment."""
    revision, created = _revision(given)
    arguments = {"VERSION": __version__, "REVISION": revision, "CREATED": created}
    arguments |= {name: given[name] for name in ("PYTHON_DIGEST", "SOURCE") if given.get(name)}
    options = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    return [program, "build", *options, "--tag", tag, str(ROOT)]


def _revision(given: Mapping[str, str]) -> tuple[str, str]:
    """The checkout's revision, marked when files differ from it, and its date; SOURCE_DATE_EPOCH names another date."""
    revision = _git("rev-parse", "HEAD") or "unknown"
    if revision != "unknown" and _git("status", "--porcelain"):
        revision += "-changed"
    at_s = given.get("SOURCE_DATE_EPOCH") or _git("show", "--no-patch", "--format=%ct", "HEAD") or "0"
    return revision, datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _git(*arguments: str) -> str:
    """What git says of the checkout; nothing where there is none."""
    if shutil.which("git") is None:
        return ""
    ran = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return ran.stdout.strip() if ran.returncode == 0 else ""


def tried(root: Path) -> Tried:
    """Start a sidecar in the assembled files as a container would be, and end it. Raises BenchError when it does not start."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        folder.chmod(0o755)
        policy, port, admin = folder / "policy", free_port(), free_port()
        policy.mkdir()
        (policy / "config.yaml").write_text(POLICY.format(port=port, admin=admin))
        asked = sandbox.command(root, ["serve", "--config=/etc/fusebox/config.yaml"], {"/etc/fusebox": policy})
        variables = [f"{name}={value}" for name, value in sandbox.ENVIRONMENT.items() if name != "PATH"]
        path = f"PATH={sandbox.ENVIRONMENT['PATH']}:/usr/sbin:/sbin"  # of the programs that set up the namespace
        with Child("sidecar", ["env", "-i", path, *variables, *asked], folder / "sidecar.log") as child:
            ready_s = child.wait_ready(admin, "/readyz")
            child.wait_ready(admin, "/livez")
            rss_mib = memory(child.pids()).rss_mib
            child.stop()
            return Tried(ready_s, rss_mib, child.popen.returncode)


def stand_in(why: list[str]) -> None:
    """Assemble the files anew, start them where that can be done, and say so."""
    print("; ".join(why))
    print(f"so no image is made: the same files are assembled in {KEPT.relative_to(ROOT)}, on this machine's Python")
    shutil.rmtree(KEPT, ignore_errors=True)
    sizes = rootfs.assemble(KEPT)
    print(f"environment: {sizes['total'] / environment.MB:.1f} MB")
    if (problem := sandbox.problem()) is not None:
        print(f"not started: {problem}")
        return
    found = tried(KEPT)
    print(
        f"started read-only as user {sandbox.USER} without capabilities: /readyz and /livez answer after {found.ready_s:.2f} s,"
        f" {found.rss_mib:.0f} MiB resident, exit code {found.code} at SIGTERM"
    )


def main() -> None:
    """Build, or do what comes nearest. Ends with the engine's exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image.build", description="Build the image.")
    parser.add_argument("--engine", choices=ENGINES, help="the program that builds (the first that answers)")
    parser.add_argument("--tag", default=f"llm-fusebox:{__version__}", help="(llm-fusebox:VERSION)")
    parser.add_argument("--print", action="store_true", help="print the command, and build nothing")
    chosen = parser.parse_args()
    if chosen.print:
        print(shlex.join(command(chosen.engine or ENGINES[0], chosen.tag, os.environ)))
        return
    program, why = engine((chosen.engine,) if chosen.engine else ENGINES)
    if program is None and chosen.engine:
        raise SystemExit("; ".join(why))
    if program is None:
        stand_in(why)
        return
    raise SystemExit(subprocess.run(command(program, chosen.tag, os.environ), check=False).returncode)


if __name__ == "__main__":
    main()
