"""The variables for a program, and that shells read what is written for them."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from proxy.dev.shell import PLACEHOLDER, SHELLS, variables, written

ODD = 'it\'s a "value" with $HOME `x` \\ and a space'


def test_base_urls_and_placeholders() -> None:
    """The OpenAI root ends in /v1 and the Anthropic one does not; a key is stood in for only where there is none."""
    assert variables(4100, {"OPENAI_API_KEY": "sk-own"}) == {
        "OPENAI_BASE_URL": "http://localhost:4100/v1",
        "ANTHROPIC_BASE_URL": "http://localhost:4100",
        "ANTHROPIC_API_KEY": PLACEHOLDER,
    }
    assert "ANTHROPIC_API_KEY" not in variables(4100, {"ANTHROPIC_AUTH_TOKEN": "own"})


@pytest.mark.parametrize(
    ("environment", "exempt"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, None),
        ({"HTTP_PROXY": "http://p:1"}, "localhost,127.0.0.1,::1"),
        ({"all_proxy": "http://p:1", "NO_PROXY": "a.example, 127.0.0.1"}, "a.example, 127.0.0.1,localhost,::1"),
        ({"http_proxy": "http://p:1", "NO_PROXY": "*"}, None),
        ({"http_proxy": "http://p:1", "no_proxy": "LOCALHOST,127.0.0.1,[::1]"}, None),
    ],
)
def test_loopback_is_exempt_from_the_networks_proxy(environment: dict[str, str], exempt: str | None) -> None:
    """Only where a proxy would take plain HTTP, and only what is missing; what was exempt stays so."""
    found = variables(4100, environment)
    assert found.get("NO_PROXY") == found.get("no_proxy") == exempt


def test_a_shell_reads_it() -> None:
    """Every character arrives; nothing is run."""
    script = written({"A": ODD, "B": "2"}, "sh") + 'printf "%s|%s" "$A" "$B"'
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout == f"{ODD}|2"


def test_the_other_forms() -> None:
    """Each in its shell's own way of quoting."""
    one = {"A": 'it\'s \\ "x"'}
    assert written(one, "fish") == "set -gx A 'it\\'s \\\\ \"x\"'\n"
    assert written(one, "powershell") == "$env:A = 'it''s \\ \"x\"'\n"
    assert written(one, "dotenv") == 'A="it\'s \\\\ \\"x\\""\n'
    assert json.loads(written(one, "json")) == one
    assert set(SHELLS) == {"sh", "fish", "powershell", "dotenv", "json"}


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_reads_it() -> None:
    """As `test_a_shell_reads_it`."""
    script = written({"A": ODD}, "fish") + 'printf "%s" "$A"'
    assert subprocess.run(["fish", "-c", script], capture_output=True, text=True, check=True).stdout == ODD
