"""What the commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from proxy.config.resolve import at_built_in
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
    return at_built_in(config, "http://127.0.0.1:9/v1", "http://127.0.0.1:9")
