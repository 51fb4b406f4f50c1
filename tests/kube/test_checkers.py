"""The checkers of these tests find what they are there to find."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from proxy.kube.patch import decide
from proxy.kube.pointer import apply
from tests.kube.cases import SETTINGS
from tests.kube.pod_security import violations
from tests.kube.rules import broken
from tests.kube.schemas import VERSIONS, invalid

SECURE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def good() -> dict[str, Any]:
    """An injected pod, which breaks nothing and is restricted."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop"},
        "spec": {"containers": [{"name": "app", "image": "app", "securityContext": SECURE}]},
    }
    pod = apply(pod, decide(pod, SETTINGS).patch)
    return copy.deepcopy(pod)


def ours(pod: dict[str, Any]) -> dict[str, Any]:
    """The sidecar in it."""
    found: dict[str, Any] = pod["spec"]["initContainers"][0]
    return found


def app(pod: dict[str, Any]) -> dict[str, Any]:
    """The app in it."""
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def test_a_good_pod() -> None:
    """Nobody objects."""
    assert broken(good()) == [] and violations(good()) == []
    assert [invalid(good(), version) for version in VERSIONS] == [[], [], []]


RULES: dict[str, Callable[[dict[str, Any]], object]] = {
    "container app: twice": lambda pod: pod["spec"]["containers"].append({"name": "app"}),
    "container fusebox: twice": lambda pod: pod["spec"]["containers"].append({"name": "fusebox"}),
    "restartPolicy Always": lambda pod: app(pod).update(restartPolicy="Always"),
    "restartPolicy Never": lambda pod: ours(pod).update(restartPolicy="Never"),
    "startupProbe without restartPolicy": lambda pod: ours(pod).pop("restartPolicy"),
    "its name": lambda pod: app(pod).update(name="App"),
    "not one handler": lambda pod: ours(pod)["startupProbe"].update(exec={"command": ["true"]}),
    "periodSeconds below 1": lambda pod: ours(pod)["startupProbe"].update(periodSeconds=0),
    "successThreshold other than 1": lambda pod: ours(pod)["livenessProbe"].update(successThreshold=2),
    "mount of": lambda pod: pod["spec"]["volumes"].pop(),
    "volume fusebox-keys: twice": lambda pod: pod["spec"]["volumes"].append({"name": "fusebox-keys"}),
    "more than one source": lambda pod: pod["spec"]["volumes"][0].update(emptyDir={}),
    "mount path": lambda pod: ours(pod)["volumeMounts"][0].update(mountPath="etc"),
    "request above its limit": lambda pod: ours(pod)["resources"]["requests"].update(cpu="2"),
    "port name": lambda pod: ours(pod)["ports"][0].update(name="fusebox-admin-port"),
    "port 0": lambda pod: ours(pod)["ports"][0].update(containerPort=0),
    "port name x: twice": lambda pod: app(pod).update(ports=[{"name": "x", "containerPort": 1}] * 2),
    "variable 'a=b'": lambda pod: app(pod)["env"].append({"name": "a=b"}),
    "two values": lambda pod: app(pod)["env"].append({"name": "a", "value": "1", "valueFrom": {"x": 1}}),
    "annotation no good": lambda pod: pod["metadata"]["annotations"].update({"no good": "1"}),
    "label x": lambda pod: pod["metadata"]["labels"].update(x="no good"),
}

RESTRICTED: dict[str, Callable[[dict[str, Any]], object]] = {
    "hostNetwork": lambda pod: pod["spec"].update(hostNetwork=True),
    "hostPID": lambda pod: pod["spec"].update(hostPID=True),
    "volume fusebox-policy": lambda pod: pod["spec"]["volumes"][0].update(hostPath={"path": "/"}),
    "sysctl": lambda pod: pod["spec"].update(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
    "runAsUser 0": lambda pod: app(pod).update(securityContext={**SECURE, "runAsUser": 0}),
    "runAsNonRoot is not true": lambda pod: ours(pod)["securityContext"].pop("runAsNonRoot"),
    "no seccompProfile": lambda pod: ours(pod)["securityContext"].pop("seccompProfile"),
    "seccompProfile": lambda pod: pod["spec"].update(securityContext={"seccompProfile": {"type": "Unconfined"}}),
    "drop ALL": lambda pod: ours(pod)["securityContext"].pop("capabilities"),
    "adds capabilities": lambda pod: ours(pod)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
    "allowPrivilegeEscalation": lambda pod: ours(pod)["securityContext"].pop("allowPrivilegeEscalation"),
    "privileged": lambda pod: ours(pod)["securityContext"].update(privileged=True),
    "procMount": lambda pod: ours(pod)["securityContext"].update(procMount="Unmasked"),
    "hostPort": lambda pod: ours(pod)["ports"][0].update(hostPort=4011),
    "a probe of another host": lambda pod: ours(pod)["livenessProbe"]["httpGet"].update(host="127.0.0.1"),
    "hostProcess": lambda pod: ours(pod)["securityContext"].update(windowsOptions={"hostProcess": True}),
    "appArmorProfile": lambda pod: ours(pod)["securityContext"].update(appArmorProfile={"type": "Unconfined"}),
    "seLinuxOptions": lambda pod: ours(pod)["securityContext"].update(seLinuxOptions={"type": "spc_t"}),
}


@pytest.mark.parametrize("said", RULES)
def test_a_broken_rule_is_found(said: str) -> None:
    """Each rule of the API server, broken, is told."""
    pod = good()
    RULES[said](pod)
    assert any(said in one for one in broken(pod)), broken(pod)


@pytest.mark.parametrize("said", RESTRICTED)
def test_what_restricted_refuses_is_found(said: str) -> None:
    """Each control of Pod Security, violated, is told."""
    pod = good()
    RESTRICTED[said](pod)
    assert any(said in one for one in violations(pod)), violations(pod)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_field_is_found(version: str) -> None:
    """The schemas are the strict ones."""
    pod = good()
    ours(pod)["restartPolice"] = "Always"
    assert any("restartPolice" in one for one in invalid(pod, version))
