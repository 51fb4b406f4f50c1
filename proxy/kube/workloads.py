"""Objects that hold the template of a pod: every kind of workload, and lists of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from proxy.kube.patch import Decision, decide
from proxy.kube.pointer import Operation, pointer
from proxy.kube.settings import Settings

_TEMPLATE = ("spec", "template")

TEMPLATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
    ("batch", "Job"): _TEMPLATE,
}
"""Where the pod stands, by group and kind."""

NESTING_MAX = 8
"""Lists within lists."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload within a document; `place`: of its template. `template` is None where there is none."""

    kind: str
    name: str
    namespace: str
    place: tuple[str | int, ...]
    template: Any
    labels: dict[str, Any]

    @property
    def title(self) -> str:
        """As kubectl writes it, with the kind in small letters."""
        return f"{self.kind.lower()}/{self.name or '(no name)'}"

    @property
    def pod_owner(self) -> str:
        """The kind of what makes the pods."""
        return "Job" if self.kind == "CronJob" else "" if self.kind == "Pod" else self.kind


def workloads(document: Any, place: tuple[str | int, ...] = (), depth: int = 0) -> Iterator[Workload]:
    """Every workload in `document`, in its order; nothing for other objects."""
    if not isinstance(document, dict):
        return
    kind, version = document.get("kind"), document.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str):
        return
    items = document.get("items")
    if kind.endswith("List") and isinstance(items, list) and depth < NESTING_MAX:
        for index, item in enumerate(items):
            # In a DeploymentList, the items may leave out what the list says.
            own = {"kind": kind.removesuffix("List"), "apiVersion": version} if kind != "List" else {}
            if isinstance(item, dict):
                yield from workloads({**own, **item}, (*place, "items", index), depth + 1)
        return
    path = TEMPLATES.get((version.rpartition("/")[0], kind))
    if path is None:
        return
    template: Any = document
    for part in path:
        template = template.get(part) if isinstance(template, dict) else None
    given = document.get("metadata")
    meta = given if isinstance(given, dict) else {}
    labels = meta.get("labels")
    yield Workload(
        kind,
        str(meta.get("name") or meta.get("generateName") or ""),
        str(meta.get("namespace") or ""),
        (*place, *path),
        template,
        labels if isinstance(labels, dict) else {},
    )


def inject(workload: Workload, settings: Settings) -> Decision:
    """As `decide`, for the template; the paths of the patch begin at the document."""
    decision = decide(workload.template, settings, namespace=workload.namespace, owner_kind=workload.pod_owner)
    prefix = pointer(*workload.place)
    return replace(decision, patch=tuple(_under(prefix, operation) for operation in decision.patch))


def _under(prefix: str, operation: Operation) -> Operation:
    return {"op": operation["op"], "path": prefix + operation["path"], "value": operation["value"]}
