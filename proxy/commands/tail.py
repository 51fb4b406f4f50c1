"""``fusebox tail``: a log for eyes, while it grows."""

from __future__ import annotations

import io
import os
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import cast

from proxy.commands.parts import FINE, PROBLEMS, Commands
from proxy.commands.teaching import Teaching
from proxy.dev.console import Renderer, wants_colour
from proxy.dev.follow import BLOCK, Lines, follow, last_lines

LOOK_EVERY_S = 0.2
"""How often a file is looked at for new lines; Fusebox writes them ten times a second."""

INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as shells give it."""


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "tail",
        help="show a log in the terminal, a line for each request, while it grows",
        description="Show Fusebox's log, which is JSON, as text: the last lines of a file, then each new one, through"
        " rotation too; or whatever comes through standard input. Ctrl-C ends it.",
        epilog="examples:\n"
        "  fusebox tail fusebox.log\n"
        "  fusebox tail --lines 100 --no-follow fusebox.log\n"
        "  kubectl logs -f POD -c fusebox | fusebox tail -",
        formatter_class=Teaching,
    )
    parser.add_argument("log", metavar="LOG", help="the file of log lines; - for standard input")
    parser.add_argument(
        "-n", "--lines", type=_count, default=10, metavar="N", help="of the file's end, to begin with (10)"
    )
    parser.add_argument("--no-follow", action="store_true", help="end where the file ends")
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


def run(chosen: Namespace, parser: ArgumentParser) -> int:
    """0 at the end of the input, 130 after Ctrl-C, 1 when the file cannot be read."""
    if chosen.log != "-" and Path(chosen.log).is_dir():
        parser.error(f"{chosen.log} is a folder: name a file in it")
    renderer = Renderer(colour=wants_colour(sys.stdout.isatty(), os.environ))
    out = sys.stdout.buffer
    try:
        for line in _lines(chosen):
            out.write(renderer.text(line).encode("utf-8", "replace") + b"\n")
            out.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read this has left. Python would say so again when it flushes stdout at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except OSError as error:
        print(f"fusebox: {chosen.log} cannot be read: {error.strerror}", file=sys.stderr)
        return PROBLEMS
    return FINE


def _lines(chosen: Namespace) -> Iterable[bytes]:
    if chosen.log == "-":
        return _from_stdin()
    path = Path(chosen.log)
    return (
        _once(path, chosen.lines) if chosen.no_follow else follow(path, chosen.lines, lambda: time.sleep(LOOK_EVERY_S))
    )


def _from_stdin() -> Iterator[bytes]:
    """Lines as they come: `read1` gives what is there, where `read` would wait for a whole block."""
    lines = Lines()
    stdin = cast(io.BufferedReader, sys.stdin.buffer)
    while block := stdin.read1(BLOCK):
        yield from lines.take(block)
    yield from lines.rest()


def _once(path: Path, count: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        last = list(last_lines(file, count))
        yield from chain(last, file.read().splitlines())


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)
