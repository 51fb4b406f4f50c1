"""What goes wrong for users of other injectors, as far as the patch can prevent it; each test names the reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from proxy.kube.patch import Decision, Outcome, decide
from proxy.kube.pointer import apply
from proxy.kube.webhooks import configuration
from tests.kube.cases import SETTINGS
from tests.kube.pod_security import of_container, violations
from tests.kube.rivals import KIND
from tests.kube.rules import broken

P = "llm-fusebox.dev/"


def pod(annotations: Mapping[str, str] | None = None, /, **spec: Any) -> dict[str, Any]:
    """A pod with one container, unless `spec` has others."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "shop",
            "annotations": {P + key: value for key, value in (annotations or {}).items()},
            "labels": {P + "inject": "true"},
        },
        "spec": {"containers": [{"name": "app", "image": "app"}], **spec},
    }


def inject(value: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """The pod with the sidecar."""
    decision = decide(value, replace(SETTINGS, **settings), namespace="shop")
    assert decision.outcome is Outcome.INJECTED, decision
    injected: dict[str, Any] = apply(value, decision.patch)
    return injected


def ours(value: dict[str, Any]) -> dict[str, Any]:
    """The sidecar in a pod."""
    spec = value["spec"]
    found: dict[str, Any] = next(
        one for one in (*spec.get("initContainers", ()), *spec["containers"]) if one["name"] == "fusebox"
    )
    return found


def variables(container: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Names and values, in order."""
    return [(entry["name"], entry.get("value")) for entry in container.get("env", ())]


def refused(value: dict[str, Any], **settings: Any) -> Decision:
    """The decision on a pod that is denied."""
    decision = decide(value, replace(SETTINGS, **settings), namespace="shop")
    assert decision.outcome is Outcome.DENIED and decision.patch == ()
    return decision


def test_01_a_webhook_that_is_down_stops_none_but_those_who_asked() -> None:
    """istio#13840, istio#14981, istio#29912: each webhook selects by a label, and never system namespaces or its own."""
    for webhook in configuration("injector")["webhooks"]:
        expressions = webhook["namespaceSelector"]["matchExpressions"]
        assert expressions[0]["values"] == ["kube-system", "kube-node-lease", "injector"]
        by_namespace = any(one["operator"] == "In" for one in expressions)
        assert by_namespace or webhook["objectSelector"] == {"matchLabels": {P + "inject": "true"}}
        assert webhook["timeoutSeconds"] <= 5


def test_02_no_pod_that_asked_starts_silently_without_the_sidecar() -> None:
    """kuma#3293, dapr#5848, opentelemetry-operator#1960: Fail, and whoever asked and is left out is told."""
    assert {webhook["failurePolicy"] for webhook in configuration()["webhooks"]} == {"Fail"}
    decision = decide(pod(hostNetwork=True), SETTINGS)
    assert decision.outcome is Outcome.SKIPPED
    assert decision.warnings == (f"fusebox is not injected: {decision.reasons[0].text}",)


def test_06_pod_security_restricted_takes_the_injected_container() -> None:
    """vault-k8s#416, vault-k8s#377, dapr#5916, consul-k8s#4441: all that is asked of it stands in the container itself."""
    for native in (True, False):
        for security in ({}, {"runAsUser": 0}, {"runAsNonRoot": False, "seccompProfile": {"type": "Unconfined"}}):
            value = inject(pod(securityContext=security), native_sidecar=native)
            assert list(of_container(ours(value), security)) == []
    secure = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert violations(inject(pod(containers=[{"name": "app", "image": "app", "securityContext": secure}]))) == []


def test_06_a_pod_that_runs_as_root_does_not_keep_the_sidecar_from_starting() -> None:
    """The kubelet refuses runAsNonRoot with an inherited user 0; elsewhere no user is written, for OpenShift's ranges."""
    assert ours(inject(pod(securityContext={"runAsUser": 0})))["securityContext"]["runAsUser"] == SETTINGS.run_as_user
    assert "runAsUser" not in ours(inject(pod(securityContext={"runAsUser": 1000})))["securityContext"]
    assert "runAsUser" not in ours(inject(pod()))["securityContext"]


def test_07_jobs_complete() -> None:
    """istio#11045, linkerd2#2833: native sidecars do not keep a Job running. Others would, so they are refused."""
    job = pod(restartPolicy="Never")
    job["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "nightly", "controller": True}]
    assert ours(inject(job))["restartPolicy"] == "Always"
    assert [one.code for one in refused(job, native_sidecar=False).reasons] == ["endless_job"]


def test_08_app_and_init_containers_start_after_the_sidecar() -> None:
    """istio#11130, linkerd2#485, linkerd2#1760, linkerd2#4758: first, with a startup probe; else first, with postStart."""
    native = inject(pod(initContainers=[{"name": "migrate", "image": "migrate"}]))
    assert [one["name"] for one in native["spec"]["initContainers"]] == ["fusebox", "migrate"]
    assert ours(native)["startupProbe"]["httpGet"]["path"] == "/readyz"
    other = inject(pod(), native_sidecar=False)
    assert [one["name"] for one in other["spec"]["containers"]] == ["fusebox", "app"]
    assert ours(other)["lifecycle"]["postStart"]["exec"]["command"][-1] == "4011"


def test_09_the_sidecar_outlives_the_app() -> None:
    """istio#36631, consul-k8s#650, istio#51855: a native one ends last by itself, and a preStop would run too early."""
    assert "lifecycle" not in ours(inject(pod()))
    hold = ours(inject(pod({"drain-seconds": "7"}), native_sidecar=False))["lifecycle"]["preStop"]["exec"]["command"]
    assert hold[0] == "python" and hold[-1] == "7", "the image has no shell, and `sleep` of a preStop came with 1.30"


def test_09_an_egress_proxy_takes_no_pod_out_of_its_service() -> None:
    """A readinessProbe of a native sidecar counts for the whole pod."""
    for native in (True, False):
        assert "readinessProbe" not in ours(inject(pod(), native_sidecar=native))


def test_10_and_11_requests_and_limits_are_there() -> None:
    """linkerd2#1480, dapr#2147 (HPA: "missing request for cpu"); linkerd2#2750, istio#16126 (quotas): all four numbers."""
    resources = ours(inject(pod()))["resources"]
    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}


def test_11_a_guaranteed_pod_stays_guaranteed() -> None:
    """Sidecars count for the class of a pod."""
    amounts = {"limits": {"cpu": "2", "memory": "1Gi"}}
    guaranteed = inject(pod(containers=[{"name": "app", "image": "app", "resources": amounts}]))
    assert ours(guaranteed)["resources"]["requests"] == ours(guaranteed)["resources"]["limits"]
    burstable = inject(pod())
    assert ours(burstable)["resources"]["requests"] != ours(burstable)["resources"]["limits"]


@pytest.mark.parametrize("rival", KIND, ids=lambda rival: rival.__name__)
def test_12_the_order_of_webhooks_does_not_matter(rival: Any) -> None:
    """istio#38354, istio#43074, dapr#6350, linkerd2#6347: a second call undoes nothing of what others did."""
    for value in (inject(rival(pod())), rival(inject(pod()))):
        decision = decide(value, SETTINGS)
        again: dict[str, Any] = apply(value, decision.patch)
        assert [one["name"] for one in again["spec"]["containers"]] == [
            one["name"] for one in value["spec"]["containers"]
        ]
        assert decide(again, SETTINGS).patch == ()


def test_13_a_stripped_restart_policy_is_loud_and_mended() -> None:
    """kube-image-keeper#457, gcs-fuse-csi-driver#322, kubernetes#127701."""
    value = inject(pod())
    del ours(value)["restartPolicy"]
    assert any("startupProbe without restartPolicy" in one for one in broken(value))
    assert ours(inject(value))["restartPolicy"] == "Always"


def test_14_why_nothing_was_injected_is_told() -> None:
    """istio#9002, istio#51327, cyberark/sidecar-injector#24: every reason at once, in words."""
    value = pod(hostNetwork=True, nodeSelector={"kubernetes.io/os": "windows"})
    decision = decide(value, SETTINGS, namespace="kube-system")
    assert [one.code for one in decision.reasons] == ["system_namespace", "host_network", "not_linux"]
    assert all(one.text in decision.because for one in decision.reasons)


def test_14_a_copied_status_does_not_stop_the_injection() -> None:
    """What counts is the container, not what somebody's YAML says of it."""
    value = inject(pod())
    del value["spec"]["initContainers"]
    del value["spec"]["volumes"]
    assert ours(inject(value))["image"] == SETTINGS.image


def test_15_a_private_image_gets_its_pull_secret() -> None:
    """istio#4870, k8tz#49: named by the pod or by the injector; those of the pod are kept."""
    value = inject(pod({"image-pull-secret": "b"}, imagePullSecrets=[{"name": "a"}]))
    assert value["spec"]["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert inject(pod(), image_pull_secret="b")["spec"]["imagePullSecrets"] == [{"name": "b"}]
    assert "imagePullSecrets" not in inject(pod())["spec"]


def test_16_variables_stand_first_and_once_and_can_be_overridden() -> None:
    """opentelemetry-operator#864, #793 (order), #3775 (override), #3963 (twice), #4068 (ignored)."""
    app = {"name": "app", "image": "app", "env": [{"name": "URL", "value": "$(OPENAI_BASE_URL)/models"}]}
    value = inject(pod(containers=[app]))
    assert [name for name, _ in variables(value["spec"]["containers"][0])] == [
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        "URL",
    ]
    own = {"name": "app", "image": "app", "env": [{"name": "OPENAI_BASE_URL", "value": "https://gateway.example/v1"}]}
    kept = inject(pod(containers=[own]))
    assert ("OPENAI_BASE_URL", "https://gateway.example/v1") in variables(kept["spec"]["containers"][0])
    assert "has its own OPENAI_BASE_URL" in decide(pod(containers=[own]), SETTINGS).warnings[0]
    taken = inject(pod({"env-override": "true"}, containers=[own]))
    names = [name for name, _ in variables(taken["spec"]["containers"][0])]
    assert names == ["OPENAI_API_KEY", "OPENAI_BASE_URL"]


def test_16_a_placeholder_hides_no_key() -> None:
    """An entry of `env` beats `envFrom`, so a container with a Secret there gets none."""
    app = {"name": "app", "image": "app", "envFrom": [{"secretRef": {"name": "keys"}}]}
    assert variables(inject(pod(containers=[app]))["spec"]["containers"][0]) == [
        ("OPENAI_BASE_URL", "http://127.0.0.1:4010/v1")
    ]


def test_17_a_port_that_the_app_has_is_refused_with_what_to_write() -> None:
    """jaeger-operator#1230, #2077."""
    app = {"name": "app", "image": "app", "ports": [{"containerPort": 4011}]}
    decision = refused(pod(containers=[app]))
    assert decision.because == (f"annotation {P}admin-port: container app has port 4011 itself: write another number")
    moved = inject(pod({"admin-port": "4012"}, containers=[app]))
    assert ours(moved)["ports"][0]["containerPort"] == ours(moved)["startupProbe"]["httpGet"]["port"] == 4012


def test_18_the_app_stays_what_kubectl_shows() -> None:
    """istio#24737, generic-sidecar-injector#22: native sidecars do not count; otherwise the annotation names the app."""
    key = "kubectl.kubernetes.io/default-container"
    assert key not in inject(pod())["metadata"]["annotations"]
    assert inject(pod(), native_sidecar=False)["metadata"]["annotations"][key] == "app"


def test_19_policy_and_keys_can_change_while_the_pod_runs() -> None:
    """kubernetes#50345, agentgateway#2512: whole directories, no subPath, no variables; and the sidecar may read them."""
    value = inject(pod())
    assert all("subPath" not in mount for mount in ours(value)["volumeMounts"])
    assert all("valueFrom" not in entry or "fieldRef" in entry["valueFrom"] for entry in ours(value)["env"])
    policy, keys = value["spec"]["volumes"]
    assert policy["configMap"]["defaultMode"] == keys["secret"]["defaultMode"] == 0o444
    assert keys["secret"]["optional"] is True and "optional" not in policy["configMap"]


def test_20_no_empty_dir_holds_up_the_autoscaler() -> None:
    """kubernetes/autoscaler#3947."""
    assert not any("emptyDir" in volume for volume in inject(pod())["spec"]["volumes"])


def test_21_the_status_says_what_was_done() -> None:
    """argo-rollouts#3366, troubleshoot#1914 misread native sidecars: label and annotation tell without guessing."""
    value = inject(pod({"keys-secret": "team-keys", "cpu-reqest": "1"}))
    assert value["metadata"]["labels"][P + "injected"] == "true"
    assert json.loads(value["metadata"]["annotations"][P + "status"]) == {
        "version": "1.0.0",
        "configMap": "fusebox-policy",
        "secret": "team-keys",
        "env": {"app": ["OPENAI_BASE_URL", "OPENAI_API_KEY"]},
        "warnings": [f"annotation {P}cpu-reqest is not known: did you mean {P}cpu-request?"],
    }


def test_probes_and_data_port() -> None:
    """Probes come to the pod's address and name no host; the data port is on loopback and declared nowhere."""
    sidecar = ours(inject(pod()))
    assert "--listen=127.0.0.1:4010" in sidecar["args"] and "--admin=*:4011" in sidecar["args"]
    assert [port["containerPort"] for port in sidecar["ports"]] == [4011]
    for probe in ("startupProbe", "livenessProbe"):
        assert set(sidecar[probe]["httpGet"]) == {"path", "port"}
    assert sidecar["livenessProbe"]["httpGet"]["path"] == "/livez", "the loop turns, whatever providers do"
