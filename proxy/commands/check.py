"""``fusebox check``: everything that is wrong with a configuration file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from proxy.commands.parts import Commands
from proxy.config.problems import ConfigError
from proxy.config.store import load


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "check",
        help="say everything that is wrong with a configuration file",
        description="Read a configuration file and list every problem with its line and column. Starts nothing.",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the YAML file")
    parser.set_defaults(run=run)


def run(chosen: Namespace) -> int:
    """0 when the file is fine, 1 when it is not."""
    path: Path = chosen.config
    try:
        config = load(path)
    except ConfigError as error:
        print(error)
        return 1
    print(f"{path}: fine. {len(config.providers)} providers, {len(config.routes)} routes.")
    return 0
