"""The image's root filesystem as ``deploy/image`` assembles it, made once for each state of the sources."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

from deploy.image import sandbox

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "image"
SOURCES = ("requirements.lock", "requirements-dev.lock", "pyproject.toml", "README.md", "LICENSE")


@cache
def rootfs() -> Path:
    """Its folder. The first time it takes a quarter of a minute, most of it pip's."""
    files = [ROOT / name for name in SOURCES]
    for folder in ("proxy", "deploy/image"):
        files += sorted(path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc")
    whole = hashlib.sha256(sys.version.encode())
    for path in files:
        whole.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    place = KEPT / whole.hexdigest()[:16]
    if not place.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        before = list(KEPT.iterdir())
        with tempfile.TemporaryDirectory(dir=KEPT) as work:
            made = Path(work, "rootfs")
            command = [sys.executable, "-m", "deploy.image.rootfs", f"--into={made}"]
            ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stderr
            made.rename(place)
        for path in before:  # of states that are gone
            shutil.rmtree(path, ignore_errors=True)
    return place


def need_sandbox() -> None:
    """Skip the test, with the reason, where no namespace for mounts can be had."""
    if (why := sandbox.problem()) is not None:
        pytest.skip(why)
