"""The example that `make run` runs, as a user runs it, on ports of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from proxy.config.store import load
from tests.sdk.gateway import ROOT, free_ports

EXAMPLES = ROOT / "examples"
END_LIMIT_S = 60.0
"""How long anything here may take before the test gives up; it is not a timing that is tested."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """examples/demo.yaml on free ports."""
    ports = dict(zip(("4010", "4011"), map(str, free_ports(2)), strict=True))
    text = (EXAMPLES / "demo.yaml").read_text()
    written = tmp_path / "demo.yaml"
    # In one pass: a free port may hold the digits of the other one.
    written.write_text(re.sub("401[01]", lambda found: ports[found[0]], text))
    return written


@contextmanager
def example(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The example as a process, without the machine's own OpenAI settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_") and name != "ONCE"}
    process = subprocess.Popen(
        # As a shell starts what stands before an &: with SIGINT ignored.
        ["sh", "-c", 'trap "" INT; exec "$0" "$@"', sys.executable, str(EXAMPLES / "first_request.py"), *arguments],
        env={**env, "PYTHONUTF8": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    limit = threading.Timer(END_LIMIT_S, process.terminate)  # a kill would leave its proxy, which holds the pipes
    limit.start()
    try:
        yield process
    finally:
        process.terminate()  # after a failed test too the example must end its proxy, so it is not killed outright
        process.communicate()
        limit.cancel()


def listen_of(config: Path) -> str:
    """The data port's address."""
    return str(load(config).listen)


def test_once_asks_explains_and_ends(config: Path) -> None:
    """With ONCE=1 it prints the streamed answer and the log line of that request, says whose it was, and exits 0."""
    with example(str(config), ONCE="1") as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "Hello! I am the demo provider of Fusebox. You asked for the model “demo-large”" in out
    [line] = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert line["request_id"]
    assert line["route"] == "auto"
    assert "chose the target demo/demo-large" in out
    assert f"export OPENAI_BASE_URL=http://{listen_of(config)}/v1" in out
    with pytest.raises(ConnectionRefusedError):
        connect(listen_of(config))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_ended(config: Path, ending: signal.Signals) -> None:
    """Without ONCE it goes on serving, shows the log of later requests, and ends cleanly, the proxy with it."""
    address = listen_of(config)
    with example(str(config)) as process:
        assert process.stdout is not None
        before = read_until(process, "Ctrl-C ends it.")
        with openai.OpenAI(
            base_url=f"http://{address}/v1",
            api_key="none",
            max_retries=0,
            http_client=openai.DefaultHttpxClient(trust_env=False),
        ) as client:
            done = client.chat.completions.create(model="later", messages=[{"role": "user", "content": "hi"}])
        after = read_until(process, '"later"')
        process.send_signal(ending)
        out, err = process.communicate()
    assert "built into Fusebox" in before
    assert done.model == "later"
    assert '"route":"everything-else"' in after.replace('": "', '":"')
    assert (process.returncode, err) == (0, "")
    assert out.endswith("Stopped.\n")
    with pytest.raises(ConnectionRefusedError):
        connect(address)


def test_port_that_is_taken_is_named(config: Path) -> None:
    """A taken port is exit code 1, with the port, the key and the file to change, and no traceback."""
    host, _, port = listen_of(config).rpartition(":")
    with socket.create_server((host, int(port))), example(str(config), ONCE="1") as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert f"Port {port} on {host} cannot be used: Address already in use." in err
    assert f"`listen:` in {config}" in err
    assert "Traceback" not in err


def test_configuration_that_is_wrong_is_shown(config: Path) -> None:
    """The proxy's own words about a bad file are seen, and the exit code is 1."""
    config.write_text(config.read_text() + "\nnonsense: 1\n")
    with example(str(config), ONCE="1") as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert "nonsense" in err
    assert "ended with code 64" in err


def test_with_a_key_the_real_provider_is_configured() -> None:
    """The other example file takes the key from the environment, for OpenAI alone, and keeps the same two routes."""
    real, demo = load(EXAMPLES / "openai.yaml"), load(EXAMPLES / "demo.yaml")
    assert [source.env for source in real.providers["openai"].keys.sources] == ["OPENAI_API_KEY"]
    assert list(real.providers) == ["openai"]
    assert [route.name for route in real.routes] == [route.name for route in demo.routes] == ["auto", "everything-else"]
    assert (real.listen, real.admin) == (demo.listen, demo.admin)


def read_until(process: subprocess.Popen[str], mark: str) -> str:
    """The output up to and with the line that holds `mark`."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if mark in line:
            return read
    raise AssertionError(f"ended without {mark!r}:\n{read}")


def connect(address: str) -> None:
    """Connects and closes. Raises ConnectionRefusedError when nobody listens."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=END_LIMIT_S).close()
