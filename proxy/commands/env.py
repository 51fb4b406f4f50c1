"""``fusebox env``: the variables that lead a program to the proxy."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from proxy.commands.dev import PORT, port
from proxy.commands.parts import FINE, Commands
from proxy.commands.teaching import Teaching
from proxy.dev.shell import SHELLS, variables, written


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "env",
        help="print the variables that lead SDKs to the proxy",
        description="Print OPENAI_BASE_URL and ANTHROPIC_BASE_URL for a shell; a placeholder for a key that is not set,"
        " because SDKs do not start without one; and NO_PROXY where a proxy of the network would take the requests.",
        epilog="examples:\n"
        '  eval "$(fusebox env)"                                      sh, bash, zsh\n'
        "  fusebox env --shell fish | source                          fish\n"
        "  fusebox env --shell powershell | Out-String | Invoke-Expression\n"
        "  fusebox env --shell dotenv > .env",
        formatter_class=Teaching,
    )
    parser.add_argument(
        "--shell", choices=SHELLS, default="sh", help="who is to read it (default: sh, also bash and zsh)"
    )
    parser.add_argument("--port", type=port, default=PORT, metavar="PORT", help=f"the proxy's (default: {PORT})")
    parser.set_defaults(run=run)


def run(chosen: Namespace) -> int:
    """Always 0."""
    sys.stdout.write(written(variables(chosen.port, os.environ), chosen.shell))
    return FINE
