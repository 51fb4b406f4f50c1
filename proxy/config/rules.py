"""What must hold between the parts of a configuration: names that are declared, addresses that differ, routes that fit.

Each rule notes its problems with the `Reader` that read the file, and leaves alone what was left blank there.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from proxy.config import syntax
from proxy.config.presets import PRESETS
from proxy.config.problems import BadValue, Path, did_you_mean, shown
from proxy.config.reader import EXAMPLES, Reader
from proxy.config.schema import Config, Listen, Match, Provider, Route
from proxy.exchange import Target

_EVERY_PATH = frozenset({"*", "**", "/*", "/**"})


def check(config: Config, reader: Reader) -> None:
    """Notes every broken rule. The providers of `config` are resolved."""
    _addresses(config, reader)
    _positive(config, reader)
    _present(config, reader)
    for name, provider in config.providers.items():
        _provider(name, provider, reader)
    _models(config, reader)
    _names(config, reader)
    for index, route in enumerate(config.routes):
        _chain(index, route, config, reader)
        _credentials(index, route, config, reader)
        _hedge(index, route, reader)
    _reachable(config, reader)


def _addresses(config: Config, reader: Reader) -> None:
    """`listen` and `admin` are two sockets. Port 0 is a free port each time."""
    data, admin = config.listen, config.admin
    if not reader.sound(("listen",)) or not reader.sound(("admin",)) or data.port != admin.port or data.port == 0:
        return
    if _overlap(data, admin):
        path: Path = ("admin",) if ("admin",) in reader.places else ("listen",)
        reader.report(
            path, f"listen ({data}) and admin ({admin}) are the same address", "give one of them another port"
        )


def _overlap(one: Listen, other: Listen) -> bool:
    for first, second in ((one, other), (other, one)):
        # "::" takes IPv4 connections too on the systems where it does so by default.
        if first.host == "::" or (first.host == "0.0.0.0" and any(":" not in host for host in second.hosts)):  # noqa: S104  # compared, not bound
            return True
    return not {host.lower() for host in one.hosts}.isdisjoint(host.lower() for host in other.hosts)


def _positive(config: Config, reader: Reader) -> None:
    """Durations and sizes that mean nothing at zero. `retry.max_wait` and `drain` do: no wait."""
    groups: list[tuple[Path, msgspec.Struct]] = [(("timeouts",), config.timeouts), (("limits",), config.limits)]
    groups += [(("routes", index, "timeouts"), route.timeouts) for index, route in enumerate(config.routes)]
    values = [((*path, name), getattr(group, name)) for path, group in groups for name in group.__struct_fields__]
    values += [
        (("breaker", name), getattr(config.breaker, name)) for name in ("window", "open_for", "slow_first_event")
    ]
    values += [
        (("routes", index, "hedge", "after"), route.hedge.after)
        for index, route in enumerate(config.routes)
        if route.hedge is not None
    ]
    for path, value in values:
        if value is not None and value <= 0 and reader.sound(path):
            reader.report(path, "must be above 0", "write a longer time" if "limits" not in path else "write a size")


def _present(config: Config, reader: Reader) -> None:
    if not config.providers and reader.sound(("providers",)):
        reader.report(("providers",), "no provider is declared", EXAMPLES[Config, "providers"])
    if not config.routes and reader.sound(("routes",)):
        reader.report(("routes",), "no route is written", EXAMPLES[Config, "routes"])


def _provider(name: str, provider: Provider, reader: Reader) -> None:
    """A provider needs an address, its own or its preset's; or one that the running process fills in."""
    path: Path = ("providers", name)
    preset = PRESETS.get(name)
    if provider.base_url or provider.anthropic_url or not reader.sound(path):
        return
    if preset is None:
        hint = "write base_url (OpenAI format) or anthropic_url"
        meant = did_you_mean(name, PRESETS) or ""
        hint = (
            f"{meant} Or {hint}" if meant.startswith("did you mean") else f"{hint}; names that need neither: {_known()}"
        )
        reader.report(path, "this provider has no address, and no preset has its name", hint)
    elif preset.address == "user":
        hint = (preset.note or "write base_url (OpenAI format) or anthropic_url").rstrip(".")
        reader.report(path, "this provider's address differs from user to user and is not written", hint)


