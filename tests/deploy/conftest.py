"""What several files of tests share: the manifests, rendered once; Prometheus, where it is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.deploy.rendered import Object, all_of, copy


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the manifests, with certificates. Overlays may be added to it; nothing else may be changed."""
    return copy(tmp_path_factory.mktemp("manifests"))


@pytest.fixture(scope="session")
def everything(tree: Path) -> list[Object]:
    """Every object that is anywhere in the manifests."""
    return all_of(tree)


@pytest.fixture(scope="session")
def programs() -> None:
    """Prometheus and its promtool are there, or the test is skipped."""
    for name in ("prometheus", "promtool"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed (Debian: apt-get install prometheus)")
