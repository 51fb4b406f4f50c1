"""The composition root: builds every part, starts them in one order and stops them in the reverse one."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, BinaryIO

from aiohttp import web

from proxy.admin.api import application
from proxy.admin.sources import Sources
from proxy.attempt.circuit import Counts, State, Why
from proxy.attempt.faults import Faults
from proxy.attempt.guards import Guards
from proxy.config import schema
from proxy.config.parse import Document
from proxy.config.resolve import at_built_in, is_built_in
from proxy.config.secrets import refresh
from proxy.errors import FuseboxError
from proxy.observe.health import Health
from proxy.observe.history import EVERY_S, History
from proxy.observe.logs import LineWriter, Logger, configure
from proxy.observe.meter import Meter
from proxy.observe.recent import Recent
from proxy.observe.recorder import Recorder
from proxy.observe.traces import Tracer
from proxy.serve.build import Builder, CannotStart, Pools
from proxy.serve.handler import Handler
from proxy.serve.listener import Listener, bind
from proxy.serve.live import Live
from proxy.serve.mirror import Mirror
from proxy.serve.snapshot import Snapshot
from proxy.upstream.egress import Egress

if TYPE_CHECKING:
    from proxy.dev.demo import DemoServer

KEYS_EVERY_S = 2.0
"""How often key files are read again. Their content is compared: a mounted Secret is swapped behind a link, which no
watch on the file itself sees."""


WATCH_EVERY_S = 1.0
"""How often the configuration's files are looked at. Their content is compared, and counts when two looks agree."""


GC_EVERY = 50_000
"""Net allocations between two garbage collections; at Python's default of 700 there would be one every few requests."""


HEAP_KEPT = 2 * 1024 * 1024
"""Bytes; see `keep_heap`."""


class StateChanges:
    """Logs and counts each change of a breaker, and logs those of this machine's way out."""

    def __init__(self, logger: Logger, meter: Meter) -> None:
        self._logger = logger
        self._meter = meter

    def on_change(self, name: str, old: State, new: State, why: Why, counts: Counts, open_for_s: float | None) -> None:
        """As ``attempt/circuit.Listener``."""
        facts: dict[str, object] = {"breaker": name, "was": old, "now": new, "why": why, **counts._asdict()}
        self._meter.breaker_changed(name, new)
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
        now = snapshot()
        rings = {name: provider.ring for name, provider in now.providers.items() if provider.ring is not None}
        if now.admin_token is not None:
            rings["admin_token"] = now.admin_token
        refresh(
            rings,
            lambda name, ring: logger.info("keys_changed", provider=name, keys=len(ring), missing=list(ring.missing)),
        )


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


def keep_memory() -> None:
    """Have the interpreter and glibc keep what there is, and look after it less often."""
    # What exists now stays; leaving it out of every collection keeps those short. Requests make no cycles of their own.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_EVERY)
    keep_heap()


def keep_heap() -> None:
    """Have glibc keep freed memory for the next request, up to twice `HEAP_KEPT`, in place of handing it back each time.

    It raises its threshold to the size of a large block that is freed (mallopt(3), M_MMAP_THRESHOLD). At its first value,
    128 KB, the end of the heap comes and goes with every few requests: a page fault for each of them.
    """
    bytearray(HEAP_KEPT)


async def serve(
    document: Document,
    *,
    watch_every_s: float | None = WATCH_EVERY_S,
    environment: Mapping[str, str] = os.environ,
    stdout: BinaryIO = sys.stdout.buffer,
    faults: bool = False,
) -> int:
    """Serve until a signal ends it; the exit code. Raises CannotStart, OSError (an address in use) before any traffic.

    `watch_every_s`: how often the files of `document` are looked at for changes; None: never. `faults`: they may be set,
    whatever the configuration says.
    """
    health = Health(time.time())
    try:
        egress = Egress(environment)
    except ValueError as error:
        raise CannotStart(str(error)) from None
    use_all_descriptors()
    async with AsyncExitStack() as running:
        writer = LineWriter(stdout)
        running.callback(writer.close)
        config = document.config
        logger = configure(writer.put, config.log.level)
        pools = Pools(egress)
        running.callback(pools.close)
        meter = Meter()
        failing = _faults(lambda: faults or live.config.faults, logger)
        demo = Demo(running)
        live = Live(document, Builder(environment, pools, _guards(logger, meter), demo.fill, logger, failing), logger)
        await live.start()
        mirror = Mirror()
        running.push_async_callback(mirror.stop)
        recent, history = Recent(), History(meter)
        tracer = _tracer(config.traces, environment, logger, running)
        recorder = Recorder(logger, meter, (recent.add,) if tracer is None else (recent.add, tracer.ended))
        running.push_async_callback(recorder.stop)
        handler = Handler(lambda: live.snapshot, health, logger, mirror=mirror, recorder=recorder, tracer=tracer)
        sources = Sources(health, live, recorder, recent, history, mirror, failing, writer, tracer)
        admin_app = application(health, lambda: live.snapshot.ground.guards, logger, live, sources)
        admin = await _admin(admin_app, running)
        # Both addresses are bound before either is served: half a start helps nobody.
        data_sockets, admin_sockets = bind(config.listen), bind(config.admin)
        listener = Listener(data_sockets, handler, config.limits, lambda error: _log_refused(logger, error))
        running.push_async_callback(listener.stop)
        for sock in admin_sockets:
            await web.SockSite(admin, sock).start()
        await listener.start()
        signals = Signals()
        running.callback(signals.remove)
        background = [_keep_keys_fresh(lambda: live.snapshot, logger), _reload_on_signal(signals, live)]
        background.append(_keep_history(history, live))
        if watch_every_s is not None:
            background.append(live.keep_watch(watch_every_s))
        _run_beside(background, running)
        keep_memory()
        health.ready = True
        _log_start(logger, live)
        await signals.first()
        await _drain(sources, listener, signals, logger)
    return 0


