"""A provider as written in the file put over its preset."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import msgspec

from proxy.config.presets import PRESETS, Preset
from proxy.config.schema import Config, Keys, Provider


def resolve(name: str, provider: Provider) -> Provider:
    """`provider` with what it leaves out taken from the preset called `name` if there is one, else from the defaults.

    Afterwards `auth` and `anthropic_auth` are set and `keys` is stated. Resolving twice changes nothing. Addresses may
    still be missing: the preset may know none, or the running process fills them in (``demo``, ``demo-spare``).
    """
    preset = PRESETS.get(name)
    if preset is not None and _moved(provider, preset):
        # The file leads elsewhere than the preset; what it leaves out must not lead back there with its keys.
        preset = replace(preset, base_url=None, anthropic_url=None)
    keys = provider.keys
    if not keys.stated:
        keys = Keys(preset.keys_default if preset else "client")
    return msgspec.structs.replace(
        provider,
        base_url=provider.base_url or (preset.base_url if preset else None),
        anthropic_url=provider.anthropic_url or (preset.anthropic_url if preset else None),
        keys=keys,
        auth=provider.auth or (preset.auth if preset else "bearer"),
        anthropic_auth=provider.anthropic_auth or (preset.anthropic_auth if preset else "x-api-key"),
    )


def at_built_in(config: Config, base_url: str, anthropic_url: str) -> Config:
    """`config` with these addresses for the providers that live in the running process; those with one of their own keep it."""
    placed = {
        name: msgspec.structs.replace(provider, base_url=base_url, anthropic_url=anthropic_url)
        for name, provider in config.providers.items()
        if is_built_in(name, provider)
    }
    return msgspec.structs.replace(config, providers={**config.providers, **placed})


def is_built_in(name: str, provider: Provider) -> bool:
    """Whether a provider lives in the running process: its preset says so, and it was given no address."""
    preset = PRESETS.get(name)
    return (
        preset is not None
        and preset.address == "built-in"
        and provider.base_url is None
        and provider.anthropic_url is None
    )


def _moved(provider: Provider, preset: Preset) -> bool:
    """Whether an address in the file has another host than the preset's: then the preset's other address is not its own."""
    pairs = ((provider.base_url, preset.anthropic_url), (provider.anthropic_url, preset.base_url))
    return any(
        written is not None and known is not None and urlsplit(written).netloc.lower() != urlsplit(known).netloc.lower()
        for written, known in pairs
    )
