"""The injector as a process: its two ports, the certificate that is looked at again and again, and an end without haste.

The TLS port listens once there is a certificate: until then a connection is refused, which an API server takes for what it
is, where a failed handshake would look like a wrong CA. The admin port is there from the start and says what is missing.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from proxy import __version__
from proxy.kube.connections import SILENT
from proxy.kube.policy_review import judge_policy
from proxy.kube.review import Reviewed, judge
from proxy.kube.settings import Settings
from proxy.kube.tls_files import Change, TlsFiles
from proxy.kube.webhook import Way, Webhook
from proxy.kube.webhook_metrics import Numbers
from proxy.kube.webhooks import PATH
from proxy.observe.logs import Logger

MUTATE, VALIDATE_POLICY = PATH, "/validate-policy"
"""The paths in the webhook configurations."""

HANDSHAKE_S = 5.0
"""How long a TLS handshake may take; then the connection is closed."""

BACKLOG = 512
"""Connections the kernel holds for us: a rollout asks about its pods all at once."""

Address = tuple[str, int]
"""Host and port; an empty host means every address, of IPv6 too where there is that."""


@dataclass(frozen=True, slots=True)
class Injector:
    """How the process is to run. Times in seconds. `linger_s`: how long it still answers after it was told to end, while
    the cluster takes it out of the Service; `drain_s`: how long the answers under way may take after that.
    """

    settings: Settings
    listen: Address
    admin: Address
    certificate: Path
    key: Path
    poll_s: float = 2.0
    linger_s: float = 3.0
    drain_s: float = 5.0


async def serve(injector: Injector, logger: Logger, clock: Callable[[], float] = time.time) -> int:
    """Serve until a signal ends it; the exit code. Raises OSError for an address that is in use."""
    numbers = Numbers()
    tls = TlsFiles(injector.certificate, injector.key)
    stop = _Stop(lambda: _look(tls, numbers, logger))
    async with AsyncExitStack() as running:
        running.callback(stop.remove)
        # One thread: proofs come one after the other, and pods are injected meanwhile.
        prover = ThreadPoolExecutor(1, "policy")
        running.callback(prover.shutdown, wait=False, cancel_futures=True)
        webhook = _webhook(injector.settings, prover, numbers, logger, clock)
        # Both ports are taken before either is served: half a start helps nobody.
        data, admin = _bind(injector.listen), _bind(injector.admin)
        running.callback(data.close)
        running.callback(admin.close)
        app = admin_application(tls, numbers, stop.asked, clock)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0, logger=SILENT)
        await runner.setup()
        running.push_async_callback(runner.cleanup)
        await web.SockSite(runner, admin).start()
        _log_start(logger, injector, data, admin)
        server = await _first_certificate(injector, tls, numbers, logger, stop, webhook, data)
        if server is not None:
            running.push_async_callback(webhook.connections.shutdown, 0.1)
            running.callback(server.close)
            polling = asyncio.create_task(_keep_fresh(injector.poll_s, tls, numbers, logger))
            running.callback(polling.cancel)
            await stop.asked.wait()
            await _drain(injector, webhook, server, stop, logger)
    logger.info("stopped")
    return 0


def admin_application(
    tls: TlsFiles, numbers: Numbers, stopping: asyncio.Event, clock: Callable[[], float]
) -> web.Application:
    """The admin port: ``/livez``, ``/readyz`` (a valid certificate is in use, and no end is near), ``/metrics``."""

    async def livez(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        current = tls.current
        if stopping.is_set():
            return web.Response(status=503, text="draining\n")
        if current is None:
            return web.Response(status=503, text="no certificate yet\n")
        if clock() >= current.told.not_after_s:
            return web.Response(status=503, text=f"the certificate ended at {_moment(current.told.not_after_s)}\n")
        return web.Response(text="ready\n")

    async def metrics(request: web.Request) -> web.Response:
        # Imported when somebody asks: nobody else pays for it at the start.
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry(auto_describe=False)
        registry.register(numbers)
        ProcessCollector(registry=registry)
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


def _webhook(
    settings: Settings, prover: ThreadPoolExecutor, numbers: Numbers, logger: Logger, clock: Callable[[], float]
) -> Webhook:
    loop = asyncio.get_running_loop()

    async def aside(prove: Callable[[], Reviewed]) -> Reviewed:
        return await loop.run_in_executor(prover, prove)

    ways = {
        MUTATE: Way("pod", lambda asked: judge(asked, settings)),
        VALIDATE_POLICY: Way("policy", lambda asked: judge_policy(asked, clock()), takes_long=True),
    }
    return Webhook(ways, numbers, logger, aside)


async def _first_certificate(
    injector: Injector,
    tls: TlsFiles,
    numbers: Numbers,
    logger: Logger,
    stop: _Stop,
    webhook: Webhook,
    sock: socket.socket,
) -> asyncio.Server | None:
    """Listen as soon as there is a certificate; None when the end comes first."""
    while True:
        _look(tls, numbers, logger)
        if tls.current is not None:
            break
        try:
            await asyncio.wait_for(stop.asked.wait(), injector.poll_s)
            return None
        except TimeoutError:
            continue
    server = await asyncio.get_running_loop().create_server(
        webhook.connections,
        sock=sock,
        ssl=tls.context,
        backlog=BACKLOG,
        ssl_handshake_timeout=HANDSHAKE_S,
        ssl_shutdown_timeout=1.0,
    )
    logger.info("ready", listen=_written(sock), paths=[MUTATE, VALIDATE_POLICY])
    return server


async def _keep_fresh(every_s: float, tls: TlsFiles, numbers: Numbers, logger: Logger) -> None:
    while True:
        await asyncio.sleep(every_s)
        _look(tls, numbers, logger)


def _look(tls: TlsFiles, numbers: Numbers, logger: Logger) -> None:
    """Look at the certificate's files, and say what is new. Raises nothing: the next look must come."""
    change: Change | None = None
    try:
        change = tls.look()
    except Exception as error:
        # Without its text and its traceback's values: it was reading a key.
        logger.error("certificate_fault", kind=type(error).__name__)
    numbers.certificate_loads, numbers.certificate_failures = tls.loads, tls.failures
    if change is None:
        return
    if change.certificate is not None:
        told = change.certificate.told
        numbers.certificate_not_after_s = told.not_after_s
        logger.info("certificate", not_after=_moment(told.not_after_s), sha256=told.fingerprint)
    elif tls.current is None:
        logger.warning("certificate_missing", error=change.problem, hint="the TLS port opens when it is there")
    else:
        logger.error("certificate_bad", error=change.problem, hint="the last good certificate stays in use")


