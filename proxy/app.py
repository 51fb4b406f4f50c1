"""The composition root: builds every part, starts them in one order and stops them in the reverse one."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import random
import signal
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import BinaryIO

import msgspec
from aiohttp import web

from proxy.admin.api import application
from proxy.attempt.circuit import Counts, State, Why
from proxy.attempt.guards import Guards
from proxy.attempt.walk import Ground
from proxy.config import schema
from proxy.config.secrets import KeyRing, refresh
from proxy.errors import FuseboxError
from proxy.observe.health import Health
from proxy.observe.logs import LineWriter, Logger, configure
from proxy.policy.compiled import compile_policy
from proxy.serve.handler import Handler
from proxy.serve.inbound import READ_HERE, is_loopback, own_authorities
from proxy.serve.listener import Listener, bind
from proxy.serve.mirror import Mirror
from proxy.serve.snapshot import Snapshot
from proxy.upstream import tls
from proxy.upstream.dial import Origin
from proxy.upstream.egress import Egress
from proxy.upstream.pool import Pool
from proxy.upstream.provider import Provider

KEYS_EVERY_S = 2.0
"""How often key files are read again. Their content is compared: a mounted Secret is swapped behind a link, which no
watch on the file itself sees."""


GC_EVERY = 50_000
"""Net allocations between two garbage collections; at Python's default of 700 there would be one every few requests."""


HEAP_KEPT = 2 * 1024 * 1024
"""Bytes; see `keep_heap`."""


class CannotStart(Exception):
    """Something outside the configuration file keeps the process from starting; the text says what and what to do."""


class Pools:
    """The pools of the process, one for each origin and trust store."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._pools: dict[tuple[Origin, str | None], Pool] = {}
        self._trust: dict[str | None, ssl.SSLContext] = {}

    def get(self, origin: Origin, ca: str | None) -> Pool:
        """The pool for `origin`. Raises CannotStart when the CA file cannot be used."""
        pool = self._pools.get((origin, ca))
        if pool is None:
            context = self._context(ca) if origin.scheme == "https" else None
            pool = Pool(origin, context, self._egress.proxy_for(origin.scheme, origin.host, origin.port))
            self._pools[origin, ca] = pool
        return pool

    def _context(self, ca: str | None) -> ssl.SSLContext:
        if ca not in self._trust:
            try:
                self._trust[ca] = tls.context(ca)
            except (OSError, ssl.SSLError) as error:
                raise CannotStart(f"the CA file {ca} cannot be used: {error}") from None
        return self._trust[ca]

    def close(self) -> None:
        """Close every idle connection."""
        for pool in self._pools.values():
            pool.close()


def build_snapshot(
    config: schema.Config, environment: Mapping[str, str], pools: Pools, guards: Guards, logger: Logger
) -> Snapshot:
    """Everything a request is decided with. Raises CannotStart."""
    providers = {
        name: Provider(
            name, one, KeyRing(one.keys.sources, environment, name) if one.keys.mode == "own" else None, pools.get
        )
        for name, one in config.providers.items()
    }
    policy = compile_policy(config)
    return Snapshot(
        config,
        policy,
        providers,
        Ground(providers, guards, config.models, logger),
        own_authorities(config),
        READ_HERE | policy.header_names,
        is_loopback(config.listen),
        guards.latencies.of if guards.latencies is not None else None,
    )


class StateChanges:
    """Logs each change of a breaker, and of this machine's way out."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def on_change(self, name: str, old: State, new: State, why: Why, counts: Counts, open_for_s: float | None) -> None:
        """As ``attempt/circuit.Listener``."""
        facts: dict[str, object] = {"breaker": name, "was": old, "now": new, "why": why, **counts._asdict()}
        if open_for_s is not None:
            facts["open_for_s"] = None if open_for_s == math.inf else round(open_for_s, 2)
        (self._logger.warning if new == "open" else self._logger.info)("breaker", **facts)

    def uplink(self, down: bool) -> None:
        """The way out is gone, or back."""
        if down:
            self._logger.error(
                "uplink_down", hint="several providers cannot be reached at once: look at this machine's network"
            )
        else:
            self._logger.info("uplink_up")


async def _keep_keys_fresh(snapshot: Callable[[], Snapshot], logger: Logger) -> None:
    """Read key files again and again, and say when something changed; never what."""
    while True:
        await asyncio.sleep(KEYS_EVERY_S)
        rings = {name: provider.ring for name, provider in snapshot().providers.items() if provider.ring is not None}
        refresh(
            rings,
            lambda name, ring: logger.info("keys_changed", provider=name, keys=len(ring), missing=list(ring.missing)),
        )


def not_yet_in_force(config: schema.Config) -> list[str]:
    """Keys of the file that are checked but have no effect in this version, for a warning at the start."""
    return [
        name
        for name, is_stated in (
            ("models.*.price", any(one.price is not None for one in config.models.values())),
            ("routes[].sticky", any(route.sticky is not None for route in config.routes)),
        )
        if is_stated
    ]


