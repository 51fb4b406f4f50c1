"""``fusebox schema``: the configuration's JSON Schema, for editors."""

from __future__ import annotations

import sys
from argparse import Namespace

from proxy.commands.parts import FINE, Commands
from proxy.commands.teaching import Teaching


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of configuration files",
        description="Print the JSON Schema of configuration files, by which an editor completes and checks them.",
        epilog="example:\n  fusebox schema > config.schema.json",
        formatter_class=Teaching,
    )
    parser.set_defaults(run=run)


def run(chosen: Namespace) -> int:
    """Always 0."""
    # Imported here: no other command needs it.
    from proxy.config import json_schema

    sys.stdout.write(json_schema.text())
    return FINE
