"""From a configuration to what a request is decided with: providers, keys, pools, trust stores, policy, guards.

Everything that can fail is done before anything that is shared with the configuration in force is touched, so a failure
leaves no trace.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

from proxy.attempt.faults import Faults
from proxy.attempt.guards import Guards
from proxy.attempt.walk import Ground
from proxy.config import schema
from proxy.config.secrets import KeyRing
from proxy.observe.logs import Logger
from proxy.observe.shadow import Shadow
from proxy.policy.compiled import Policy, compile_policy
from proxy.serve.inbound import READ_HERE, is_loopback, own_authorities
from proxy.serve.snapshot import Snapshot
from proxy.upstream import tls
from proxy.upstream.dial import Origin
from proxy.upstream.egress import Egress
from proxy.upstream.pool import Pool
from proxy.upstream.provider import PoolOf, Provider

SWITCH_S = 0.0005
"""How long the event loop waits for a thread of Python code to make room, at the most; Python's default is 5 ms, and the
loop waits anew for each of its own system calls. docs/reload.md has the numbers."""

T = TypeVar("T")
P = ParamSpec("P")


async def aside(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What `work` returns, done in a thread, so that requests go on meanwhile. One call at a time."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        return await asyncio.to_thread(work, *arguments, **named)
    finally:
        sys.setswitchinterval(before_s)


class CannotStart(Exception):
    """Something outside the configuration file keeps it from being used; the text says what and what to do."""


class Trust:
    """TLS contexts by CA file (None: the system's store). One lives as long as its file holds the same."""

    def __init__(self) -> None:
        self._known: dict[str | None, tuple[bytes, ssl.SSLContext]] = {}

    def of(self, config: schema.Config) -> dict[str | None, ssl.SSLContext]:
        """The contexts that `config` asks for. Reads files, and takes 10 ms for a new one. Raises CannotStart."""
        return {
            one.ca: self._context(one.ca)
            for one in config.providers.values()
            if any(url is not None and url.startswith("https:") for url in (one.base_url, one.anthropic_url))
        }

    def _context(self, ca: str | None) -> ssl.SSLContext:
        try:
            content = b"" if ca is None else hashlib.sha256(Path(ca).read_bytes()).digest()
            known = self._known.get(ca)
            if known is None or known[0] != content:
                known = self._known[ca] = (content, tls.context(ca))
            return known[1]
        except (OSError, ssl.SSLError) as error:
            # Its `strerror`: the whole text repeats the path.
            raise CannotStart(f"the CA file {ca} cannot be used: {error.strerror or error}") from None


class Pools:
    """The pools of the process, one for each origin and trust store."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._pools: dict[tuple[Origin, ssl.SSLContext | None], Pool] = {}

    def draft(self, trust: Mapping[str | None, ssl.SSLContext]) -> Draft:
        """Those for another configuration: the same ones where they fit."""
        return Draft(self._egress, self._pools, trust)

    def adopt(self, draft: Draft) -> None:
        """From now on these; what the others have idle is closed, and what they have under way when it comes back."""
        before, self._pools = self._pools, draft.pools
        for key, pool in before.items():
            if key not in draft.pools:
                pool.close()

    def close(self) -> None:
        """Close every idle connection."""
        for pool in self._pools.values():
            pool.close()


class Draft:
    """Pools for a configuration that is being built. It opens nothing, so it may be dropped."""

    def __init__(
        self,
        egress: Egress,
        before: Mapping[tuple[Origin, ssl.SSLContext | None], Pool],
        trust: Mapping[str | None, ssl.SSLContext],
    ) -> None:
        self._egress = egress
        self._before = before
        self._trust = trust
        self.pools: dict[tuple[Origin, ssl.SSLContext | None], Pool] = {}

    def get(self, origin: Origin, ca: str | None) -> Pool:
        """The pool for `origin`, whose trust store must be among those given."""
        key = origin, self._trust[ca] if origin.scheme == "https" else None
        pool = self.pools.get(key) or self._before.get(key)
        if pool is None:
            pool = Pool(*key, self._egress.proxy_for(origin.scheme, origin.host, origin.port))
        self.pools[key] = pool
        return pool


def build_snapshot(
    config: schema.Config,
    environment: Mapping[str, str],
    pool_of: PoolOf,
    guards: Callable[[], Guards],
    logger: Logger,
    *,
    policy: Policy | None = None,
    before: Snapshot | None = None,
    shadow: Shadow | None = None,
    faults: Faults | None = None,
) -> Snapshot:
    """Everything a request is decided with. `guards` is called last: it changes what is shared with `before`.

    `policy`: of `config`, if it has been compiled already.
    The keys of a provider that takes them from the same places as in `before` stay as they are, and so does their turn.
    """
    providers = {
        name: Provider(name, one, _ring(name, one, environment, before), pool_of)
        for name, one in config.providers.items()
    }
    policy, own = policy or compile_policy(config), own_authorities(config)
    ready = guards()
    return Snapshot(
        config,
        policy,
        providers,
        Ground(providers, ready, config.models, logger, faults),
        own,
        READ_HERE | policy.header_names,
        is_loopback(config.listen),
        ready.latencies.of if ready.latencies is not None else None,
        _token(config, environment, before),
        shadow,
    )


def _ring(
    name: str, provider: schema.Provider, environment: Mapping[str, str], before: Snapshot | None
) -> KeyRing | None:
    if provider.keys.mode != "own":
        return None
    known = before.providers.get(name) if before is not None else None
    if known is not None and known.ring is not None and known.config.keys == provider.keys:
        return known.ring
    return KeyRing(provider.keys.sources, environment, name)


def _token(config: schema.Config, environment: Mapping[str, str], before: Snapshot | None) -> KeyRing | None:
    """Where the admin port's token comes from; one that cannot be read lets nobody in."""
    source = config.admin_token
    if source is None:
        return None
    if before is not None and before.admin_token is not None and before.config.admin_token == source:
        return before.admin_token
    return KeyRing((source,), environment, "admin_token")


class Builder:
    """Builds one snapshot after the other for one process.

    `new_guards`: from a configuration and the guards before. `complete`: fills in what only the process knows (the
    address of the built-in demo provider).
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        pools: Pools,
        new_guards: Callable[[schema.Config, Guards | None], Guards],
        complete: Callable[[schema.Config], Awaitable[schema.Config]],
        logger: Logger,
        faults: Faults | None = None,
    ) -> None:
        self._faults = faults
        self._environment = environment
        self._pools = pools
        self._trust = Trust()
        self._new_guards = new_guards
        self._complete = complete
        self._logger = logger

    async def build(
        self, config: schema.Config, candidate: schema.Config | None, source: str, before: Snapshot | None
    ) -> Snapshot:
        """A snapshot of `config`, to be put in the place of `before` at once. Raises CannotStart and OSError.

        `candidate`: the policy that decides beside it, from the file `source`. One call at a time.
        """
        config = await self._complete(config)
        candidate = await self._complete(candidate) if candidate is not None else None
        if before is None:
            trust, policy, other = self._prepare(config, candidate)
        else:
            trust, policy, other = await aside(self._prepare, config, candidate)
        shadow = Shadow(other, source) if other is not None else None
        draft = self._pools.draft(trust)
        guards = before.ground.guards if before is not None else None
        # No await from here on: what is shared changes together with the snapshot.
        snapshot = build_snapshot(
            config,
            self._environment,
            draft.get,
            lambda: self._new_guards(config, guards),
            self._logger,
            policy=policy,
            before=before,
            shadow=shadow,
            faults=self._faults,
        )
        self._pools.adopt(draft)
        return snapshot

    def _prepare(
        self, config: schema.Config, candidate: schema.Config | None
    ) -> tuple[dict[str | None, ssl.SSLContext], Policy, Policy | None]:
        """What takes long: trust stores, which may lie on a slow disk, and the policies of many routes."""
        other = compile_policy(candidate) if candidate is not None else None
        return self._trust.of(config), compile_policy(config), other
