"""An injector for tests: in this process or as a process of its own, asked over real TLS as an API server asks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy.kube.certs import Pair, dns_names, make_ca, make_leaf
from proxy.kube.injector import MUTATE, Injector, serve
from proxy.kube.settings import Settings
from proxy.observe.logs import configure

SERVICE, NAMESPACE = "fusebox-injector", "fusebox-system"
HOST = f"{SERVICE}.{NAMESPACE}.svc"
HANG_S = 20.0
"""Seconds after which what is awaited counts as hung; far above what a busy machine needs."""

SECRET_VALUE = "hunter2-in-the-pod"
"""The value of a variable of the test pods, which must not be seen anywhere."""


def authority() -> Pair:
    """A new CA."""
    return make_ca(SERVICE, NAMESPACE, datetime.now(UTC), 10)


def leaf(ca: Pair, days: int = 5) -> Pair:
    """A certificate for the Service."""
    return make_leaf(ca, dns_names(SERVICE, NAMESPACE), datetime.now(UTC), days)


class MountedSecret:
    """A folder as the kubelet mounts a Secret: files are links through ``..data``, which is swapped at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        folder.mkdir()

    @property
    def files(self) -> tuple[Path, Path]:
        """Where certificate and key are to be found."""
        return self.folder / "tls.crt", self.folder / "tls.key"

    def put(self, certificate: bytes, key: bytes) -> None:
        """Swap in another version, as AtomicWriter of the kubelet does."""
        self._count += 1
        version = self.folder / f"..2026_{self._count}"
        version.mkdir()
        (version / "tls.crt").write_bytes(certificate)
        (version / "tls.key").write_bytes(key)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")
        for path in self.files:
            if not path.is_symlink():
                path.symlink_to(f"..data/{path.name}")

    def put_pair(self, pair: Pair) -> None:
        """Swap in another pair."""
        self.put(pair.certificate, pair.key)


def trust(*authorities: Pair) -> ssl.SSLContext:
    """What an API server trusts with this caBundle."""
    return ssl.create_default_context(cadata="".join(one.certificate.decode() for one in authorities))


def pod(**metadata: Any) -> dict[str, Any]:
    """A pod that asks for the sidecar, as a ReplicaSet makes it."""
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4", "uid": "u", "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "web-5d4-",
            "labels": {"llm-fusebox.dev/inject": "true"},
            "ownerReferences": [owner],
            **metadata,
        },
        "spec": {"containers": [{"name": "app", "image": "app", "env": [{"name": "TOKEN", "value": SECRET_VALUE}]}]},
    }


def question(found: Any, **request: Any) -> dict[str, Any]:
    """The AdmissionReview that asks about an object."""
    kind = found.get("kind", "Pod") if isinstance(found, dict) else "Pod"
    asked = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": kind},
        "resource": {"group": "", "version": "v1", "resource": f"{kind.lower()}s"},
        "operation": "CREATE",
        "namespace": "shop",
        "object": found,
        **request,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}


