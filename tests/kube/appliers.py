"""Two programs of others that apply a JSON Patch: python's jsonpatch, and kubectl, with the API server's own types."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from proxy.kube.pointer import Operation


def by_jsonpatch(document: Any, patch: Sequence[Operation]) -> Any:
    """The document with the patch applied."""
    return jsonpatch.apply_patch(document, [dict(one) for one in patch])


_PROBE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "probe"},
    "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "b", "restartPolicy": "Always"}]},
}


@functools.cache
def _kubectl() -> tuple[str | None, str]:
    """Path of a kubectl that can do this, or why there is none."""
    path = os.environ.get("KUBECTL") or shutil.which("kubectl")
    if path is None:
        return None, "kubectl is not installed"
    with tempfile.TemporaryDirectory() as folder:
        ran = _patch(path, _PROBE, [], Path(folder))
    # Those before 1.28 do not know restartPolicy of a container, and drop it.
    if ran.returncode != 0 or "Always" not in ran.stdout:
        return None, f"kubectl at {path} is older than 1.28"
    return path, ""


def kubectl() -> str:
    """Path of kubectl; skips the test, with the reason, where there is none that can do it."""
    path, why_not = _kubectl()
    if path is None:
        pytest.skip(f"{why_not}: set KUBECTL to one that is newer")
    return path


def by_kubectl(document: Any, patch: Sequence[Operation], folder: Path) -> Any:
    """As the API server would do it: decoded to its types, patched by its library, decoded and written again."""
    ran = _patch(kubectl(), document, patch, folder)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def _patch(path: str, document: Any, patch: Sequence[Operation], folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "pod.json").write_text(json.dumps(document))
    (folder / "patch.json").write_text(json.dumps(patch))
    command = [path, "patch", "--local", "--type=json", "-o=json"]
    command += [f"--filename={folder / 'pod.json'}", f"--patch-file={folder / 'patch.json'}"]
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def same_form(value: Any) -> Any:
    """Without what means nothing to Kubernetes: nulls, empty objects and lists, which its types drop or add."""
    if isinstance(value, dict):
        parts = {key: same_form(one) for key, one in value.items()}
        return {key: one for key, one in parts.items() if one not in (None, {}, [])}
    if isinstance(value, list):
        return [same_form(one) for one in value]
    return value
