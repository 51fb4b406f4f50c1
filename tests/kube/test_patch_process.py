"""The injected container's own arguments start the process, which listens where the pod's probes and the app look for it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proxy.kube.names import CONFIG_FILE
from proxy.kube.patch import decide
from proxy.kube.pointer import apply
from tests.harness import Client, Fusebox, request
from tests.kube.cases import SETTINGS
from tests.reloading import status

POLICY = "providers: {demo: {}}\nroutes: [{name: a, match: {}, to: [demo]}]\n"
P = "llm-fusebox.dev/"


def sidecar(**annotations: str) -> dict[str, Any]:
    """The container that a pod with these annotations gets."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "shop",
            "annotations": {P + name.replace("_", "-"): one for name, one in annotations.items()},
        },
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    }
    found: dict[str, Any] = apply(pod, decide(pod, SETTINGS).patch)["spec"]["initContainers"][0]
    return found


class Sidecar(Fusebox):
    """Started as the container says, with a file that says other ports."""

    def __init__(self, directory: Path, **annotations: str) -> None:
        super().__init__(POLICY, directory)
        self.container = sidecar(port=str(self.port), admin_port=str(self.admin_port), **annotations)
        serve, config, *self._more = self.container["args"]
        assert (serve, config) == ("serve", f"--config={CONFIG_FILE}")
        self.write(POLICY)

    def write(self, policy: str) -> None:
        """The policy, as a ConfigMap would bring it, with the ports of the developer who wrote it."""
        self.config.write_text(f"listen: 127.0.0.1:1\nadmin: 127.0.0.1:2\n{policy}")


async def test_it_is_ready_where_the_probes_look(tmp_path: Path) -> None:
    """On every address for probes, of both families; on loopback alone for the app."""
    async with Sidecar(tmp_path, log_level="debug", drain_seconds="1") as fusebox:
        for probe in ("startupProbe", "livenessProbe"):
            get = fusebox.container[probe]["httpGet"]
            for host in ("127.0.0.1", "127.0.0.2"):
                reader, writer = await asyncio.open_connection(host, get["port"])
                writer.write(
                    f"GET {get['path']} HTTP/1.1\r\nHost: 10.0.0.7:{get['port']}\r\nConnection: close\r\n\r\n".encode()
                )
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.2", fusebox.port)
        async with Client(fusebox.port) as app:
            assert (await app.exchange(request("GET", "/v1/models"))).status == 200
        assert await fusebox.stop() == 0
        assert (await fusebox.line(event="draining"))["bound_s"] == 1.0


async def test_a_new_policy_leaves_the_ports_alone(tmp_path: Path) -> None:
    """The file's addresses are not those of the pod; a reload says nothing of a restart."""
    async with Sidecar(tmp_path) as fusebox:
        fusebox.write(POLICY.replace("name: a", "name: b"))
        line = await fusebox.line(event="reloaded")
        assert "restart_needed" not in line
        assert await fusebox.readyz() == 200
        assert (await status(fusebox))["policy"]["routes"] == ["b"]
