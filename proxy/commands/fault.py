"""``fusebox fault``: have a running Fusebox treat a provider as if it failed, and see what becomes of it."""

from __future__ import annotations

import http.client
import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from proxy.commands.parts import FINE, PROBLEMS, Commands
from proxy.commands.teaching import Teaching
from proxy.config.units import Seconds
from proxy.dev.admin import ADMIN, NotThere, address, credentials
from proxy.dev.console import printable

FOR_MAX_S = 3600
LATENCY_MAX_S = 3600

ANSWER_MAX = 1024 * 1024
"""Bytes of an answer that are read: anybody may listen there."""

TIMEOUT_S = 5.0
"""How long the admin port may take. It answers in a millisecond."""

_KINDS = {"status": "--status", "latency": "--latency", "cut_after": "--cut-after", "silence": "--silence"}
_MORE = {"retry_after": "--retry-after", "for_s": "--for", "share": "--share"}


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "fault",
        help="have a provider seem to fail, to see fallback and breakers at work",
        description="Have a running `fusebox dev` treat a provider as if it failed: with an error, slowly, with streams"
        " that break off, or not at all. Fallback, breakers, log and metrics take it for real; the provider itself is not"
        " touched. It ends by itself, with the process at the latest. `fusebox serve` refuses it unless its configuration"
        " has `faults: true`.",
        epilog="examples:\n"
        "  fusebox fault openai --status 503               every request gets a 503, for a minute\n"
        "  fusebox fault openai --status 429 --retry-after 5 --for 10s\n"
        "  fusebox fault openai --latency 2s --share 0.5   half of the requests wait two seconds\n"
        "  fusebox fault openai --cut-after 20             streams break off after 20 events\n"
        "  fusebox fault openai --silence                  no answer comes: timeouts strike\n"
        "  fusebox fault --list\n"
        "  fusebox fault openai --clear                    without a provider: all of them",
        formatter_class=Teaching,
    )
    parser.add_argument("provider", nargs="?", metavar="PROVIDER", help="its name, as `fusebox dev` shows it")
    parser.add_argument("--status", type=_status, metavar="N", help="it answers with this error, 400 to 599, at once")
    parser.add_argument(
        "--retry-after", type=_whole(86_400, "seconds"), metavar="SECONDS", help="with --status: the wait it asks for"
    )
    parser.add_argument(
        "--latency", type=_time(LATENCY_MAX_S), metavar="TIME", help="each request waits before it is sent"
    )
    parser.add_argument(
        "--cut-after",
        type=_whole(1_000_000, "events"),
        metavar="N",
        help="streams break off after N events, other answers half way",
    )
    parser.add_argument("--silence", action="store_true", help="it takes requests and never answers")
    parser.add_argument(
        "--for", dest="for_s", type=_time(FOR_MAX_S), metavar="TIME", help="until it ends (60s; at most 1h)"
    )
    parser.add_argument("--share", type=_share, metavar="SHARE", help="of the attempts that it strikes, to 1 (1)")
    parser.add_argument("--list", action="store_true", help="the faults there are")
    parser.add_argument("--clear", action="store_true", help="end the provider's fault; without a provider all")
    parser.add_argument(
        "--admin", type=address, default=ADMIN, metavar="URL", help=f"the admin port of the one that runs ({ADMIN})"
    )
    parser.set_defaults(run=lambda chosen: run(chosen, parser))


# What was written


