"""``fusebox tail`` of a running Fusebox: requests as they end, through its restart, with its token."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.commands.dev_process import END_LIMIT_S, command, environment, ran
from tests.sdk.gateway import free_ports

CONFIG = """
listen: 127.0.0.1:{port}
admin: 127.0.0.1:{admin}
{more}
providers: {{demo: {{}}}}
routes: [{{name: all, match: {{}}, to: [demo]}}]
"""

TOKEN = "the-token-of-this-port"


class Lines:
    """The lines of a process as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[str] = []
        self._grown = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                with self._grown:
                    self.seen.append(line)
                    self._grown.notify_all()
        with self._grown:
            self.seen.append("the end")
            self._grown.notify_all()

    def wait_for(self, text: str) -> str:
        """The first line with `text` in it."""
        with self._grown:
            assert self._grown.wait_for(lambda: any(text in one or one == "the end" for one in self.seen), END_LIMIT_S)
            found = [one for one in self.seen if text in one]
        assert found, self.seen
        return found[0]


@contextmanager
def started(*words: str, **more: str) -> Iterator[Lines]:
    """A command under way."""
    process = subprocess.Popen(
        command(*words),
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = Lines(process)
    try:
        yield lines
    finally:
        process.terminate()
        process.wait(END_LIMIT_S)
        lines.thread.join(END_LIMIT_S)


def ask(port: int, model: str) -> None:
    """One request."""
    connection = HTTPConnection("127.0.0.1", port, timeout=END_LIMIT_S)
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "hello"}}]}}'
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def configured(tmp_path: Path, more: str = "") -> tuple[int, int, list[str]]:
    """Both ports, and the words that serve them."""
    port, admin = free_ports(2)
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.format(port=port, admin=admin, more=more))
    return port, admin, ["serve", "--config", str(file)]


def test_requests_as_they_end_and_a_restart(tmp_path: Path) -> None:
    """The last one of before, then each new one; what comes after a restart, too, and nothing twice."""
    port, admin, serve = configured(tmp_path)
    with started(*serve) as first:
        first.wait_for('"ready"')
        for model in ("model-a", "model-b"):
            ask(port, model)
        with started("tail", "--lines", "1", f"127.0.0.1:{admin}", TERM="dumb") as tail:
            assert "demo/model-b" in tail.wait_for("model-b")
            ask(port, "model-c")
            tail.wait_for("model-c")
            first.process.terminate()
            assert first.process.wait(END_LIMIT_S) == 0
            tail.wait_for("has gone; waiting for it")
            with started(*serve) as second:
                second.wait_for('"ready"')
                ask(port, "model-d")
                tail.wait_for("model-d")
            told = [one for one in tail.seen if "model-" in one]
    assert ["model-b" in told[0], "model-c" in told[1], "model-d" in told[2], len(told)] == [True, True, True, 3]


def test_what_it_has_kept_and_no_more(tmp_path: Path) -> None:
    """For a script, or a look."""
    port, admin, serve = configured(tmp_path)
    with started(*serve) as running:
        running.wait_for('"ready"')
        for model in ("model-a", "model-b", "model-c"):
            ask(port, model)
        done = ran("tail", "--no-follow", "-n", "2", f"http://127.0.0.1:{admin}")
    assert done.returncode == 0, done.stderr
    assert [line.split(" -> ")[0].split()[-1] for line in done.stdout.splitlines()] == ["model-b", "model-c"]


def test_a_token(tmp_path: Path) -> None:
    """From the environment; without it the error names the variable, and never what it holds."""
    _, admin, serve = configured(tmp_path, "admin_token: {env: THE_TOKEN}")
    with started(*serve, THE_TOKEN=TOKEN) as running:
        running.wait_for('"ready"')
        for wrong in ({}, {"FUSEBOX_ADMIN_TOKEN": "wrong-one"}):
            refused = ran("tail", "--no-follow", f"127.0.0.1:{admin}", **wrong)
            assert refused.returncode == 1 and "FUSEBOX_ADMIN_TOKEN" in refused.stderr
            assert "wrong-one" not in refused.stderr
        assert ran("tail", "--no-follow", f"127.0.0.1:{admin}", FUSEBOX_ADMIN_TOKEN=TOKEN).returncode == 0


@pytest.mark.parametrize("words", [("tail", "127.0.0.1:1"), ("tail", "no-such-file.log")])
def test_nobody_there(words: tuple[str, ...]) -> None:
    """Said, with what to do."""
    done = ran(*words)
    assert done.returncode == 1 and done.stdout == ""
    assert "nothing to talk to at 127.0.0.1:1. Start `fusebox dev`" in done.stderr or "cannot be read" in done.stderr