async def _drain(injector: Injector, webhook: Webhook, server: asyncio.Server, stop: _Stop, logger: Logger) -> None:
    """Answer on for a while, then take no more; a second signal ends each wait."""
    logger.info("draining", linger_s=injector.linger_s, bound_s=injector.drain_s)
    webhook.connections.finish_after_answers()
    await _unless(stop.hurry, asyncio.sleep(injector.linger_s), injector.linger_s + 1)
    server.close()
    webhook.connections.drain()
    if not await _unless(stop.hurry, webhook.connections.answered(), injector.drain_s):
        logger.warning("drain_cut", connections=len(webhook.connections.connections))


async def _unless(hurry: asyncio.Event, wait: Coroutine[None, None, None], bound_s: float) -> bool:
    """Whether `wait` ended by itself, before `hurry` was set and within the bound."""
    waiting, hurried = asyncio.create_task(wait), asyncio.create_task(hurry.wait())
    done, unfinished = await asyncio.wait((waiting, hurried), timeout=bound_s, return_when=asyncio.FIRST_COMPLETED)
    for one in unfinished:
        one.cancel()
    await asyncio.gather(*unfinished, return_exceptions=True)
    return waiting in done


class _Stop:
    """SIGTERM and SIGINT: the first sets `asked`, a second one `hurry`. SIGHUP calls `look`: it would end the process otherwise,
    and whoever sends it wants the certificate read.
    """

    def __init__(self, look: Callable[[], None]) -> None:
        self.asked, self.hurry = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._arrived)
        self._loop.add_signal_handler(signal.SIGHUP, look)

    def _arrived(self) -> None:
        (self.hurry if self.asked.is_set() else self.asked).set()

    def remove(self) -> None:
        """Give the signals back to the interpreter."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._loop.remove_signal_handler(number)


def _bind(address: Address) -> socket.socket:
    """A socket that is bound and does not listen yet. Raises OSError, whose text names the address."""
    host, port = address
    every = not host
    family = socket.AF_INET6 if ":" in host or (every and socket.has_dualstack_ipv6()) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if every else 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host or '*'} port {port}: {error.strerror}") from None
    return sock


def _written(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _log_start(logger: Logger, injector: Injector, data: socket.socket, admin: socket.socket) -> None:
    logger.info(
        "starting",
        version=__version__,
        image=injector.settings.image,
        listen=_written(data),
        admin=_written(admin),
        tls=ssl.OPENSSL_VERSION,
    )
