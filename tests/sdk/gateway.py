"""Fusebox as a process between an SDK and the emulator, and the comparison of what went in with what came out."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.emulator.server import Emulator, Recorded

ROOT = Path(__file__).parents[2]
PROVIDER_KEY = "key-of-the-provider"
CLIENT_KEY = "key-of-the-client"
ALIAS = "alias-seven"
"""A model that the policy replaces. The word must occur in a request's body only as its model."""

KEPT = "kept-model"
"""A model that the policy keeps."""

READY_TRIES = 600
"""How often readiness is asked for, a twentieth of a second apart, before a start counts as failed."""

CONFIG = """
listen: 127.0.0.1:{data_port}
admin: 127.0.0.1:{admin_port}
providers:
  emulator:
    base_url: {emulator.base_url}
    anthropic_url: {emulator.anthropic_url}
    keys: [{{env: EMULATOR_KEY}}]
routes:
  - name: aliases
    match: {{model: "alias-*"}}
    to: [emulator/real-model]
  - name: everything
    match: {{}}
    to: [emulator]
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as the SDK sent it."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True, slots=True)
class Gateway:
    """Fusebox in front of the emulator."""

    root: str
    emulator: Emulator

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given."""
        return f"{self.root}/v1"

    def take(self, sent: list[Sent], model: str | None = None) -> list[Recorded]:
        """What the emulator received since the last call, after comparing it with `sent` in every way promised.

        With `model` given each request carries it in its body. Asserts, for each request: method and target as sent;
        the body as sent but for a replaced model; every end-to-end header as sent, none added, but for the key, which
        is the provider's own.
        """
        received = self.emulator.take()
        assert [(one.method, one.target) for one in received] == [(one.method, one.target) for one in sent]
        for before, after in zip(sent, received, strict=True):
            assert after.body == expected_body(before.body, model)
            compare_headers(before.headers, after)
        return received


def expected_body(body: bytes, model: str | None) -> bytes:
    """`body` as the provider must receive it, given the model that it asks for."""
    if model is not None:
        assert body.count(model.encode()) == 1, "the model must be in the body, once, or nothing is proved"
    return body.replace(ALIAS.encode(), expected_model(ALIAS).encode())


def expected_model(model: str) -> str:
    """The model that the provider is asked for when the client asks for `model`."""
    return "real-model" if model == ALIAS else model


def compare_headers(before: list[tuple[bytes, bytes]], after: Recorded) -> None:
    """Asserts that end-to-end headers arrived as sent, none were added, and only the provider's key arrived."""
    # `content-length` and `host` belong to the hop: the length of another model's name, the provider's own name.
    of_the_hop = (b"authorization", b"connection", b"content-length", b"host", b"transfer-encoding", b"x-api-key")

    def end_to_end(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        lowered = [(name.lower(), value) for name, value in headers]
        return sorted((name, value) for name, value in lowered if name not in of_the_hop)

    assert end_to_end(after.headers) == end_to_end(before)
    assert_own_key(after)


def assert_own_key(received: Recorded) -> None:
    """Asserts that the provider got its own key, in the header of the format, and nothing of the client's."""
    assert all(CLIENT_KEY.encode() not in value for _, value in received.headers)
    keys = {name: received.header(name) for name in ("authorization", "x-api-key")}
    is_anthropic = received.header("anthropic-version") is not None
    openai_keys = {"authorization": f"Bearer {PROVIDER_KEY}", "x-api-key": None}
    anthropic_keys = {"authorization": None, "x-api-key": PROVIDER_KEY}
    assert keys == (anthropic_keys if is_anthropic else openai_keys)


# Starting and stopping


@contextmanager
def running(directory: Path) -> Iterator[Gateway]:
    """Fusebox and the emulator, ready; `directory` takes the configuration and the log.

    Raises RuntimeError with the log when Fusebox ends by itself or does not get ready. Asserts that it ends with 0.
    """
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator())
        data_port, admin_port = free_ports(2)
        config, log = directory / "fusebox.yaml", directory / "fusebox.log"
        config.write_text(CONFIG.format(data_port=data_port, admin_port=admin_port, emulator=emulator))
        stream = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy", "serve", "--config", str(config)],
            cwd=ROOT,
            env={**os.environ, "EMULATOR_KEY": PROVIDER_KEY, "PYTHONPATH": str(ROOT)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until_ready(process, admin_port, log)
            yield Gateway(f"http://127.0.0.1:{data_port}", emulator)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        assert code == 0, f"Fusebox ended with {code}:\n{log.read_text()}"
        assert_no_secrets(log.read_text())


def wait_until_ready(process: subprocess.Popen[bytes], admin_port: int, log: Path) -> None:
    """Returns when `/readyz` answers 200. Raises RuntimeError with the log when the process ends or takes too long."""
    for _ in range(READY_TRIES):
        try:
            # Waiting for its end is the pause between two questions, and notices a failed start at once.
            code = process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            if is_ready(admin_port):
                return
        else:
            raise RuntimeError(f"Fusebox ended with {code} before it was ready:\n{log.read_text()}")
    process.kill()
    raise RuntimeError(f"Fusebox did not get ready:\n{log.read_text()}")


def is_ready(admin_port: int) -> bool:
    """Whether the admin port's `/readyz` answers 200."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{admin_port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [taken.getsockname()[1] for taken in sockets]


def assert_no_secrets(log: str) -> None:
    """Asserts that no key was logged; the log is not empty, or this would prove nothing."""
    assert re.search(r'"request_id"', log)
    assert PROVIDER_KEY not in log
    assert CLIENT_KEY not in log
