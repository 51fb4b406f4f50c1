"""``fusebox completion``: a script by which a shell completes this command line."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from proxy.commands.parts import FINE, Commands
from proxy.commands.teaching import Teaching
from proxy.dev.completion import SCRIPTS


def add(commands: Commands, whole: ArgumentParser) -> None:
    """Declare the command. `whole`: the parser of the command line, which the script is made from when it is asked for."""
    parser = commands.add_parser(
        "completion",
        help="print the script by which a shell completes fusebox",
        description="Print a script by which a shell completes commands, options and their values.",
        epilog="examples:\n"
        '  eval "$(fusebox completion bash)"              in ~/.bashrc to keep it\n'
        '  eval "$(fusebox completion zsh)"               in ~/.zshrc, after compinit\n'
        "  fusebox completion fish | source               in ~/.config/fish/config.fish",
        formatter_class=Teaching,
    )
    parser.add_argument("shell", choices=tuple(SCRIPTS), help="bash, zsh or fish")
    parser.set_defaults(run=lambda chosen: run(chosen, whole))


def run(chosen: Namespace, whole: ArgumentParser) -> int:
    """Always 0."""
    sys.stdout.write(SCRIPTS[chosen.shell](whole))
    return FINE
