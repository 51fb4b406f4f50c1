"""Which providers a developer's machine can ask: keys in the environment, servers that need none. Names, never keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from proxy.config.presets import PRESETS, Preset
from proxy.config.problems import BadValue
from proxy.config.schema import KeySource
from proxy.config.secrets import read_key
from proxy.config.syntax import origin, url_root
from proxy.dev.local import servers
from proxy.dev.shell import LOOPBACK, PLACEHOLDER

Address = Literal["base_url", "anthropic_url"]

_ADDRESS_VARIABLES: Mapping[str, tuple[str, Address, str]] = {
    "openai": ("OPENAI_BASE_URL", "base_url", ""),
    "anthropic": ("ANTHROPIC_BASE_URL", "anthropic_url", ""),
    "azure": ("AZURE_OPENAI_ENDPOINT", "base_url", "/openai/v1"),
}
"""By provider: the variable with another address for its key, which address that is, what is added to it.

Whoever sets one means the key beside it for that host and no other.
"""

LOCAL: Mapping[str, str] = {
    name: preset.base_url
    for name, preset in PRESETS.items()
    if preset.keys_default == "none" and preset.base_url is not None
}
"""Servers on this machine that need no key, by provider: their usual OpenAI-format roots."""


@dataclass(frozen=True, slots=True)
class Found:
    """A provider that can be asked.

    `variable`: that holds its key; None for a local server, whose `models` are those it listed. `address_variable`: where
    `base_url` or `anthropic_url` come from, if not from the preset.
    """

    name: str
    variable: str | None
    models: tuple[str, ...] = ()
    base_url: str | None = None
    anthropic_url: str | None = None
    address_variable: str | None = None

    @property
    def speaks_anthropic(self) -> bool:
        """Whether it offers the Anthropic format."""
        if self.base_url is not None or self.anthropic_url is not None:
            return self.anthropic_url is not None
        return PRESETS[self.name].anthropic_url is not None

    def __str__(self) -> str:
        if self.variable is None:
            count = len(self.models)
            return f"{LOCAL[self.name]}, {count} model{'' if count == 1 else 's'}"
        if self.address_variable is None:
            return self.variable
        return f"{self.variable}, for {self.base_url or self.anthropic_url} ({self.address_variable}{_doubt(self)})"


def _doubt(found: Found) -> str:
    """What is odd about an address, with what is usual: the SDKs add different beginnings of a path, and people mix them up."""
    if found.base_url is not None and not urlsplit(found.base_url).path:
        return ": most servers want /v1 after it"
    if found.anthropic_url is not None and urlsplit(found.anthropic_url).path.endswith("/v1"):
        return ": Anthropic's format adds /v1 by itself, so leave it off"
    return ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What there is, in the order of the presets, local servers last. `unused`: what cannot be used, and what to do about it."""

    providers: tuple[Found, ...]
    unused: tuple[tuple[str, str], ...] = ()


def look(environment: Mapping[str, str], own_ports: tuple[int, ...] = ()) -> Findings:
    """What the environment and this machine offer. `own_ports`: where Fusebox itself is or will be."""
    providers: list[Found] = []
    unused: list[tuple[str, str]] = []
    for name, preset in PRESETS.items():
        try:
            found = _keyed(name, preset, environment, own_ports)
        except BadValue as error:
            unused.append((error.what, error.hint or ""))
        else:
            if found is not None:
                providers.append(found)
    # A port of Fusebox's own is left out: it would find itself there.
    urls = {name: url for name, url in LOCAL.items() if origin(url)[1] not in own_ports}
    providers += [Found(name, None, models) for name, models in servers(urls).items()]
    return Findings(tuple(providers), tuple(unused))


def key_variables() -> tuple[str, ...]:
    """Every variable in which a provider's key is looked for."""
    return tuple(variable for preset in PRESETS.values() for variable in preset.env)


def _keyed(name: str, preset: Preset, environment: Mapping[str, str], own_ports: tuple[int, ...]) -> Found | None:
    """The provider with a key of its own. Raises BadValue for a key, or an address, that cannot be used."""
    set_here = [one for one in preset.env if environment.get(one, "").strip() not in ("", PLACEHOLDER)]
    if not set_here:
        address = _address(name, environment, own_ports)
        if address is not None:
            hint = f"set {preset.env[0]} beside it, to any text if that server wants no key, or unset it"
            raise BadValue(f"{address[0]} is set without a key", hint)
        return None
    variable = set_here[0]
    try:
        read_key(KeySource(env=variable), environment)
    except ValueError as error:
        raise BadValue(f"{variable} {error}", "set it again, to the key and nothing else") from None
    address = _address(name, environment, own_ports)
    if address is None:
        if preset.base_url is None:
            wanted = _ADDRESS_VARIABLES[name][0]
            raise BadValue(f"{variable} is set without {wanted}", f"set {wanted} to the address of your resource")
        return Found(name, variable)
    address_variable, which, url = address
    base_url, anthropic_url = (url, None) if which == "base_url" else (None, url)
    return Found(name, variable, (), base_url, anthropic_url, address_variable)


def _address(name: str, environment: Mapping[str, str], own_ports: tuple[int, ...]) -> tuple[str, Address, str] | None:
    """The variable with an address for the provider's key, which one it is, and the address. Raises BadValue."""
    if name not in _ADDRESS_VARIABLES:
        return None
    variable, which, added = _ADDRESS_VARIABLES[name]
    value = environment.get(variable, "").strip()
    if not value:
        return None
    try:
        url = url_root(value) + added
    except BadValue as error:
        raise BadValue(f"{variable}: {error.what}", error.hint) from None
    host, port = origin(url)
    if host in LOOPBACK and port in own_ports:
        return None  # what `fusebox env` printed for this very port: Fusebox would send to itself
    return variable, which, url
