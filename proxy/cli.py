"""The command ``fusebox``: arguments in, exit code out. 0 fine, 1 a problem, 2 wrong usage, 64 bad configuration."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from proxy import __version__
from proxy.config.problems import ConfigError
from proxy.config.store import load

EX_CONFIG = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="fusebox", description="A sidecar for LLM traffic: change one base URL, keep your SDK."
    )
    parser.add_argument("--version", action="version", version=f"fusebox {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve_command = commands.add_parser(
        "serve",
        help="run the proxy with a configuration file",
        description="Run the proxy. SIGTERM or Ctrl-C lets running answers finish; a second one stops at once.",
    )
    serve_command.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the YAML file; see config.yaml for all it may hold"
    )
    check_command = commands.add_parser(
        "check",
        help="say everything that is wrong with a configuration file",
        description="Read a configuration file and list every problem with its line and column. Starts nothing.",
    )
    check_command.add_argument("--config", type=Path, required=True, metavar="FILE", help="the YAML file")
    chosen = parser.parse_args(arguments)
    return _check(chosen.config) if chosen.command == "check" else _serve(chosen.config)


def _check(path: Path) -> int:
    try:
        config = load(path)
    except ConfigError as error:
        print(error)
        return 1
    print(f"{path}: fine. {len(config.providers)} providers, {len(config.routes)} routes.")
    return 0


def _serve(path: Path) -> int:
    try:
        config = load(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EX_CONFIG
    # Imported after the file was found to be good: a mistake in it is reported in a tenth of a second.
    from proxy.app import CannotStart, serve

    try:
        return _run(serve(config))
    except CannotStart as error:
        print(f"fusebox: {error}", file=sys.stderr)
        return EX_CONFIG
    except OSError as error:
        print(
            f"fusebox: {error.strerror or error}. Is another process there? Change `listen` or `admin` in {path}.",
            file=sys.stderr,
        )
        return 1


def _run(main_coroutine: asyncio.Future[int] | object) -> int:
    try:
        import uvloop
    except ImportError:  # no uvloop for this platform: asyncio's own loop is slower, not different
        loop_factory = asyncio.new_event_loop
    else:
        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main_coroutine)  # type: ignore[arg-type]
