"""Pod Security's level "restricted", with "baseline" in it (k8s.io/pod-security-admission/policy, as of 1.36)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
}
SECCOMP = {"RuntimeDefault", "Localhost"}


def violations(pod: dict[str, Any]) -> list[str]:
    """Everything that the level refuses."""
    spec = pod["spec"]
    security = spec.get("securityContext") or {}
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    for volume in spec.get("volumes") or []:
        if set(volume) - {"name"} - VOLUMES:
            found.append(f"volume {volume['name']}")
    found += [f"sysctl {one['name']}" for one in security.get("sysctls") or [] if one["name"] not in SYSCTLS]
    found += _shared(security)
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        found += [f"{container['name']}: {said}" for said in of_container(container, security)]
    return found


def _shared(context: dict[str, Any]) -> Iterator[str]:
    """Rules on what both a pod and a container may say."""
    if context.get("runAsUser") == 0:
        yield "runAsUser 0"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot false"
    if (context.get("seccompProfile") or {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield "seccompProfile"
    options = context.get("seLinuxOptions") or {}
    if options.get("user") or options.get("role") or options.get("type", "") not in ("", "container_t"):
        yield "seLinuxOptions"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"
    if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in SECCOMP:
        yield "appArmorProfile"


def of_container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    """Rules on a container; `pod` is the pod's security context, which may say some things for all."""
    own = container.get("securityContext") or {}
    yield from _shared(own)
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or []):
        yield "does not drop ALL capabilities"
    if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield "adds capabilities"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in SECCOMP:
        yield "no seccompProfile"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(port.get("hostPort") for port in container.get("ports") or []):
        yield "hostPort"
    handlers = [
        *((container.get(key) or {}) for key in ("livenessProbe", "readinessProbe", "startupProbe")),
        *(container.get("lifecycle") or {}).values(),
    ]
    if any((handler.get(kind) or {}).get("host") for handler in handlers for kind in ("httpGet", "tcpSocket")):
        yield "a probe of another host"
