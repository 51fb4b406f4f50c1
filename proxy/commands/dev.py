"""``fusebox dev``: the proxy on a developer's machine, without a configuration file."""

from __future__ import annotations

import errno
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from proxy.commands.parts import BAD_CONFIG, FINE, PROBLEMS, Commands
from proxy.commands.serve import run_serving
from proxy.commands.teaching import Teaching
from proxy.config.parse import Document, parse_document
from proxy.config.problems import ConfigError
from proxy.config.schema import Config, Listen
from proxy.config.store import load_document
from proxy.dev import ports
from proxy.dev.console import Console, Renderer, wants_colour
from proxy.dev.findings import Findings, key_variables, look
from proxy.dev.policy import policy_text
from proxy.dev.shell import PLACEHOLDER, base_urls, swallowed, variables

PORT, ADMIN_PORT = 4010, 4011

SOURCE = "what fusebox dev found"
"""Stands for the name of a file where the policy came from none."""


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "dev",
        help="run the proxy on this machine, without a configuration file",
        description="Find provider keys in the environment and model servers on this machine, build a policy from them"
        " and serve it on both loopback addresses, with a line for each request. Without any key the built-in demo"
        " provider answers.",
        epilog="examples:\n"
        '  fusebox dev                                    then, in another terminal: eval "$(fusebox env)"\n'
        "  fusebox dev --print-config > fusebox.yaml      the policy as a file, to change it\n"
        "  fusebox dev --config fusebox.yaml              a changed file is taken up while it runs",
        formatter_class=Teaching,
    )
    parser.add_argument("--port", type=port, metavar="PORT", help=f"for requests (default: {PORT})")
    parser.add_argument("--admin-port", type=port, metavar="PORT", help=f"for health and state (default: {ADMIN_PORT})")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="this file in place of what is found; it names the ports"
    )
    parser.add_argument("--print-config", action="store_true", help="print the policy that was built, and end")
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


def port(text: str) -> int:
    """A port's number. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= 65535:
        raise ArgumentTypeError(f"{text!r} is no port: write a number from 1 to 65535")
    return int(text)


def run(chosen: Namespace, parser: ArgumentParser) -> int:
    """Serve until a signal ends it; 64 when the file is bad, 1 when a port is taken."""
    if chosen.config is None:
        data, admin = chosen.port or PORT, chosen.admin_port or ADMIN_PORT
        if data == admin:
            parser.error(f"both ports are {data}: write another one after --admin-port")
        findings = look(os.environ, tuple({data, admin, PORT, ADMIN_PORT}))
        text = policy_text(findings.providers, data, admin)
        if chosen.print_config:
            sys.stdout.write(text)
            return FINE
    elif chosen.port or chosen.admin_port or chosen.print_config:
        parser.error("a file names its ports itself: with --config leave --port, --admin-port and --print-config out")
    try:
        if chosen.config is None:
            document, told = parse_document(text, source=SOURCE), found_lines(findings)
        else:
            document = load_document(chosen.config)
            told = [f"  {name}" for name in document.config.providers]
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG

    def ready() -> None:
        banner = ready_text(document.config, told, os.environ)
        sys.stdout.buffer.write(banner.encode("utf-8", "replace"))

    renderer = Renderer(colour=wants_colour(sys.stdout.isatty(), os.environ))
    return serve(document, console(sys.stdout.buffer, renderer, ready))


def console(
    out: BinaryIO,
    renderer: Renderer,
    ready: Callable[[], None],
    shown: Callable[[Mapping[str, Any]], bool] | None = None,
) -> BinaryIO:
    """Where the proxy is to write its log: `ready` is called in place of that line; of the others those of `shown`."""

    def told(event: Mapping[str, Any]) -> bool:
        if event["event"] == "ready":
            ready()
            return False
        return shown is None or shown(event)

    # Of a file, the log needs `write` and `flush`.
    return cast(BinaryIO, Console(out, renderer, told))


def serve(document: Document, stdout: BinaryIO, environment: Mapping[str, str] = os.environ) -> int:
    """Serve `document` until a signal ends it; says on stderr why it cannot. Exit codes as `run`'s."""
    # Imported here: TLS and the server take most of the start, and a mistake in a file is told without them.
    from proxy.app import serve as serving
    from proxy.serve.build import CannotStart

    try:
        return run_serving(serving(document, environment=environment, stdout=stdout, faults=True))
    except CannotStart as error:
        print(f"fusebox: {error}", file=sys.stderr)
        return BAD_CONFIG
    except OSError as error:
        print(f"fusebox: {cannot_listen(error, document.config, document.source)}", file=sys.stderr)
        return PROBLEMS


def cannot_listen(error: OSError, config: Config, source: str) -> str:
    """Why the ports of `config` cannot be had, who has them, and what to do."""
    gone = ports.taken_of(config) if error.errno == errno.EADDRINUSE else []
    if not gone:
        return error.strerror or str(error)  # not about another process, or given up in the meantime
    said = " and ".join(map(str, gone))
    if source != SOURCE:
        return (
            f"{said}. End that, or take another one: change {' and '.join(f'`{one.key}`' for one in gone)} in {source}"
        )
    options = {"listen": "--port", "admin": "--admin-port"}
    others = " ".join(f"{options[one.key]} {_other(one.address)}" for one in gone)
    return f"{said}. End that, or take another one: fusebox dev {others}"


def _other(address: Listen) -> int:
    """A port that is free, ten or a few times ten further on."""
    ten = range(address.port + 10, min(address.port + 110, 65536), 10)
    return (
        next((number for number in ten if ports.taken(Listen(address.host, number)) is None), None) or ports.free_port()
    )


def found_lines(findings: Findings) -> list[str]:
    """The providers, each with where its key is; never the key. And what could not be used, with what to do."""
    width = max((len(one.name) for one in findings.providers), default=0)
    told = [f"  {one.name:<{width}}  {one}" for one in findings.providers]
    if not told:
        names = ", ".join(key_variables()[:3])
        told = [
            "  demo        built in, no real model: there is no key in the environment and no model server on this machine.",
            f"              Set {names} or another provider's key (docs/providers.md), and start again.",
            "  demo-spare  the same again, to fall back to. To see that: fusebox fault demo --status 503",
        ]
    return [*told, *(f"  not used: {what}: {fix}" for what, fix in findings.unused)]


def _host(config: Config) -> str:
    """Where programs find the data port: ``localhost`` may mean ::1, so only where that is served, too."""
    hosts = config.listen.hosts
    return hosts[0] if len(hosts) == 1 and hosts[0].startswith("127.") else "localhost"


def ready_text(config: Config, told: list[str], environment: Mapping[str, str]) -> str:
    """What stands on the terminal once both ports accept."""
    exports = [f"  export {name}={url}" for name, url in base_urls(config.listen.port, _host(config)).items()]
    for name, value in variables(config.listen.port, environment).items():
        if value == PLACEHOLDER:
            exports.append(f"  export {name}={value}    # SDKs do not start without one")
    if swallowed(environment):
        exports.append("  export NO_PROXY=localhost,127.0.0.1,::1    # or HTTP_PROXY takes these requests elsewhere")
    listen = [
        f"Ready on http://{config.listen} (Ctrl-C ends it). Providers:",
        "",
        *told,
        "",
        *exports,
        "",
        f"The page: http://{config.admin}/",
        "",
    ]
    return "\n".join(listen) + "\n"
