"""A Fusebox whose configuration is changed while it runs: the ways to change the file, and to ask what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.harness import Client, Exchange, Fusebox, Response, chat, ok, request

SECRET = "sk-proj-Tq7bV2mXc9LdR4nZ8wKf"

OFF = ("--watch", "off")
OFTEN = ("--watch", "20ms")

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


SIMPLE = """
providers:
  main: {{base_url: "http://127.0.0.1:{port}/v1", keys: none, max_concurrency: 8}}
routes: [{{name: {name}, match: {{}}, to: [main]}}]
"""


class Files:
    """The configuration file of a Fusebox, and the ways in which people and machines change it."""

    def __init__(self, fusebox: Fusebox) -> None:
        self._path = fusebox.config
        self._head = fusebox.config.read_text().partition("admin:")[0] + f"admin: 127.0.0.1:{fusebox.admin_port}\n"
        self._count = 0

    def text(self, text: str) -> str:
        """With the addresses that the process has."""
        return self._head + text

    def swap(self, text: str) -> None:
        """As the kubelet does with a ConfigMap: a new folder, and a link to it that is renamed over the old link."""
        self._count += 1
        folder = self._path.parent / f"..{self._count}"
        folder.mkdir()
        (folder / self._path.name).write_text(text)
        data, new = self._path.parent / "..data", self._path.parent / "..new"
        new.symlink_to(folder.name)
        new.rename(data)
        if not self._path.is_symlink():
            new.symlink_to(f"..data/{self._path.name}")
            new.rename(self._path)

    def rename(self, text: str) -> None:
        """As editors do: a file beside, renamed over the old one."""
        beside = self._path.with_suffix(".swp")
        beside.write_text(text)
        beside.rename(self._path)

    async def write(self, text: str) -> None:
        """In place, in three pieces, while the process may look at any moment."""
        with self._path.open("w") as file:
            for piece in (text[:20], text[20 : len(text) // 3], text[len(text) // 3 :]):
                file.write(piece)
                file.flush()
                await asyncio.sleep(0)


def digest(text: str) -> str:
    """As in the log and in ``/api/status``."""
    return hashlib.sha256(text.encode()).hexdigest()


async def post(fusebox: Fusebox, body: bytes = b"", **more: Any) -> Response:
    """``POST /api/reload``."""
    async with Client(fusebox.admin_port) as admin:
        return await admin.exchange(request("POST", "/api/reload", body, host="127.0.0.1", **more))


async def status(fusebox: Fusebox) -> Any:
    """``GET /api/status``."""
    async with Client(fusebox.admin_port) as admin:
        response = await admin.exchange(request("GET", "/api/status"))
    assert response.status == 200
    return response.json


@contextlib.asynccontextmanager
async def running(
    config: str, directory: Path, more: tuple[str, ...] = OFF, environment: dict[str, str] | None = None
) -> AsyncIterator[tuple[Fusebox, Files]]:
    """Fusebox with its file. At its end it has had no fault of its own, and stops as it should."""
    fusebox = Fusebox(config, directory, environment, more)
    files = Files(fusebox)
    await fusebox.start()
    try:
        yield fusebox, files
    finally:
        code = await fusebox.stop()
    assert code == 0 and fusebox.errors == b""
    assert [line for line in fusebox.lines if line["event"] == "internal_error" or "traceback" in line] == []
    assert SECRET.encode() not in fusebox.raw_log


async def route(fusebox: Fusebox) -> str | None:
    """Which route takes a request now."""
    async with Client(fusebox.port) as client:
        response = await client.exchange(chat())
    name = response.head.one("x-fusebox-route")
    return None if name is None else name.decode()


async def healthy(exchange: Exchange) -> None:
    """Answers everything."""
    await exchange.answer(ok())
