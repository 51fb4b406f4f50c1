"""docs/kubernetes.md says what is so: its table of annotations, and what its commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli import main
from proxy.kube.annotations import READERS
from proxy.kube.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()
SPECIAL = {
    "image": "the injector's",
    "image-pull-secret": "none",
    "log-level": "the policy's",
    "env-containers": "`all`",
}


def test_every_annotation_is_in_the_table_with_its_default() -> None:
    """Neither more nor less."""
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+?) \| ", PAGE, re.MULTILINE))
    assert set(rows) == set(READERS)
    for name, written in rows.items():
        value: Any = getattr(Settings(), name.replace("-", "_"))
        text = ",".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else value
        assert written == SPECIAL.get(name, f"`{text}`"), name


def deployment(port: int, labels: dict[str, str]) -> str:
    """The manifest that the page speaks of."""
    container = {"name": "app", "image": "shop:1.4", "ports": [{"containerPort": port}]}
    template = {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": "shop"}}, "template": template}
    metadata = {"name": "shop", "labels": labels}
    return yaml.safe_dump({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})


@pytest.mark.parametrize("block", re.findall(r"^```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
def test_transcripts(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command prints what the page shows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FUSEBOX_IMAGE", raising=False)
    Path("shop.yaml").write_text(deployment(8080, {}))
    Path("clash.yaml").write_text(deployment(4011, {}))
    Path("mistake.yaml").write_text(deployment(8080, {"llm-fusebox.dev/inject": "true"}))
    steps = re.findall(r"^\$ fusebox (.+)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    assert steps
    for command, expected in steps:
        words = shlex.split(command)
        into = words[words.index(">") + 1] if ">" in words else None
        main(words[: words.index(">")] if into else words)
        shown = capsys.readouterr()
        if into:
            Path(into).write_text(shown.out)
        assert (shown.err if into else shown.out + shown.err) == expected
