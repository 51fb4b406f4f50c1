"""``fusebox tail``: requests for eyes, as they end: from a running Fusebox, or from its log while that grows."""

from __future__ import annotations

import io
import os
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, cast

from proxy.commands.parts import FINE, PROBLEMS, Commands
from proxy.commands.teaching import Teaching
from proxy.dev.admin import ADMIN, TOKEN, NotThere, address, ended
from proxy.dev.console import Renderer, wants_colour
from proxy.dev.follow import BLOCK, Lines, follow, last_lines

LOOK_EVERY_S = 0.2
"""How often a file is looked at for new lines; Fusebox writes them ten times a second."""

AGAIN_S = 1.0
"""How often it is asked for when it has gone."""

KEPT_MAX = 10**9
"""All that a running one has kept."""

INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as shells give it."""


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "tail",
        help="show requests in the terminal, a line for each, as they end",
        description="Show each request as a line of text when it has ended: those of a running Fusebox, by its admin port, or"
        " those in its log, which is JSON: the last lines of a file, then each new one, through rotation too; or whatever"
        f" comes through standard input. Ctrl-C ends it. Where the admin port asks for a token, {TOKEN} holds it.",
        epilog="examples:\n"
        "  fusebox tail                               what passes through `fusebox dev`\n"
        "  fusebox tail 127.0.0.1:4111                through another one, by its admin address\n"
        "  fusebox tail fusebox.log\n"
        "  fusebox tail --lines 100 --no-follow fusebox.log\n"
        "  kubectl logs -f POD -c fusebox | fusebox tail -",
        formatter_class=Teaching,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        default=ADMIN,
        help=f"the admin port's HOST:PORT ({ADMIN}), the file of log lines, or - for standard input",
    )
    parser.add_argument(
        "-n", "--lines", type=_count, default=10, metavar="N", help="of those before, to begin with (10)"
    )
    parser.add_argument(
        "--no-follow", action="store_true", help="end where the file ends, or after what a running one has kept"
    )
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


def run(chosen: Namespace, parser: ArgumentParser) -> int:
    """0 at the end of the input, 130 after Ctrl-C, 1 when the file cannot be read."""
    if chosen.source != "-" and Path(chosen.source).is_dir():
        parser.error(f"{chosen.source} is a folder: name a file in it")
    renderer = Renderer(colour=wants_colour(sys.stdout.isatty(), os.environ))
    out = sys.stdout.buffer
    admin = _admin(chosen.source)
    try:
        for text in map(renderer.text, _lines(chosen)) if admin is None else map(renderer.event, _live(admin, chosen)):
            out.write(text.encode("utf-8", "replace") + b"\n")
            out.flush()
    except NotThere as error:
        print(f"fusebox: {error}", file=sys.stderr)
        return PROBLEMS
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read this has left. Python would say so again when it flushes stdout at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except OSError as error:
        print(f"fusebox: {chosen.source} cannot be read: {error.strerror}", file=sys.stderr)
        return PROBLEMS
    return FINE


def _admin(source: str) -> str | None:
    """The address, if `source` is one; a file of that name goes first."""
    if source == "-" or Path(source).exists():
        return None
    try:
        return address(source)
    except ArgumentTypeError:
        return None


def _live(admin: str, chosen: Namespace) -> Iterator[dict[str, Any]]:
    """Requests as they end, through restarts too; the first time it must be there."""
    kept, there, last = chosen.lines, False, ""
    while True:
        try:
            for line in ended(admin, os.environ, kept, follow=not chosen.no_follow):
                there = True
                if line["time"] > last or kept != KEPT_MAX:
                    last = line["time"]
                    yield line
            if chosen.no_follow:
                return
            print(f"fusebox: {admin} has gone; waiting for it", file=sys.stderr)
            there = True
        except NotThere:
            if not there:
                raise
        time.sleep(AGAIN_S)
        kept = KEPT_MAX  # so that nothing is missed; what was shown already is known by its time


def _lines(chosen: Namespace) -> Iterable[bytes]:
    if chosen.source == "-":
        return _from_stdin()
    path = Path(chosen.source)
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
