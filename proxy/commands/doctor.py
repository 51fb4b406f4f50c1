"""``fusebox doctor``: what may keep the proxy from working on this machine."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.commands.dev import ADMIN_PORT, PORT, SOURCE
from proxy.commands.parts import BAD_CONFIG, FINE, PROBLEMS, Commands
from proxy.commands.teaching import Teaching
from proxy.config.parse import parse_document
from proxy.config.problems import ConfigError
from proxy.config.schema import Config
from proxy.config.store import load
from proxy.dev.findings import look
from proxy.dev.policy import policy_text

if TYPE_CHECKING:
    from proxy.dev.doctor import Finding


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "doctor",
        help="look for what may keep the proxy from working here",
        description="Look at ports, proxy variables, keys, open files, and at each provider's name, TLS and clock (within"
        " 3 s, without a key). Each problem comes with its fix. Exit code 1: there are problems.",
        epilog="examples:\n"
        "  fusebox doctor                                 what fusebox dev would use\n"
        "  fusebox doctor --config fusebox.yaml",
        formatter_class=Teaching,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="look at what this file names")
    parser.set_defaults(run=run)


def run(chosen: Namespace) -> int:
    """0 when nothing is wrong, 1 when something is, 64 for a bad file."""
    # Imported here: it brings TLS with it.
    from proxy.dev.doctor import examine

    unused: list[Finding] = []
    try:
        if chosen.config is not None:
            config = load(chosen.config)
        else:
            config, unused = _found()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    findings = [*unused, *examine(config, os.environ, _descriptors())]
    for finding in findings:
        print(finding)
    problems = sum(finding.state == "problem" for finding in findings)
    checked = " in what could be checked" if any(finding.state == "unknown" for finding in findings) else ""
    print(f"\n{problems or 'No'} problem{'' if problems == 1 else 's'}{checked}.")
    return PROBLEMS if problems else FINE


def _found() -> tuple[Config, list[Finding]]:
    """What `fusebox dev` would serve, and the keys that it would leave out."""
    from proxy.dev.doctor import Finding

    findings = look(os.environ, (PORT, ADMIN_PORT))
    config = parse_document(policy_text(findings.providers, PORT, ADMIN_PORT), source=SOURCE).config
    unused = [Finding("key", "problem", what, fix) for what, fix in findings.unused]
    if not findings.providers:
        unused.append(Finding("key", "fine", "none in the environment: fusebox dev answers with its demo provider"))
    return config, unused


def _descriptors() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard
