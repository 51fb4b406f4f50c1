"""Run a program in the assembled root filesystem as a container would be: read-only, a numeric user, no capabilities.

    python -m deploy.image.sandbox build/rootfs --mount policy:/etc/fusebox -- serve --config=/etc/fusebox/config.yaml

It stands in for ``docker run --read-only --user 65532:65532 --cap-drop ALL --security-opt no-new-privileges --network
host``, with nothing but ``unshare`` and ``mount`` of util-linux. For root it takes a mount namespace and really becomes
that user; for others it takes a user namespace, where that is allowed. No process stands between: signals reach the
program itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

USER = 65532
ENTRYPOINT = "/opt/fusebox/bin/fusebox"
ENVIRONMENT = {
    "PATH": "/opt/fusebox/bin:/usr/local/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
"""As in the Dockerfile; a test compares them."""

DEVICES = ("null", "zero", "full", "random", "urandom")

SET_UP = """\
set -e
root=$1; shift
mount --bind "$root" "$root"
for device in {devices}; do mount --bind "/dev/$device" "$root/dev/$device"; done
mount --rbind /proc "$root/proc"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; mount -o remount,bind,ro,nosuid,nodev "$root$2"; shift 2; done
shift
mount -o remount,bind,ro,nosuid,nodev "$root"
exec {become} "$@"
"""
"""A script for the host's shell; the image has none, and needs none."""


def command(
    root: Path, arguments: Sequence[str], mounts: Mapping[str, Path], entrypoint: str = ENTRYPOINT
) -> list[str]:
    """What to run; `mounts`: path in the image → folder of this machine, mounted read-only.

    Devices need a place to be bound to, so empty files are made in ``dev``.
    """
    for name in DEVICES:
        (root / "dev" / name).touch()
    if os.geteuid() == 0:
        # The environment is the image's, whose PATH need not lead to chroot.
        become = f'setpriv --no-new-privs {shutil.which("chroot")} --userspec={USER}:{USER} --groups={USER} "$root"'
        unshare = ["unshare", "--mount"]
    else:
        become = f'setpriv --no-new-privs unshare --user --map-user={USER} --map-group={USER} --root="$root" --wd=/'
        unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    script = SET_UP.format(devices=" ".join(DEVICES), become=become)
    pairs = [text for place, folder in mounts.items() for text in (str(folder.absolute()), place)]
    return [*unshare, "sh", "-c", script, "sh", str(root.absolute()), *pairs, "--", entrypoint, *arguments]


def problem() -> str | None:
    """Why this machine cannot do it, or None."""
    for name in ("unshare", "setpriv", "chroot", "mount"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    flags = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    tried = subprocess.run(
        ["unshare", *flags, "sh", "-c", "mount --bind /usr /usr && mount -o remount,bind,ro,nosuid,nodev /usr"],
        capture_output=True,
        text=True,
    )
    return None if tried.returncode == 0 else f"no namespaces for mounts here: {tried.stderr.strip()}"


def main() -> None:
    """Become the program."""
    parser = argparse.ArgumentParser(description="Run Fusebox in the assembled root filesystem, as a container would.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--mount", action="append", default=[], metavar="FOLDER:PLACE", help="read-only; repeatable")
    parser.add_argument("arguments", nargs="+", help="for fusebox, after --")
    chosen = parser.parse_args()
    if (why := problem()) is not None:
        raise SystemExit(why)
    mounts = {place: Path(folder) for folder, _, place in (one.partition(":") for one in chosen.mount)}
    asked = command(chosen.root, chosen.arguments, mounts)
    os.execvpe(asked[0], asked, ENVIRONMENT)


if __name__ == "__main__":
    main()
