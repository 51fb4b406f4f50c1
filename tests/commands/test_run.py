"""``fusebox run``: the command's environment, its exit code, its signals, and that nothing is left behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from proxy.cli import main
from tests.commands.dev_process import END_LIMIT_S, command, environment, local_servers_here, ran, read_until, running

pytestmark = pytest.mark.skipif(local_servers_here(), reason="a model server of this machine would be found")

PYTHON = sys.executable

ASK = """
import json, os, urllib.request
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps({"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}).encode(),
    {"content-type": "application/json"},
)
print(json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"])
print(os.environ["ANTHROPIC_BASE_URL"], os.environ["OPENAI_API_KEY"])
"""


def test_the_command_is_answered() -> None:
    """By the demo provider, as there is no key; nothing but the command's own output is on stdout or stderr."""
    done = ran("run", "--", PYTHON, "-c", ASK)
    assert (done.returncode, done.stderr) == (0, "")
    answer, rest = done.stdout.splitlines()
    assert "demo provider" in answer
    assert rest.startswith("http://localhost:") and rest.endswith(" fusebox")


def test_a_command_that_a_signal_ended() -> None:
    """128 and the signal's number, as in a shell."""
    assert ran("run", "--", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_a_command_that_there_is_none_of() -> None:
    """127 as in a shell, in words."""
    done = ran("run", "--", "no-such-command-here")
    assert done.returncode == 127 and "'no-such-command-here'" in done.stderr


def test_a_command_that_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """126; and the proxy that was begun is stopped."""
    (tmp_path / "plain").write_text("text")
    stopped: list[bool] = []

    class Begun:
        def stop(self) -> None:
            stopped.append(True)

    monkeypatch.setattr("proxy.dev.beside.start", lambda serve: Begun())
    assert main(["run", "--", str(tmp_path / "plain")]) == 126
    assert "cannot be started: Permission denied" in capsys.readouterr().err
    assert stopped == [True]


def test_the_commands_own_options_are_its_own() -> None:
    """Also without the dashes between; dashes further on are the command's."""
    assert ran("run", "printf", "%s|", "--show", "--", "x").stdout == "--show|--|x|"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_go_to_the_command_once(number: signal.Signals) -> None:
    """It gets each, and how it ends is up to it; the proxy answers until then, and is gone afterwards."""
    script = (
        "import os, signal, sys\n"
        "got = []\n"
        f"signal.signal({int(number)}, lambda number, frame: got.append(number))\n"
        "print(os.environ['OPENAI_BASE_URL'], flush=True)\n"
        "while not got: signal.pause()\n"
        "print('got', *got, flush=True)\n"
        "sys.stdin.readline()\n"
        "print('in all', len(got), flush=True)\n"
        "sys.exit(9)\n"
    )
    with running("run", "--", PYTHON, "-c", script) as process:
        port = port_of(read_until(process, "http://"))
        process.send_signal(number)
        read_until(process, f"got {int(number)}")
        socket.create_connection(("127.0.0.1", port), END_LIMIT_S).close()
        out, _ = process.communicate("go on\n")
    assert out == "in all 1\n"
    assert process.returncode == 9
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), END_LIMIT_S)


TYPED = """
import os, signal
got = []
signal.signal(signal.SIGINT, lambda number, frame: got.append(number))
print("begun", flush=True)
input()
print("in all", len(got), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a terminal's signals are told by guess")
def test_ctrl_c_typed_at_a_terminal_reaches_the_command_once() -> None:
    """The terminal sends it to everybody in the foreground, so it is not sent on; the proxy does not end by it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("run", "--", PYTHON, "-c", TYPED),
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        seen = ""
        while "begun" not in seen:
            seen += os.read(ours, 4096).decode()
        os.write(ours, b"\x03go on\n")
        while not re.search(r"in all \d+\r?\n", seen):
            seen += os.read(ours, 4096).decode()
        assert process.wait(END_LIMIT_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    assert re.search(r"in all 1\r?\n", seen)


def port_of(line: str) -> int:
    """The port in a base URL."""
    return int(line.strip().removesuffix("/v1").rpartition(":")[2])


@pytest.mark.skipif(sys.platform != "linux", reason="pid of a child is looked up in /proc")
def test_the_proxy_does_not_outlive_it() -> None:
    """Even when nobody is left to stop it: it ends when this process is killed."""
    with running("run", "--", "sh", "-c", "echo $OPENAI_BASE_URL; read line") as process:
        port = port_of(read_until(process, "http://"))
        proxy = next(pid for pid in children(process.pid) if os.getsid(pid) == pid)
        # Its end is an event: the descriptor becomes readable (pidfd_open(2)).
        descriptor = os.pidfd_open(proxy)
        process.kill()
        process.wait()
        try:
            subprocess.run(
                [
                    PYTHON,
                    "-c",
                    "import select, sys; sys.exit(not select.select([int(sys.argv[1])], [], [], 60)[0])",
                    str(descriptor),
                ],
                pass_fds=[descriptor],
                check=True,
            )
        finally:
            os.close(descriptor)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), END_LIMIT_S)


def children(pid: int) -> list[int]:
    """Ids of the processes that `pid` has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_file_in_place_of_what_is_found(tmp_path: Path) -> None:
    """Its routes count; its ports do not, so that several can run at once. What is asked is shown on stderr."""
    file = tmp_path / "fusebox.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file.write_text(
            f"listen: 127.0.0.1:{taken.getsockname()[1]}\n"
            "providers: {demo: {}}\nroutes: [{name: all, match: {}, to: [demo/demo-large]}]\n"
        )
        done = ran("run", "--show", "--config", str(file), "--", PYTHON, "-c", ASK)
    assert done.returncode == 0
    assert "“demo-large”" in done.stdout
    assert "fusebox: on http://localhost:" in done.stderr and "\n  demo\n" in done.stderr
    assert "POST /v1/chat/completions  gpt-5.4 -> demo/demo-large  200" in done.stderr


def test_what_keeps_it_from_starting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """64 for a bad file, 2 without a command."""
    file = tmp_path / "bad.yaml"
    file.write_text("routes: 5\n")
    assert main(["run", "--config", str(file), "--", "echo", "started"]) == 64
    assert "routes" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["run", "--"])
    assert ended.value.code == 2
    assert "fusebox run -- python app.py" in capsys.readouterr().err


def test_a_proxy_that_cannot_start() -> None:
    """Its own words and its code; the command is not started."""
    done = ran("run", "--", "echo", "started", HTTPS_PROXY="socks5://user:planted@x:1")
    assert (done.returncode, done.stdout) == (64, "")
    assert "HTTPS_PROXY" in done.stderr and "planted" not in done.stderr
