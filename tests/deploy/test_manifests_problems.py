"""What goes wrong for users of other injectors, as far as manifests can prevent it; each test names the reports.

What the patch can prevent is in tests/kube/test_patch_problems.py, with the same numbers.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from proxy.kube.webhooks import NAME
from tests.deploy.rendered import CERTS, Object, of_kind, one_of_kind, render, webhooks


def test_03_the_api_server_reaches_the_injector_on_a_port_that_is_open(tree: Path) -> None:
    """opentelemetry-operator#1009, linkerd2#2940, consul-k8s#269: private control planes reach nodes on 443 and 10250 only."""
    objects = render(tree / "overlays/prod")
    [service] = [one for one in of_kind(objects, "Service") if one["metadata"]["name"] == NAME]
    [port] = [one for one in service["spec"]["ports"] if one["port"] == 443]
    pod = one_of_kind(objects, "Deployment", NAME)["spec"]["template"]["spec"]
    names = {one["name"]: one["containerPort"] for container in pod["containers"] for one in container["ports"]}
    assert names[port["targetPort"]] == 10250
    assert {hook["clientConfig"]["service"].get("port", 443) for hook in webhooks(objects)} == {443}


def test_04_a_renewed_certificate_is_signed_by_what_is_trusted(tree: Path) -> None:
    """cert-manager#5519 (a leaf that signs itself), istio#14517, istio#22372 (expired): a CA signs, long before the end."""
    objects = render(tree / "overlays/prod")
    issuers = {one["metadata"]["name"]: one["spec"] for one in of_kind(objects, "Issuer")}
    leaf, authority = (one_of_kind(objects, "Certificate", name)["spec"] for name in (NAME, "fusebox-ca"))
    assert issuers[leaf["issuerRef"]["name"]] == {"ca": {"secretName": authority["secretName"]}}
    assert authority["isCA"] is True and "selfSigned" in issuers[authority["issuerRef"]["name"]]
    for one in (leaf, authority):
        whole_h, before_h = (int(one[key].removesuffix("h")) for key in ("duration", "renewBefore"))
        assert 14 * 24 <= before_h <= whole_h / 2
    # Whose CA is trusted is read from the certificate itself, so that it changes together with it.
    for configuration in of_kind(objects, "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        named = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
        assert named == f"fusebox-system/{NAME}"


def test_05_what_is_rendered_does_not_change_by_itself(tree: Path, tmp_path: Path) -> None:
    """argo-cd#1487, argo-cd#4326, opentelemetry-helm-charts#2172, cloud-on-k8s#6641: no key is made by rendering, and
    cert-manager's caBundle is left to cert-manager.
    """
    again = tmp_path / "again"
    shutil.copytree(tree, again, ignore=shutil.ignore_patterns("set-*", "everything", "open-*"))
    assert render(again / "overlays/dev") == render(tree / "overlays/dev")
    assert render(again / "overlays/prod") == render(tree / "overlays/prod")
    assert all("caBundle" not in hook["clientConfig"] for hook in webhooks(render(tree / "overlays/prod")))
    bundles = {hook["clientConfig"]["caBundle"] for hook in webhooks(render(tree / "overlays/dev"))}
    assert len(bundles) == 1 and bundles.pop() in (tree / CERTS / "ca-bundle.yaml").read_text()


def test_13_a_stripped_restart_policy_stops_the_pod(tree: Path) -> None:
    """kube-image-keeper#457, kubernetes#127701: what a webhook after ours takes away, no patch can bring back; prod looks."""
    binding = one_of_kind(render(tree / "overlays/prod"), "ValidatingAdmissionPolicyBinding", "fusebox-intact")
    assert binding["spec"]["validationActions"] == ["Deny"]


def test_19_a_changed_policy_rolls_no_pod(tmp_path: Path, tree: Path) -> None:
    """kubernetes#50345: the ConfigMap keeps its name when its content changes, so that running pods see it."""
    changed = tmp_path / "app"
    shutil.copytree(tree / "app", changed)
    policy = changed / "config.yaml"
    policy.write_text(policy.read_text() + "# another line\n")

    def named(objects: list[Object]) -> set[str]:
        return {one["metadata"]["name"] for one in of_kind(objects, "ConfigMap")}

    before, after = render(tree / "app"), render(changed)
    assert before != after and named(before) == named(after) == {"fusebox-policy"}
