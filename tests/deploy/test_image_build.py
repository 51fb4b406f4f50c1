"""``make image``: which program builds, what it is told, and what happens where none does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from deploy.image import build, sandbox
from deploy.image import rootfs as rootfs_module
from proxy import __version__
from tests.deploy.assembled import ROOT, need_sandbox, rootfs


def program(folder: Path, name: str, script: str) -> None:
    """An engine that does as `script`, Python, says."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH: empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_engine_that_answers_is_taken(programs: Path) -> None:
    """A docker whose daemon is not there builds nothing; podman does."""
    program(programs, "docker", "import sys; sys.exit('ERROR: Cannot connect to the Docker daemon')")
    program(programs, "podman", "import sys; sys.exit(sys.argv[1:] != ['info'])")
    assert build.engine() == ("podman", ["docker does not work here: ERROR: Cannot connect to the Docker daemon"])
    assert build.engine(("docker",))[0] is None


def test_without_an_engine_there_is_a_reason(programs: Path) -> None:
    """For each of them."""
    program(programs, "podman", "import sys; sys.exit(125)")
    assert build.engine() == (None, ["docker is not installed", "podman does not work here: exit code 125"])


def test_what_the_engine_is_told() -> None:
    """The Dockerfile's arguments: version, revision and date; the base's digest only where it was given."""
    given = {"SOURCE_DATE_EPOCH": "1795400000", "PYTHON_DIGEST": "@sha256:ab", "UNRELATED": "secret"}
    told = build.command("podman", "registry.example/llm-fusebox:1", given)
    assert told[:2] == ["podman", "build"]
    assert told[-3:] == ["--tag", "registry.example/llm-fusebox:1", str(ROOT)]
    arguments = dict(one.split("=", 1) for one in told if "=" in one)
    assert arguments.pop("REVISION") != ""
    assert arguments == {"VERSION": __version__, "CREATED": "2026-11-23T02:13:20Z", "PYTHON_DIGEST": "@sha256:ab"}
    known = set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert {one.partition("=")[0] for one in told if "=" in one} <= known


def test_it_builds_with_the_engine(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The default tag is the version's, and the exit code is the engine's."""
    program(programs, "docker", "import sys; print(*sys.argv[1:]); sys.exit(7 * (sys.argv[1] == 'build'))")
    monkeypatch.setattr(sys, "argv", ["build"])
    with pytest.raises(SystemExit) as ended:
        build.main()
    assert ended.value.code == 7
    assert f"--tag llm-fusebox:{__version__}" in capfd.readouterr().out


def test_an_engine_that_was_asked_for_is_not_replaced(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants docker gets docker, or the reason why not."""
    monkeypatch.setattr(sys, "argv", ["build", "--engine=docker"])
    with pytest.raises(SystemExit, match="docker is not installed"):
        build.main()


def test_the_stand_in_starts_answers_and_ends() -> None:
    """What is done where no engine is: a sidecar in the assembled files, probed, measured, ended with 0."""
    need_sandbox()
    found = build.tried(rootfs())
    assert found.code == 0
    assert 20 < found.rss_mib < 96


def test_the_stand_in_says_what_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """That there is no image, why, and how the files may be started."""
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "KEPT", tmp_path / "build" / "rootfs")
    monkeypatch.setattr(rootfs_module, "assemble", lambda into: {"total": 46_000_000})
    monkeypatch.setattr(sandbox, "problem", lambda: "no namespaces here")
    build.stand_in(["docker is not installed", "podman is not installed"])
    assert capsys.readouterr().out.splitlines() == [
        "docker is not installed; podman is not installed",
        "so no image is made: the same files are assembled in build/rootfs, on this machine's Python",
        "environment: 46.0 MB",
        "not started: no namespaces here",
    ]
