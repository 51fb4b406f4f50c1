"""The command ``fusebox``: arguments in, exit code out. 0 fine, 1 a problem, 2 wrong usage, 64 bad configuration."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from proxy import __version__
from proxy.commands import check, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="fusebox", description="A sidecar for LLM traffic: change one base URL, keep your SDK."
    )
    parser.add_argument("--version", action="version", version=f"fusebox {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (serve, check):
        command.add(commands)
    chosen = parser.parse_args(arguments)
    code: int = chosen.run(chosen)
    return code
