"""The variables that lead SDKs to Fusebox, and how each shell is told of them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from types import MappingProxyType

PLACEHOLDER = "fusebox"
"""Stands for a key where a program has none: the SDKs do not start without one. Fusebox never takes it for a key."""

KEY_VARIABLES = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
"""What the two SDKs ask for before they send anything."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The names of this machine that must not go through a proxy of the network."""

_PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


def base_urls(port: int, host: str = "localhost") -> dict[str, str]:
    """The two base URLs; Anthropic's SDK adds ``/v1`` itself. `host`: as it stands in a URL."""
    return {"OPENAI_BASE_URL": f"http://{host}:{port}/v1", "ANTHROPIC_BASE_URL": f"http://{host}:{port}"}


def variables(port: int, environment: Mapping[str, str]) -> dict[str, str]:
    """All that a program needs which sends to Fusebox on `port`: base URLs, keys' placeholders, an exempt loopback.

    A key that `environment` holds stays as it is; a proxy variable in it makes NO_PROXY necessary.
    """
    found = base_urls(port)
    if not (environment.get("ANTHROPIC_AUTH_TOKEN") or environment.get("ANTHROPIC_API_KEY")):
        found["ANTHROPIC_API_KEY"] = PLACEHOLDER
    if not environment.get("OPENAI_API_KEY"):
        found["OPENAI_API_KEY"] = PLACEHOLDER
    missing = swallowed(environment)
    if missing:
        exempt = [one for one in no_proxy(environment).split(",") if one.strip()]
        # Programs differ in which of the two cases they read first.
        found["NO_PROXY"] = found["no_proxy"] = ",".join([*exempt, *missing])
    return found


def no_proxy(environment: Mapping[str, str]) -> str:
    """The hosts that go straight, as the environment has them."""
    return environment.get("no_proxy") or environment.get("NO_PROXY") or ""


def swallowed(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names of this machine that programs would look for behind the network's proxy; none without such a proxy."""
    if not any(environment.get(name) for name in _PROXY_VARIABLES):
        return ()
    exempt = {one.strip().lower().strip("[]") for one in no_proxy(environment).split(",")}
    return () if "*" in exempt else tuple(name for name in LOOPBACK if name not in exempt)


def _sh(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _fish(name: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{quoted}'"


def _powershell(name: str, value: str) -> str:
    quoted = value.replace("'", "''")
    return f"$env:{name} = '{quoted}'"


def _dotenv(name: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{quoted}"'


_LINES: Mapping[str, Callable[[str, str], str]] = MappingProxyType(
    {"sh": _sh, "fish": _fish, "powershell": _powershell, "dotenv": _dotenv}
)

SHELLS = (*_LINES, "json")
"""What `written` can write."""


def written(found: Mapping[str, str], shell: str) -> str:
    """`found` as text that `shell`, one of `SHELLS`, understands; with its line end."""
    if shell == "json":
        return json.dumps(dict(found), indent=2) + "\n"
    line = _LINES[shell]
    # Windows, and so PowerShell there, knows no case in names: one of the two spellings is both.
    kept = {name: value for name, value in found.items() if shell != "powershell" or name != "no_proxy"}
    return "".join(f"{line(name, value)}\n" for name, value in kept.items())
