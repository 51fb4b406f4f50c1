"""What docs/kubernetes.md and the manifests' README name is there: folders, files, headings, targets of make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.rendered import CERTS, ROOT, Object, of_kind

PAGES = (ROOT / "docs" / "kubernetes.md", ROOT / "deploy" / "k8s" / "README.md")
MADE = ("deploy/k8s/" + CERTS, "build/rootfs")
"""What commands of the pages make."""


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading that it has."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    assert len(links) > 4
    for link in links:
        name, _, heading = link.partition("#")
        target = page if not name else (page.parent / name)
        assert target.exists(), link
        if heading:
            assert heading in anchors(target if target.is_file() else target / "README.md"), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_are_there(page: Path) -> None:
    """Every path of the repository in a command or in the text; folders that are applied have a kustomization."""
    text = page.read_text()
    paths = set(re.findall(r"(?<![\w./-])(?:deploy|tests|build)/[\w./-]*\w", text))
    assert len(paths) > 2
    for path in paths:
        assert path.startswith(MADE) or (ROOT / path).exists(), path
    for folder in set(re.findall(r"-k (deploy/[\w./-]*\w)", text)):
        assert folder.startswith(MADE) or (ROOT / folder / "kustomization.yaml").exists(), folder
    assert set(re.findall(r"(?:`|^)make (\w+)", text, re.MULTILINE)) <= set(
        re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )


def test_every_object_that_is_deleted_is_one_that_is_installed(everything: list[Object]) -> None:
    """The way to uninstall leaves no webhook and no binding behind, and names none that never was."""
    told = dict(re.findall(r"^kubectl delete (\w+) ([a-z -]+?)(?: --.*)?$", PAGES[0].read_text(), re.MULTILINE))
    kinds = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicyBinding")
    there = {kind.lower(): {one["metadata"]["name"] for one in of_kind(everything, kind)} for kind in kinds}
    assert {kind: set(names.split()) for kind, names in told.items()} == there
