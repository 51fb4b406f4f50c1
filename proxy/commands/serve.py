"""``fusebox serve``: the proxy itself."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast, get_args

from proxy.commands.parts import BAD_CONFIG, PROBLEMS, Commands
from proxy.commands.teaching import Teaching
from proxy.config.overrides import LogLevel, Overrides
from proxy.config.problems import BadValue, ConfigError
from proxy.config.schema import Config
from proxy.config.store import load_document
from proxy.config.units import Listen, Seconds

Value = TypeVar("Value")

LOOK_MIN_S = 0.01
"""The shortest time between two looks at the file: they take 0.2 ms."""


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "serve",
        help="run the proxy with a configuration file",
        description="Run the proxy. SIGTERM or Ctrl-C lets running answers finish; a second one stops at once. A changed"
        " file is taken up while it runs, if it is good.",
        epilog="examples:\n"
        "  fusebox serve --config config.yaml\n"
        "  fusebox serve --config config.yaml --watch off     taken up anew only at SIGHUP and /api/reload",
        formatter_class=Teaching,
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the YAML file; see config.yaml for all it may hold"
    )
    parser.add_argument(
        "--watch",
        type=_interval,
        default="1s",
        metavar="TIME",
        help="how often the file is looked at for changes (1s; off: only at SIGHUP and /api/reload)",
    )
    add_overrides(parser)
    parser.set_defaults(run=run)


def add_overrides(parser: ArgumentParser) -> None:
    """Declare the options that say where the process stands, for whoever starts it beside something else."""
    group = parser.add_argument_group("in place of what the file says, after a reload too")
    group.add_argument("--listen", type=_parsed(Listen.parse), metavar="HOST:PORT", help="the data port (`listen`)")
    group.add_argument("--admin", type=_parsed(Listen.parse), metavar="HOST:PORT", help="the admin port (`admin`)")
    group.add_argument(
        "--drain", type=_parsed(Seconds.parse), metavar="TIME", help="time for running answers (`drain`)"
    )
    group.add_argument("--log-level", choices=get_args(LogLevel), help="the least that is logged (`log.level`)")


def _parsed(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    def read(text: str) -> Value:
        try:
            return parse(text)
        except BadValue as error:
            raise ArgumentTypeError(str(error)) from None

    return read


def run(chosen: Namespace) -> int:
    """Serve until a signal ends it; 64 when the file is bad, 1 when an address is taken."""
    path: Path = chosen.config
    try:
        document = load_document(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    # Imported after the file was found to be good: a mistake in it is reported in a tenth of a second.
    from proxy.app import serve
    from proxy.serve.build import CannotStart

    document = document.with_overrides(Overrides(chosen.listen, chosen.admin, chosen.drain, chosen.log_level))
    stdout = sys.stdout.buffer
    try:
        return run_serving(serve(document, watch_every_s=chosen.watch, stdout=for_eyes(document.config, stdout)))
    except CannotStart as error:
        print(f"fusebox: {error}", file=sys.stderr)
        return BAD_CONFIG
    except OSError as error:
        print(f"fusebox: {_cannot_listen(error, document.config, path)}", file=sys.stderr)
        return PROBLEMS


def _cannot_listen(error: OSError, config: Config, path: Path) -> str:
    """Why an address cannot be had, who has it, and what to do."""
    from proxy.dev.ports import taken_of

    gone = taken_of(config) if error.errno == errno.EADDRINUSE else []
    if not gone:
        return f"{error.strerror or error}. Change `listen` or `admin` in {path}."
    keys = " and ".join(f"`{one.key}`" for one in gone)
    options = " ".join(f"--{one.key} HOST:PORT" for one in gone)
    return f"{' and '.join(map(str, gone))}. End that, or change {keys} in {path}, or write {options}."


def for_eyes(config: Config, stdout: BinaryIO) -> BinaryIO:
    """Where log lines go: `stdout` itself, or what makes text of them, as ``log.format`` has it."""
    wanted = config.log.format
    terminal = stdout.isatty()
    if wanted == "json" or (wanted == "auto" and not terminal):
        return stdout
    from proxy.dev.console import Console, Renderer, wants_colour

    # Of a file, the log needs `write` and `flush`.
    return cast(BinaryIO, Console(stdout, Renderer(colour=wants_colour(terminal, os.environ))))


def _interval(text: str) -> float | None:
    """Seconds, or None for ``off``. Raises ArgumentTypeError."""
    if text == "off":
        return None
    try:
        every_s = Seconds.parse(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    if every_s < LOOK_MIN_S:
        raise ArgumentTypeError(f"{text} is too often: write {LOOK_MIN_S * 1000:g}ms or more, or off")
    return every_s


def run_serving(serving: Coroutine[Any, Any, int]) -> int:
    """Run `serving` to its end, on the fastest event loop there is."""
    try:
        import uvloop
    except ImportError:  # no uvloop for this platform: asyncio's own loop is slower, not different
        loop_factory = asyncio.new_event_loop
    else:
        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(serving)
