"""What may keep Fusebox from working on this machine: looked at one by one, each finding with what to do about it.

Each function looks at one thing and returns what it found. Keys are looked at; what is in them is never told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from proxy.config.schema import Config, KeySource, Listen
from proxy.config.secrets import describe, read_key
from proxy.config.syntax import origin
from proxy.dev import ports
from proxy.dev.reach import BOUND_S, Reached, reach_all
from proxy.dev.shell import LOOPBACK, PLACEHOLDER, no_proxy, swallowed
from proxy.upstream.egress import Egress

State = Literal["fine", "problem", "unknown"]

SKEW_MAX_S = 60.0
"""A clock that is further off breaks signed requests and, further still, certificates."""

DESCRIPTORS_MIN = 4096
"""Open files: a stream takes two, and Fusebox itself a few dozen."""

KEY_MIN = 8
"""Characters; no provider's keys are shorter."""

_PLACEHOLDERS = ("your", "xxx", "...", "<", "changeme", "replace", "insert")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `about`: which; `said`: what was found; `fix`: what to do, if there is anything."""

    about: str
    state: State
    said: str
    fix: str = ""

    def __str__(self) -> str:
        mark = {"fine": "ok     ", "problem": "PROBLEM", "unknown": "?      "}[self.state]
        line = f"{mark} {self.about}: {self.said}"
        return f"{line}\n        fix: {self.fix}" if self.fix else line


def examine(
    config: Config,
    environment: Mapping[str, str],
    descriptors: int | None,
    *,
    bound_s: float = BOUND_S,
    now: Callable[[], float] = time.time,
    proc: Path = Path("/proc"),
) -> list[Finding]:
    """Everything. `descriptors`: how many files a process may open; None: any number. Takes `bound_s` and little more."""
    found = [
        port_finding("listen", config.listen, proc),
        port_finding("admin", config.admin, proc),
        proxy_finding(environment),
        *key_findings(config, environment),
        descriptor_finding(descriptors),
    ]
    try:
        egress = Egress(environment)
    except ValueError as error:
        found.append(Finding("way out", "problem", str(error), "set it again, or unset it"))
        egress = Egress({})
    urls = {
        name: (url, provider.ca)
        for name, provider in config.providers.items()
        if (url := provider.base_url or provider.anthropic_url) is not None
    }
    set_here = proxies_set(environment, ("https_proxy", "http_proxy", "all_proxy"))
    return [*found, *reach_findings(urls, reach_all(urls, egress, bound_s=bound_s, now=now), set_here)]


def proxies_set(environment: Mapping[str, str], lower: Sequence[str]) -> str:
    """Those of the variables (here in lower case) that are set, in either case, as a sentence has them."""
    return " and ".join(name for one in lower for name in (one.upper(), one) if environment.get(name))


def port_finding(key: str, address: Listen, proc: Path = Path("/proc")) -> Finding:
    """Whether an address can be listened on, and who holds it."""
    about = f"{key} {address}"
    host = ports.taken(address)
    if host is None:
        return Finding(about, "fine", "free")
    who = ports.holder(address.port, host, proc)
    if who is not None and who.fusebox:
        return Finding(about, "fine", f"held by {who}: it is running already")
    if who is None:
        fix = f"find out with: ss -ltnp 'sport = :{address.port}' (as root), or take another port"
        return Finding(about, "problem", f"cannot be had on {host}; by whom it is held cannot be told", fix)
    option = "--port" if key == "listen" else "--admin-port"
    fix = f"kill {who.pid}, or take another port: fusebox dev {option} N, or `{key}` in the configuration"
    return Finding(about, "problem", f"taken on {host} by {who}", fix)


def proxy_finding(environment: Mapping[str, str]) -> Finding:
    """Whether programs would send what is meant for loopback to a proxy of the network."""
    missing = swallowed(environment)
    if not missing:
        return Finding("proxy variables", "fine", "none that takes requests to this machine elsewhere")
    names = proxies_set(environment, ("http_proxy", "all_proxy"))
    exempt = ",".join([*(one.strip() for one in no_proxy(environment).split(",") if one.strip()), *missing])
    return Finding(
        "proxy variables",
        "problem",
        f"{names} set, and NO_PROXY leaves {', '.join(missing)} out: programs send there what is meant for Fusebox",
        f"export NO_PROXY={exempt}",
    )


def key_findings(config: Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Each key of the configuration: there, readable, and of a key's shape."""
    for name, provider in config.providers.items():
        for source in provider.keys.sources:
            yield _key_finding(name, source, environment)


def _key_finding(provider: str, source: KeySource, environment: Mapping[str, str]) -> Finding:
    about = f"key of {provider} ({describe(source)})"
    set_it = f"export {source.env}=..." if source.env is not None else f"put the key into {source.file}"
    try:
        odd = oddity(read_key(source, environment).decode("ascii"))
    except OSError as error:
        return Finding(about, "problem", f"cannot be read: {error.strerror}", f"{set_it}, readable for Fusebox")
    except ValueError as error:
        return Finding(about, "problem", str(error), f"{set_it}, with the key and nothing else")
    if odd is not None:
        return Finding(about, "problem", odd, f"{set_it}, with the key as the provider's site shows it")
    raw = environment.get(source.env, "") if source.env is not None else ""
    blanks = " (blanks around it are left out)" if raw != raw.strip() else ""
    return Finding(about, "fine", f"present{blanks}")


