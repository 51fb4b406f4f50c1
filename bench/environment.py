"""What the figures depend on besides the subjects: the machine and the versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.processes import BenchError
from bench.subjects import SUBJECTS, Subject
from bench.upstream import find_nginx

PACKAGES = ("aiohttp", "uvloop", "httptools")


def describe(subjects: tuple[Subject, ...] = SUBJECTS) -> dict[str, str]:
    """Facts by name, in the order in which the report lists them. Reads local files and commands only."""
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_field(Path('/proc/cpuinfo'), 'model name')}, {os.cpu_count()} cores",
        "memory": f"{int(_field(Path('/proc/meminfo'), 'MemTotal').split()[0]) // 1024} MiB",
        "kernel": platform.release(),
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
        "Python": f"{platform.python_version()}, built {' '.join(platform.python_build()[1].split())}",
    }
    facts |= {name: _package(name) for name in PACKAGES}
    try:
        facts["nginx"] = _first_line([find_nginx(), "-v"], r"nginx/(\S+)")
    except BenchError:
        facts["nginx"] = "absent"
    if any(subject.name == "haproxy" for subject in subjects):
        facts["HAProxy"] = _first_line(["/usr/sbin/haproxy", "-v"], r"version (\S+)")
    facts["wrk"] = _first_line(["wrk", "-v"], r"wrk (\S+)")
    return facts


def _field(path: Path, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.+)$", path.read_text(), re.MULTILINE)
    return found[1].strip() if found else "0 (unknown)"


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _first_line(command: list[str], pattern: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return "absent"
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"
