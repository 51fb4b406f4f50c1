"""``fusebox explain``: what would become of a request, and why. Nothing is sent to any provider."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, get_args
from urllib.parse import urlsplit

import msgspec

from proxy.commands.parts import BAD_CONFIG, FINE, PROBLEMS, USAGE, Commands, as_served
from proxy.commands.teaching import Teaching
from proxy.config.problems import BadValue, ConfigError
from proxy.config.schema import ComplexityClass
from proxy.config.store import load
from proxy.config.syntax import header_name
from proxy.config.units import Moment
from proxy.dev.admin import credentials

if TYPE_CHECKING:
    # At run time where they are used: no other command needs them, and each has to start at once.
    from proxy.policy.explain_asked import Asked
    from proxy.policy.explain_story import Explanation

LIVE_S = 10.0
"""How long a running sidecar may take for its answer."""


class Unanswered(Exception):
    """A running sidecar gave no explanation; the text says why and what to do. `code`: the exit code."""

    def __init__(self, text: str, code: int = PROBLEMS) -> None:
        super().__init__(text)
        self.code = code


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "explain",
        help="say where a request would go, and why",
        description="Say which route takes a request, which targets are asked in which order, and why others are not. The"
        " request is what the options say of it, or a saved one. It is never sent. Exit code 1: nobody would be asked.",
        epilog="examples:\n"
        "  fusebox explain --config config.yaml --model gpt-5.4\n"
        "  fusebox explain --config config.yaml --model auto --down openai",
        formatter_class=Teaching,
    )
    policy = parser.add_mutually_exclusive_group(required=True)
    policy.add_argument("--config", type=Path, metavar="FILE", help="by this configuration, with every provider well")
    policy.add_argument(
        "--live", metavar="URL", help="by a running sidecar: its admin port, as in http://127.0.0.1:4011"
    )
    _declare_request(parser)
    world = parser.add_argument_group("what is assumed, on top of what is known")
    for option, wanted, text in (
        ("down", "PROVIDER[/MODEL]", "its circuit is open"),
        ("cooling", "PROVIDER[/MODEL]", "its key cools"),
        ("full", "PROVIDER", "all its places are taken"),
    ):
        world.add_argument(f"--{option}", action="append", default=[], metavar=wanted, help=text)
    world.add_argument("--at", type=_moment, metavar="TIME", help="at this moment (RFC 3339); default: now")
    world.add_argument(
        "--roll", type=_roll, default=0.0, metavar="0..1", help="draws from weighted steps and mirrors; default: 0"
    )
    parser.add_argument("--output", choices=("text", "json"), default="text", help="default: text")
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


def _declare_request(parser: ArgumentParser) -> None:
    request = parser.add_argument_group("the request")
    request.add_argument(
        "--request",
        metavar="FILE",
        help="a saved one, - for standard input: a JSON body, or an object of method, path, headers and body",
    )
    request.add_argument("--model", help="the model it asks for")
    request.add_argument("--path", help="default: /v1/chat/completions, or /v1/messages with --format anthropic")
    request.add_argument("--method", help=SUPPRESS)
    request.add_argument("--format", choices=("openai", "anthropic"), help="the client's; default: the path's")
    request.add_argument(
        "--header", type=_header, action="append", default=[], metavar="NAME=VALUE", help="may be given several times"
    )
    request.add_argument("--prompt", metavar="TEXT", help="the text of its one message")
    request.add_argument("--tokens", type=_tokens, metavar="N", help="prompt tokens, in place of an estimate")
    for option, text in (
        ("stream", "it asks for a stream"),
        ("tools", "it has tools"),
        ("images", "it has images"),
        ("audio", "it has audio"),
    ):
        request.add_argument(f"--{option}", action="store_const", const=True, help=text)
    request.add_argument("--json-mode", dest="json", action="store_const", const=True, help="it asks for JSON")
    request.add_argument("--complexity", choices=get_args(ComplexityClass), help="its class, as a client states it")
    request.add_argument("--user", help="the end user's id in it")


def run(chosen: Namespace, parser: ArgumentParser) -> int:
    """0 when a target would be asked, 1 when none would or a sidecar does not answer, 64 for a bad configuration."""
    try:
        asked = _asked(chosen)
        told = _here(chosen.config, asked) if chosen.live is None else _live(chosen.live, asked)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    except Unanswered as error:
        print(f"fusebox: {error}", file=sys.stderr)
        return error.code
    except BadValue as error:
        parser.error(str(error))
    from proxy.policy.explain_text import as_text

    if chosen.output == "json":
        print(json.dumps(msgspec.to_builtins(told), indent=2))
    else:
        print(as_text(told), end="")
    return FINE if told.target is not None else PROBLEMS


def _asked(chosen: Namespace) -> Asked:
    """What the options say. Raises BadValue."""
    from proxy.policy.explain_asked import Asked, saved

    names = ("method", "path", "format", "model", "stream", "prompt", "tokens", "tools", "images", "audio", "json")
    said = {name: getattr(chosen, name) for name in (*names, "complexity", "user", "at", "roll")}
    said |= {name: tuple(getattr(chosen, name)) for name in ("down", "cooling", "full")}
    headers = dict(chosen.header)
    if chosen.request is not None:
        try:
            text = sys.stdin.buffer.read() if chosen.request == "-" else Path(chosen.request).read_bytes()
        except OSError as error:
            raise BadValue(f"--request {chosen.request}", f"it cannot be read: {error.strerror}") from None
        kept = saved(text)
        said["method"] = said["method"] or kept.method
        said["path"] = said["path"] or kept.path
        said["body"] = kept.body
        headers = {name.lower(): value for name, value in kept.headers.items()} | headers
    return Asked(headers=headers, **said)


def _here(path: Path, asked: Asked) -> Explanation:
    """The explanation by a configuration alone. Raises ConfigError and BadValue."""
    from proxy.policy.compiled import compile_policy
    from proxy.policy.explain import answer
    from proxy.policy.explain_asked import looking

    config = as_served(load(path))
    return answer(asked, config, compile_policy(config), looking(config.complexity), now_s=time.time())


def _live(url: str, asked: Asked) -> Explanation:
    """A running sidecar's explanation. Raises Unanswered, and BadValue for an address that is none."""
    from http.client import HTTPConnection, HTTPException

    from proxy.policy.explain_story import Explanation

    wrong = BadValue(f"--live {url}", "write the address of the admin port, as in http://127.0.0.1:4011")
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme != "http" or host is None or parts.path.strip("/") or parts.query:
        raise wrong
    if not _is_here(host):
        raise BadValue(
            f"--live {url}", "the admin port explains to this machine alone; kubectl port-forward brings it here"
        )
    try:
        text = msgspec.json.encode(asked)
    except UnicodeEncodeError:
        raise BadValue("an option holds bytes that are no text", "write it in UTF-8") from None
    # Straight to it, past any proxy of the environment: the admin port is on this machine.
    connection = HTTPConnection(host, port or 80, timeout=LIVE_S)
    try:
        headers = {"Content-Type": "application/json", **credentials(os.environ)}
        connection.request("POST", "/api/explain", text, headers)
        response = connection.getresponse()
        status, body = response.status, response.read()
        if status == 200:
            return msgspec.json.decode(body, type=Explanation)
    except (OSError, HTTPException, msgspec.DecodeError, UnicodeError) as error:
        raise Unanswered(
            f"no sidecar answers at {url} ({error}). Is it running, and is this its `admin` address?"
        ) from None
    finally:
        connection.close()
    raise Unanswered(f"{url} says {status}: {_error_of(body)}", USAGE if status == 400 else PROBLEMS)


def _is_here(host: str) -> bool:
    """Whether a host is this machine: a saved request may hold keys, and they go nowhere else."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _error_of(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=dict[str, str])["error"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return "this is not the admin port of a sidecar that can explain"


def _moment(text: str) -> str:
    try:
        Moment.parse(text)
    except BadValue as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def _roll(text: str) -> float:
    try:
        roll = float(text)
    except ValueError:
        roll = -1.0
    if not 0 <= roll < 1:
        raise ArgumentTypeError(f"{text!r} is no number from 0 up to, but not with, 1")
    return roll


def _tokens(text: str) -> int:
    from proxy.policy.explain_asked import TOKENS_MAX

    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > TOKENS_MAX:
        raise ArgumentTypeError(f"{text!r} is no number of tokens from 0 to {TOKENS_MAX}")
    return int(text)


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ArgumentTypeError(f"{text!r} has no =: write NAME=VALUE, as in x-team=search")
    try:
        return header_name(name.strip()), value.strip()
    except BadValue as error:
        raise ArgumentTypeError(str(error)) from None
