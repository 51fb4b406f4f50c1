"""Other webhooks that change the same pods, as far as it matters here: what they add, where, and what they break."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Pod = dict[str, Any]
Rival = Callable[[Pod], Pod]


def _copy(pod: Pod) -> Pod:
    changed = copy.deepcopy(pod)
    changed["spec"].setdefault("initContainers", [])
    changed["spec"].setdefault("volumes", [])
    return changed


def _has(pod: Pod, name: str) -> bool:
    spec = pod["spec"]
    return any(one["name"] == name for one in (*(spec.get("initContainers") or ()), *spec["containers"]))


_SECURE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _container(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": f"{name}:1", "securityContext": dict(_SECURE), **more}


def istio_native(pod: Pod) -> Pod:
    """Proxy first in initContainers, istio-init last (pkg/kube/inject/webhook.go, reorderPod)."""
    if _has(pod, "istio-proxy"):
        return pod
    changed = _copy(pod)
    changed["spec"]["initContainers"].insert(
        0,
        _container("istio-proxy", restartPolicy="Always", startupProbe={"httpGet": {"path": "/ready", "port": 15021}}),
    )
    changed["spec"]["initContainers"].append(_container("istio-init"))
    changed["spec"]["volumes"].append({"name": "istio-envoy", "emptyDir": {"medium": "Memory"}})
    changed.setdefault("metadata", {}).setdefault("annotations", {})["sidecar.istio.io/status"] = "{}"
    return changed


def istio_classic(pod: Pod) -> Pod:
    """istio-init last in initContainers, the proxy first of the containers (holdApplicationUntilProxyStarts)."""
    if _has(pod, "istio-proxy"):
        return pod
    changed = _copy(pod)
    changed["spec"]["initContainers"].append(_container("istio-init"))
    changed["spec"]["containers"].insert(0, _container("istio-proxy"))
    changed["spec"]["volumes"].append({"name": "istio-envoy", "emptyDir": {"medium": "Memory"}})
    return changed


def linkerd_native(pod: Pod) -> Pod:
    """linkerd-init and the proxy at the head of initContainers (charts/patch/templates/patch.json)."""
    if _has(pod, "linkerd-proxy"):
        return pod
    changed = _copy(pod)
    changed["spec"]["initContainers"][:0] = [
        _container("linkerd-init"),
        _container("linkerd-proxy", restartPolicy="Always", startupProbe={"httpGet": {"path": "/ready", "port": 4191}}),
    ]
    changed["spec"]["volumes"].append({"name": "linkerd-identity-end-entity", "emptyDir": {"medium": "Memory"}})
    return changed


def linkerd_classic(pod: Pod) -> Pod:
    """linkerd-init at the end of initContainers, the proxy at the head of the containers (proxy.await)."""
    if _has(pod, "linkerd-proxy"):
        return pod
    changed = _copy(pod)
    changed["spec"]["initContainers"].append(_container("linkerd-init"))
    changed["spec"]["containers"].insert(0, _container("linkerd-proxy"))
    return changed


def dapr(pod: Pod) -> Pod:
    """A container at the end, and variables in all the others."""
    if _has(pod, "daprd"):
        return pod
    changed = _copy(pod)
    for container in changed["spec"]["containers"]:
        container.setdefault("env", []).append({"name": "DAPR_HTTP_PORT", "value": "3500"})
    changed["spec"]["containers"].append(_container("daprd"))
    changed.setdefault("metadata", {}).setdefault("labels", {})["dapr.io/sidecar-injected"] = "true"
    return changed


def instrumentation(pod: Pod) -> Pod:
    """An init container that copies files, and a variable that every container gets if it lacks it (OpenTelemetry)."""
    if _has(pod, "otel-agent"):
        return pod
    changed = _copy(pod)
    changed["spec"]["initContainers"].append(_container("otel-agent"))
    changed["spec"]["volumes"].append({"name": "otel-agent", "emptyDir": {}})
    for container in changed["spec"]["containers"]:
        if not any(entry["name"] == "OTEL_SERVICE_NAME" for entry in container.get("env") or ()):
            container.setdefault("env", []).append({"name": "OTEL_SERVICE_NAME", "value": "shop"})
    return changed


def log_shipper(pod: Pod) -> Pod:
    """A container of somebody's own at the head of the list: all indices move."""
    if _has(pod, "log-shipper"):
        return pod
    changed = _copy(pod)
    changed["spec"]["containers"].insert(0, _container("log-shipper"))
    return changed


def forgets_restart_policy(pod: Pod) -> Pod:
    """Decodes pods with types from before 1.28, and so drops a field it does not know (kube-image-keeper#457)."""
    changed = copy.deepcopy(pod)
    for container in changed["spec"].get("initContainers") or ():
        container.pop("restartPolicy", None)
    return changed


KIND: tuple[Rival, ...] = (
    istio_native,
    istio_classic,
    linkerd_native,
    linkerd_classic,
    dapr,
    instrumentation,
    log_shipper,
)
"""Those that only add."""
