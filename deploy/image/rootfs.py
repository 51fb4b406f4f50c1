"""The image's root filesystem without Docker: this machine's Python stands in for the base, the rest is as in the image.

    python -m deploy.image.rootfs --into build/rootfs

The interpreter, its standard library and the shared libraries they need are copied to where the base image has them
(``/usr/local``), the environment is assembled by the code that the Dockerfile runs. There is no shell, no pip and no other
program in it. What this cannot tell is how large the base is, and what else it brings.
"""

from __future__ import annotations

import argparse
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from deploy.image import environment

HOME = "/usr/local"
PLACE = "/opt/fusebox"
DIRECTORIES = ("dev", "etc/fusebox", "proc", "tmp", "var/run/fusebox/keys", "var/run/fusebox/tls")
"""What is mounted over, in pods and in the tests: on a read-only filesystem the places must be there."""

UNUSED = (
    "__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3",
    "ensurepip", "config-*", "_tkinter*", "_sqlite3*", "_test*", "_dbm*", "_gdbm*", "_curses*", "readline*",
)  # fmt: skip
"""Of the standard library: what the slim base lacks or Fusebox does not load."""


def assemble(into: Path) -> dict[str, int]:
    """Fill `into`, which must not be there yet. The environment's sizes, as `environment.assemble` has them."""
    home = into / HOME.lstrip("/")
    (home / "bin").mkdir(parents=True)
    for name in DIRECTORIES:
        (into / name).mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), home / "bin" / environment.VERSION)
    library = home / "lib" / environment.VERSION
    shutil.copytree(
        sysconfig.get_path("stdlib"),
        library,
        ignore=shutil.ignore_patterns(*UNUSED),
        ignore_dangling_symlinks=True,
    )
    (into / PLACE.lstrip("/")).parent.mkdir(parents=True)
    found = environment.assemble(into / PLACE.lstrip("/"), PLACE, HOME)
    compiled = [sys.executable, "-m", "compileall", "-s", str(into), "-p", "/", *environment.STDLIB, str(library)]
    subprocess.run(compiled, check=True)
    _share(into, [home / "bin" / environment.VERSION, *into.rglob("*.so"), *into.rglob("*.so.*")])
    _trust(into)
    return found


def _share(into: Path, objects: Iterable[Path]) -> None:
    """Copy the shared libraries that `objects` need; those from unusual places to where the loader looks."""
    needed: set[Path] = set()
    for path in objects:
        # Its search paths are those of the machine where it was built, so the answer is this machine's.
        said = subprocess.run(["ldd", str(path)], capture_output=True, text=True).stdout
        needed |= {Path(found) for found in re.findall(r"(/\S+) \(0x", said)}
    needed |= {Path(found) for found in _libraries(Path(sys.executable).resolve())}
    loader_looks = next(path.parent for path in needed if path.name.startswith("libc.so"))
    for path in needed:
        inside = path if str(path).startswith(("/lib", "/usr/lib")) else loader_looks / path.name
        place = into / str(inside).lstrip("/")
        if not place.exists() and not str(path).startswith(str(into)):
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path.resolve(), place)


def _libraries(interpreter: Path) -> list[str]:
    """What the interpreter itself loads, seen from its own place: its search path may be relative to that."""
    said = subprocess.run(["ldd", str(interpreter)], capture_output=True, text=True).stdout
    return re.findall(r"(/\S+) \(0x", said)


def _trust(into: Path) -> None:
    """The system's CA certificates, as the package ca-certificates of the base has them, where OpenSSL looks."""
    paths = ssl.get_default_verify_paths()
    for wanted in (paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt"):
        place = into / wanted.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        source = Path(wanted) if Path(wanted).exists() else Path("/etc/ssl/certs/ca-certificates.crt")
        if source.exists():
            shutil.copy(source.resolve(), place)


def main() -> None:
    """Assemble and print the environment's size."""
    parser = argparse.ArgumentParser(description="Assemble the image's root filesystem without Docker.")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="the folder; it must not exist")
    found = assemble(parser.parse_args().into.absolute())
    print(f"environment: {found['total'] / environment.MB:.1f} MB")


if __name__ == "__main__":
    main()
