"""``fusebox serve`` on a terminal: text for eyes there, JSON everywhere else, and what ``log.format`` says of it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from proxy.commands.serve import for_eyes
from proxy.config.parse import parse
from proxy.dev.console import Console
from tests.commands.dev_process import END_LIMIT_S, command, environment
from tests.sdk.gateway import free_ports

CONFIG = """
listen: 127.0.0.1:{}
admin: 127.0.0.1:{}
providers: {{demo: {{}}}}
routes: [{{name: all, match: {{}}, to: [demo]}}]
log: {{format: {}}}
"""


def first_lines(tmp_path: Path, form: str, *, terminal: bool) -> list[str]:
    """What it writes until it is ready, on a terminal or into a pipe."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(*free_ports(2), form))
    ours, theirs = pty.openpty() if terminal else os.pipe()
    try:
        process = subprocess.Popen(
            command("serve", "--config", str(path)),
            env=environment(TERM="xterm"),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        written = b""
        try:
            while b"ready" not in written:
                written += os.read(ours, 65536)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=END_LIMIT_S)
    finally:
        os.close(ours)
    return written.decode().splitlines()


@pytest.mark.parametrize(("form", "terminal"), [("json", True), ("auto", False), ("json", False)])
def test_json(tmp_path: Path, form: str, terminal: bool) -> None:
    """For machines."""
    assert json.loads(first_lines(tmp_path, form, terminal=terminal)[0])["event"] == "ready"


@pytest.mark.parametrize(("form", "terminal"), [("auto", True), ("console", True), ("console", False)])
def test_text(tmp_path: Path, form: str, terminal: bool) -> None:
    """For eyes; in colour only on a terminal."""
    line = first_lines(tmp_path, form, terminal=terminal)[0]
    assert "ready" in line and "providers=" in line and not line.startswith("{")
    assert ("\x1b[" in line) is terminal


def test_a_format_that_is_none() -> None:
    """Said with the place and the words there are."""
    with pytest.raises(Exception, match="json") as refused:
        parse("providers: {demo: {}}\nroutes: [{name: a, match: {}, to: [demo]}]\nlog: {format: text}\n")
    assert "line 3" in str(refused.value) or ":3:" in str(refused.value)


def test_the_file_itself_is_used_for_json(tmp_path: Path) -> None:
    """No layer in between, as nothing is changed."""
    config = parse("providers: {demo: {}}\nroutes: [{name: a, match: {}, to: [demo]}]\n")
    with (tmp_path / "out").open("wb") as out:
        assert for_eyes(config, out) is out
        text = parse("providers: {demo: {}}\nroutes: [{name: a, match: {}, to: [demo]}]\nlog: {format: console}\n")
        assert isinstance(for_eyes(text, out), Console)
