"""What a kubelet does with one pod, with real processes: volumes, containers in their order, probes, the end.

It knows what matters of native sidecars (KEP-753): init containers start one after the other; one with ``restartPolicy:
Always`` goes on, and the next starts when its startup probe has passed; when all ordinary containers have ended, sidecars
get SIGTERM, in reverse order, and SIGKILL after the grace period. Sidecars run in the assembled image where this machine
has namespaces for mounts, else by this checkout, with the volumes' folders in place of their paths; containers of the app
run as given here, with the variables of the spec. All share this machine's loopback, as they share the pod's.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.image import sandbox
from tests.deploy.assembled import ROOT, rootfs
from tests.harness import HANG_S, request

PROBE_EVERY_S = 0.05
"""In place of ``periodSeconds``, so that a test does not take seconds."""

SIDECAR_IMAGE = "llm-fusebox"

POD_ADDRESS = "127.0.0.2"
"""An address of this machine that stands for the pod's: what listens on 127.0.0.1 does not listen there."""


@cache
def in_image() -> bool:
    """Whether sidecars run in the assembled image here."""
    return sandbox.problem() is None


def seen(folder: Path, volume: str, path: str) -> str:
    """Where the sidecar finds the volume that its spec mounts at `path`; `folder`: of the pod."""
    return path if in_image() else str(folder / volume)


class Volume:
    """A ConfigMap or a Secret as it is mounted: links through ``..data``, which is swapped at once (AtomicWriter)."""

    def __init__(self, folder: Path, content: Mapping[str, str]) -> None:
        self.folder = folder
        self._count = 0
        folder.mkdir()
        self.put(content)

    def put(self, content: Mapping[str, str]) -> None:
        """Swap in another version."""
        self._count += 1
        version = self.folder / f"..2026_11_23_{self._count}"
        version.mkdir()
        for name, text in content.items():
            (version / name).write_text(text)
            (version / name).chmod(0o444)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")
        for name in content:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")


class Process:
    """A container that runs, and what it has said."""

    def __init__(self, name: str, child: asyncio.subprocess.Process) -> None:
        self.name = name
        self.child = child
        self.said: list[str] = []
        self._grown = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.child.stdout is not None
        async for line in self.child.stdout:
            async with self._grown:
                self.said.append(line.decode().rstrip("\n"))
                self._grown.notify_all()

    async def says(self, text: str) -> None:
        """Wait until it has said a line that holds `text`."""
        async with asyncio.timeout(HANG_S), self._grown:
            await self._grown.wait_for(lambda: any(text in line for line in self.said))

    async def ended(self, within_s: float = HANG_S) -> int:
        """Its exit code. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            code = await self.child.wait()
            await self._reading
        return code

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.said]


class Pod:
    """One pod. `programs`: the command of each container of the app, by the container's name."""

    def __init__(
        self,
        pod: Mapping[str, Any],
        folder: Path,
        content: Mapping[str, Mapping[str, str]],
        programs: Mapping[str, list[str]],
    ) -> None:
        self.spec = pod["spec"]
        self._programs = programs
        self.volumes = {
            one["name"]: Volume(folder / one["name"], content[one["name"]]) for one in self.spec.get("volumes", [])
        }
        self.sidecars: list[Process] = []
        self.apps: dict[str, Process] = {}
        self.order: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for process in (*self.sidecars, *self.apps.values()):
            if process.child.returncode is None:
                process.child.kill()
            await process.ended()

    async def start(self) -> None:
        """All that has to happen until the app runs. Raises AssertionError when an init container fails."""
        for one in self.spec.get("initContainers", []):
            process = await self._launch(one)
            if one.get("restartPolicy") == "Always":
                self.sidecars.append(process)
                await self._until_started(one, process)
            else:
                assert await process.ended() == 0, process.said
            self.order.append(one["name"])
        for one in self.spec["containers"]:
            self.apps[one["name"]] = await self._launch(one)
            self.order.append(one["name"])

    async def finish(self) -> dict[str, int]:
        """Wait until the app has ended by itself, then end the sidecars; every exit code."""
        codes = {name: await process.ended() for name, process in self.apps.items()}
        grace_s = self.spec.get("terminationGracePeriodSeconds", 30)
        for process in reversed(self.sidecars):
            process.child.terminate()
            codes[process.name] = await process.ended(grace_s)
        return codes

    async def delete(self) -> dict[str, int]:
        """As when the pod is deleted: SIGTERM to the app, and what follows."""
        for process in self.apps.values():
            process.child.terminate()
        return await self.finish()

    async def _until_started(self, one: Mapping[str, Any], process: Process) -> None:
        probe = one["startupProbe"]["httpGet"]
        async with asyncio.timeout(one["startupProbe"]["failureThreshold"]):
            while not await probed(probe["port"], probe["path"]):
                assert process.child.returncode is None, process.said
                await asyncio.sleep(PROBE_EVERY_S)

    async def _launch(self, one: Mapping[str, Any]) -> Process:
        given = {entry["name"]: _value(entry) for entry in one.get("env", [])}
        if one["image"].partition(":")[0] == SIDECAR_IMAGE:
            command, environment = self._sidecar(one)
        else:
            command, environment = self._programs[one["name"]], {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        child = await asyncio.create_subprocess_exec(
            *command,
            env={**environment, **given},
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**24,
        )
        return Process(one["name"], child)

    def _sidecar(self, one: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
        """Command and environment."""
        mounts = {mount["mountPath"]: self.volumes[mount["name"]].folder for mount in one["volumeMounts"]}
        if in_image():
            environment = {**sandbox.ENVIRONMENT, "PATH": f"{sandbox.ENVIRONMENT['PATH']}:/usr/sbin:/sbin"}
            return sandbox.command(rootfs(), one["args"], mounts), environment
        arguments = " ".join(one["args"])
        for place, folder in mounts.items():
            arguments = arguments.replace(place, str(folder))
        return [sys.executable, "-m", "proxy", *arguments.split()], {"PATH": os.environ["PATH"]}


def _value(entry: Mapping[str, Any]) -> str:
    """A variable's value; of the downward API, something that says whence it comes."""
    return str(entry["value"]) if "value" in entry else f"({entry['valueFrom']['fieldRef']['fieldPath']})"


async def probed(port: int, path: str) -> bool:
    """Whether a probe of the pod's address is answered with 200. It is not 127.0.0.1, as a pod's is not."""
    try:
        async with asyncio.timeout(HANG_S):
            reader, writer = await asyncio.open_connection(POD_ADDRESS, port)
            writer.write(request("GET", path, host=f"{POD_ADDRESS}:{port}", headers=[("Connection", "close")]))
            answer = await reader.read()
            writer.close()
            return answer.startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False
