"""What the commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

FINE, PROBLEMS, USAGE, BAD_CONFIG = 0, 1, 2, 64
"""Exit codes; 64 is sysexits.h's EX_USAGE, which for a server is its configuration, found before a port is bound."""

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object
