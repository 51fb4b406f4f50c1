"""The manifests of ``deploy/k8s`` as ``kubectl kustomize`` renders them, from a copy that has certificates."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from proxy.cli import main
from proxy.kube.workloads import workloads
from tests.kube.appliers import kubectl

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "k8s"

CERTS = "components/static-certs/made-by-fusebox-k8s-certs"
"""Where the overlays want what `fusebox k8s certs` writes."""

Object = dict[str, Any]

COMPONENTS = (
    "policy-webhook",
    "intact-vap",
    "networkpolicy",
    "podmonitor",
    "fail-open",
    "cert-manager",
    "static-certs",
)
"""In an order in which they may be listed: certificates last, because they touch every webhook."""

EXAMPLES = ("deployment/deployment.yaml", "job/job.yaml", "cronjob/cronjob.yaml", "statefulset/statefulset.yaml")
"""Plain files that ask for the sidecar."""

CUSTOM = ("Certificate", "Issuer", "PodMonitor")
"""Kinds that the strict schemas do not know."""


def copy(folder: Path) -> Path:
    """A copy of the manifests in `folder`, with the certificates of the component static-certs made."""
    tree = folder / "k8s"
    shutil.copytree(MANIFESTS, tree)
    certs = tree / CERTS
    if not certs.exists():
        assert main(["k8s", "certs", f"--out={certs}"]) == 0
    return tree


def render(folder: Path) -> list[Object]:
    """What ``kubectl kustomize`` makes of a folder. Skips the test where there is no kubectl."""
    text = _rendered(kubectl(), folder, _stamp(folder))
    # The parser of libyaml, where PyYAML has it: with the other, reading takes longer than rendering.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [one for one in yaml.load_all(text, Loader=loader) if one is not None]


@cache
def _rendered(program: str, folder: Path, stamp: float) -> str:
    command = [program, "kustomize", str(folder)]
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _stamp(folder: Path) -> float:
    return (folder / "kustomization.yaml").stat().st_mtime


def overlay(tree: Path, name: str, components: Sequence[str], more: Mapping[str, Any] | None = None) -> Path:
    """A new overlay of the base with these components; `more`: other entries of its kustomization."""
    folder = tree / "overlays" / name
    folder.mkdir()
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../base"],
        "components": [f"../../components/{one}" for one in components],
        **(more or {}),
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return folder


def all_of(tree: Path) -> list[Object]:
    """Every object that is anywhere in the manifests: all components at once, the folders, the plain examples."""
    whole = overlay(tree, "everything", [one for one in COMPONENTS if one != "static-certs"])
    folders = [whole, *(tree / one for one in ("overlays/dev", "app", "examples/sidecar-by-hand", "examples/gateway"))]
    objects = [one for folder in folders for one in render(folder)]
    for name in EXAMPLES:
        objects += yaml.safe_load_all((tree / "examples" / name).read_text())
    return objects


def templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod that the workloads among `objects` make, with the workload's title."""
    for one in objects:
        # The StatefulSet's controller adds these.
        claims = [{"name": claim["metadata"]["name"]} for claim in one.get("spec", {}).get("volumeClaimTemplates", [])]
        for workload in workloads(one):
            spec = workload.template["spec"]
            yield (
                workload.title,
                {**workload.template, "spec": {**spec, "volumes": [*spec.get("volumes", []), *claims]}},
            )


def containers(template: Object) -> list[Object]:
    """All of a pod's containers, those of init too."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def plain_files(tree: Path) -> list[Path]:
    """Every manifest that is written to be applied as it is, or listed by a kustomization."""
    found = sorted(tree.rglob("*.yaml"))
    return [
        path
        for path in found
        if path.name not in ("kustomization.yaml", "config.yaml") and not path.is_relative_to(tree / CERTS)
    ]


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    """Those of `objects` that are of one of `kinds`."""
    return [one for one in objects if one["kind"] in kinds]


def one_of_kind(objects: Sequence[Object], kind: str, name: str) -> Object:
    """The one of that kind and name."""
    (found,) = (one for one in of_kind(objects, kind) if one["metadata"]["name"] == name)
    return found


def webhooks(objects: Sequence[Object]) -> list[Object]:
    """The webhooks of every configuration among `objects`."""
    found = of_kind(objects, "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
    return [hook for one in found for hook in one["webhooks"]]


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every mapping within `value`, with what it holds."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner)