def oddity(key: str) -> str | None:
    """What about `key` no real key has, in words without it; None: nothing."""
    if key[0] in "'\"`" or key[-1] in "'\"`":
        return "stands in quotes, which become a part of it"
    if key.startswith("$"):
        return "begins with $: the name of a variable, which nobody replaced by its value"
    if "=" in key.rstrip("=")[:24] and key.split("=")[0].isupper():
        return "begins with a name and =, as in a line of a .env file"
    if key == PLACEHOLDER:
        return "is the placeholder that `fusebox env` sets where there is no key"
    if any(one in key.lower() for one in _PLACEHOLDERS):
        return "looks like a placeholder from an example"
    if len(key) < KEY_MIN:
        return "is shorter than any key"
    return None


def descriptor_finding(limit: int | None) -> Finding:
    """Whether there are enough descriptors for many streams; Fusebox raises its soft limit to `limit`, the hard one."""
    about = "open files"
    if limit is None or limit >= DESCRIPTORS_MIN:
        return Finding(about, "fine", f"up to {'any number' if limit is None else limit}")
    return Finding(
        about,
        "problem",
        f"at most {limit}: enough for {max(limit - 64, 0) // 2} streams at once",
        "raise it: ulimit -Hn 65536, LimitNOFILE= in a systemd unit, or nofile in limits.conf",
    )


def reach_findings(
    urls: Mapping[str, tuple[str, str | None]], reached: Mapping[str, Reached], proxies: str = "HTTPS_PROXY"
) -> Iterator[Finding]:
    """Each provider, and the clock. A machine without any way out is offline: then nothing more can be said. Where it is a
    proxy that leads nowhere, that is the problem. `proxies`: the variables that may name it.
    """
    hosts = {name: origin(url)[0] for name, (url, _) in urls.items()}
    away = [name for name, host in hosts.items() if host not in LOOPBACK]
    offline = bool(away) and all(reached[name].failed in ("name", "connect", "proxy") for name in away)
    shut = offline and all(reached[name].failed == "proxy" for name in away)
    if shut:
        said = f"the network's proxy leads to no provider ({reached[away[0]].said})"
        yield Finding("way out", "problem", said, f"have that proxy running and leading there, or unset {proxies}")
    for name, (url, _) in urls.items():
        about = f"provider {name} ({hosts[name]})"
        if name in away and shut:
            yield Finding(about, "unknown", "not checked: there is no way out")
        elif name in away and offline:
            yield Finding(about, "unknown", f"not checked: this machine seems to be offline ({reached[name].said})")
        else:
            yield _reach_finding(about, url, reached[name])
    clocks = [(name, skew_s) for name in away if (skew_s := reached[name].skew_s) is not None]
    # Servers on this machine have this machine's clock; they tell when there is nobody else to ask, in tests too.
    clocks = clocks or [(name, skew_s) for name in urls if (skew_s := reached[name].skew_s) is not None]
    yield (
        _clock_finding(hosts[clocks[0][0]], clocks[0][1])
        if clocks
        else Finding("clock", "unknown", "not checked: no provider told its time")
    )


def _reach_finding(about: str, url: str, reached: Reached) -> Finding:
    secured = url.startswith("https:")
    if reached.failed is None:
        return Finding(about, "fine", "reached, TLS is good" if secured else "reached, without TLS")
    host, port = origin(url)
    fixes = {
        "name": "look for a mistake in base_url, and at the DNS server of this machine",
        "connect": f"start the server on port {port}"
        if host in LOOPBACK
        else "look at the firewall, or set HTTPS_PROXY if the network has a proxy",
        "proxy": "look at HTTPS_PROXY, and whether that proxy may lead there",
        "tls": "look at this machine's clock; behind a proxy that opens TLS, write its CA file as `ca` of the provider",
        "time": "try again; a firewall that drops packets looks like this as well",
    }
    does = {
        "name": "its name is not found",
        "connect": "it cannot be connected to",
        "proxy": "the network's proxy does not lead there",
        "tls": "no TLS with it",
        "time": "it does not answer",
    }
    return Finding(about, "problem", f"{does[reached.failed]} ({reached.said})", fixes[reached.failed])


def _clock_finding(host: str, skew_s: float) -> Finding:
    if abs(skew_s) <= SKEW_MAX_S:
        return Finding("clock", "fine", f"as {host} has it")
    way = "behind" if skew_s > 0 else "ahead of"
    fix = "set it, as with: timedatectl set-ntp true"
    return Finding("clock", "problem", f"{abs(skew_s):.0f} s {way} {host}", fix)
