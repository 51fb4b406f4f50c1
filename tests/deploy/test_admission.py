"""Admissions over the rendered manifests, with the injector as a process, as its Deployment has it."""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.kube.names import CONTAINER
from proxy.kube.webhooks import NAME
from tests.deploy.cluster import Cluster, Refused
from tests.deploy.rendered import CERTS, Object, of_kind, one_of_kind, overlay, render
from tests.kube.injecting import MountedSecret, Process, authority, pod, process

NAMESPACES = {
    "shop": {},
    "all-in": {"llm-fusebox.dev/injection": "enabled"},
    "kube-system": {"llm-fusebox.dev/injection": "enabled"},
    "fusebox-system": {"llm-fusebox.dev/injection": "enabled"},
}

COMPONENTS = ("policy-webhook", "networkpolicy", "static-certs")


@pytest.fixture(scope="module")
def applied(tree: Path) -> list[Object]:
    """What is in the cluster."""
    return render(overlay(tree, "static", COMPONENTS))


@pytest.fixture
async def server(tree: Path, applied: list[Object], tmp_path: Path) -> AsyncIterator[Process]:
    """The injector with the Secret that `k8s certs` wrote, mounted as the kubelet does it, and the Deployment's image."""
    written = yaml.safe_load((tree / CERTS / "private/secret.yaml").read_text())
    deployment = one_of_kind(applied, "Deployment", NAME)["spec"]["template"]["spec"]
    assert deployment["volumes"][0]["secret"]["secretName"] == written["metadata"]["name"]
    assert deployment["containers"][0]["args"] == ["k8s", "webhook"]
    (image,) = (one["value"] for one in deployment["containers"][0]["env"] if one["name"] == "FUSEBOX_IMAGE")
    secret = MountedSecret(tmp_path / "tls")
    secret.put(*(base64.b64decode(written["data"][name]) for name in ("tls.crt", "tls.key")))
    async with process(secret, "--image", image, "--linger", "0s") as running:
        await running.logged("ready")
        yield running


def cluster(objects: list[Object], running: Process, **more: Any) -> Cluster:
    """The manifests' ports lead to the process's."""
    return Cluster(objects, {10250: ("127.0.0.1", running.port)}, NAMESPACES, **more)


def unlabelled(**labels: str) -> Object:
    """A pod with these labels only."""
    return pod(labels=labels)


def sidecars(found: Object) -> list[str]:
    """Its init containers."""
    return [one["name"] for one in found["spec"].get("initContainers", [])]


def variables(found: Object) -> dict[str, set[str]]:
    """The variables of each container of the app."""
    return {one["name"]: {entry["name"] for entry in one.get("env", [])} for one in found["spec"]["containers"]}


async def test_who_is_asked_about(applied: list[Object], server: Process) -> None:
    """By the pod's label, or the namespace's; never twice, never in a system namespace, never against a pod's own word."""
    told = cluster(applied, server)
    cases: list[tuple[str, Object, list[str]]] = [
        ("shop", pod(), ["pod.llm-fusebox.dev"]),
        ("shop", unlabelled(), []),
        ("all-in", unlabelled(), ["ns.llm-fusebox.dev"]),
        ("all-in", pod(), ["pod.llm-fusebox.dev"]),
        ("all-in", unlabelled(**{"llm-fusebox.dev/inject": "false"}), []),
        ("kube-system", pod(), []),
        ("fusebox-system", pod(), []),
    ]
    for namespace, found, asked in cases:
        told.calls.clear()
        stored = await told.create(found, namespace)
        assert told.calls == asked, namespace
        assert sidecars(stored) == ([CONTAINER] if asked else [])


async def test_the_sidecar_has_the_image_of_the_deployment(applied: list[Object], server: Process) -> None:
    """What kustomize copied into the injector's environment is what pods get."""
    stored = await cluster(applied, server).create(pod(), "shop")
    own = one_of_kind(applied, "Deployment", NAME)["spec"]["template"]["spec"]["containers"][0]
    assert stored["spec"]["initContainers"][0]["image"] == own["image"]