def _status(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 400 <= int(text[:4]) <= 599:
        raise ArgumentTypeError(f"{text!r} is no error's status: write a number from 400 to 599, as in 503")
    return int(text)


def _whole(most: int, what: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not int(text[:9]) <= most:
            raise ArgumentTypeError(f"{text!r} is no number of {what}: write a whole one, at most {most}")
        return int(text)

    return read


def _time(most_s: int) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            time_s = Seconds.parse(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None
        if not 0 < time_s <= most_s:
            raise ArgumentTypeError(f"{text} is out of bounds: write more than 0s, at most {most_s // 3600}h")
        return float(time_s)

    return read


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ArgumentTypeError(f"{text!r} is no share: write a number above 0, at most 1, as in 0.5")
    return share


def run(chosen: Namespace, parser: ArgumentParser) -> int:
    """0 when it is done; 1 when nobody answers, or refuses it."""
    kinds, rest = _given(chosen, _KINDS), _given(chosen, _MORE)
    for action in ("list", "clear"):
        others = [*kinds, *rest, *(["--clear"] if chosen.clear and action == "list" else [])]
        if getattr(chosen, action) and others:
            parser.error(f"--{action} takes no {' and no '.join(others)}")
    try:
        if chosen.list:
            return _list(chosen)
        if chosen.clear:
            return _clear(chosen)
        if chosen.provider is None:
            parser.error("name the provider, as in: fusebox fault openai --status 503; or --list, or --clear")
        if len(kinds) != 1:
            said = f"{' and '.join(kinds)} are {len(kinds)}" if kinds else "nothing is said of how it is to fail"
            parser.error(f"{said}: write one of {', '.join(_KINDS.values())}")
        if chosen.retry_after is not None and chosen.status is None:
            parser.error("--retry-after goes with --status alone")
        return _begin(chosen)
    except NotThere as error:
        print(f"fusebox: {error}", file=sys.stderr)
        return PROBLEMS


def _given(chosen: Namespace, options: Mapping[str, str]) -> list[str]:
    """Those of `options` that were written; 0 is a value."""
    values = {option: getattr(chosen, name) for name, option in options.items()}
    return [option for option, value in values.items() if value is not None and value is not False]


# What is done


def _begin(chosen: Namespace) -> int:
    order = {
        "status": chosen.status,
        "retry_after_s": chosen.retry_after,
        "latency_s": chosen.latency,
        "cut_after": chosen.cut_after,
        "silence": chosen.silence or None,
        "for_s": chosen.for_s,
        "share": chosen.share,
    }
    given = {name: one for name, one in order.items() if one is not None}
    told = _ask("provider", chosen.admin, "POST", chosen.provider, given)
    if told is None:
        return PROBLEMS
    elsewhere = "" if chosen.admin == ADMIN else f" --admin {chosen.admin}"
    print(f"{_line(told)}, for {told['for_s']:g} s. To end it now: fusebox fault {told['provider']} --clear{elsewhere}")
    return FINE


def _list(chosen: Namespace) -> int:
    told = _ask("faults", chosen.admin, "GET")
    if told is None:
        return PROBLEMS
    faults = [one for one in told["faults"] if chosen.provider in (None, one["provider"])]
    if chosen.provider is not None and not faults and chosen.provider not in told["providers"]:
        print(f"fusebox: no provider {chosen.provider!r}: there are {', '.join(told['providers'])}", file=sys.stderr)
        return PROBLEMS
    for one in faults:
        print(f"{_line(one)}, {one['ends_in_s']:.0f} s left; attempts so far: {one['struck']}")
    if not faults:
        print(
            "no faults"
            if told["allowed"]
            else "no faults; they are not allowed here (`faults: true` in the configuration)"
        )
    return FINE


def _clear(chosen: Namespace) -> int:
    told = _ask("cleared", chosen.admin, "DELETE", chosen.provider)
    if told is None:
        return PROBLEMS
    cleared = told["cleared"]
    print(f"ended: {', '.join(cleared)}" if cleared else "there was no fault")
    return FINE


def _line(one: Mapping[str, Any]) -> str:
    """A fault in words."""
    if "status" in one:
        wait = f" and Retry-After {one['retry_after_s']}" if "retry_after_s" in one else ""
        does = f"answers {one['status']}{wait}"
    elif "latency_s" in one:
        does = f"is {one['latency_s']:g} s late"
    elif "cut_after" in one:
        does = f"breaks off after {one['cut_after']} event{'' if one['cut_after'] == 1 else 's'}"
    else:
        does = "is silent"
    share = "" if one["share"] == 1 else f", in {one['share']:.3g} of the attempts"
    return f"{one['provider']} {does}{share}"


def _ask(
    wanted: str, admin: str, method: str, provider: str | None = None, order: Mapping[str, Any] | None = None
) -> Any:
    """The answer, an object with the key `wanted`; None when it was a refusal, which has been told then. Raises NotThere."""
    path = "/api/faults" if provider is None else f"/api/faults/{quote(provider, safe='')}"
    # Not through a proxy of the network: the one asked runs on this machine, or at the other end of a port-forward.
    headers = {"Content-Type": "application/json", **credentials(os.environ)}
    connection = http.client.HTTPConnection(admin, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, json.dumps(order or {}), headers)
        answer = connection.getresponse()
        told = json.loads(answer.read(ANSWER_MAX))
    except OSError as error:
        why = "took too long to answer" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
        raise NotThere(
            f"nothing to talk to at {admin} ({why}). Start `fusebox dev`; or name the admin address of one that runs:"
            " --admin HOST:PORT"
        ) from None
    except (http.client.HTTPException, ValueError):
        raise NotThere(_OTHER.format(admin=admin)) from None
    finally:
        connection.close()
    if not isinstance(told, dict):
        raise NotThere(_OTHER.format(admin=admin))
    if answer.status == 200 and wanted in told:
        return told
    if not isinstance(told.get("error"), str):
        raise NotThere(_OTHER.format(admin=admin))
    print(f"fusebox: {printable(told['error'])}", file=sys.stderr)
    return None


_OTHER = "what answers at {admin} is no admin port of Fusebox: --admin HOST:PORT names another"
