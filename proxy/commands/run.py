"""``fusebox run``: a command with the proxy beside it."""

from __future__ import annotations

import argparse
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from proxy.commands.dev import SOURCE, console, found_lines, serve
from proxy.commands.parts import BAD_CONFIG, PROBLEMS, USAGE, Commands
from proxy.commands.teaching import Teaching
from proxy.config.parse import Document, parse_document
from proxy.config.problems import ConfigError
from proxy.config.schema import Listen
from proxy.config.store import load_document
from proxy.dev import beside, ports
from proxy.dev.console import Renderer, wants_colour
from proxy.dev.findings import look
from proxy.dev.policy import policy_text
from proxy.dev.shell import variables

STARTS_MAX = 3
"""Tries to start on a free port: another process may take it between being found and being used."""


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "run",
        help="run a command with the proxy beside it",
        description="Start the proxy as `fusebox dev` does, on a free port, and run a command with OPENAI_BASE_URL and"
        " ANTHROPIC_BASE_URL set to it. Signals go to the command; the proxy ends with it. The exit code is the"
        " command's, 128 and more for one that a signal ended, 127 for one that is not there.",
        epilog="examples:\n"
        "  fusebox run -- python app.py\n"
        "  fusebox run --show -- npm start                a line for each request, on stderr\n"
        "  fusebox run --config fusebox.yaml -- pytest",
        formatter_class=Teaching,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="this file in place of what is found; not its ports"
    )
    parser.add_argument("--show", action="store_true", help="what was found and a line for each request, on stderr")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- CMD", help="the command and its arguments")
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


def run(chosen: Namespace, parser: ArgumentParser) -> int:
    """The command's exit code; 64 for a bad file, 1 when the proxy cannot start."""
    words = chosen.words[1:] if chosen.words[:1] == ["--"] else chosen.words
    if not words:
        parser.error("name the command to run, as in: fusebox run -- python app.py")
    try:
        prepare, told = _preparation(chosen.config)
        proxy, port, admin = _start(prepare, _show_all if chosen.show else _show_errors)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    except beside.NotReady as error:
        return error.code if error.code in (PROBLEMS, USAGE, BAD_CONFIG) else PROBLEMS
    except OSError as error:
        print(f"fusebox: {error}", file=sys.stderr)
        return PROBLEMS
    if chosen.show:
        print(
            f"fusebox: on http://localhost:{port} for {words[0]}, admin http://localhost:{admin}. Providers:",
            *told,
            sep="\n",
            file=sys.stderr,
        )
    try:
        return beside.run(words, {**os.environ, **variables(port, os.environ)})
    except FileNotFoundError:
        print(f"fusebox: there is no command {words[0]!r}: is it installed, and in PATH?", file=sys.stderr)
        return beside.NOT_FOUND
    except OSError as error:
        print(f"fusebox: {words[0]!r} cannot be started: {error.strerror}", file=sys.stderr)
        return beside.NOT_STARTED
    finally:
        proxy.stop()


def _preparation(config: Path | None) -> tuple[Callable[[int, int], Document], list[str]]:
    """What makes the configuration for two ports, and the lines on its providers. Raises ConfigError."""
    if config is None:
        findings = look(os.environ)
        return (
            lambda port, admin: parse_document(policy_text(findings.providers, port, admin), source=SOURCE),
            found_lines(findings),
        )
    document = load_document(config)

    def on_ports(port: int, admin: int) -> Document:
        addresses = {"listen": Listen("localhost", port), "admin": Listen("localhost", admin)}
        # Without its files: a reload would bring the ports of the file back.
        return replace(document, config=msgspec.structs.replace(document.config, **addresses), files=())

    return on_ports, [f"  {name}" for name in document.config.providers]


def _start(
    prepare: Callable[[int, int], Document], shown: Callable[[Mapping[str, Any]], bool]
) -> tuple[beside.Proxy, int, int]:
    """The proxy, ready, and its two ports. Raises NotReady, OSError."""
    for left in reversed(range(STARTS_MAX)):
        port = ports.free_port()
        while (admin := ports.free_port()) == port:
            pass
        document = prepare(port, admin)
        renderer = Renderer(colour=wants_colour(sys.stderr.isatty(), os.environ))

        def serving(ready: Callable[[], None], document: Document = document) -> int:
            return serve(document, console(sys.stderr.buffer, renderer, ready, shown))  # noqa: B023 one start at a time

        try:
            return beside.start(serving), port, admin
        except beside.NotReady:
            if not left or ports.taken(Listen("localhost", port)) is None:
                raise
    raise AssertionError("the last try returns or raises")


def _show_all(event: Mapping[str, Any]) -> bool:
    return event["event"] not in ("draining", "stopped")  # it ends with the command, as it should


def _show_errors(event: Mapping[str, Any]) -> bool:
    return event.get("level") == "error"