def _known() -> str:
    return ", ".join(name for name, preset in PRESETS.items() if preset.address == "fixed")


def _models(config: Config, reader: Reader) -> None:
    """Every key of `models` is a target with a model, at a declared provider."""
    for name in config.models:
        path: Path = ("models", name)
        try:
            target = syntax.target(name)
        except BadValue as error:
            reader.report(path, error.what, error.hint)
            continue
        if target.model is None:
            reader.report(path, f"{shown(name)} names no model", "write provider/model, as in openai/gpt-5.4")
        else:
            _declared(target, path, config, reader)


def _declared(target: Target, path: Path, config: Config, reader: Reader) -> None:
    name = target.provider
    if name in config.providers or not config.providers or ("providers",) in reader.blanks:
        return
    preset = PRESETS.get(name)
    if preset is not None:
        keys = f"{{keys: [{{env: {preset.env[0]}}}]}}" if preset.env else "{}"
        hint = f"declare it under providers: {name}: {keys}"
    else:
        hint = did_you_mean(name, config.providers) or "declare it under providers"
    reader.report(path, f"provider {shown(name)} is not declared", hint)


def _names(config: Config, reader: Reader) -> None:
    first: dict[str, Path] = {}
    for index, route in enumerate(config.routes):
        path: Path = ("routes", index, "name")
        if not reader.sound(path):
            continue
        if route.name in first:
            line = reader.place_of(first[route.name])[0]
            reader.report(path, f"the route in line {line} is called {shown(route.name)} too", "give each its own name")
        first.setdefault(route.name, path)


def _steps(index: int, route: Route) -> Iterator[tuple[Path, Target]]:
    """The targets of a chain and where each is written."""
    for number, step in enumerate(route.to):
        path: Path = ("routes", index, "to", number)
        for target, _ in step.choices:
            weighted: Path = (*path, str(target))
            yield (weighted if len(step.choices) > 1 else path), target


def _chain(index: int, route: Route, config: Config, reader: Reader) -> None:
    path: Path = ("routes", index, "to")
    if not route.to and reader.sound(path):
        reader.report(path, "an empty chain", EXAMPLES[Route, "to"])
    for where, target in _steps(index, route):
        _declared(target, where, config, reader)


def _credentials(index: int, route: Route, config: Config, reader: Reader) -> None:
    """The client's credentials reach one host in a chain. A request has one format, so each is looked at alone."""
    for root in ("base_url", "anthropic_url"):
        first: tuple[str, tuple[str, int]] | None = None
        for path, target in _steps(index, route):
            provider = config.providers.get(target.provider)
            if provider is None or provider.keys.mode != "client" or not reader.sound(("providers", target.provider)):
                continue
            url = getattr(provider, root)
            if url is None:
                continue
            here = (target.provider, syntax.origin(url))
            first = first or here
            if here[1] != first[1]:
                said = f"{first[0]} and {here[0]} are on different hosts, and both would get the client's credentials"
                reader.report(path, said, "give all but one provider of this chain keys of its own, or keys: none")
                return


def _hedge(index: int, route: Route, reader: Reader) -> None:
    """A stream that is held back whole has no first event to wait for: each would be hedged."""
    if route.hedge is not None and route.deliver == "whole":
        reader.report(
            ("routes", index, "hedge"),
            "hedge waits for a first event, which deliver: whole holds back until the answer is complete",
            "leave one of the two out",
        )


def _takes_everything(match: Match) -> bool:
    every_path = not match.path or not _EVERY_PATH.isdisjoint(match.path)
    return every_path and not match.model and not match.header and not match.complexity


def _reachable(config: Config, reader: Reader) -> None:
    """First match wins, so nothing comes after a route that takes everything."""
    for index, route in enumerate(config.routes[:-1]):
        path: Path = ("routes", index, "match")
        if reader.sound(path) and _takes_everything(route.match):
            lost = len(config.routes) - index - 1
            said = f"this route takes every request, so the {lost} after it are never reached"
            reader.report(
                path,
                said if lost > 1 else said.replace("the 1 after it are", "the one after it is"),
                "move it to the end",
            )
            return