def use_all_descriptors() -> None:
    """Raise the soft limit of open files to the hard one: a stream takes two, and 1,024 is a usual soft limit."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # some systems state a hard limit that they do not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_heap() -> None:
    """Have glibc keep freed memory for the next request, up to twice `HEAP_KEPT`, in place of handing it back each time.

    It raises its threshold to the size of a large block that is freed (mallopt(3), M_MMAP_THRESHOLD). At its first value,
    128 KB, the end of the heap comes and goes with every few requests: a page fault for each of them.
    """
    bytearray(HEAP_KEPT)


async def serve(
    config: schema.Config, *, environment: Mapping[str, str] = os.environ, stdout: BinaryIO = sys.stdout.buffer
) -> int:
    """Serve until a signal ends it; the exit code. Raises CannotStart, OSError (an address in use) before any traffic."""
    try:
        egress = Egress(environment)
    except ValueError as error:
        raise CannotStart(str(error)) from None
    use_all_descriptors()
    async with AsyncExitStack() as running:
        writer = LineWriter(stdout)
        running.callback(writer.close)
        logger = configure(writer.put, config.log.level)
        pools = Pools(egress)
        running.callback(pools.close)
        config = await _with_demo(config, running)
        changes = StateChanges(logger)
        guards = Guards(
            config, clock=time.monotonic, rng=random.random, listeners=(changes,), uplink_changed=changes.uplink
        )
        snapshot = build_snapshot(config, environment, pools, guards, logger)
        health = Health()
        mirror = Mirror()
        running.push_async_callback(mirror.stop)
        handler = Handler(lambda: snapshot, health, logger, mirror=mirror)
        admin = web.AppRunner(
            application(health, lambda: snapshot.ground.guards, logger),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=1.0,
        )
        await admin.setup()
        running.push_async_callback(admin.cleanup)
        # Both addresses are bound before either is served: half a start helps nobody.
        data_sockets, admin_sockets = bind(config.listen), bind(config.admin)
        listener = Listener(data_sockets, handler, config.limits, lambda error: _log_refused(logger, error))
        running.push_async_callback(listener.stop)
        for sock in admin_sockets:
            await web.SockSite(admin, sock).start()
        await listener.start()
        keys = asyncio.create_task(_keep_keys_fresh(lambda: snapshot, logger))
        running.callback(keys.cancel)
        signals = Signals()
        running.callback(signals.remove)
        # What exists now stays; leaving it out of every collection keeps those short. Requests make no cycles of their own.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_EVERY)
        keep_heap()
        health.ready = True
        _log_start(logger, snapshot)
        await signals.first()
        await _drain(health, listener, signals, config.drain, logger)
    return 0


async def _with_demo(config: schema.Config, running: AsyncExitStack) -> schema.Config:
    """Start the built-in demo provider, if the file names it, and fill its addresses in."""
    wanted = [
        name
        for name, one in config.providers.items()
        if name == "demo" and one.base_url is None and one.anthropic_url is None
    ]
    if not wanted:
        return config
    # Imported only here: nobody who does not use it pays for it.
    from proxy.dev import demo

    server = await demo.start()
    running.push_async_callback(server.stop)
    built_in = msgspec.structs.replace(
        config.providers["demo"], base_url=server.base_url, anthropic_url=server.anthropic_url
    )
    return msgspec.structs.replace(config, providers={**config.providers, "demo": built_in})


async def _drain(health: Health, listener: Listener, signals: Signals, bound_s: float, logger: Logger) -> None:
    """Let running answers finish, within `bound_s`; a second signal ends the wait."""
    health.draining = True
    listener.stop_accepting()
    logger.info("draining", active=health.active, bound_s=float(bound_s))
    # Not only until every answer has been written: until the clients, who may be slow, have read them.
    waits = {asyncio.create_task(listener.emptied()), asyncio.create_task(signals.second())}
    _, unfinished = await asyncio.wait(waits, timeout=bound_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in unfinished:
        wait.cancel()
    cut = listener.connections
    if cut:
        logger.warning("drain_cut", cut=cut, reason="second signal" if signals.count > 1 else "drain bound reached")
    logger.info("stopped")


class Signals:
    """SIGTERM and SIGINT: the first asks to finish, a second to stop at once."""

    def __init__(self) -> None:
        self.count = 0
        self._first, self._second = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._arrived)

    def _arrived(self) -> None:
        self.count += 1
        (self._first if self.count == 1 else self._second).set()

    async def first(self) -> None:
        """Wait for the first signal."""
        await self._first.wait()

    async def second(self) -> None:
        """Wait for the second."""
        await self._second.wait()

    def remove(self) -> None:
        """Give the signals back to the interpreter."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)


def _log_start(logger: Logger, snapshot: Snapshot) -> None:
    config = snapshot.config
    for name, provider in snapshot.providers.items():
        if provider.ring is not None and provider.ring.missing:
            logger.warning("keys_missing", provider=name, keys=len(provider.ring), missing=list(provider.ring.missing))
    idle = not_yet_in_force(config)
    if idle:
        logger.warning("not_yet_in_force", keys=idle)
    logger.info(
        "ready",
        listen=str(config.listen),
        admin=str(config.admin),
        providers=list(config.providers),
        routes=[route.name for route in config.routes],
    )


def _log_refused(logger: Logger, error: FuseboxError) -> None:
    logger.warning("refused", status=error.status, error_code=error.code, error=str(error))
