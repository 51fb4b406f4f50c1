"""A pod's life with real processes, from the spec that the injector makes of the examples."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.kube.names import KEYS_DIRECTORY, PREFIX
from proxy.kube.patch import Outcome
from proxy.kube.pointer import apply
from proxy.kube.settings import Settings
from proxy.kube.workloads import inject, workloads
from tests.deploy.kubelet import POD_ADDRESS, Pod, probed, seen
from tests.deploy.rendered import MANIFESTS
from tests.harness import Client, Exchange, Upstream, chat, ok
from tests.sdk.gateway import free_ports

POLICY = """
providers:
  main: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{file: {keys}/main}}]}}
routes: [{{name: all, match: {{}}, to: [main/{model}]}}]
"""

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'f\r\ndata: {"a":1}\n\n\r\n'
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Provider(Upstream):
    """Answers everything, and tells what it was asked: with which key, for which model."""

    def __init__(self) -> None:
        super().__init__()
        self.script = self._answer
        self.seen: set[tuple[str, str]] = set()
        self._changed = asyncio.Condition()

    async def _answer(self, exchange: Exchange) -> None:
        model = json.loads(await exchange.body.rest())["model"]
        async with self._changed:
            self.seen.add(((exchange.head.one("authorization") or b"").decode(), model))
            self._changed.notify_all()
        await exchange.answer(ok())

    async def was_asked(self, key: str, model: str) -> None:
        """Wait until a request has come with this key for this model."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: (f"Bearer {key}", model) in self.seen)


class Life:
    """A pod of one of the examples beside a provider."""

    def __init__(self, folder: Path, provider: Upstream, example: str, programs: dict[str, list[str]]) -> None:
        self.port, self.admin_port = free_ports(2)
        self._folder, self._provider = folder, provider
        content = {"fusebox-policy": self.policy("first"), "fusebox-keys": {"main": "sk-first"}, "data": {}}
        self.pod = Pod(self._injected(example), folder, content, programs)

    def policy(self, model: str) -> dict[str, str]:
        """The ConfigMap's content."""
        keys = seen(self._folder, "fusebox-keys", KEYS_DIRECTORY)
        return {"config.yaml": POLICY.format(port=self._provider.port, keys=keys, model=model)}

    def _injected(self, example: str) -> dict[str, Any]:
        """The pod of an example after the injector, with ports that nobody has."""
        documents = yaml.safe_load_all((MANIFESTS / "examples" / example).read_text())
        (workload,) = (one for document in documents for one in workloads(document))
        ports = {f"{PREFIX}port": str(self.port), f"{PREFIX}admin-port": str(self.admin_port)}
        template = workload.template
        metadata = {**template["metadata"], "annotations": {**template["metadata"].get("annotations", {}), **ports}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        (asked,) = workloads(pod)
        decision = inject(asked, Settings())
        assert decision.outcome is Outcome.INJECTED
        injected: dict[str, Any] = apply(pod, decision.patch)
        return injected


def app(*arguments: str) -> list[str]:
    """The command of a container of the app."""
    return [sys.executable, "-m", "tests.deploy.app", *arguments]


def outcome(said: list[str]) -> dict[str, Any]:
    """What an app told at its end."""
    told: dict[str, Any] = json.loads(said[-1])
    return told


async def test_the_sidecar_is_there_before_everything_else(tmp_path: Path) -> None:
    """Init containers and app start when it is ready: the very first request of each is answered."""
    async with Provider() as provider:
        programs = {"warm-up": app("once", "1", "0"), "indexer": app("once", "2", "0")}
        life = Life(tmp_path, provider, "statefulset/statefulset.yaml", programs)
        life.pod.volumes.pop("data", None)
        async with life.pod as pod:
            await pod.start()
            assert pod.order == ["fusebox", "warm-up", "indexer"]
            assert await pod.finish() == {"indexer": 0, "fusebox": 0}
            assert outcome(pod.apps["indexer"].said) == {"answered": 2, "failed": []}
            assert provider.requests == 3
            assert provider.seen == {("Bearer sk-first", "first")}


async def test_only_probes_reach_it_from_outside(tmp_path: Path) -> None:
    """On the pod's address there are health and metrics, and no data port."""
    async with Provider() as provider:
        life = Life(tmp_path, provider, "deployment/deployment.yaml", {"shop": app("load")})
        async with life.pod as pod:
            await pod.start()
            assert await probed(life.admin_port, "/livez")
            assert await probed(life.admin_port, "/metrics")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(POD_ADDRESS, life.port)
            await pod.apps["shop"].says("first")
            assert await pod.delete() == {"shop": 0, "fusebox": 0}


async def test_policy_and_key_change_under_load(tmp_path: Path) -> None:
    """Both are swapped as a kubelet does it while four threads ask without pause: not one request fails."""
    async with Provider() as provider:
        life = Life(tmp_path, provider, "deployment/deployment.yaml", {"shop": app("load")})
        async with life.pod as pod:
            await pod.start()
            await provider.was_asked("sk-first", "first")
            pod.volumes["fusebox-policy"].put(life.policy("second"))
            await provider.was_asked("sk-first", "second")
            pod.volumes["fusebox-keys"].put({"main": "sk-second"})
            await provider.was_asked("sk-second", "second")
            # A broken policy changes nothing.
            pod.volumes["fusebox-policy"].put({"config.yaml": "routes: [{name: a, to: [nobody]}]\n"})
            await pod.sidecars[0].says("reload_failed")
            assert await pod.delete() == {"shop": 0, "fusebox": 0}
            told = outcome(pod.apps["shop"].said)
            assert told["failed"] == [] and told["answered"] > 20
            assert not any("sk-" in line for line in pod.sidecars[0].said)


async def test_streams_are_drained_at_the_end(tmp_path: Path) -> None:
    """The app has ended, the sidecar gets SIGTERM, and what still streams through it comes whole; then exit 0."""
    async with Upstream() as provider:
        life = Life(tmp_path, provider, "deployment/deployment.yaml", {"shop": app("once", "0", "0")})
        async with life.pod as pod:
            await pod.start()
            async with Client(life.port) as client:
                await client.send(chat(stream=True))
                exchange = await provider.next()
                await exchange.body.rest()
                await exchange.send(STREAM + EVENT)
                head, body = await client.begin()
                assert head.status == 200
                ending = asyncio.create_task(pod.delete())
                await pod.sidecars[0].says("draining")
                assert not await probed(life.admin_port, "/readyz")
                await exchange.send(EVENT + END)
                exchange.finish()
                assert (await body.rest()).endswith(b"data: [DONE]\n\n")
            codes = await ending
            assert codes["fusebox"] == 0
            assert pod.sidecars[0].events[-1]["event"] == "stopped"


@pytest.mark.parametrize("code", [0, 3])
async def test_the_end_of_a_job_ends_the_whole(code: int, tmp_path: Path) -> None:
    """A Job's app ends, well or not: so does the sidecar, with 0, and the Job's outcome is the app's."""
    async with Provider() as provider:
        life = Life(tmp_path, provider, "job/job.yaml", {"label-orders": app("once", "3", str(code))})
        async with life.pod as pod:
            await pod.start()
            assert await pod.finish() == {"label-orders": code, "fusebox": 0}
            assert outcome(pod.apps["label-orders"].said) == {"answered": 3, "failed": []}
