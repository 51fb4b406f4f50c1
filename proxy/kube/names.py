"""Every name by which a cluster knows Fusebox; manifests, tests and documents use the same ones."""

from __future__ import annotations

PREFIX = "llm-fusebox.dev/"

INJECT = f"{PREFIX}inject"
"""Label of a pod: ``"true"`` or ``"false"``. A label, because the webhook's selectors see nothing else."""

INJECTION = f"{PREFIX}injection"
"""Label of a namespace: ``enabled``, for all of its pods."""

INJECTED = f"{PREFIX}injected"
"""Label that the injector writes: the container called `CONTAINER` is its own."""

STATUS = f"{PREFIX}status"
"""Annotation that the injector writes: JSON on what it did."""

CONTAINER = "fusebox"
POLICY_VOLUME = "fusebox-policy"
KEYS_VOLUME = "fusebox-keys"
ADMIN_PORT_NAME = "fusebox-admin"
"""At most 15 characters (IANA_SVC_NAME)."""

CONFIG_DIRECTORY = "/etc/fusebox"
CONFIG_FILE = f"{CONFIG_DIRECTORY}/config.yaml"
"""The ConfigMap's key ``config.yaml``. The directory is mounted whole: a subPath would never be updated."""

KEYS_DIRECTORY = "/var/run/fusebox/keys"

PLACEHOLDER = "fusebox"
"""Stands for a key where a program has none, as with ``fusebox env``: SDKs do not start without one."""

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
MIRROR_POD = "kubernetes.io/config.mirror"
NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The label that every namespace has; its value is the namespace's name."""

SYSTEM_NAMESPACE = "fusebox-system"
"""Where the injector runs."""

SYSTEM_NAMESPACES = ("kube-system", "kube-node-lease")

OTHER_SIDECARS = frozenset(
    {
        "istio-init",
        "istio-proxy",
        "istio-validation",
        "linkerd-init",
        "linkerd-network-validator",
        "linkerd-proxy",
        "kuma-init",
        "kuma-sidecar",
        "daprd",
        "vault-agent",
        "vault-agent-init",
        "otc-container",
    }
)
"""Containers of other injectors: they call no LLM, and a webhook that changes another's work sets that one off again."""
