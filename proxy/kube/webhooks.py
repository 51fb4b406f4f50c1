"""Which pods the API server shows to the injector: two webhooks on one server, of which a pod meets at most one.

The manifests say the same; a test compares them. `k8s why` asks here when it is given no manifests.
"""

from __future__ import annotations

from typing import Any

from proxy.kube.names import INJECT, INJECTION, NAMESPACE_NAME, SYSTEM_NAMESPACE, SYSTEM_NAMESPACES

NAME = "fusebox-injector"
POD_WEBHOOK = "pod.llm-fusebox.dev"
NAMESPACE_WEBHOOK = "ns.llm-fusebox.dev"
PATH = "/mutate"


def configuration(namespace: str = SYSTEM_NAMESPACE) -> dict[str, Any]:
    """The MutatingWebhookConfiguration of an injector in `namespace`, without its caBundle."""
    outside = {"key": NAMESPACE_NAME, "operator": "NotIn", "values": [*SYSTEM_NAMESPACES, namespace]}
    in_namespace = {"key": INJECTION, "operator": "In", "values": ["enabled"]}
    # Whatever else somebody wrote there reaches the injector, which says what is wrong with it.
    unsaid = {"key": INJECT, "operator": "NotIn", "values": ["true", "false"]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [
            _webhook(POD_WEBHOOK, namespace, {"matchExpressions": [outside]}, {"matchLabels": {INJECT: "true"}}),
            _webhook(
                NAMESPACE_WEBHOOK,
                namespace,
                {"matchExpressions": [outside, in_namespace]},
                {"matchExpressions": [unsaid]},
            ),
        ],
    }


def _webhook(name: str, namespace: str, namespaces: dict[str, Any], objects: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": NAME, "namespace": namespace, "path": PATH, "port": 443}},
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": namespaces,
        "objectSelector": objects,
        # Called again when a later webhook changed the pod: what came with that gets its variables, too.
        "reinvocationPolicy": "IfNeeded",
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
                "scope": "Namespaced",
            }
        ],
        "sideEffects": "None",
        "timeoutSeconds": 5,
    }