def head(length: int) -> bytes:
    """The head of a request with a body of so many bytes."""
    return (
        f"POST {MUTATE} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


class Changes:
    """Wakes those that wait for something to become true."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def tell(self) -> None:
        """Something has changed."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until it is true, as seen after a change."""
        async with asyncio.timeout(HANG_S):
            while not ready():
                self._waiting.append(asyncio.get_running_loop().create_future())
                await self._waiting[-1]


@dataclass
class Running:
    """An injector that runs. `lines`: what it has logged."""

    port: int
    admin: int
    lines: list[dict[str, Any]] = field(default_factory=list)
    changes: Changes = field(default_factory=lambda: Changes())

    def take(self, line: bytes) -> None:
        """A line that it logged."""
        self.lines.append(json.loads(line))
        self.changes.tell()

    async def connect(self, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TLS connection, its certificate verified for the Service's name."""
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=HOST)

    async def ask(self, context: ssl.SSLContext, review: Any, path: str = MUTATE) -> dict[str, Any]:
        """The response in the answer to a question."""
        status, body = await self.post(context, json.dumps(review).encode(), path)
        assert status == 200, body
        told: dict[str, Any] = json.loads(body)
        assert told["kind"] == "AdmissionReview" and told["apiVersion"] == "admission.k8s.io/v1"
        response: dict[str, Any] = told["response"]
        return response

    async def post(
        self,
        context: ssl.SSLContext,
        body: bytes,
        path: str = MUTATE,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> tuple[int, bytes]:
        """Status and body of the answer to a request on a connection of its own."""
        lines = {"Host": HOST, "Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        async with asyncio.timeout(HANG_S):
            reader, writer = await self.connect(context)
            writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
            try:
                return await answer(reader)
            finally:
                await close(writer)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of the admin port."""
        async with asyncio.timeout(HANG_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.admin)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            try:
                status, body = await answer(reader)
                return status, body.decode()
            finally:
                await close(writer)

    async def numbers(self) -> dict[str, float]:
        """The metrics, by their names with labels."""
        _, text = await self.get("/metrics")
        told = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in told}

    async def logged(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """The lines of one kind, when there are as many as `count`."""
        await self.changes.until(lambda: sum(line["event"] == event for line in self.lines) >= count)
        return [line for line in self.lines if line["event"] == event]


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one answer with a Content-Length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = next(int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:"))
    return int(head.split(" ", 2)[1]), await reader.readexactly(length)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever state it is in."""
    writer.close()
    try:
        await writer.wait_closed()
    except (OSError, ssl.SSLError):
        pass  # the other side was faster


@asynccontextmanager
async def injector(secret: MountedSecret, **options: Any) -> AsyncIterator[Running]:
    """An injector in this process and loop; it need not have a certificate yet."""
    running = Running(0, 0)
    logger = configure(running.take, "debug")
    certificate, key = secret.files
    given: dict[str, Any] = {"poll_s": 0.02, "linger_s": 0.0, **options}
    how = Injector(Settings(), ("127.0.0.1", 0), ("127.0.0.1", 0), certificate, key, **given)
    task = asyncio.create_task(serve(how, logger))
    try:
        await running.logged("starting")
        running.port, running.admin = ports(running.lines)
        if certificate.exists():
            await running.logged("ready")
        yield running
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def ports(lines: list[dict[str, Any]]) -> tuple[int, int]:
    """The ports that a starting injector told."""
    started = next(line for line in lines if line["event"] == "starting")
    listen, admin = (int(started[name].rpartition(":")[2]) for name in ("listen", "admin"))
    return listen, admin


class Process(Running):
    """An injector as the command runs it."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        super().__init__(0, 0)
        self.child = child
        self.errors = b""

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.child.send_signal(number)

    async def ended(self) -> int:
        """Its exit code."""
        return await asyncio.wait_for(self.child.wait(), HANG_S)


@asynccontextmanager
async def process(secret: MountedSecret, *options: str) -> AsyncIterator[Process]:
    """``fusebox k8s webhook`` as a process, from when it has told its ports."""
    certificate, key = secret.files
    addresses = [
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--tls-cert",
        str(certificate),
        "--tls-key",
        str(key),
    ]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", "k8s", "webhook", *addresses, "--tls-poll", "50ms", *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "FUSEBOX_IMAGE"},
    )  # fmt: skip
    running = Process(child)
    assert child.stdout is not None and child.stderr is not None
    stdout, stderr = child.stdout, child.stderr

    async def read_lines() -> None:
        while line := await stdout.readline():
            running.take(line)

    async def read_errors() -> None:
        running.errors = await stderr.read()

    reading = [asyncio.create_task(read_lines()), asyncio.create_task(read_errors())]
    try:
        await running.logged("starting")
        running.port, running.admin = ports(running.lines)
        yield running
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        await asyncio.gather(*reading)
