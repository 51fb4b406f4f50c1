"""The command line: what each command prints and the code it ends with."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import __version__
from proxy.cli import main

GOOD = "providers: {demo: {}}\nroutes: [{name: a, match: {}, to: [demo]}]\n"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """One line with name and number, and 0."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"fusebox {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["serv"], ["serve"], ["serve", "--config"], ["check"], ["serve", "--confg", "x"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong goes to stderr with the usage, and the code is 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert "usage: fusebox" in captured.err and captured.out == ""


def test_nothing_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever does not know the commands sees them; it is wrong usage all the same."""
    assert main([]) == 2
    captured = capsys.readouterr()
    assert "    doctor " in captured.err and captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "closed", "code", "told"),
    [
        (["k8s", "inject", "-f", "-"], "<&-", 0, "stdin holds no workload"),
        (["replay", "-", "--policy", "good.yaml"], "<&-", 1, "no request in the log"),
        (["check", "good.yaml"], ">&-", 0, ""),
        (["check", "bad.yaml"], "2>&-", 1, ""),
        (["check", "good.yaml"], "<&- >&- 2>&-", 0, ""),
    ],
)
def test_closed_streams(tmp_path: Path, arguments: list[str], closed: str, code: int, told: str) -> None:
    """A caller without a terminal, as some supervisors are, may close them: no traceback, the code as ever."""
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("routes: []\n")
    command = f"{shlex.join([sys.executable, '-m', 'proxy', *arguments])} {closed}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False, env=environment
    )
    assert "Traceback" not in done.stderr and told in done.stderr
    assert done.returncode == code


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command with its sentence."""
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "serve" in shown and "check" in shown


def test_check_of_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0, and how much is in it."""
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    assert main(["check", "--config", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: fine. 1 provider, 1 route.\n"


def test_check_of_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1, and every problem."""
    file = tmp_path / "bad.yaml"
    file.write_text("providers: {demo: {kees: 1}}\nroutes: [{name: a, match: {}, to: [nobody]}]\n")
    assert main(["check", "--config", str(file)]) == 1
    shown = capsys.readouterr().out
    assert "kees" in shown and "nobody" in shown


def test_serve_with_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """64, on stderr, before anything is started."""
    file = tmp_path / "bad.yaml"
    file.write_text("routes: 5\n")
    assert main(["serve", "--config", str(file)]) == 64
    captured = capsys.readouterr()
    assert captured.out == "" and "routes" in captured.err
