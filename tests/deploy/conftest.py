"""Prometheus, where it is installed."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="session")
def programs() -> None:
    """Prometheus and its promtool are there, or the test is skipped."""
    for name in ("prometheus", "promtool"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed (Debian: apt-get install prometheus)")
