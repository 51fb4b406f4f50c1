"""``fusebox k8s webhook`` as a process: its exit codes, and an end that loses no question."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path

import pytest

from proxy.cli import main
from tests.kube.injecting import (
    HANG_S,
    HOST,
    MountedSecret,
    answer,
    authority,
    close,
    head,
    leaf,
    pod,
    process,
    question,
    trust,
)

CA = authority()
TRUST = trust(CA)
LEAF = leaf(CA)


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    """A mounted Secret with a certificate."""
    mounted = MountedSecret(tmp_path / "tls")
    mounted.put_pair(LEAF)
    return mounted


async def test_a_question_under_way_is_answered_at_the_end(secret: MountedSecret) -> None:
    """SIGTERM: no longer ready, still answering for a while; then the port is closed and what is under way ends well."""
    async with process(secret, "--linger", "2s", "--image", "registry.example/fusebox:1") as running:
        await running.logged("ready")
        body = json.dumps(question(pod())).encode()
        async with asyncio.timeout(HANG_S):
            reader, writer = await running.connect(TRUST)
            writer.write(head(len(body)) + body[:100])
            idle_reader, idle = await running.connect(TRUST)
            running.stop()
            await running.logged("draining")
            assert await running.get("/readyz") == (503, "draining\n")
            assert (await running.ask(TRUST, question(pod())))["allowed"] is True
            assert await idle_reader.read() == b""  # the end of the first part
            writer.write(body[100:])
            assert (await answer(reader))[0] == 200
            assert await reader.read() == b""
            await asyncio.gather(close(writer), close(idle))
        assert await running.ended() == 0
    assert running.errors == b"" and running.lines[-1]["event"] == "stopped"
    assert next(line for line in running.lines if line["event"] == "starting")["image"] == "registry.example/fusebox:1"


async def test_a_second_signal_hurries(secret: MountedSecret) -> None:
    """Somebody at a terminal does not wait."""
    async with process(secret, "--linger", "1h", "--drain", "1h") as running:
        await running.logged("ready")
        running.stop(signal.SIGINT)
        await running.logged("draining")
        running.stop(signal.SIGINT)
        assert await running.ended() == 0


async def test_a_hang_up_has_the_certificate_read(secret: MountedSecret) -> None:
    """SIGHUP, as for servers of old: the certificate's files are looked at now, and nothing ends."""
    async with process(secret, "--tls-poll", "1h") as running:
        await running.logged("ready")
        secret.put_pair(leaf(CA))
        running.stop(signal.SIGHUP)
        await running.logged("certificate", 2)
        assert (await running.ask(TRUST, question(pod())))["allowed"] is True
        running.stop()
        assert await running.ended() == 0


async def test_an_end_before_there_was_a_certificate(tmp_path: Path) -> None:
    """A signal ends the wait for a certificate, too."""
    async with process(MountedSecret(tmp_path / "none")) as running:
        await running.logged("certificate_missing")
        running.stop()
        assert await running.ended() == 0


def test_an_address_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, and which address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["k8s", "webhook", "--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0"]) == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "10250"], "'10250' is no address"),
        (["--listen", "::1:10250"], "is no address"),
        (["--admin", "127.0.0.1:66000"], "is no address"),
        (["--tls-poll", "1ms"], "--tls-poll: write 50ms or more"),
        (["--drain", "soon"], "--drain"),
        (["--cpu-request", "2", "--cpu-limit", "1"], "cpu"),
    ],
)
def test_wrong_options(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and which option."""
    with pytest.raises(SystemExit) as stopped:
        main(["k8s", "webhook", *arguments])
    assert stopped.value.code == 2 and said in capsys.readouterr().err


async def test_every_address(secret: MountedSecret) -> None:
    """Without a host both kinds of addresses are listened at: pods of a cluster may have either."""
    async with process(secret, "--listen", ":0", "--admin", ":0") as running:
        await running.logged("ready")
        for host in ("127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])):
            async with asyncio.timeout(HANG_S):
                _, writer = await asyncio.open_connection(host, running.port, ssl=TRUST, server_hostname=HOST)
                await close(writer)
