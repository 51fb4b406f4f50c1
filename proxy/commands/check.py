"""``fusebox check``: everything that is wrong with configuration files."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from proxy.commands.parts import FINE, PROBLEMS, Commands
from proxy.commands.teaching import Teaching
from proxy.config.problems import ConfigError, in_order
from proxy.config.report import Checked, as_github, as_json, as_text
from proxy.config.store import load_document

_FORMATS = {"text": as_text, "json": as_json, "github": as_github}


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "check",
        help="say everything that is wrong with a configuration file",
        description="Read configuration files, with those they include and their candidate policies, and list every"
        " problem with line and column. Starts nothing, and sends nothing. Exit code 1: a file has errors.",
        epilog="examples:\n  fusebox check config.yaml\n  fusebox check --strict --format github *.yaml      in CI",
        formatter_class=Teaching,
    )
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="YAML files")
    parser.add_argument("--config", type=Path, action="append", default=[], metavar="FILE", help="the same")
    parser.add_argument(
        "--format", choices=_FORMATS, default="text", help="text; json, for programs; github, for annotations in CI"
    )
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


def run(chosen: Namespace, parser: ArgumentParser) -> int:
    """0 when every file may be used, 1 when one may not."""
    files: list[Path] = [*chosen.config, *chosen.files]
    if not files:
        parser.error("name a file to check, as in: fusebox check config.yaml")
    checked = [check_file(path, os.environ, time.time()) for path in dict.fromkeys(files)]
    shown = _FORMATS[chosen.format](checked, chosen.strict)
    if shown:
        print(shown)
    return FINE if all(one.passes(chosen.strict) for one in checked) else PROBLEMS


def check_file(path: Path, environment: Mapping[str, str], now_s: float) -> Checked:
    """All that is to be said of the configuration at `path`, as of `now_s`, in seconds since 1970."""
    # Imported here: it brings TLS with it, and `serve` of a good file, which shares these imports, needs none of this.
    from proxy.config.present import ended, missing

    try:
        document = load_document(path)
    except ConfigError as error:
        files = [str(path), *(problem.file for problem in error.problems), *map(str, error.files)]
        return Checked(tuple(dict.fromkeys(files)), error.problems)
    problems = [*document.warnings, *missing(document, environment), *ended(document, now_s)]
    candidate = document.candidate
    if isinstance(candidate, ConfigError):
        problems += candidate.problems
    elif candidate is not None:
        problems += [*candidate.warnings, *ended(candidate, now_s)]
    config = document.config
    good = f"{_counted(len(config.providers), 'provider')}, {_counted(len(config.routes), 'route')}."
    return Checked(tuple(map(str, document.files)), in_order(problems, str(path)), good)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
