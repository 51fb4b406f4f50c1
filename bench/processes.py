"""Child processes of a run: started with their output in a file, waited for until they answer, ended by pid."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measure import process_tree

REPOSITORY = Path(__file__).resolve().parent.parent
LOG_TAIL_CHARS = 1500
STOP_GRACE_S = 3.0
"""Seconds between SIGTERM and SIGKILL: clients are gone by then, so a proxy has nothing left to drain."""


class BenchError(Exception):
    """A measurement that could not be made; the text says why and, where it helps, what to do."""


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """One started process. Call `stop` when done, or use it as a context manager."""

    def __init__(self, name: str, command: Sequence[str], log: Path, held: bool = False) -> None:
        """Starts `command` in the repository's folder; stdout and stderr go to `log`, as in a deployment.

        `held`: its standard input is a pipe that closes with this process, so it can end when we are gone.
        """
        stdin = subprocess.PIPE if held else subprocess.DEVNULL
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self.started_s = time.monotonic()
            self.popen = subprocess.Popen(command, stdin=stdin, stdout=output, stderr=subprocess.STDOUT, cwd=REPOSITORY)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def pids(self) -> list[int]:
        """The process and its descendants."""
        return process_tree(self.popen.pid)

    def stop(self) -> None:
        """Ends the process: SIGTERM, then SIGKILL to what remains of its tree."""
        tree = self.pids()
        if self.popen.stdin:
            self.popen.stdin.close()
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                for pid in tree:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self.popen.wait()

    def failed(self, what: str) -> BenchError:
        """An error that shows the end of the process's own output."""
        tail = self.log.read_text(errors="replace")[-LOG_TAIL_CHARS:].strip()
        return BenchError(f"{self.name}: {what}" + (f"; its last output:\n{tail}" if tail else ""))

    def wait_ready(self, port: int, path: str | None = None, within_s: float = 15.0) -> float:
        """Seconds from start until `port` accepts a connection or, with `path`, answers a GET of it with 200.

        Raises BenchError when the process ends first or `within_s` seconds have passed.
        """
        deadline_s = self.started_s + within_s
        while not _answers(port, path):
            if self.popen.poll() is not None:
                raise self.failed(f"ended with code {self.popen.returncode} before it was ready")
            if time.monotonic() > deadline_s:
                raise self.failed(f"not ready within {within_s:.0f} s")
            time.sleep(0.002)
        return time.monotonic() - self.started_s


def _answers(port: int, path: str | None) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            if path is None:
                return True
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False
