"""What the commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from msgspec.structs import replace

from proxy.config.presets import PRESETS
from proxy.config.schema import Config

FINE, PROBLEMS, USAGE, BAD_CONFIG = 0, 1, 2, 64
"""Exit codes; 64 is sysexits.h's EX_USAGE, which for a server is its configuration, found before a port is bound."""

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object


def as_served(config: Config) -> Config:
    """`config` for deciding without a running process, which would fill in the addresses of a built-in provider.

    Nothing is ever sent to those written here: they say which formats it offers, and that is both.
    """
    providers = {
        name: replace(one, base_url="http://127.0.0.1:9/v1", anthropic_url="http://127.0.0.1:9")
        if (preset := PRESETS.get(name)) is not None
        and preset.address == "built-in"
        and one.base_url is None
        and one.anthropic_url is None
        else one
        for name, one in config.providers.items()
    }
    return replace(config, providers=providers)
