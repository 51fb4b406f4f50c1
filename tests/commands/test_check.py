"""``fusebox check``: what it prints in each format, and the code it ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.cli import main
from proxy.config.problems import Problem
from proxy.config.report import Checked, as_github, as_json

GOOD = "providers: {near: {base_url: 'http://h/v1', keys: none}}\nroutes: [{name: all, match: {}, to: [near]}]\n"
WARNED = GOOD.replace("[near]", "[near, near/x]")
BAD = GOOD + "drain: 5\n"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good file, one with a warning and one with an error, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("good", GOOD), ("warned", WARNED), ("bad", BAD)):
        Path(f"{name}.yaml").write_text(text)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("good.yaml", 0),
        ("--config good.yaml", 0),
        ("warned.yaml", 0),
        ("good.yaml --strict", 0),
        ("warned.yaml --strict", 1),
        ("bad.yaml", 1),
        ("good.yaml bad.yaml", 1),
        ("--config good.yaml bad.yaml", 1),
        ("absent.yaml", 1),
    ],
)
@pytest.mark.parametrize("form", ["text", "json", "github"])
def test_exit_codes(arguments: str, code: int, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors count, warnings with --strict alone; the same in each format."""
    assert main(["check", *arguments.split(), "--format", form]) == code
    shown = capsys.readouterr()
    assert shown.err == "" and (shown.out == "") == (form == "github" and "good.yaml" in arguments and code == 0)
    assert form != "json" or json.loads(shown.out)["ok"] is (code == 0)


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    """All files' problems at once, and a word on each file that may be used."""
    assert main(["check", "good.yaml", "warned.yaml", "bad.yaml", "good.yaml"]) == 1
    assert capsys.readouterr().out.split("\n") == [
        "good.yaml: fine. 1 provider, 1 route.",
        "warned.yaml:2:33: warning: routes[0].to: every step of this chain is at 'near', so its outage is an outage of"
        " this route. Add a target at another provider.",
        "warned.yaml: usable, with 1 warning. 1 provider, 1 route.",
        "bad.yaml:3:8: drain: '5' has no unit. Write 5s for seconds, or use ms, m or h.",
        "",
    ]
    assert main(["check", "--strict", "warned.yaml"]) == 1
    assert "usable, with 1 warning that --strict refuses." in capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Every file that was read, with its problems."""
    Path("main.yaml").write_text(
        "include: part.yaml\nshadow: new.yaml\n" + GOOD.replace("match: {}", "match: {model: x}")
    )
    Path("part.yaml").write_text("routes: [{name: part, match: {}, to: [near]}]\n")
    Path("new.yaml").write_text("routes: [{name: all, match: {}, to: [neer]}]\n")
    assert main(["check", "--format", "json", "main.yaml", "good.yaml"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "files": [
            {"file": "main.yaml", "problems": []},
            {"file": "part.yaml", "problems": []},
            {
                "file": "new.yaml",
                "problems": [
                    {
                        "line": 1,
                        "column": 38,
                        "path": "routes[0].to[0]",
                        "severity": "error",
                        "message": "provider 'neer' is not declared",
                        "hint": "did you mean near?",
                    }
                ],
            },
            {"file": "good.yaml", "problems": []},
        ],
        "ok": False,
    }


def test_github(capsys: pytest.CaptureFixture[str]) -> None:
    """One command a problem; with --strict a warning is an error there, too."""
    main(["check", "--format", "github", "bad.yaml", "warned.yaml"])
    first, second = capsys.readouterr().out.splitlines()
    assert (
        first == "::error file=bad.yaml,line=3,col=8::drain: '5' has no unit. Write 5s for seconds, or use ms, m or h."
    )
    assert second.startswith("::warning file=warned.yaml,line=2,col=33::routes[0].to: every step")
    main(["check", "--format", "github", "--strict", "warned.yaml"])
    assert capsys.readouterr().out.startswith("::error file=warned.yaml,line=2,col=33::")


def test_github_escapes() -> None:
    """What would end a property or a command, by GitHub's own rules, and no more."""
    problem = Problem(1, 2, "", "100%\r\nof a,b:c", None, "error", "a,b:c%\n.yaml")
    shown = as_github([Checked(("x",), (problem,))], strict=False)
    assert shown == "::error file=a%2Cb%3Ac%25%0A.yaml,line=1,col=2::100%25%0D%0Aof a,b:c."


def test_a_file_that_two_include_is_told_once() -> None:
    """In JSON, by file; problems that are the same are one."""
    problem = Problem(1, 1, "p", "m", None, "warning", "shared.yaml")
    checked = [Checked((name, "shared.yaml"), (problem,)) for name in ("a.yaml", "b.yaml")]
    told = json.loads(as_json(checked, strict=False))
    assert [(one["file"], len(one["problems"])) for one in told["files"]] == [
        *(("a.yaml", 0), ("shared.yaml", 1), ("b.yaml", 0))
    ]
    assert told["ok"] is True


def test_missing_keys_are_warnings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By the environment of the process."""
    Path("keyed.yaml").write_text(GOOD.replace("keys: none", "keys: [{env: SOME_KEY}]"))
    monkeypatch.delenv("SOME_KEY", raising=False)
    assert main(["check", "keyed.yaml", "--strict"]) == 1
    assert "environment variable SOME_KEY is not set" in capsys.readouterr().out
    monkeypatch.setenv("SOME_KEY", "value")
    assert main(["check", "keyed.yaml", "--strict"]) == 0


def test_no_file_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """2, and how it is meant."""
    with pytest.raises(SystemExit) as ended:
        main(["check", "--strict"])
    assert ended.value.code == 2 and "fusebox check config.yaml" in capsys.readouterr().err
