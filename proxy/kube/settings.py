"""What the injector puts into a pod unless the pod says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from proxy import __version__
from proxy.kube.names import SYSTEM_NAMESPACE, SYSTEM_NAMESPACES


@dataclass(frozen=True, slots=True)
class Settings:
    """The injector's own settings; annotations of a pod change those of the second part, for that pod.

    `run_as_user`: the image's numeric user. It is written into a pod only where the pod would have the sidecar run as
    root: a fixed user clashes with the ranges that OpenShift gives to namespaces.
    """

    image_pull_policy: str = "IfNotPresent"
    run_as_user: int = 65532
    excluded_namespaces: tuple[str, ...] = (*SYSTEM_NAMESPACES, SYSTEM_NAMESPACE)
    version: str = __version__

    # What annotations may change.

    image: str = f"llm-fusebox:{__version__}"
    image_pull_secret: str = ""
    """Name of a Secret in the pod's namespace; empty: none is added."""

    policy_configmap: str = "fusebox-policy"
    keys_secret: str = "fusebox-keys"  # noqa: S105 the name of a Secret
    port: int = 4010
    admin_port: int = 4011
    env: tuple[str, ...] = ("openai",)
    """Formats whose base URL is set: ``openai``, ``anthropic``."""

    env_containers: tuple[str, ...] = ()
    """Names of those that get variables; empty: all of them."""

    env_override: bool = False
    placeholder_key: str = "auto"
    """``auto``: where a container has neither the variable nor any `envFrom`; ``true``: where it lacks the variable."""

    log_level: str = ""
    """Empty: the one in the policy."""

    cpu_request: str = "50m"
    cpu_limit: str = "1"
    memory_request: str = "96Mi"
    memory_limit: str = "256Mi"
    drain_seconds: int = 10
    native_sidecar: bool = True
    """False for clusters below 1.29: an ordinary container, with what that cannot do."""
