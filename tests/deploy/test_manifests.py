"""The manifests render in every combination, and are valid for the oldest cluster served, a usual one and the newest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from proxy.kube.webhooks import configuration
from tests.deploy.rendered import (
    COMPONENTS,
    CUSTOM,
    Object,
    of_kind,
    one_of_kind,
    overlay,
    plain_files,
    render,
    webhooks,
)
from tests.kube.schemas import VERSIONS, invalid

WHOLE = ("overlays/dev", "overlays/prod", "app", "examples/sidecar-by-hand", "examples/gateway", "base")

BASE = {
    "Namespace", "ServiceAccount", "Deployment", "Service", "MutatingWebhookConfiguration", "PodDisruptionBudget",
}  # fmt: skip

ADDED = {
    "policy-webhook": {"ValidatingWebhookConfiguration"},
    "intact-vap": {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
    "networkpolicy": {"NetworkPolicy"},
    "podmonitor": {"PodMonitor"},
    "fail-open": set(),
    "cert-manager": {"Certificate", "Issuer"},
    "static-certs": set(),
}
"""The kinds that each component brings."""

ISSUED = "cert-manager.io/inject-ca-from"

EXCLUSIVE = {"cert-manager", "static-certs"}


def complaints(objects: list[Object], version: str) -> list[str]:
    """What the strict schemas of a version say, by object; kinds that it does not have are left out."""
    found = []
    for one in objects:
        since_1_30 = one["kind"].startswith("ValidatingAdmissionPolicy")
        if one["kind"] in CUSTOM or (since_1_30 and version == "1.29"):
            continue
        found += [f"{one['kind']} {one['metadata']['name']}: {said}" for said in invalid(one, version)]
    return found


def holds(objects: list[Object], components: tuple[str, ...]) -> None:
    """What each component promises, and nothing else."""
    wanted = set(BASE).union(*(ADDED[one] for one in components))
    assert {one["kind"] for one in objects} == wanted
    webhooks = of_kind(objects, "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
    for one in webhooks:
        issued = one["metadata"].get("annotations", {}).get(ISSUED)
        assert issued == ("fusebox-system/fusebox-injector" if "cert-manager" in components else None)
        for hook in one["webhooks"]:
            assert ("caBundle" in hook["clientConfig"]) == ("static-certs" in components)
            policy = one["kind"].startswith("Validating") or "fail-open" in components
            assert hook["failurePolicy"] == ("Ignore" if policy else "Fail")


SETS = [
    chosen
    for count in (0, 1, 2)
    for chosen in combinations(COMPONENTS, count)
    if not set(chosen) >= EXCLUSIVE
] + [tuple(one for one in COMPONENTS if one != other) for other in sorted(EXCLUSIVE)]  # fmt: skip


def test_every_combination_of_components_renders(tree: Path) -> None:
    """None, each, each pair, and all together with either kind of certificates; each holds what it promises."""
    folders = [overlay(tree, f"set-{index}", components) for index, components in enumerate(SETS)]
    with ThreadPoolExecutor(4) as pool:  # kubectl is another process
        rendered = list(pool.map(render, folders))
    for components, objects in zip(SETS, rendered, strict=True):
        holds(objects, components)
        assert complaints(objects, VERSIONS[1]) == [], components


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", WHOLE)
def test_what_renders_is_valid(folder: str, version: str, tree: Path) -> None:
    """No unknown field, no missing one, in any of the versions."""
    objects = render(tree / folder)
    assert objects
    assert complaints(objects, version) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_plain_file_is_valid(version: str, tree: Path) -> None:
    """Those that no overlay lists, too: the examples, and the example of the keys."""
    checked = 0
    for path in plain_files(tree):
        objects = [one for one in yaml.safe_load_all(path.read_text()) if one is not None]
        checked += len(objects)
        assert complaints(objects, version) == [], path
    assert checked > 20


def test_overlays_are_what_they_say(tree: Path) -> None:
    """dev: one injector, nothing waits for it, certificates of our own. prod: two, a budget, certificates by cert-manager."""
    dev, prod = render(tree / "overlays/dev"), render(tree / "overlays/prod")
    assert one_of_kind(dev, "Deployment", "fusebox-injector")["spec"]["replicas"] == 1
    assert of_kind(dev, "PodDisruptionBudget", "Certificate") == []
    assert {hook["failurePolicy"] for hook in webhooks(dev)} == {"Ignore"}
    assert one_of_kind(prod, "Deployment", "fusebox-injector")["spec"]["replicas"] == 2
    assert len(of_kind(prod, "PodDisruptionBudget")) == 1
    holds(prod, ("policy-webhook", "intact-vap", "networkpolicy", "cert-manager"))


def test_the_webhooks_are_those_that_why_knows(tree: Path) -> None:
    """`fusebox k8s why` without manifests speaks of what the base installs, word for word."""
    found = one_of_kind(render(tree / "base"), "MutatingWebhookConfiguration", "fusebox-injector")
    assert found["webhooks"] == configuration()["webhooks"]
