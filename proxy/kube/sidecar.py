"""The sidecar as a container of a pod, and the volumes it reads."""

from __future__ import annotations

from typing import Any

from proxy.kube.names import (
    ADMIN_PORT_NAME,
    CONFIG_DIRECTORY,
    CONFIG_FILE,
    CONTAINER,
    KEYS_DIRECTORY,
    KEYS_VOLUME,
    POLICY_VOLUME,
)
from proxy.kube.settings import Settings

STARTED_WITHIN_S = 60
"""Startup probes, one a second. The process is ready in less than one, but a full node may be slow."""

READABLE = 0o444
"""Mode of the mounted files. With 0400 they would be root's alone, and the sidecar is not root."""

AWAIT = f"""\
import http.client, sys, time
for _ in range({STARTED_WITHIN_S}):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=1)
        connection.request("GET", "/readyz")
        if connection.getresponse().status == 200:
            sys.exit(0)
    except OSError:
        pass
    time.sleep(1)
sys.exit("fusebox is not ready")
"""
"""Python: returns when the admin port in its first argument says ready. The image has no shell."""


def container(settings: Settings, *, guaranteed: bool, as_root: bool) -> dict[str, Any]:
    """The container. `guaranteed`: requests are to equal limits. `as_root`: the pod would have it run as root."""
    built: dict[str, Any] = {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": _arguments(settings),
        "env": [
            _from_field("POD_NAME", "metadata.name"),
            _from_field("POD_NAMESPACE", "metadata.namespace"),
        ],
        # The data port is on loopback and declared nowhere: nothing outside of the pod can reach it.
        "ports": [{"name": ADMIN_PORT_NAME, "containerPort": settings.admin_port, "protocol": "TCP"}],
        "resources": _resources(settings, guaranteed=guaranteed),
        "securityContext": _security(settings, as_root=as_root),
        # Kubernetes takes a startupProbe on an init container only with restartPolicy Always. Where something takes that
        # away, the API server refuses the pod; without a probe it would wait for ever.
        "startupProbe": {
            "httpGet": {"path": "/readyz", "port": settings.admin_port},
            "periodSeconds": 1,
            "timeoutSeconds": 1,
            "failureThreshold": STARTED_WITHIN_S,
        },
        # The event loop turns: this never depends on a provider. No readinessProbe: one on a native sidecar counts for
        # the whole pod, and an egress proxy must not take a service out of its endpoints.
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": settings.admin_port},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": POLICY_VOLUME, "mountPath": CONFIG_DIRECTORY, "readOnly": True},
            {"name": KEYS_VOLUME, "mountPath": KEYS_DIRECTORY, "readOnly": True},
        ],
    }
    if settings.native_sidecar:
        # No preStop: on a native sidecar it runs when the pod begins to end, while the app still works. SIGTERM comes
        # after the app has ended.
        return {**built, "restartPolicy": "Always"}
    return {**built, "lifecycle": _lifecycle(settings)}


def volumes(settings: Settings) -> list[dict[str, Any]]:
    """The policy, which must be there, and the keys, which may be. No emptyDir: it would hold up the cluster autoscaler."""
    return [
        {"name": POLICY_VOLUME, "configMap": {"name": settings.policy_configmap, "defaultMode": READABLE}},
        {
            "name": KEYS_VOLUME,
            "secret": {"secretName": settings.keys_secret, "defaultMode": READABLE, "optional": True},
        },
    ]


def _arguments(settings: Settings) -> list[str]:
    log_level = [f"--log-level={settings.log_level}"] if settings.log_level else []
    return [
        "serve",
        f"--config={CONFIG_FILE}",
        f"--listen=127.0.0.1:{settings.port}",
        # The kubelet's probes and Prometheus come to the pod's address, of either family.
        f"--admin=*:{settings.admin_port}",
        f"--drain={settings.drain_seconds}s",
        *log_level,
    ]


def _from_field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _resources(settings: Settings, *, guaranteed: bool) -> dict[str, Any]:
    limits = {"cpu": settings.cpu_limit, "memory": settings.memory_limit}
    requests = {"cpu": settings.cpu_request, "memory": settings.memory_request}
    return {"limits": limits, "requests": dict(limits) if guaranteed else requests}


def _security(settings: Settings, *, as_root: bool) -> dict[str, Any]:
    """All that Pod Security's level "restricted" asks of a container; none of it is left to the pod."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        **({"runAsUser": settings.run_as_user} if as_root else {}),
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _lifecycle(settings: Settings) -> dict[str, Any]:
    """For an ordinary container: the ones after it start when it is ready, and it outlives them a little."""
    wait = ["python", "-c", AWAIT, str(settings.admin_port)]
    # The `sleep` of a preStop needs Kubernetes 1.30, which has native sidecars.
    hold = ["python", "-c", "import sys, time; time.sleep(int(sys.argv[1]))", str(settings.drain_seconds)]
    return {"postStart": {"exec": {"command": wait}}, "preStop": {"exec": {"command": hold}}}
