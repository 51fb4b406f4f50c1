"""``fusebox dev`` as a new user has it: started, asked, ended."""

from __future__ import annotations

import errno
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from proxy.cli import main
from proxy.commands.dev import SOURCE, cannot_listen
from proxy.config.parse import parse
from proxy.dev.ports import free_port
from tests.commands.dev_process import END_LIMIT_S, command, environment, local_servers_here, ran, read_until, running
from tests.emulator.server import Emulator

pytestmark = pytest.mark.skipif(local_servers_here(), reason="a model server of this machine would be found")

DEMO = "providers: {demo: {}}\nroutes: [{name: mine, match: {}, to: [demo/demo-large]}]\n"
SECRET = "sk-planted-4711-secret"
BODY = '{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'


def two_ports() -> tuple[str, str]:
    """Of them the options' values."""
    first = free_port()
    while (second := free_port()) == first:
        pass
    return str(first), str(second)


def ask(port: str, model: str) -> str:
    """The text of a streamed answer, by the SDK."""
    with (
        openai.OpenAI(
            base_url=f"http://localhost:{port}/v1",
            api_key="fusebox",
            max_retries=0,
            http_client=openai.DefaultHttpxClient(trust_env=False),
        ) as client,
        client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hi"}], stream=True
        ) as stream,
    ):
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def test_without_any_key() -> None:
    """The demo provider answers and is called what it is; curl and Node reach both loopback addresses; Ctrl-C ends it."""
    port, admin = two_ports()
    with running("dev", "--port", port, "--admin-port", admin) as process:
        told = read_until(process, "The page:")
        assert f"Ready on http://localhost:{port}" in told
        assert "demo" in told and "no real model" in told
        assert f"export OPENAI_BASE_URL=http://localhost:{port}/v1\n" in told
        assert f"export ANTHROPIC_BASE_URL=http://localhost:{port}\n" in told
        assert f"The page: http://localhost:{admin}/\n" in told
        assert "export OPENAI_API_KEY=fusebox " in told and "export ANTHROPIC_API_KEY=fusebox " in told
        assert "I am the demo provider" in ask(port, "demo-small")
        line = read_until(process, "demo-small")
        assert "POST /v1/chat/completions  demo-small -> demo/demo-small  200  first " in line and "\x1b" not in line
        curl(f"http://127.0.0.1:{port}/v1/chat/completions")
        read_until(process, "m -> demo/m  200")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "stopped" in out


def curl(url: str) -> None:
    """A request as people try it first."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "-d", BODY, url],
        capture_output=True,
        text=True,
        timeout=END_LIMIT_S,
        check=True,
    )
    assert "demo provider" in done.stdout


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node_reaches_it_on_either_address() -> None:
    """Node's fetch, by each address in turn: `localhost` is ::1 to some of its versions."""
    port, admin = two_ports()
    hosts = ["127.0.0.1", "localhost", *(["[::1]"] if has_ipv6() else [])]
    script = (
        f"for (const host of {hosts!r}) {{"
        f" const r = await fetch(`http://${{host}}:{port}/v1/chat/completions`,"
        f" {{method: 'POST', headers: {{'content-type': 'application/json'}}, body: {BODY!r}}});"
        " console.log(r.status, (await r.json()).choices.length); }"
    )
    with running("dev", "--port", port, "--admin-port", admin) as process:
        read_until(process, "The page:")
        done = subprocess.run(
            ["node", "--input-type=module", "-e", script],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=END_LIMIT_S,
            check=False,
        )
    assert (done.stderr, done.stdout) == ("", "200 1\n" * len(hosts))


