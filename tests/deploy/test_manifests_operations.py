"""What the manifests must hold for those who operate them: networks, drains, memory, warnings, certificates."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from proxy.kube.quantity import parse
from proxy.kube.settings import Settings
from proxy.kube.sidecar import container
from proxy.kube.webhooks import NAME
from tests.deploy.rendered import CERTS, MANIFESTS, ROOT, Object, containers, of_kind, one_of_kind, render, templates
from tests.kube.appliers import kubectl


def test_a_pod_without_its_sidecar_is_told_of(tree: Path) -> None:
    """The warning is bound to the very pods that the two webhooks are asked about: of these none goes unseen."""
    installed = render(tree / "overlays/prod")
    bound = [one["spec"] for one in of_kind(installed, "ValidatingAdmissionPolicyBinding")]
    warned = [one for one in bound if one["policyName"] == "fusebox-missing"]
    (config,) = of_kind(installed, "MutatingWebhookConfiguration")
    asked = [{key: hook[key] for key in ("namespaceSelector", "objectSelector")} for hook in config["webhooks"]]
    assert [one["matchResources"] for one in warned] == asked
    assert all(one["validationActions"] == ["Warn", "Audit"] for one in warned)
    named = {one["policyName"] for one in bound}
    assert named == {one["metadata"]["name"] for one in of_kind(installed, "ValidatingAdmissionPolicy")}


def test_network_policies_let_through_what_is_needed(everything: list[Object]) -> None:
    """Every port of the pods that they select, and no other; out of the gateway names and HTTPS, out of the injector nothing."""
    egress = {NAME: [], "fusebox-gateway": [{("UDP", 53), ("TCP", 53)}, {("TCP", 443)}]}
    found = of_kind(everything, "NetworkPolicy")
    assert {one["metadata"]["name"] for one in found} == set(egress)
    pods = dict(templates(everything))
    for one in found:
        spec, name = one["spec"], one["metadata"]["name"]
        pod = pods[f"deployment/{name}"]
        assert spec["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        let_in = {port["port"]: rule.get("from") for rule in spec["ingress"] for port in rule["ports"]}
        assert set(let_in) == {port["containerPort"] for own in containers(pod) for port in own["ports"]}
        # API servers and kubelets are no pods: a selector would shut them out.
        assert [port for port, whom in let_in.items() if whom] == ([] if name == NAME else [4010])
        assert [{(port["protocol"], port["port"]) for port in rule["ports"]} for rule in spec["egress"]] == egress[name]


def test_a_node_can_be_drained(everything: list[Object]) -> None:
    """No budget keeps as many pods as there may be at the least: such a one holds up every drain."""
    budgets = {one["metadata"]["name"]: one["spec"] for one in of_kind(everything, "PodDisruptionBudget")}
    scaled = one_of_kind(everything, "HorizontalPodAutoscaler", "fusebox-gateway")["spec"]
    deployed = [one for one in of_kind(everything, "Deployment") if one["metadata"]["name"] == NAME]
    least = {"fusebox-gateway": scaled["minReplicas"], NAME: max(one["spec"]["replicas"] for one in deployed)}
    assert set(budgets) == set(least)
    for name, budget in budgets.items():
        assert budget.get("minAvailable", 0) < least[name]
        assert budget.get("maxUnavailable", 1) >= 1
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_memory_asked_for_follows_from_what_was_measured(everything: list[Object]) -> None:
    """The request has room for 200 streams and half as much again, the limit for twice 1000; the injector asks for the same."""
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    rss_mib = {name: int(text) for name, text in re.findall(r"^\| (none|\d+)[^|]* \| (\d+) \|", page, re.MULTILINE)}
    own = Settings()
    assert parse(own.memory_request) / 2**20 >= 1.5 * rss_mib["200"] > rss_mib["none"]
    assert parse(own.memory_limit) / 2**20 >= 2 * rss_mib["1000"]
    for one in of_kind(everything, "Deployment"):
        if one["metadata"]["name"] == NAME:
            (injector,) = one["spec"]["template"]["spec"]["containers"]
            assert injector["resources"] == container(own, guaranteed=False, as_root=False)["resources"]


def test_a_fresh_clone_says_what_to_run(tmp_path: Path) -> None:
    """Without certificates the overlay dev does not render: the error names the command, two files and the README all of it."""
    shutil.copytree(MANIFESTS, tmp_path / "k8s", ignore=shutil.ignore_patterns(Path(CERTS).name))
    command = [kubectl(), "kustomize", str(tmp_path / "k8s/overlays/dev")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode != 0
    assert "made-by-fusebox-k8s-certs: no such file" in ran.stderr
    for name in ("overlays/dev/kustomization.yaml", "components/static-certs/kustomization.yaml", "README.md"):
        assert f"fusebox k8s certs --out deploy/k8s/{CERTS}" in (MANIFESTS / name).read_text(), name


def test_no_private_key_is_in_the_repository() -> None:
    """Nor may one get there: the folder that somebody makes here keeps its own out of Git."""
    made = MANIFESTS / CERTS
    files = [path for path in MANIFESTS.rglob("*") if path.is_file() and not path.is_relative_to(made)]
    assert len(files) > 20
    assert not [path for path in files if "PRIVATE KEY" in path.read_text()]


def test_what_k8s_certs_writes_keeps_its_keys_out_of_git(tree: Path) -> None:
    """The folder that the overlays want ignores its private part."""
    assert "private/" in (tree / CERTS / ".gitignore").read_text().splitlines()
