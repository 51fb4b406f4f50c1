"""The command ``fusebox``: arguments in, exit code out. 0 fine, 1 a problem, 2 wrong usage, 64 bad configuration."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from proxy import __version__

COMMANDS = ("serve", "check", "explain", "replay", "schema", "dev", "run", "env", "tail", "fault", "doctor", "k8s")
"""Each is a module of ``proxy/commands``, in the order in which help lists them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    _open_standard_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given:  # who asks for nothing does not know yet what there is
        parser().print_help(sys.stderr)
        return 2
    chosen = parser(given[0]).parse_args(given)
    code: int = chosen.run(chosen)
    return code


def _open_standard_streams() -> None:
    """Lead those that the caller closed (``<&-``) to nowhere. Python leaves None in their place; and the next file or socket that
    is opened would take their number, to be read or written as if it were them.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line. With the name of a command only that one is loaded: nobody pays for the others."""
    top = argparse.ArgumentParser(
        prog="fusebox", description="A sidecar for LLM traffic: change one base URL, keep your SDK."
    )
    top.add_argument("--version", action="version", version=f"fusebox {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in (wanted,) if wanted in COMMANDS else COMMANDS:
        import_module(f"proxy.commands.{name}").add(commands)
    if wanted not in COMMANDS:
        import_module("proxy.commands.completion").add(commands, top)
    return top
