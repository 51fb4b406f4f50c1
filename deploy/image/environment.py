"""Put into a folder what the image adds to its base: the locked dependencies, Fusebox itself, bytecode and a list of it all.

    python -m deploy.image.environment --into /opt/fusebox

The Dockerfile runs this in its first stage, and copies the folder into its second; `rootfs.py` runs it without Docker, so
that what the tests measure and start is what the image holds. It needs pip and nothing else, and must run on the very
interpreter that the image has. The steps:

1. A virtual environment without pip: a folder of packages and links to the base's interpreter.
2. The packages of ``requirements-image.lock``, from wheels alone, each checked against its hash: what Fusebox needs, and
   its extra ``otel``, since a policy may ask for traces.
3. Fusebox: a wheel built with the locked setuptools, from a copy of the sources.
4. Trimming: see `TRIMMED`.
5. Bytecode beside every module, with the image's paths in it, trusted without a look at the source: the file system is
   read-only, and nothing can be compiled later.
6. ``sbom.cdx.json``.
7. The size, which must not exceed the bound.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from py_compile import PycInvalidationMode

from deploy.image import sbom

ROOT = Path(__file__).parents[2]
MB = 1_000_000
SIZE_MAX_MB = 60
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
LOCK = "requirements-image.lock"
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "proxy")

TRIMMED = (
    "*.pyx", "*.pxd", "*.pxi", "*.pyi", "*.c", "*.h", "*.hash", "*.proto",  # sources of what comes compiled, or generated
    "tests", "test", "testing",  # tests of the packages, and uvloop's
    "bin", "__pycache__",  # scripts of the packages; bytecode with the paths of this machine
)  # fmt: skip
"""Names of files and folders that nothing loads at run time. ``py.typed`` and the ``dist-info`` folders stay: licences and
versions stand there, and scanners read them."""

STDLIB = ("-q", "--invalidation-mode", "unchecked-hash", "-x", "/(test|idlelib|lib2to3|site-packages|dist-packages)/")
"""Options of compileall for the standard library: the official images of Python come without its bytecode, and nothing
could be written at run time. Without it a start takes half a second longer."""

SCRIPT = """\
#!{place}/bin/python
import sys

from proxy.cli import main

sys.exit(main())
"""


def assemble(into: Path, place: str = "", home: str = "/usr/local", source: Path = ROOT) -> dict[str, int]:
    """Fill `into`, which must not be there yet; its sizes in bytes by part, with their ``total``.

    `place`: where the folder will stand when it is used, when that is not `into`; `home`: the prefix of the image's
    interpreter. Raises CalledProcessError when pip fails, a wrong hash included.
    """
    place = place or str(into)
    packages = into / "lib" / VERSION / "site-packages"
    packages.mkdir(parents=True)
    _environment(into, home)
    with tempfile.TemporaryDirectory() as work:
        report = Path(work, "report.json")
        locked = ["--require-hashes", "--only-binary=:all:", f"--report={report}"]
        _pip("install", *locked, f"--target={packages}", "-r", str(source / LOCK))
        installed = json.loads(report.read_text())
        wheel = _wheel(source, Path(work))
        shutil.rmtree(packages / "bin", ignore_errors=True)  # pip would warn of it
        _pip("install", "--no-deps", "--no-index", f"--target={packages}", str(wheel))
    trim(packages)
    script = into / "bin" / "fusebox"
    script.write_text(SCRIPT.format(place=place))
    script.chmod(0o755)
    compiled = compileall.compile_dir(
        packages,
        quiet=1,
        stripdir=str(into),
        prependdir=place,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        workers=1,
    )
    if not compiled:
        raise SystemExit(f"{packages} holds a module that does not compile")
    lock = sbom.locked((source / LOCK).read_text())
    (into / "sbom.cdx.json").write_text(sbom.document(packages, installed, lock))
    return sizes(into)


def sizes(into: Path) -> dict[str, int]:
    """Bytes of the files in `into`, by package, the largest first; ``total`` is the last."""
    parts: dict[str, int] = {}
    for path in into.rglob("*"):
        if path.is_file() and not path.is_symlink():
            way = path.relative_to(into).parts
            name = way[3] if way[0] == "lib" and len(way) > 3 else way[0]
            parts[name] = parts.get(name, 0) + path.stat().st_size
    total = sum(parts.values())
    return {**dict(sorted(parts.items(), key=lambda one: -one[1])), "total": total}


def trim(packages: Path) -> int:
    """Remove what `TRIMMED` names; the bytes that were won."""
    won = 0
    for pattern in TRIMMED:
        for path in sorted(packages.rglob(pattern)):
            if path.is_dir():
                won += sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
                shutil.rmtree(path)
            elif path.is_file():
                won += path.stat().st_size
                path.unlink()
    return won


def _environment(into: Path, home: str) -> None:
    """What makes `into` a virtual environment of the interpreter at `home`."""
    (into / "bin").mkdir()
    for name in ("python", "python3", VERSION):
        (into / "bin" / name).symlink_to(f"{home}/bin/{VERSION}")
    version = ".".join(map(str, sys.version_info[:3]))
    (into / "pyvenv.cfg").write_text(f"home = {home}/bin\ninclude-system-site-packages = false\nversion = {version}\n")


def _wheel(source: Path, work: Path) -> Path:
    """Fusebox as a wheel. Built from a copy, because a build leaves folders beside the sources."""
    copy, tools, built = work / "source", work / "tools", work / "wheel"
    copy.mkdir()
    for name in SOURCES:
        if (source / name).is_dir():
            shutil.copytree(source / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source / name, copy)
    lock = work / "build.lock"
    lock.write_text(_entries((source / "requirements-dev.lock").read_text(), ("setuptools", "wheel", "packaging")))
    _pip("install", "--require-hashes", "--no-deps", "--only-binary=:all:", f"--target={tools}", "-r", str(lock))
    environment = {**os.environ, "PYTHONPATH": str(tools)}
    _pip("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={built}", str(copy), environment=environment)
    (wheel,) = built.glob("llm_fusebox-*.whl")
    return wheel


def _entries(lock: str, names: tuple[str, ...]) -> str:
    """The entries of some packages in the text of a lock file, with their hashes."""
    blocks = re.findall(r"^[A-Za-z0-9][^\n]*(?:\n    [^\n]*)*", lock, re.MULTILINE)
    return "\n".join(block for block in blocks if block.partition("==")[0] in names) + "\n"


def _pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    if arguments[0] == "install":
        command.append("--no-compile")
    subprocess.run(command, check=True, env=environment)


def main() -> None:
    """Assemble, print the sizes, and end with 1 when the whole is too large."""
    parser = argparse.ArgumentParser(description="Put into a folder what the image adds to its base.")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="the folder; it must not exist")
    parser.add_argument("--max-mb", type=float, default=SIZE_MAX_MB, help=f"largest size allowed ({SIZE_MAX_MB})")
    chosen = parser.parse_args()
    found = assemble(chosen.into, home=sys.base_prefix)
    for name, size in found.items():
        if size > MB / 4:
            print(f"{size / MB:6.1f} MB  {name}")
    if found["total"] > chosen.max_mb * MB:
        raise SystemExit(f"the environment has {found['total'] / MB:.1f} MB, where {chosen.max_mb:g} are allowed")


if __name__ == "__main__":
    main()
