"""``fusebox replay``: what a policy would have done with the requests of a log."""

from __future__ import annotations

import argparse
import gzip
import io
import sys
import zlib
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from proxy.commands.parts import BAD_CONFIG, FINE, PROBLEMS, Commands, as_served
from proxy.commands.teaching import Teaching
from proxy.config.problems import BadValue, ConfigError
from proxy.config.schema import Config
from proxy.config.store import load
from proxy.config.units import Moment
from proxy.policy.compiled import compile_policy
from proxy.policy.replay import replay
from proxy.policy.replay_log import Tally, read_log
from proxy.policy.replay_text import as_text

LINE_MAX = 1024 * 1024
"""Bytes of one line. Fusebox's are far shorter; a file without line ends must not fill memory."""

_GZIP = b"\x1f\x8b"


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "replay",
        help="decide the requests of a log again, by another policy",
        description="Read Fusebox's log and say what another policy would have done with its requests: where they would"
        " go, what they would cost, which would have no route. Sends nothing.",
        epilog="examples:\n"
        "  fusebox replay --policy new.yaml fusebox.log\n"
        "  fusebox replay --policy new.yaml --from old.yaml --output json *.log.gz",
        formatter_class=Teaching,
    )
    parser.add_argument(
        "log", nargs="+", metavar="LOG", help="a file of log lines, plain or gzip; - for standard input"
    )
    parser.add_argument("--policy", type=Path, required=True, metavar="FILE", help="the configuration to try")
    parser.add_argument(
        "--from", dest="old", type=Path, metavar="FILE", help="the one that was in force; its prices hold for what was"
    )
    parser.add_argument("--output", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--since", type=_moment, metavar="TIME", help="only requests from then on (RFC 3339)")
    parser.add_argument("--until", type=_moment, metavar="TIME", help="only requests before then (RFC 3339)")
    parser.set_defaults(run=run)


def run(chosen: Namespace) -> int:
    """0 when requests were decided again, 1 when there was none or a file cannot be read, 64 for a bad policy."""
    loaded: list[Config] = []
    for path in (chosen.policy, chosen.old):
        try:
            if path is not None:
                loaded.append(as_served(load(path)))
        except ConfigError as error:
            print(error, file=sys.stderr)
            return BAD_CONFIG
    new = loaded[0]
    old = loaded[1] if len(loaded) > 1 else None
    tally = Tally()
    try:
        report = replay(
            read_log(_lines(chosen.log), tally),
            compile_policy(new),
            None if old is None else compile_policy(old),
            same_classes=old is None or old.complexity == new.complexity,
            since_s=chosen.since,
            until_s=chosen.until,
        )
    except (OSError, EOFError, zlib.error) as error:
        name = getattr(error, "filename", None)
        said = getattr(error, "strerror", None) or error
        print(f"fusebox: the log cannot be read{f' ({name})' if name else ''}: {said}", file=sys.stderr)
        return PROBLEMS
    if chosen.output == "json":
        answer = {"log": tally, "ratio": report.costs.ratio, **msgspec.to_builtins(report)}
        print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    else:
        print(as_text(report, tally, old_given=old is not None), end="")
    if not report.replayed:
        print("fusebox: no request in the log that a route decided", file=sys.stderr)
        return PROBLEMS
    return FINE


def _moment(text: str) -> float:
    try:
        return Moment.parse(text)
    except BadValue as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _lines(names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Each line with its place, ``file:line``. Raises OSError, EOFError and zlib.error for a file that cannot be read."""
    for name in names:
        with ExitStack() as opened:
            raw = sys.stdin.buffer if name == "-" else opened.enter_context(Path(name).open("rb"))
            yield from _numbered("stdin" if name == "-" else name, _plain(cast(io.BufferedReader, raw)))


def _plain(raw: io.BufferedReader) -> BinaryIO:
    """What stands in a file, decompressed if its first bytes say gzip."""
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if raw.peek(2)[:2] == _GZIP else raw


def _numbered(name: str, file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    number = 0
    while line := file.readline(LINE_MAX):
        number += 1
        if len(line) == LINE_MAX and not line.endswith(b"\n"):
            while (rest := file.readline(LINE_MAX)) and not rest.endswith(b"\n"):
                pass
            # Cut, so it will be counted as broken.
            line = line[:80]
        yield f"{name}:{number}", line
