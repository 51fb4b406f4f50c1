"""The command line as a process, as a developer has it: an environment of one's own, output read as it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from proxy.dev.findings import LOCAL, key_variables
from tests.harness import ROOT

END_LIMIT_S = 60.0
"""How long a process may take before the test gives up; it is no timing that is tested."""

_SETTINGS = ("OPENAI_", "ANTHROPIC_", "AZURE_OPENAI_")


def environment(**more: str) -> dict[str, str]:
    """This process's, without anything that Fusebox or an SDK goes by, and `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_SETTINGS) and name not in key_variables() and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **more}


def command(*arguments: str) -> list[str]:
    """`fusebox` with `arguments`."""
    return [sys.executable, "-m", "proxy", *arguments]


def ran(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command from start to end."""
    return subprocess.run(
        command(*arguments), env=environment(**more), capture_output=True, text=True, timeout=END_LIMIT_S, check=False
    )


@contextmanager
def running(*arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A command under way, in a process group of its own; ended with SIGTERM if it has not ended by itself."""
    process = subprocess.Popen(
        command(*arguments),
        env=environment(**more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = threading.Timer(END_LIMIT_S, process.kill)
    limit.start()
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate()
        limit.cancel()


def read_until(process: subprocess.Popen[str], mark: str) -> str:
    """The output up to and with the line that holds `mark`. Raises AssertionError when it ends before."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if mark in line:
            return read
    assert process.stderr is not None
    raise AssertionError(f"ended without {mark!r}:\n{read}\n{process.stderr.read()}")


def local_servers_here() -> bool:
    """Whether a model server of this machine's own would be found, which makes a policy another one."""
    from proxy.dev.local import servers

    return bool(servers(LOCAL))