async def _admin(app: web.Application, running: AsyncExitStack) -> web.AppRunner:
    """The runner of the admin application, not yet on any socket."""
    admin = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await admin.setup()
    running.push_async_callback(admin.cleanup)
    return admin


def _run_beside(background: Iterable[Coroutine[None, None, None]], running: AsyncExitStack) -> None:
    """Tasks that run until everything ends."""
    for work in background:
        running.push_async_callback(_end, asyncio.create_task(work))


def _guards(logger: Logger, meter: Meter) -> Callable[[schema.Config, Guards | None], Guards]:
    changes = StateChanges(logger, meter)

    def new(config: schema.Config, before: Guards | None) -> Guards:
        return Guards(
            config,
            clock=time.monotonic,
            rng=random.random,
            listeners=(changes,),
            uplink_changed=changes.uplink,
            before=before,
        )

    return new


def _faults(allowed: Callable[[], bool], logger: Logger) -> Faults:
    loop = asyncio.get_running_loop()
    return Faults(allowed, loop.time, loop.call_later, random.random, logger)


def _tracer(
    config: schema.Traces | None, environment: Mapping[str, str], logger: Logger, running: AsyncExitStack
) -> Tracer | None:
    """What sends spans, until `running` stops it; None without `traces` in the configuration. Raises CannotStart."""
    if config is None:
        return None
    try:
        # Imported only here: nobody who does not use it pays for it, or needs it installed.
        from proxy.observe.trace_otlp import Otlp
    except ImportError as error:
        raise CannotStart(
            f"`traces` in the configuration needs more than is installed ({error}): pip install 'llm-fusebox[otel]',"
            " or take `traces` out"
        ) from None
    try:
        export = Otlp(config, environment)
    except (ValueError, RuntimeError, OSError) as error:
        raise CannotStart(f"traces cannot be sent as the environment's OTEL_* variables have it: {error}") from None
    if export.missing:
        logger.warning("traces_headers_missing", missing=export.missing)
    tracer = Tracer(export, config.sample, logger, export.every_s)
    running.push_async_callback(tracer.stop)
    return tracer


async def _reload_on_signal(signals: Signals, live: Live) -> None:
    while True:
        await signals.hang_up()
        await live.reload("signal")


async def _keep_history(history: History, live: Live) -> None:
    """Look at the numbers again and again, for the page's lines."""
    while True:
        history.look(live.snapshot.providers)
        await asyncio.sleep(EVERY_S)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel `task` and see it end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Demo:
    """The built-in demo provider, started when a configuration first names it or its spare; `running` stops it."""

    def __init__(self, running: AsyncExitStack) -> None:
        self._running = running
        self._server: DemoServer | None = None

    async def fill(self, config: schema.Config) -> schema.Config:
        """`config` with the addresses of the built-in providers that it names and gives none."""
        if not any(is_built_in(name, written) for name, written in config.providers.items()):
            return config
        if self._server is None:
            # Imported only here: nobody who does not use it pays for it.
            from proxy.dev import demo

            self._server = await demo.start()
            self._running.push_async_callback(self._server.stop)
        return at_built_in(config, self._server.base_url, self._server.anthropic_url)


async def _drain(sources: Sources, listener: Listener, signals: Signals, logger: Logger) -> None:
    """Let running answers finish, within ``drain``; a second signal ends the wait."""
    bound_s, health = sources.live.config.drain, sources.health
    health.draining = True
    listener.stop_accepting()
    sources.recorder.settle()
    logger.info("draining", active=health.active, bound_s=float(bound_s))
    # Not only until every answer has been written: until the clients, who may be slow, have read them.
    waits = {asyncio.create_task(listener.emptied()), asyncio.create_task(signals.second())}
    _, unfinished = await asyncio.wait(waits, timeout=bound_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in unfinished:
        wait.cancel()
    cut = listener.connections
    if cut:
        health.cut = True
        logger.warning("drain_cut", cut=cut, reason="second signal" if signals.count > 1 else "drain bound reached")
    sources.recorder.settle()
    logger.info("stopped")


class Signals:
    """SIGTERM and SIGINT: the first asks to finish, a second to stop at once. SIGHUP: the configuration is to be read."""

    def __init__(self) -> None:
        self.count = 0
        self._first, self._second, self._hang_up = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._arrived)
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up.set)

    def _arrived(self) -> None:
        self.count += 1
        (self._first if self.count == 1 else self._second).set()

    async def first(self) -> None:
        """Wait for the first signal."""
        await self._first.wait()

    async def second(self) -> None:
        """Wait for the second."""
        await self._second.wait()

    async def hang_up(self) -> None:
        """Wait for a SIGHUP. One that comes before the next wait is not lost; several are one."""
        await self._hang_up.wait()
        self._hang_up.clear()

    def remove(self) -> None:
        """Hear of no more signals. They are ignored from here on: the process is ending, and the log's last lines are on
        their way.
        """
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        # Between the loop's handler and none there is the default, which kills: what comes then waits, and is ignored.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        for number in numbers:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _log_start(logger: Logger, live: Live) -> None:
    live.report()
    config = live.config
    logger.info(
        "ready",
        listen=str(config.listen),
        admin=str(config.admin),
        providers=list(config.providers),
        routes=[route.name for route in config.routes],
        hash=live.reloads.digest,
    )


def _log_refused(logger: Logger, error: FuseboxError) -> None:
    logger.warning("refused", status=error.status, error_code=error.code, error=str(error))
