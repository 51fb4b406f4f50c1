"""Why a pod gets the sidecar, or does not: the API server's selection first, then the injector's own reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.kube.names import INJECT, INJECTION, NAMESPACE_NAME, PREFIX
from proxy.kube.patch import Decision, Outcome
from proxy.kube.selectors import BadSelector, misfits
from proxy.kube.settings import Settings
from proxy.kube.workloads import Workload, inject

CONFIGURATION = "MutatingWebhookConfiguration"
GROUP = "admissionregistration.k8s.io/v1"


class NoWebhooks(Exception):
    """No configuration of webhooks to evaluate, or one that cannot be; the text says which."""


@dataclass(frozen=True, slots=True)
class Selection:
    """One webhook and the pod. `misfits`: why it is not asked; empty: it is. `unknown`: what cannot be told from here."""

    webhook: str
    misfits: tuple[str, ...]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """All there is to say of one workload. `decision`: the injector's, were it asked. `hints`: what is probably meant."""

    workload: Workload
    namespace: str
    selections: tuple[Selection, ...]
    decision: Decision
    hints: tuple[str, ...]

    @property
    def selected(self) -> bool:
        """A webhook is asked."""
        return any(not one.misfits for one in self.selections)

    @property
    def injected(self) -> bool:
        """The pod would run with the sidecar."""
        return self.selected and self.decision.outcome in (Outcome.INJECTED, Outcome.UNCHANGED)


def webhooks(documents: Iterable[Any], name: str = PREFIX.rstrip("/")) -> list[dict[str, Any]]:
    """The webhooks of the injector in `documents`, by the domain that ends their names. Raises NoWebhooks."""
    found: list[dict[str, Any]] = []
    for document in documents:
        if not isinstance(document, dict):
            continue
        if isinstance(items := document.get("items"), list):
            document = {"items": items}
            found += [one for item in items for one in _of(item, name)]
        else:
            found += _of(document, name)
    if not found:
        raise NoWebhooks(f"there is no {CONFIGURATION} with a webhook called *.{name}: give the rendered manifests")
    return found


def _of(document: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(document, dict) or document.get("kind") != CONFIGURATION or document.get("apiVersion") != GROUP:
        return []
    listed = document.get("webhooks") or []
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise NoWebhooks(f"webhooks of the {CONFIGURATION} is not a list of objects")
    return [one for one in listed if str(one.get("name", "")).endswith(f".{name}")]


def explain(
    workload: Workload,
    hooks: Iterable[Mapping[str, Any]],
    settings: Settings,
    namespace: str,
    namespace_labels: Mapping[str, str],
) -> Answer:
    """`namespace_labels`: as they are; the one with the namespace's name is added, as the API server does.

    Raises NoWebhooks when a selector is none.
    """
    name = namespace or workload.namespace or "default"
    labels = {**namespace_labels, NAMESPACE_NAME: name}
    pod = _pod_labels(workload.template)
    selections = tuple(_select(hook, pod, labels) for hook in hooks)
    decision = inject(_in(workload, name), settings)
    return Answer(workload, name, selections, decision, tuple(_hints(workload, pod, labels)))


def _in(workload: Workload, namespace: str) -> Workload:
    return Workload(workload.kind, workload.name, namespace, workload.place, workload.template, workload.labels)


def _pod_labels(template: Any) -> dict[str, str]:
    meta = template.get("metadata") if isinstance(template, dict) else None
    labels = meta.get("labels") if isinstance(meta, dict) else None
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


def _select(hook: Mapping[str, Any], pod: Mapping[str, str], namespace: Mapping[str, str]) -> Selection:
    name = str(hook.get("name"))
    try:
        found = [
            *([] if _rules_fit(hook) else ["its rules do not name the creation of pods"]),
            *(f"its namespaceSelector {one}" for one in misfits(hook.get("namespaceSelector"), namespace)),
            *(f"its objectSelector {one}" for one in misfits(hook.get("objectSelector"), pod)),
        ]
    except BadSelector as error:
        raise NoWebhooks(f"webhook {name}: {error}") from None
    conditions = hook.get("matchConditions") or []
    unknown = [f"its matchConditions ({len(conditions)}) are CEL, which is not evaluated here"] if conditions else []
    return Selection(name, tuple(found), tuple(unknown))


def _rules_fit(hook: Mapping[str, Any]) -> bool:
    """Some rule is for CREATE of v1 pods."""
    wanted = {"operations": "CREATE", "apiGroups": "", "apiVersions": "v1", "resources": "pods"}
    rules = hook.get("rules") or []
    return any(
        isinstance(rule, dict)
        and all({"*", value} & set(rule.get(key) or ()) for key, value in wanted.items())
        and rule.get("scope", "*") in ("*", "Namespaced")
        for rule in rules
    )


def _hints(workload: Workload, pod: Mapping[str, str], namespace: Mapping[str, str]) -> Iterator[str]:
    if workload.kind != "Pod" and INJECT in workload.labels and INJECT not in pod:
        yield (
            f"the label {INJECT} is on the {workload.kind}; pods get their labels from its template, so write it under"
            " spec.template.metadata.labels"
        )
    annotations = workload.template.get("metadata", {}) if isinstance(workload.template, dict) else {}
    annotations = annotations.get("annotations") if isinstance(annotations, dict) else None
    if isinstance(annotations, dict) and INJECT in annotations and INJECT not in pod:
        yield f"{INJECT} is an annotation of the pod; selectors see labels alone, so write it under labels"
    if INJECTION in pod:
        yield f'{INJECTION} is a label of namespaces; a pod has {INJECT}: "true"'
    if INJECT in namespace:
        yield f"the namespace has the label {INJECT}, which is one of pods; a namespace has {INJECTION}: enabled"
    if namespace.get(INJECTION, "enabled") != "enabled":
        yield f'the namespace has {INJECTION}: "{namespace[INJECTION]}"; only "enabled" counts'
