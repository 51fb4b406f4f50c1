"""``fusebox serve``: the proxy itself."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from proxy.commands.parts import BAD_CONFIG, PROBLEMS, Commands
from proxy.config.problems import ConfigError
from proxy.config.store import load


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "serve",
        help="run the proxy with a configuration file",
        description="Run the proxy. SIGTERM or Ctrl-C lets running answers finish; a second one stops at once.",
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the YAML file; see config.yaml for all it may hold"
    )
    parser.set_defaults(run=run)


def run(chosen: Namespace) -> int:
    """Serve until a signal ends it; 64 when the file is bad, 1 when an address is taken."""
    path: Path = chosen.config
    try:
        config = load(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    # Imported after the file was found to be good: a mistake in it is reported in a tenth of a second.
    from proxy.app import CannotStart, serve

    try:
        return _run(serve(config))
    except CannotStart as error:
        print(f"fusebox: {error}", file=sys.stderr)
        return BAD_CONFIG
    except OSError as error:
        print(
            f"fusebox: {error.strerror or error}. Is another process there? Change `listen` or `admin` in {path}.",
            file=sys.stderr,
        )
        return PROBLEMS


def _run(serving: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop
    except ImportError:  # no uvloop for this platform: asyncio's own loop is slower, not different
        loop_factory = asyncio.new_event_loop
    else:
        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(serving)
