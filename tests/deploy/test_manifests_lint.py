"""What the manifests must never lose: each rule here is a problem that users of other injectors have reported."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from proxy import __version__
from proxy.cli import parser
from proxy.config.parse import parse
from proxy.kube.certs import dns_names
from proxy.kube.names import CONFIG_FILE, KEYS_DIRECTORY, SYSTEM_NAMESPACE, SYSTEM_NAMESPACES
from proxy.kube.patch import Outcome
from proxy.kube.pointer import apply
from proxy.kube.policy_review import LABEL
from proxy.kube.settings import Settings
from proxy.kube.sidecar import container, volumes
from proxy.kube.webhooks import NAME
from proxy.kube.workloads import inject, workloads
from tests.deploy.rendered import (
    EXAMPLES,
    MANIFESTS,
    Object,
    containers,
    copy,
    of_kind,
    one_of_kind,
    overlay,
    plain_files,
    render,
    templates,
    walk,
    webhooks,
)
from tests.kube.pod_security import violations
from tests.kube.rules import broken
from tests.kube.schemas import VERSIONS, invalid

DIGEST = f"registry.example/team/llm-fusebox@sha256:{'0123456789abcdef' * 4}"


@pytest.fixture(scope="module")
def installed(tree: Path) -> list[Object]:
    """What a production cluster gets."""
    return render(tree / "overlays/prod")


def test_no_sub_path(everything: list[Object]) -> None:
    """A subPath mount never sees a changed ConfigMap or Secret."""
    assert not {"subPath", "subPathExpr"} & {key for one in everything for key, _ in walk(one)}
    assert not any(re.search(r"^\s*-?\s*subPath", path.read_text(), re.MULTILINE) for path in plain_files(MANIFESTS))


def test_no_rights(everything: list[Object]) -> None:
    """Nothing of ours may do anything in the cluster: there is no role, and no token is mounted."""
    assert not {one["kind"] for one in everything} & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
    for title, template in templates(everything):
        assert template["spec"]["automountServiceAccountToken"] is False, title
    accounts = of_kind(everything, "ServiceAccount")
    assert accounts
    assert all(one["automountServiceAccountToken"] is False for one in accounts)


def test_every_container_has_requests_and_limits(everything: list[Object]) -> None:
    """Quotas refuse pods without limits, and an HPA wants a request of every container."""
    seen = 0
    for title, template in templates(everything):
        for one in containers(template):
            seen += 1
            for what in ("requests", "limits"):
                assert set(one["resources"][what]) >= {"cpu", "memory"}, (title, one["name"])
    assert seen >= 9


def test_every_pod_is_restricted_and_sound(everything: list[Object]) -> None:
    """Under Pod Security's strictest level and the API server's own rules; ours write nothing."""
    for title, template in templates(everything):
        assert violations(template) == [], title
        assert broken({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": template["spec"]}) == [], (
            title
        )
        for one in containers(template):
            if "llm-fusebox" in one["image"]:
                assert one["securityContext"]["readOnlyRootFilesystem"] is True
                assert "runAsUser" not in one["securityContext"]  # fixed users clash with OpenShift's ranges
                assert one["terminationMessagePolicy"] == "FallbackToLogsOnError"
        assert not any("emptyDir" in one for one in template["spec"].get("volumes", [])), title


def test_namespaces_of_ours_are_restricted(everything: list[Object]) -> None:
    """The label that makes the API server hold pods to that level."""
    found = of_kind(everything, "Namespace")
    assert {one["metadata"]["name"] for one in found} == {SYSTEM_NAMESPACE, "llm-gateway"}
    for one in found:
        assert one["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_labels(everything: list[Object]) -> None:
    """Each object of ours says what it belongs to; each workload has a name."""
    for one in everything:
        labels = one["metadata"].get("labels", {})
        assert any(key.startswith(("app.kubernetes.io/", "pod-security")) for key in labels), one["metadata"]["name"]
        if one["kind"] in ("Deployment", "StatefulSet"):
            assert (
                one["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()
            )


def image_names(text: str) -> list[str]:
    """Images of ours with a tag or a digest."""
    return re.findall(r"llm-fusebox(?::[\w.]+|@sha256:\w+)", text)


def test_the_image_is_named_once() -> None:
    """One file holds tag or digest; all others have the bare name, which kustomize replaces."""
    place = MANIFESTS / "components" / "image" / "kustomization.yaml"
    images = yaml.safe_load(place.read_text())["images"]
    assert images == [{"name": "llm-fusebox", "newTag": __version__}]
    for path in MANIFESTS.rglob("*.yaml"):
        if path != place:
            code = re.sub(r"#.*", "", path.read_text())
            assert image_names(code) == [], path
            assert "newTag" not in code, path


def used_images(objects: list[Object]) -> set[str]:
    """Those of our containers, and the one that the injector gives to pods."""
    found = set()
    for _, template in templates(objects):
        for one in containers(template):
            if "fusebox" in one["image"]:
                found.add(one["image"])
            found |= {entry["value"] for entry in one.get("env", []) if entry["name"] == "FUSEBOX_IMAGE"}
    return found


def test_one_digest_for_all(tmp_path: Path) -> None:
    """With a digest in that one file, the injector, what it injects, the example by hand and the gateway all have it."""
    tree = copy(tmp_path)
    place = tree / "components" / "image" / "kustomization.yaml"
    content = yaml.safe_load(place.read_text())
    name, _, digest = DIGEST.partition("@")
    content["images"] = [{"name": "llm-fusebox", "newName": name, "digest": digest}]
    place.write_text(yaml.safe_dump(content))
    for folder in ("overlays/prod", "overlays/dev", "examples/sidecar-by-hand", "examples/gateway"):
        assert used_images(render(tree / folder)) == {DIGEST}, folder


def test_an_overlay_of_ones_own_may_name_the_image(tmp_path: Path) -> None:
    """For who does not change our files: the two entries that the README shows do it."""
    readme = (MANIFESTS / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    written = yaml.safe_load(dedent(block))
    tree = copy(tmp_path)
    more = {key: written[key] for key in ("images", "replacements")}
    objects = render(overlay(tree, "own", ["cert-manager"], more))
    (image,) = used_images(objects)
    assert image == f"{written['images'][0]['newName']}@{written['images'][0]['digest']}"


def test_the_readme_names_what_there_is() -> None:
    """Each folder of the table is there, and each folder that is there is in the table."""
    readme = (MANIFESTS / "README.md").read_text()
    named = set(
        re.findall(r"`((?:base|components|overlays|app|examples)/?[\w-]*)/?`", readme.partition("## Install")[0])
    )
    there = {
        one.relative_to(MANIFESTS).as_posix()
        for part in ("components", "overlays")
        for one in (MANIFESTS / part).iterdir()
    }
    assert {one.rstrip("/") for one in named} == there | {"base", "app", "examples"}


def test_our_own_namespaces_stand_outside_of_every_webhook(everything: list[Object]) -> None:
    """An injector that is asked about its own pods, or the cluster's, can lock everything up."""
    hooks = webhooks(everything)
    bound = [one["spec"]["matchResources"] for one in of_kind(everything, "ValidatingAdmissionPolicyBinding")]
    assert {hook["name"] for hook in hooks} == {f"{one}.llm-fusebox.dev" for one in ("pod", "ns", "policy")}
    for one in [*hooks, *bound]:
        excluded = {
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn",
            "values": [*SYSTEM_NAMESPACES, SYSTEM_NAMESPACE],
        }
        assert excluded in one["namespaceSelector"]["matchExpressions"]
    for hook in hooks:
        assert hook["sideEffects"] == "None"
        assert hook["timeoutSeconds"] == 5
        assert hook["admissionReviewVersions"] == ["v1"]
        assert hook["objectSelector"], "only pods and ConfigMaps that ask for it wait for the injector"


