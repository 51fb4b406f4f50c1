"""A pod and the settings in; a JSON Patch out, or why there is none. The webhook and ``fusebox k8s inject`` both ask here.

The same pod twice, or the pod with the patch in it, gives nothing more to do: webhooks are called again after others, in
any order. What has been injected is left as it is then, but for containers that came since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from proxy.kube import sidecar
from proxy.kube.annotations import Asked, read
from proxy.kube.environment import plan
from proxy.kube.names import (
    CONTAINER,
    DEFAULT_CONTAINER,
    INJECT,
    INJECTED,
    KEYS_VOLUME,
    MIRROR_POD,
    OTHER_SIDECARS,
    POLICY_VOLUME,
    PREFIX,
    STATUS,
)
from proxy.kube.pods import BadPod, Container, Pod
from proxy.kube.pods import read as read_pod
from proxy.kube.pointer import Operation, add, pointer
from proxy.kube.settings import Settings

WARNINGS_MAX = 20
"""A pod may have any number of annotations; answers and the status stay small."""


class Outcome(StrEnum):
    """What becomes of the pod. Skipped and unchanged ones are allowed as they are."""

    INJECTED = "injected"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why. `code` is one of few, for numbers; `text` is for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """`patch` is empty unless the outcome is INJECTED. `env`: the variables set, by container."""

    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    patch: tuple[Operation, ...] = ()
    warnings: tuple[str, ...] = ()
    env: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def because(self) -> str:
        """All reasons in one line."""
        return "; ".join(reason.text for reason in self.reasons)


def decide(value: object, settings: Settings, *, namespace: str = "", owner_kind: str = "") -> Decision:
    """What to do with the pod (or template) in `value`, which is JSON.

    `namespace`: the request's; a pod's own is empty at admission. `owner_kind`: who makes pods of it, where the pod does
    not say so itself. Raises nothing: what is no pod is denied.
    """
    try:
        pod = read_pod(value)
    except BadPod as error:
        return Decision(Outcome.DENIED, (Reason("bad_pod", str(error)),))
    skips = tuple(skip_reasons(pod, settings, namespace))
    if skips:
        asked_for = pod.labels.get(INJECT) == "true"
        warnings = tuple(f"fusebox is not injected: {one.text}" for one in skips) if asked_for else ()
        return Decision(Outcome.SKIPPED, skips, (), warnings)
    asked = read(pod.annotations, pod.labels, settings)
    refusals = tuple(_refusals(pod, asked, owner_kind))
    if refusals:
        return Decision(Outcome.DENIED, refusals, (), asked.warnings[:WARNINGS_MAX])
    return _injection(pod, asked)


def skip_reasons(pod: Pod, settings: Settings, namespace: str = "") -> Iterator[Reason]:
    """Every reason to leave the pod as it is."""
    if pod.labels.get(INJECT) == "false":
        yield Reason("opted_out", f'the pod has the label {INJECT}: "false"')
    if namespace in settings.excluded_namespaces:
        yield Reason("system_namespace", f"namespace {namespace} is left out")
    spec = pod.spec
    if spec.host_network:
        yield Reason("host_network", "the pod has hostNetwork: its loopback is the node's, where ports are shared")
    system = (spec.os and spec.os.name) or (spec.node_selector or {}).get("kubernetes.io/os", "")
    if system and system != "linux":
        yield Reason("not_linux", f"the pod is for {system} nodes, and the image is for Linux")
    if MIRROR_POD in pod.annotations:
        yield Reason("mirror_pod", "it is the mirror of a static pod, which nothing can change")
    if pod.labels.get(INJECTED) != "true" and _own(pod) is not None:
        yield Reason("own_sidecar", f"the pod brings a container called {CONTAINER} of its own")


def _own(pod: Pod) -> tuple[str, int, Container] | None:
    """List, index and container of that name."""
    for key, containers in (("initContainers", pod.spec.init_containers or []), ("containers", pod.spec.containers)):
        for index, container in enumerate(containers):
            if container.name == CONTAINER:
                return key, index, container
    return None


def _refusals(pod: Pod, asked: Asked, owner_kind: str) -> Iterator[Reason]:
    for problem in asked.problems:
        yield Reason("bad_annotation", problem)
    if asked.problems or _own(pod) is not None:
        return
    settings, spec = asked.settings, pod.spec
    ports = {"port": settings.port, "admin-port": settings.admin_port}
    for container in (*spec.containers, *(spec.init_containers or ())):
        for name, number in ports.items():
            if any(port.container_port == number and port.protocol in (None, "TCP") for port in container.ports or ()):
                yield Reason(
                    "port_clash",
                    f"annotation {PREFIX}{name}: container {container.name} has port {number} itself: write another number",
                )
    for volume in spec.volumes or ():
        if volume.name in (POLICY_VOLUME, KEYS_VOLUME):
            yield Reason("volume_clash", f"the pod has a volume {volume.name} of its own: give it another name")
    kinds = {owner_kind, *(owner.kind for owner in pod.meta.owner_references or ())}
    if not settings.native_sidecar and "Job" in kinds:
        yield Reason(
            "endless_job",
            "a Job would never complete beside an ordinary container: it needs a native sidecar (Kubernetes 1.29), or"
            f' the label {INJECT}: "false"',
        )


# The patch


def _injection(pod: Pod, asked: Asked) -> Decision:
    own = _own(pod)
    warnings = [*asked.warnings, *_cautions(pod, asked)]
    operations: list[Operation] = []
    if own is None:
        operations += _add_sidecar(pod, asked)
    elif own[0] == "initContainers" and own[2].restart_policy != "Always":
        warnings.append("another webhook took restartPolicy from the sidecar; it is put back")
        operations.append(add(pointer("spec", *own[:2], "restartPolicy"), "Always"))
    env: dict[str, tuple[str, ...]] = {}
    for container, place in _users(pod, asked.settings, own):
        variables = plan(container, place, asked.settings)
        operations += variables.operations
        warnings += variables.warnings
        if variables.names:
            env[container.name] = variables.names
    told = tuple(dict.fromkeys(warnings))[:WARNINGS_MAX]
    if not operations:
        already = Reason("already", "the pod has the sidecar, and nothing is missing")
        return Decision(Outcome.UNCHANGED, (already,), (), told)
    patch = (*_metadata(pod, asked.settings, env, told), *operations)
    return Decision(Outcome.INJECTED, (), patch, told, env)


def _users(
    pod: Pod, settings: Settings, own: tuple[str, int, Container] | None
) -> Iterator[tuple[Container, tuple[str | int, ...]]]:
    """The containers that get variables, each with its place when the sidecar is in the pod."""
    lists = {"initContainers": pod.spec.init_containers or [], "containers": pod.spec.containers}
    home = own[0] if own is not None else ("initContainers" if settings.native_sidecar else "containers")
    for key, containers in lists.items():
        if key == "initContainers" and home == "containers":
            continue  # they have ended before an ordinary container starts
        for index, container in enumerate(containers):
            place = index + 1 if own is None and key == home else index
            before = own is not None and key == home == "initContainers" and index < own[1]
            named = container.name in settings.env_containers
            if container.name == CONTAINER or before or not (named or not settings.env_containers):
                continue
            if named or container.name not in OTHER_SIDECARS:
                yield container, ("spec", key, place)


def _add_sidecar(pod: Pod, asked: Asked) -> Iterator[Operation]:
    spec, settings = pod.spec, asked.settings
    as_root = spec.security_context is not None and spec.security_context.run_as_user == 0
    # Who wrote down a request wants that request.
    guaranteed = spec.is_guaranteed and not asked.given & {"cpu_request", "memory_request"}
    built = sidecar.container(settings, guaranteed=guaranteed, as_root=as_root)
    home = "initContainers" if settings.native_sidecar else "containers"
    if home == "initContainers" and not spec.init_containers:
        yield add("/spec/initContainers", [])
    # First: init containers call LLMs, too, and the proxies of a mesh come after what needs no network to be ready.
    yield add(f"/spec/{home}/0", built)
    if not spec.volumes:
        yield add("/spec/volumes", [])
    for volume in sidecar.volumes(settings):
        yield add("/spec/volumes/-", volume)
    secret = settings.image_pull_secret
    if secret and not any(one.name == secret for one in spec.image_pull_secrets or ()):
        if not spec.image_pull_secrets:
            yield add("/spec/imagePullSecrets", [])
        yield add("/spec/imagePullSecrets/-", {"name": secret})


def _metadata(
    pod: Pod, settings: Settings, env: Mapping[str, tuple[str, ...]], warnings: tuple[str, ...]
) -> Iterator[Operation]:
    """What is written back, and the objects it is written into. Comes first in the patch."""
    meta = pod.meta
    if pod.metadata is None:
        yield add("/metadata", {})
    if not meta.annotations:
        yield add("/metadata/annotations", {})
    yield add(pointer("metadata", "annotations", STATUS), _status(pod, settings, env, warnings))
    fallback = _own(pod) is None and not settings.native_sidecar
    if fallback and DEFAULT_CONTAINER not in pod.annotations and pod.spec.containers:
        yield add(pointer("metadata", "annotations", DEFAULT_CONTAINER), pod.spec.containers[0].name)
    if not meta.labels:
        yield add("/metadata/labels", {})
    if pod.labels.get(INJECTED) != "true":
        yield add(pointer("metadata", "labels", INJECTED), "true")


def _status(pod: Pod, settings: Settings, env: Mapping[str, tuple[str, ...]], warnings: tuple[str, ...]) -> str:
    """The annotation; a second injection adds to what the first one said."""
    before: dict[str, object] = {}
    if _own(pod) is not None:
        try:
            said = json.loads(pod.annotations.get(STATUS, ""))
            before = said if isinstance(said, dict) else {}
        except (ValueError, RecursionError):
            pass  # somebody edited it; it decides nothing
    earlier = before.get("env")
    status = {
        "version": settings.version,
        "configMap": settings.policy_configmap,
        "secret": settings.keys_secret,
        **before,
        "env": {
            **(earlier if isinstance(earlier, dict) else {}),
            **{name: list(names) for name, names in env.items()},
        },
        "warnings": list(warnings),
    }
    return json.dumps(status, ensure_ascii=False, separators=(",", ":"))


def _cautions(pod: Pod, asked: Asked) -> Iterator[str]:
    """What will work, but perhaps not as meant."""
    spec, settings = pod.spec, asked.settings
    names = {container.name for container in (*spec.containers, *(spec.init_containers or ()))}
    for name in settings.env_containers:
        if name not in names:
            yield f"annotation {PREFIX}env-containers: there is no container {name}"
    grace_s = 30 if spec.termination_grace_period_seconds is None else spec.termination_grace_period_seconds
    needed_s = settings.drain_seconds * (1 if settings.native_sidecar else 2)
    if needed_s and needed_s >= grace_s:
        yield f"drain-seconds {settings.drain_seconds} does not fit into the pod's terminationGracePeriodSeconds, {grace_s}"
    if not settings.native_sidecar and spec.init_containers and _own(pod) is None:
        yield "init containers run before the sidecar, as it is not a native one: they get no variables"
    if spec.resources is not None and _own(pod) is None:
        yield "the pod has resources for all of its containers together (spec.resources): the sidecar's come out of them"
    if spec.is_guaranteed and asked.given & {"cpu_request", "memory_request"} and _own(pod) is None:
        yield "the pod is Guaranteed without the sidecar; a request below the limit makes it Burstable"