def has_ipv6() -> bool:
    """Whether ::1 is there."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_with_a_key() -> None:
    """The provider is named with its variable; it gets its key, and no output holds it."""
    port, admin = two_ports()
    with Emulator() as emulator:
        more = {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": emulator.base_url, "GROQ_API_KEY": f"{SECRET} broken"}
        with running("dev", "--port", port, "--admin-port", admin, **more) as process:
            told = read_until(process, "The page:")
            assert f"  openai  OPENAI_API_KEY, for {emulator.base_url} (OPENAI_BASE_URL)\n" in told
            assert "not used: GROQ_API_KEY holds characters that no key has" in told
            assert ask(port, "gpt-5.4")
            told += read_until(process, "gpt-5.4")
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate()
        [sent] = emulator.take()
    assert sent.header("authorization") == f"Bearer {SECRET}"
    assert process.returncode == 0
    assert "planted" not in told + out + err


def test_a_taken_port() -> None:
    """Exit code 1: which port, who has it, and what to write instead."""
    port, admin = two_ports()
    with socket.create_server(("127.0.0.1", int(port))):
        done = ran("dev", "--port", port, "--admin-port", admin)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"port {port} on 127.0.0.1 is taken by " in done.stderr
    assert f"(pid {os.getpid()})" in done.stderr or sys.platform != "linux"
    assert "fusebox dev --port " in done.stderr and "Traceback" not in done.stderr


def test_a_taken_admin_port() -> None:
    """The other option is named; with a file, the file."""
    data, admin = two_ports()
    config = parse(f"listen: localhost:{data}\nadmin: localhost:{admin}\n{DEMO}")
    error = OSError(errno.EADDRINUSE, "cannot listen")
    with socket.create_server(("127.0.0.1", int(admin))):
        assert "fusebox dev --admin-port " in cannot_listen(error, config, SOURCE)
        assert cannot_listen(error, config, "my.yaml").endswith("take another one: change `admin` in my.yaml")
        with socket.create_server(("127.0.0.1", int(data))):
            both = cannot_listen(error, config, SOURCE)
    assert f"port {data} on 127.0.0.1 is taken by " in both and f"port {admin} on 127.0.0.1 is taken by " in both
    assert re.search(r": fusebox dev --port \d+ --admin-port \d+$", both)
    assert cannot_listen(error, config, SOURCE) == "cannot listen"
    assert cannot_listen(OSError(errno.EACCES, "Permission denied"), config, SOURCE) == "Permission denied"


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: this side, and the program's."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    for side in (ours, theirs):
        os.close(side)


def test_a_file_on_a_terminal(terminal: tuple[int, int], tmp_path: Path) -> None:
    """The file's providers answer, on its ports; there are colours (others test that NO_COLOR is heard)."""
    ours, theirs = terminal
    port, admin = two_ports()
    file = tmp_path / "fusebox.yaml"
    file.write_text(f"listen: localhost:{port}\nadmin: localhost:{admin}\n{DEMO}")
    process = subprocess.Popen(
        command("dev", "--config", str(file)), env=environment(TERM="xterm", NO_COLOR=""), stdout=theirs
    )
    try:
        seen = ""
        while "The page:" not in seen:
            seen += os.read(ours, 4096).decode()
        assert ask(port, "anything")
        while "  total " not in seen:
            seen += os.read(ours, 4096).decode()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_LIMIT_S) == 0
    assert "anything -> demo/demo-large  \x1b[32m200\x1b[0m" in seen


def test_the_policy_can_be_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a good file, with the ports that were asked for, and without the key."""
    monkeypatch.setenv("DEEPSEEK_API_KEY", SECRET)
    assert main(["dev", "--print-config", "--port", "4100", "--admin-port", "4101"]) == 0
    text = capsys.readouterr().out
    assert "planted" not in text
    config = parse(text)
    assert str(config.listen) == "localhost:4100"
    assert config.providers["deepseek"].keys.sources[0].env == "DEEPSEEK_API_KEY"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "x.yaml", "--port", "4100"], "leave --port"),
        (["--port", "4011"], "write another one after --admin-port"),
        (["--port", "0"], "from 1 to 65535"),
        (["--port", "65536"], "from 1 to 65535"),
        (["--port", "four"], "from 1 to 65535"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and what to write."""
    with pytest.raises(SystemExit) as ended:
        main(["dev", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """64, and its name."""
    assert main(["dev", "--config", "no-such-file.yaml"]) == 64
    assert "no-such-file.yaml" in capsys.readouterr().err