async def test_what_a_later_webhook_adds_gets_its_variables(applied: list[Object], server: Process) -> None:
    """The injector is called again; the sidecar is still there once, and the new container knows it."""

    def add_container(found: Object) -> Object:
        found["spec"]["containers"].append({"name": "late", "image": "late"})
        return found

    told = cluster(applied, server, rival=add_container)
    stored = await told.create(pod(), "shop")
    assert told.calls == ["pod.llm-fusebox.dev"] * 2
    assert sidecars(stored) == [CONTAINER]
    assert all("OPENAI_BASE_URL" in names for names in variables(stored).values())


async def test_a_denial_is_what_the_user_reads(applied: list[Object], server: Process) -> None:
    """A value that cannot be read refuses the pod, by the annotation's name."""
    bad = pod(annotations={"llm-fusebox.dev/memory-limit": "256m"})
    with pytest.raises(Refused, match=r"pod\.llm-fusebox\.dev.*memory-limit.*did you mean 256Mi"):
        await cluster(applied, server).create(bad, "shop")


async def test_a_broken_policy_is_refused(applied: list[Object], server: Process) -> None:
    """With line and column; the ConfigMap of the example gets in, and one without the label is nobody's business."""
    example = render(Path(__file__).parents[2] / "deploy/k8s/app")[0]
    told = cluster(applied, server)
    assert await told.create(example, "shop") == example
    assert told.calls == ["policy.llm-fusebox.dev"]
    broken = {**example, "data": {"config.yaml": example["data"]["config.yaml"].replace("to: [openai]", "to: [opnai]")}}
    with pytest.raises(Refused, match=r"config\.yaml:\d+:\d+.*openai"):
        await told.create(broken, "shop")
    free = {**broken, "metadata": {"name": "other"}}
    assert await told.create(free, "shop") == free


@pytest.mark.parametrize("failing", ["stopped", "hanging"])
async def test_without_an_injector(failing: str, tree: Path, applied: list[Object], server: Process) -> None:
    """Pods that asked for the sidecar wait for it, or go without where fail-open says so; all others never notice."""
    name = f"open-{failing}"
    lenient = render(overlay(tree, name, ["fail-open", *COMPONENTS]))
    if failing == "stopped":
        server.stop()
        assert await server.ended() == 0
    else:
        server.child.send_signal(signal.SIGSTOP)  # connections are accepted by the kernel, and nobody answers
    strict = cluster(applied, server, timeout_factor=0.1)
    with pytest.raises(Refused, match=r'failed calling webhook "pod\.llm-fusebox\.dev"'):
        await strict.create(pod(), "shop")
    assert sidecars(await strict.create(unlabelled(), "shop")) == []
    open_ = cluster(lenient, server, timeout_factor=0.1)
    assert sidecars(await open_.create(pod(), "shop")) == []
    # Policies get in unproved: a sidecar keeps its last good one.
    policy = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "p", "labels": {"llm-fusebox.dev/policy": "true"}},
    }
    assert await strict.create(policy, "shop") == policy


async def test_another_authority_is_not_trusted(applied: list[Object], server: Process) -> None:
    """A caBundle that is not this server's fails the call, and so the pod: nobody else can answer for the injector."""
    other = base64.b64encode(authority().certificate).decode()
    objects = [yaml.safe_load(yaml.safe_dump(one)) for one in applied]
    for one in of_kind(objects, "MutatingWebhookConfiguration"):
        for hook in one["webhooks"]:
            hook["clientConfig"]["caBundle"] = other
    with pytest.raises(Refused, match="CERTIFICATE_VERIFY_FAILED"):
        await cluster(objects, server).create(pod(), "shop")


async def test_fifty_at_once(applied: list[Object], server: Process) -> None:
    """A roll-out asks about all of its pods together; each gets its answer."""
    told = cluster(applied, server)
    stored = await asyncio.gather(*(told.create(pod(), "shop") for _ in range(50)))
    assert all(sidecars(one) == [CONTAINER] for one in stored)
