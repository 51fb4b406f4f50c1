"""The API server's own rules on pods that JSON schemas do not hold (k8s.io/kubernetes/pkg/apis/core/validation)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from proxy.kube import quantity

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HANDLERS = {"exec", "httpGet", "tcpSocket", "grpc", "sleep"}
ANNOTATIONS_MAX = 256 * 1024
NOT_SOURCES = {"name"}


def broken(pod: dict[str, Any]) -> list[str]:
    """Every rule that the pod breaks."""
    spec = pod["spec"]
    found = list(_metadata(pod.get("metadata") or {}))
    volumes = [one.get("name") for one in spec.get("volumes") or []]
    found += _twice("volume", volumes)
    for volume in spec.get("volumes") or []:
        if len(set(volume) - NOT_SOURCES) > 1:
            found.append(f"volume {volume['name']}: more than one source")
    containers, inits = spec.get("containers") or [], spec.get("initContainers") or []
    if not containers:
        found.append("no containers")
    found += _twice("container", [one["name"] for one in (*inits, *containers)])
    found += _twice("pull secret", [one["name"] for one in spec.get("imagePullSecrets") or []])
    for container in containers:
        found += [f"container {container['name']}: {one}" for one in _container(container, volumes, init=False)]
    for container in inits:
        found += [f"init container {container['name']}: {one}" for one in _container(container, volumes, init=True)]
    return found


def _twice(what: str, names: Iterable[Any]) -> list[str]:
    listed = list(names)
    return [f"{what} {name}: twice" for name in sorted({one for one in listed if listed.count(one) > 1})]


def _metadata(meta: dict[str, Any]) -> Iterator[str]:
    for key, value in (meta.get("labels") or {}).items():
        if not QUALIFIED.fullmatch(key) or not isinstance(value, str) or not LABEL_VALUE.fullmatch(value):
            yield f"label {key}"
    annotations = meta.get("annotations") or {}
    for key, value in annotations.items():
        if not QUALIFIED.fullmatch(key.lower()) or not isinstance(value, str):
            yield f"annotation {key}"
    if sum(len(str(key)) + len(str(value)) for key, value in annotations.items()) > ANNOTATIONS_MAX:
        yield "annotations: too long"


def _container(one: dict[str, Any], volumes: list[Any], *, init: bool) -> Iterator[str]:
    if not DNS_LABEL.fullmatch(one["name"]):
        yield "its name"
    policy = one.get("restartPolicy")
    if policy is not None and (not init or policy != "Always"):
        yield f"restartPolicy {policy}"
    for key in (*PROBES, "lifecycle"):
        if init and policy != "Always" and one.get(key) is not None:
            yield f"{key} without restartPolicy Always"
    for key in PROBES:
        if one.get(key) is not None:
            yield from (f"{key}: {said}" for said in _probe(key, one[key]))
    for key, handler in (one.get("lifecycle") or {}).items():
        if len(HANDLERS & set(handler)) != 1:
            yield f"{key}: not one handler"
    yield from _env(one.get("env") or [])
    yield from _ports(one.get("ports") or [])
    yield from _resources(one.get("resources") or {})
    mounts = one.get("volumeMounts") or []
    yield from _twice("mount path", [mount["mountPath"] for mount in mounts])
    for mount in mounts:
        if mount["name"] not in volumes:
            yield f"mount of {mount['name']}, which is no volume"
        if ":" in mount["mountPath"] or not mount["mountPath"].startswith("/"):
            yield f"mount path {mount['mountPath']}"
    if one.get("imagePullPolicy", "Always") not in ("Always", "IfNotPresent", "Never"):
        yield "imagePullPolicy"
    if one.get("terminationMessagePolicy", "File") not in ("File", "FallbackToLogsOnError"):
        yield "terminationMessagePolicy"


def _probe(key: str, probe: dict[str, Any]) -> Iterator[str]:
    if len(HANDLERS & set(probe)) != 1:
        yield "not one handler"
    for name in ("periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold"):
        if probe.get(name, 1) < 1:
            yield f"{name} below 1"
    if key != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        yield "successThreshold other than 1"
    port = (probe.get("httpGet") or {}).get("port", 1)
    if isinstance(port, int) and not 0 < port < 65536:
        yield f"port {port}"


def _env(env: list[dict[str, Any]]) -> Iterator[str]:
    for entry in env:
        if not re.fullmatch(r"[ -<>-~]+", entry["name"]):
            yield f"variable {entry['name']!r}"
        if entry.get("value") and entry.get("valueFrom"):
            yield f"variable {entry['name']}: two values"


def _ports(ports: list[dict[str, Any]]) -> Iterator[str]:
    yield from _twice("port name", [port["name"] for port in ports if port.get("name")])
    for port in ports:
        if port.get("name") and not PORT_NAME.fullmatch(port["name"]):
            yield f"port name {port['name']}"
        if not 0 < port["containerPort"] < 65536:
            yield f"port {port['containerPort']}"


def _resources(resources: dict[str, Any]) -> Iterator[str]:
    limits = resources.get("limits") or {}
    for name, request in (resources.get("requests") or {}).items():
        if name in limits and quantity.parse(str(request)) > quantity.parse(str(limits[name])):
            yield f"{name} request above its limit"
