"""What must hold between the parts of a configuration: names that are declared, addresses that differ, routes that fit.

Each rule notes its problems with the `Whole` that was read, and leaves alone what was left blank there.
"""

from __future__ import annotations

import difflib

import msgspec

from proxy.config import chains, reachable, syntax
from proxy.config.chains import declared
from proxy.config.covers import any_covers
from proxy.config.presets import PRESETS
from proxy.config.problems import BadValue, Path, did_you_mean, shown
from proxy.config.reader import EXAMPLES
from proxy.config.schema import Config, Listen, Provider
from proxy.config.whole import Whole
from proxy.exchange import Target


def check(config: Config, whole: Whole) -> None:
    """Notes every broken rule. The providers of `config` are resolved."""
    _addresses(config, whole)
    _positive(config, whole)
    _present(config, whole)
    for name, provider in config.providers.items():
        _provider(name, provider, whole)
    _models(config, whole)
    _names(config, whole)
    _complexity(config, whole)
    for index, route in enumerate(config.routes):
        chains.check(index, route, config, whole)
    reachable.check(config, whole)


def _addresses(config: Config, whole: Whole) -> None:
    """`listen` and `admin` are two sockets. Port 0 is a free port each time."""
    data, admin = config.listen, config.admin
    if not whole.sound(("listen",)) or not whole.sound(("admin",)) or data.port != admin.port or data.port == 0:
        return
    if _overlap(data, admin):
        path: Path = ("admin",) if whole.written(("admin",)) else ("listen",)
        whole.report(path, f"listen ({data}) and admin ({admin}) are the same address", "give one of them another port")


def _overlap(one: Listen, other: Listen) -> bool:
    for first, second in ((one, other), (other, one)):
        # "::" takes IPv4 connections too on the systems where it does so by default.
        if first.host in ("::", "*") or (first.host == "0.0.0.0" and any(":" not in host for host in second.hosts)):  # noqa: S104  # compared, not bound
            return True
    return not {host.lower() for host in one.hosts}.isdisjoint(host.lower() for host in other.hosts)


def _positive(config: Config, whole: Whole) -> None:
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
        if value is not None and value <= 0 and whole.sound(path):
            whole.report(path, "must be above 0", "write a longer time" if "limits" not in path else "write a size")


def _present(config: Config, whole: Whole) -> None:
    if not config.providers and whole.sound(("providers",)):
        whole.report(("providers",), "no provider is declared", EXAMPLES[Config, "providers"])
    if not config.routes and whole.sound(("routes",)):
        whole.report(("routes",), "no route is written", EXAMPLES[Config, "routes"])


def _provider(name: str, provider: Provider, whole: Whole) -> None:
    """A provider needs an address, its own or its preset's; or one that the running process fills in."""
    path: Path = ("providers", name)
    preset = PRESETS.get(name)
    if provider.base_url or provider.anthropic_url or not whole.sound(path):
        return
    if preset is None:
        hint = "write base_url (OpenAI format) or anthropic_url"
        meant = did_you_mean(name, PRESETS) or ""
        hint = (
            f"{meant} Or {hint}" if meant.startswith("did you mean") else f"{hint}; names that need neither: {_known()}"
        )
        whole.report(path, "this provider has no address, and no preset has its name", hint)
    elif preset.address == "user":
        hint = (preset.note or "write base_url (OpenAI format) or anthropic_url").rstrip(".")
        whole.report(path, "this provider's address differs from user to user and is not written", hint)


def _known() -> str:
    return ", ".join(name for name, preset in PRESETS.items() if preset.address == "fixed")


def _models(config: Config, whole: Whole) -> None:
    """Every key of `models` is a target with a model, at a declared provider."""
    for name in config.models:
        path: Path = ("models", name)
        try:
            target = syntax.target(name)
        except BadValue as error:
            whole.report(path, error.what, error.hint)
            continue
        if target.model is None:
            whole.report(path, f"{shown(name)} names no model", "write provider/model, as in openai/gpt-5.4")
        else:
            declared(target, path, config, whole)
            _used(target, path, config, whole)


def _used(target: Target, path: Path, config: Config, whole: Whole) -> None:
    """What is declared of a model that no route leads to is most likely declared under a wrong name.

    A file that is included may hold the facts of all models for several configurations, so there it says nothing.
    """
    if not whole.in_main(path) or not whole.sound(("routes",)) or target.provider not in config.providers:
        return
    assert target.model is not None
    asked: list[str] = []
    for route in config.routes:
        steps = [*route.to, *([route.mirror.to] if route.mirror is not None else [])]
        for other in (other for step in steps for other, _ in step.choices):
            # A target without a model keeps the client's, which is whatever the route's match lets through.
            kept = not route.match.model or any_covers(route.match.model, target.model)
            if other == target or (other == Target(target.provider) and kept):
                return
            if other.model is not None:
                asked.append(str(other))
    # Names of models are much alike, so only what differs in a letter or two was meant.
    close = difflib.get_close_matches(str(target)[:100], sorted(set(asked))[:50], n=1, cutoff=0.93)
    hint = f"did you mean {close[0]}?" if close else "take it out, or name the target in a chain"
    whole.warn(path, f"no route leads to {chains.named(target)}", hint)


def _complexity(config: Config, whole: Whole) -> None:
    """The classes lie side by side on the scale of the score."""
    one = config.complexity
    path: Path = ("complexity", "simple_below" if whole.written(("complexity", "simple_below")) else "complex_from")
    if one.simple_below > one.complex_from and whole.sound(path):
        said = (
            f"simple_below ({one.simple_below:g}) is above complex_from ({one.complex_from:g}): scores between are both"
        )
        whole.report(path, said, "write simple_below no larger than complex_from")


def _names(config: Config, whole: Whole) -> None:
    first: dict[str, Path] = {}
    for index, route in enumerate(config.routes):
        path: Path = ("routes", index, "name")
        if not whole.sound(path):
            continue
        if route.name in first:
            line = whole.line_of(first[route.name], path)
            whole.report(path, f"the route in {line} is called {shown(route.name)} too", "give each its own name")
        first.setdefault(route.name, path)
