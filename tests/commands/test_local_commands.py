"""``env``, ``tail``, ``doctor``, ``completion``: what they print and how they end; and that every help teaches."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from proxy import cli
from proxy.cli import main
from proxy.dev.findings import key_variables
from proxy.dev.ports import free_port
from tests.commands.dev_process import END_LIMIT_S, command, environment, read_until, running

LINE = {
    "event": "request",
    "level": "info",
    "time": "2026-11-20T12:00:01.250Z",
    "method": "POST",
    "path": "/v1/messages",
    "model": "m",
    "target": "anthropic/m",
    "attempts": 1,
    "status": 200,
    "total_ms": 12.0,
}


def line(number: int) -> str:
    """One of a log."""
    return json.dumps({**LINE, "model": f"m{number}"}) + "\n"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No keys, no addresses, no proxies."""
    for name in (*key_variables(), "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# env


def test_env(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The base URLs for the port; a key that is set is neither printed nor replaced."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    assert main(["env", "--port", "4100", "--shell", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "OPENAI_BASE_URL": "http://localhost:4100/v1",
        "ANTHROPIC_BASE_URL": "http://localhost:4100",
        "ANTHROPIC_API_KEY": "fusebox",
    }


def test_env_of_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    """The known ones are named."""
    with pytest.raises(SystemExit) as ended:
        main(["env", "--shell", "tcsh"])
    assert ended.value.code == 2
    assert "'sh', 'fish', 'powershell', 'dotenv', 'json'" in capsys.readouterr().err


# tail


def test_tail_of_a_file(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Its last lines as text, the one without an end too."""
    log = tmp_path / "log"
    log.write_text("".join(map(line, range(5))) + "panic")
    assert main(["tail", "--no-follow", "-n", "2", str(log)]) == 0
    shown = capfdbinary.readouterr().out.decode().splitlines()
    assert [one[9:] for one in shown[:2]] == [
        f"POST /v1/messages  m{number} -> anthropic/m  200  total 12 ms" for number in (3, 4)
    ]
    assert shown[2:] == ["panic"]


def test_tail_follows_a_file_through_rotation(tmp_path: Path) -> None:
    """Each line as it comes; Ctrl-C ends it with 130."""
    log = tmp_path / "log"
    log.write_text(line(1))
    with running("tail", str(log)) as process:
        assert "m1 ->" in read_until(process, "m1")
        with log.open("a") as file:
            file.write(line(2))
        assert "m2 ->" in read_until(process, "m2")
        log.rename(tmp_path / "log.1")
        log.write_text(line(3))
        assert "m3 ->" in read_until(process, "m3")
        process.send_signal(2)
        assert process.communicate() == ("", "")
    assert process.returncode == 130


def test_tail_of_standard_input(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """To its end."""
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO((line(1) + line(2)).encode())))
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["tail", "-"]) == 0
    assert capfdbinary.readouterr().out.count(b" -> anthropic/m") == 2


def test_tail_whose_reader_leaves() -> None:
    """`| head -1` is no error."""
    done = subprocess.run(
        ["bash", "-c", f'printf "%s" "$LOG" | {" ".join(command("tail", "-"))} | head -1; echo "${{PIPESTATUS[1]}}"'],
        env=environment(LOG=line(1) * 500),
        capture_output=True,
        text=True,
        timeout=END_LIMIT_S,
        check=True,
    )
    assert done.stderr == "" and done.stdout.splitlines()[1] == "0"


def test_tail_of_what_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1 and 2, with the name."""
    assert main(["tail", str(tmp_path / "none")]) == 1
    assert "none cannot be read: No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["tail", str(tmp_path)])
    assert ended.value.code == 2 and "is a folder" in capsys.readouterr().err


# doctor


def written(tmp_path: Path, provider: str) -> str:
    """A configuration on free ports."""
    file = tmp_path / "fusebox.yaml"
    file.write_text(
        f"listen: localhost:{free_port()}\nadmin: localhost:{free_port()}\n"
        f"providers: {{p: {provider}}}\nroutes: [{{name: all, match: {{}}, to: [p]}}]\n"
    )
    return str(file)


def test_doctor_finds_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1, each finding on its line, the problem with its fix, no key."""
    monkeypatch.setenv("MINE", "'sk-planted-4711'")
    file = written(tmp_path, f"{{base_url: 'http://127.0.0.1:{free_port()}/v1', keys: [{{env: MINE}}]}}")
    assert main(["doctor", "--config", file]) == 1
    shown = capsys.readouterr().out
    assert "PROBLEM key of p (environment variable MINE): stands in quotes" in shown
    assert "        fix: start the server on port " in shown
    assert shown.endswith("\n2 problems in what could be checked.\n") and "planted" not in shown


def test_doctor_with_nothing_found(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file it looks at what `fusebox dev` would use."""
    monkeypatch.setattr("proxy.dev.findings.LOCAL", {})
    monkeypatch.setattr("proxy.commands.doctor.PORT", free_port())
    monkeypatch.setattr("proxy.commands.doctor.ADMIN_PORT", free_port())
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "demo provider" in shown and shown.endswith("\nNo problems in what could be checked.\n")


def test_doctor_of_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """64."""
    assert main(["doctor", "--config", str(tmp_path / "none.yaml")]) == 64
    assert "none.yaml" in capsys.readouterr().err


# completion, help


def parsers(monkeypatch: pytest.MonkeyPatch) -> dict[str, argparse.ArgumentParser]:
    """Every command's parser."""
    found: dict[str, argparse.ArgumentParser] = {}
    declare = argparse._SubParsersAction.add_parser

    def keep(
        action: argparse._SubParsersAction[argparse.ArgumentParser], name: str, **more: Any
    ) -> argparse.ArgumentParser:
        found[name] = declare(action, name, **more)
        return found[name]

    monkeypatch.setattr(argparse._SubParsersAction, "add_parser", keep)
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    return found


def test_completion_knows_every_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts are made from the real command line."""
    names = parsers(monkeypatch)
    capsys.readouterr()
    assert {"serve", "check", "replay", "dev", "run", "env", "tail", "doctor", "completion"} <= set(names)
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        script = capsys.readouterr().out
        assert all(name in script for name in names)


def test_every_help_has_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that can be typed."""
    for name, parser in parsers(monkeypatch).items():
        assert f"  {parser.prog}" in parser.format_help() or f"$({parser.prog}" in parser.format_help(), name
