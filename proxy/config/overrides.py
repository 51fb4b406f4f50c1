"""What the command line says in place of the file: where the process stands, not what its policy is.

It holds for the file of the start and for every later one: a sidecar's ports are its pod's, whatever a ConfigMap says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from proxy.config.schema import Config
from proxy.config.units import Listen, Seconds

LogLevel = Literal["debug", "info", "warning", "error"]
"""As in ``log.level``."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """None: as the file has it."""

    listen: Listen | None = None
    admin: Listen | None = None
    drain: Seconds | None = None
    log_level: LogLevel | None = None

    def on(self, config: Config) -> Config:
        """`config` with them."""
        return replace(
            config,
            listen=self.listen or config.listen,
            admin=self.admin or config.admin,
            drain=config.drain if self.drain is None else self.drain,
            log=config.log if self.log_level is None else replace(config.log, level=self.log_level),
        )


NONE = Overrides()
"""Everything is as the file has it."""
