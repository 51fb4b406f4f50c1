"""What one request is decided with, from its first byte to its last: a reload never changes it under its feet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.attempt.walk import Ground
from proxy.config.schema import Config
from proxy.config.secrets import KeyRing
from proxy.observe.shadow import Shadow
from proxy.policy.compiled import Policy
from proxy.policy.decide import Latency
from proxy.upstream.provider import Provider


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A configuration in force: as written, as policy, as providers.

    `ground`: what attempts are made with. `own`: the authorities the data port answers to. `header_names`: the lower-case
    request headers that are read, by the policy's matches or by Fusebox itself.
    """

    config: Config
    policy: Policy
    providers: Mapping[str, Provider]
    ground: Ground
    own: frozenset[str]
    header_names: frozenset[str]
    loopback: bool
    """The data port is bound to loopback only."""
    latency: Latency | None = None
    """How long first events took of late, if any route asks for it."""
    admin_token: KeyRing | None = None
    """What the admin port asks for, if anything."""
    shadow: Shadow | None = None
    """A candidate policy that decides beside this one."""
