"""The component intact-vap: its CEL, run on pods that rival webhooks left whole or spoiled, and whom its bindings choose."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import celpy
import pytest
import yaml
from celpy.adapter import json_to_cel

from proxy.cli import main
from proxy.kube.selectors import misfits
from proxy.kube.workloads import workloads
from tests.deploy.rendered import MANIFESTS, of_kind

Object = dict[str, Any]

POLICIES = list(yaml.safe_load_all((MANIFESTS / "components/intact-vap/policies.yaml").read_text()))


@pytest.fixture(autouse=True)
def own_recursion_limit() -> Iterator[None]:
    """cel-python raises the process's; other tests see how deep nesting ends."""
    before = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(before)


def passes(policy: str, pod: Object) -> bool:
    """Whether a policy's one expression lets `pod` pass."""
    [found] = [one for one in of_kind(POLICIES, "ValidatingAdmissionPolicy") if one["metadata"]["name"] == policy]
    [validation] = found["spec"]["validations"]
    environment = celpy.Environment()
    program = environment.program(environment.compile(validation["expression"]))
    return bool(program.evaluate({"object": json_to_cel(pod)}))


@pytest.fixture
def injected(capsys: pytest.CaptureFixture[str]) -> Object:
    """The pod of the example Deployment, as the injector leaves it."""
    assert main(["k8s", "inject", "-f", str(MANIFESTS / "examples/deployment/deployment.yaml")]) == 0
    pods: list[Object] = [
        one.template for document in yaml.safe_load_all(capsys.readouterr().out) for one in workloads(document)
    ]
    assert len(pods) == 1
    return pods[0]


def sidecar(pod: Object) -> Object:
    """The sidecar's entry in `pod`."""
    [found] = [one for one in pod["spec"]["initContainers"] if one["name"] == "fusebox"]
    return dict(found)


def without_restart_policy(pod: Object) -> None:
    """As an old webhook writes containers again, by types that do not know the field."""
    for one in pod["spec"]["initContainers"]:
        one.pop("restartPolicy", None)


def never_restarted(pod: Object) -> None:
    """As a policy that forbids other restart policies would have it."""
    for one in pod["spec"]["initContainers"]:
        one["restartPolicy"] = "Never"


def taken_out(pod: Object) -> None:
    """As a webhook that knows its own init containers only."""
    del pod["spec"]["initContainers"]


def renamed(pod: Object) -> None:
    """Another container stands in its place."""
    for one in pod["spec"]["initContainers"]:
        one["name"] = "other"


def beside(pod: Object) -> None:
    """The fallback for clusters without native sidecars: an ordinary container."""
    pod["spec"]["containers"].append(sidecar(pod))
    del pod["spec"]["initContainers"]


def as_it_is(pod: Object) -> None:
    """Nobody touched it."""


@pytest.mark.parametrize(
    ("change", "intact", "there"),
    [
        (as_it_is, True, True),
        (beside, True, True),
        (without_restart_policy, False, True),
        (never_restarted, False, True),
        (taken_out, False, False),
        (renamed, False, False),
    ],
)
def test_the_expressions(injected: Object, change: Callable[[Object], None], intact: bool, there: bool) -> None:
    """What a rival webhook took away is noticed; what the injector makes, in either form, passes."""
    pod = copy.deepcopy(injected)
    change(pod)
    assert (passes("fusebox-intact", pod), passes("fusebox-missing", pod)) == (intact, there)


@pytest.mark.parametrize(
    ("pod", "namespace", "bound"),
    [
        ({"llm-fusebox.dev/inject": "true"}, {}, {"fusebox-missing"}),
        ({"llm-fusebox.dev/inject": "true"}, {"llm-fusebox.dev/injection": "enabled"}, {"fusebox-missing"}),
        ({}, {"llm-fusebox.dev/injection": "enabled"}, {"fusebox-missing-ns"}),
        ({"llm-fusebox.dev/inject": "false"}, {"llm-fusebox.dev/injection": "enabled"}, set()),
        ({}, {}, set()),
        ({"llm-fusebox.dev/injected": "true"}, {}, {"fusebox-intact"}),
        ({"llm-fusebox.dev/inject": "true"}, {"kubernetes.io/metadata.name": "kube-system"}, set()),
        ({"llm-fusebox.dev/injected": "true"}, {"kubernetes.io/metadata.name": "fusebox-system"}, set()),
    ],
)
def test_the_bindings(pod: Mapping[str, str], namespace: Mapping[str, str], bound: set[str]) -> None:
    """Each policy meets the pods that are its business, once; the cluster's own namespaces are left alone."""
    policies = {one["metadata"]["name"]: one for one in of_kind(POLICIES, "ValidatingAdmissionPolicy")}
    found = set()
    for binding in of_kind(POLICIES, "ValidatingAdmissionPolicyBinding"):
        chosen = binding["spec"]["matchResources"]
        wide = policies[binding["spec"]["policyName"]]["spec"]["matchConstraints"]
        selectors = [
            (chosen.get("namespaceSelector"), {"kubernetes.io/metadata.name": "shop", **namespace}),
            (chosen.get("objectSelector"), pod),
            (wide.get("objectSelector"), pod),
        ]
        if not any(misfits(selector, labels) for selector, labels in selectors):
            found.add(binding["metadata"]["name"])
    assert found == bound
