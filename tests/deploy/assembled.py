"""The image's root filesystem as ``deploy/image`` assembles it, made once for each state of the sources."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import pytest

from deploy.image import sandbox

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "image"

UNUSED_S = 900
"""Of other states of the sources, those that no test has used for so long are removed; each has a hundred megabytes."""

SOURCES = ("Dockerfile", "requirements-image.lock", "requirements-dev.lock", "pyproject.toml", "README.md", "LICENSE")


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
            context = _context(Path(work, "context"))
            command = [sys.executable, "-m", "deploy.image.rootfs", f"--into={made}"]
            ran = subprocess.run(command, cwd=context, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, ran.stderr
            made.rename(place)
        for path in before:
            if path.exists() and time.time() - path.stat().st_mtime > UNUSED_S:
                shutil.rmtree(path, ignore_errors=True)
    os.utime(place)
    return place


def _context(folder: Path) -> Path:
    """What the Dockerfile's first stage has: the files that it copies, and nothing else; with them the stand-in for the base."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for line in (*lines, "deploy/image/rootfs.py deploy/image/"):
        *sources, place = line.split()
        for name in sources:
            source, target = ROOT / name, folder / place
            target.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                shutil.copy(source, target)
    return folder


def need_sandbox() -> None:
    """Skip the test, with the reason, where no namespace for mounts can be had."""
    if (why := sandbox.problem()) is not None:
        pytest.skip(why)