def test_the_injector_stays_up(installed: list[Object]) -> None:
    """Probes, a budget that selects its pods, spread over nodes and zones, and never one less in a roll-out."""
    deployment = one_of_kind(installed, "Deployment", NAME)
    pod = deployment["spec"]["template"]
    (own,) = pod["spec"]["containers"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(own)
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    budget = one_of_kind(installed, "PodDisruptionBudget", NAME)["spec"]
    assert budget["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    keys = [one["topologyKey"] for one in pod["spec"]["topologySpreadConstraints"]]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    # It goes on answering for 3 s after SIGTERM and has 5 s for what is under way: the kubelet must wait for longer.
    assert pod["spec"]["terminationGracePeriodSeconds"] >= 10


def test_certificates_fit_names_and_places(installed: list[Object]) -> None:
    """The name that API servers ask for is in the certificate; its Secret is the one that is mounted."""
    leaf = one_of_kind(installed, "Certificate", NAME)["spec"]
    assert set(leaf["dnsNames"]) == set(dns_names(NAME, SYSTEM_NAMESPACE))
    assert leaf["issuerRef"]["name"] == one_of_kind(installed, "Certificate", "fusebox-ca")["metadata"]["name"]
    volume = one_of_kind(installed, "Deployment", NAME)["spec"]["template"]["spec"]["volumes"][0]
    assert volume["secret"]["secretName"] == leaf["secretName"] == f"{NAME}-tls"


def test_our_containers_are_started_as_the_command_line_has_it(everything: list[Object]) -> None:
    """Every argument of every container of ours is one that this version knows."""
    seen = set()
    for title, template in templates(everything):
        for one in containers(template):
            if "llm-fusebox" in one["image"]:
                seen.add(title)
                assert parser(one["args"][0]).parse_args(one["args"]).run is not None
    assert seen == {"deployment/fusebox-injector", "deployment/shop", "deployment/fusebox-gateway"}


def test_no_hash_in_the_name_of_a_policy(everything: list[Object]) -> None:
    """With one, a new policy would be another ConfigMap, which no running pod has mounted."""
    policies = [one for one in of_kind(everything, "ConfigMap") if one["metadata"].get("labels", {}).get(LABEL)]
    assert len(policies) == 3
    for one in policies:
        assert one["metadata"]["name"] == Settings().policy_configmap
        assert list(one["data"]) == [Path(CONFIG_FILE).name]
        parsed = parse(one["data"]["config.yaml"])
        files = {key.file for provider in parsed.providers.values() for key in provider.keys.sources}
        example = yaml.safe_load((MANIFESTS / "app" / "keys.example.yaml").read_text())
        assert files == {f"{KEYS_DIRECTORY}/{name}" for name in example["stringData"]}
        assert example["metadata"]["name"] == Settings().keys_secret


def without(one: dict[str, Any], *names: str) -> dict[str, Any]:
    """A copy without some keys."""
    return {key: value for key, value in one.items() if key not in names}


def test_the_sidecar_by_hand_is_the_injected_one(tree: Path) -> None:
    """Container, volumes and variables are those that the injector writes, so neither goes stale."""
    deployment = one_of_kind(render(tree / "examples/sidecar-by-hand"), "Deployment", "shop")
    spec = deployment["spec"]["template"]["spec"]
    assert without(spec["initContainers"][0], "image") == without(
        container(Settings(), guaranteed=False, as_root=False), "image"
    )
    assert spec["volumes"] == volumes(Settings())
    assert {one["name"] for one in spec["containers"][0]["env"]} == {"OPENAI_BASE_URL", "OPENAI_API_KEY"}
    (workload,) = workloads(deployment)
    assert inject(workload, Settings()).outcome is Outcome.SKIPPED


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_can_be_injected(name: str, tree: Path) -> None:
    """Each gets the sidecar without a warning, and what comes of it is valid everywhere and restricted."""
    for document in yaml.safe_load_all((tree / "examples" / name).read_text()):
        for workload in workloads(document):
            decision = inject(workload, Settings())
            assert (decision.outcome, decision.warnings) == (Outcome.INJECTED, ())
            injected = apply(document, decision.patch)
            assert [said for version in VERSIONS for said in invalid(injected, version)] == []
            ((_, template),) = templates([injected])
            assert violations(template) == []
            assert template["spec"]["initContainers"][0]["name"] == "fusebox"


def test_the_gateway_scales_and_drains(tree: Path) -> None:
    """The autoscaler has the Deployment, and the kubelet waits for longer than wait and drain together."""
    objects = render(tree / "examples/gateway")
    deployment = one_of_kind(objects, "Deployment", "fusebox-gateway")
    scaler = one_of_kind(objects, "HorizontalPodAutoscaler", "fusebox-gateway")["spec"]
    assert "replicas" not in deployment["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["minReplicas"] >= 2
    pod = deployment["spec"]["template"]["spec"]
    (own,) = pod["containers"]
    waits_s = int(re.findall(r"sleep\((\d+)\)", own["lifecycle"]["preStop"]["exec"]["command"][2])[0])
    drains_s = int(next(one for one in own["args"] if one.startswith("--drain=")).removeprefix("--drain=").rstrip("s"))
    assert pod["terminationGracePeriodSeconds"] >= waits_s + drains_s + 5
    assert "readinessProbe" in own
    ports = {one["name"]: one["containerPort"] for one in own["ports"]}
    assert one_of_kind(objects, "Service", "fusebox")["spec"]["ports"][0]["targetPort"] in ports
    policy = one_of_kind(objects, "NetworkPolicy", "fusebox-gateway")["spec"]["ingress"]
    data = next(one for one in policy if one["ports"][0]["port"] == ports["http"])
    assert data["from"], "whoever reaches the data port spends the keys"
