"""The process from its start to its end: readiness, signals, drain, exit codes, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import HANG_S, ROOT, Client, Cut, Exchange, Fusebox, Upstream, chat, ok, request
from tests.sdk.gateway import free_ports

CONFIG = """
providers:
  main: {{base_url: "http://127.0.0.1:{port}/v1", keys: none}}
routes: [{{name: all, match: {{}}, to: [main]}}]
drain: {drain}
"""

DEMO = "providers: {demo: {}}\nroutes: [{name: a, match: {}, to: [demo]}]\n"

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"8\r\ndata: x\n\r\n"


def config(upstream: Upstream, drain: str = "60s") -> str:
    """A policy that sends everything to `upstream`."""
    return CONFIG.format(port=upstream.port, drain=drain)


async def is_listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        async with Client(port):
            return True
    except OSError:
        return False


async def test_a_life_from_ready_to_stopped(tmp_path: Path) -> None:
    """Ready, a request, SIGTERM, exit 0; the log says each step and nothing went to stderr."""
    async with Upstream() as upstream:
        fusebox = Fusebox(config(upstream), tmp_path)
        await fusebox.start()
        assert await fusebox.readyz() == 200
        async with Client(fusebox.port) as client:
            await client.send(chat())
            await (await upstream.next()).answer(ok())
            assert (await client.response()).status == 200
            assert await fusebox.stop() == 0
            assert await client.ended() == b""
        events = [line["event"] for line in fusebox.lines]
        assert events == ["ready", "request", "draining", "stopped", "end of log"]
        assert fusebox.lines[2]["active"] == 0
        assert fusebox.errors == b""
        assert not await is_listening(fusebox.port) and not await is_listening(fusebox.admin_port)


async def test_a_drain_lets_streams_finish(tmp_path: Path) -> None:
    """SIGTERM with streams running: not ready, no new connections, every stream whole to its end, then exit 0."""
    async with Upstream() as upstream:
        fusebox = Fusebox(config(upstream), tmp_path)
        await fusebox.start()
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Client(fusebox.port)) for _ in range(10)]
            idle = await stack.enter_async_context(Client(fusebox.port))
            for client in clients:
                await client.send(chat(stream=True))
            exchanges = [await upstream.next() for _ in clients]
            for exchange in exchanges:
                await exchange.body.rest()
                await exchange.send(STREAM + EVENT)
            bodies = [(await client.begin())[1] for client in clients]
            for body in bodies:
                assert await body.take(8) == b"data: x\n"
            fusebox.signal(signal.SIGTERM)
            assert (await fusebox.line(event="draining"))["active"] == 10
            assert await fusebox.readyz() == 503
            assert not await is_listening(fusebox.port)
            assert await idle.ended() == b""
            for exchange in exchanges:
                await exchange.send(EVENT)
            for body in bodies:
                assert await body.take(8) == b"data: x\n"
            assert fusebox.process.returncode is None
            for exchange in exchanges:
                await exchange.send(b"0\r\n\r\n")
                exchange.finish()
            for body, client in zip(bodies, clients, strict=True):
                assert await body.rest() == b""
                assert await client.ended() == b""
        assert await fusebox.wait() == 0
        assert "drain_cut" not in [line["event"] for line in fusebox.lines]


async def test_a_drain_waits_for_a_slow_reader(tmp_path: Path) -> None:
    """An answer that the provider has finished is still the client's to read: it gets every byte before the exit."""
    async with Upstream() as upstream:
        fusebox = Fusebox(config(upstream), tmp_path)
        await fusebox.start()
        size = 6 * 2**20
        async with Client(fusebox.port, receive_buffer=4096) as client:
            await client.send(chat())
            exchange = await upstream.next()
            await exchange.body.rest()
            sending = asyncio.create_task(exchange.send(ok(b"x" * size)))
            _, body = await client.begin()
            got = len(await body.take(1000))
            fusebox.signal(signal.SIGTERM)
            await fusebox.line(event="draining")
            got += len(await body.rest())
            assert got == size
            await sending
            exchange.finish()
        assert await fusebox.wait() == 0


async def test_a_drain_ends_at_its_bound(tmp_path: Path) -> None:
    """A stream that does not end is cut at the bound, visibly, and the exit is still a clean one."""
    async with Upstream() as upstream:
        fusebox = Fusebox(config(upstream, "100ms"), tmp_path)
        await fusebox.start()
        async with Client(fusebox.port) as client:
            await client.send(chat(stream=True))
            exchange = await upstream.next()
            await exchange.body.rest()
            await exchange.send(STREAM + EVENT)
            _, body = await client.begin()
            fusebox.signal(signal.SIGTERM)
            with pytest.raises(Cut):
                await body.rest()
            await exchange.hung_up()
        assert await fusebox.wait() == 0
        line = await fusebox.line(event="drain_cut")
        assert (line["cut"], line["reason"]) == (1, "drain bound reached")
        line = await fusebox.line(event="request")
        assert (line["status"], line["error_code"]) == (200, "drain_cut")  # not the client's doing


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_signal_stops_at_once(tmp_path: Path, first: signal.Signals) -> None:
    """Whoever asks twice means it."""
    async with Upstream() as upstream:
        fusebox = Fusebox(config(upstream), tmp_path)
        await fusebox.start()
        async with Client(fusebox.port) as client:
            await client.send(chat())
            exchange = await upstream.next()
            fusebox.signal(first)
            await fusebox.line(event="draining")
            fusebox.signal(signal.SIGINT)
            await exchange.hung_up()
            assert await fusebox.wait() == 0
        assert (await fusebox.line(event="drain_cut"))["reason"] == "second signal"


@pytest.mark.parametrize("_", range(5))
async def test_signals_that_come_while_it_ends(tmp_path: Path, _: int) -> None:
    """Ctrl-C twice, or a shell and a supervisor at once: it ends as it would have, with its last lines."""
    async with Upstream() as upstream:
        fusebox = Fusebox(config(upstream), tmp_path)
        await fusebox.start()
        with contextlib.suppress(ProcessLookupError):  # it has ended
            while True:
                fusebox.signal(signal.SIGINT)
                await asyncio.sleep(0.001)
        code = await fusebox.wait()
        assert (code, fusebox.errors) == (0, b"")
        assert await fusebox.line(event="stopped")


async def test_a_request_on_a_kept_connection_during_a_drain(tmp_path: Path) -> None:
    """The answer under way says that the connection ends with it."""
    async with Upstream() as upstream:
        fusebox = Fusebox(config(upstream), tmp_path)
        await fusebox.start()
        async with Client(fusebox.port) as client:
            await client.send(chat())
            exchange = await upstream.next()
            fusebox.signal(signal.SIGTERM)
            await fusebox.line(event="draining")
            await exchange.answer(ok())
            response = await client.response()
            assert (response.status, response.head.one("connection")) == (200, b"close")
            assert await client.ended() == b""
        assert await fusebox.wait() == 0


# What keeps it from starting


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m proxy` with `arguments`, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def written(directory: Path, text: str) -> str:
    """A configuration file with `text` in it."""
    file = directory / "fusebox.yaml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("taken", ["listen", "admin"])
def test_a_port_that_is_taken(tmp_path: Path, taken: str) -> None:
    """One sentence that names the address and the key, and exit code 1; the other port is not left open."""
    [free] = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        other = "admin" if taken == "listen" else "listen"
        text = f"{taken}: 127.0.0.1:{port}\n{other}: 127.0.0.1:{free}\n{DEMO}"
        ended = run("serve", "--config", written(tmp_path, text))
    assert ended.returncode == 1
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert f"port {port} on 127.0.0.1 is taken by " in line and f"`{taken}`" in line
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", free)):
        pass


def test_a_bad_configuration_lists_every_problem_and_binds_nothing(tmp_path: Path) -> None:
    """Exit code 64; each problem with its line. The address in it is taken: nobody tried to bind it."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        text = f"""listen: 127.0.0.1:{holder.getsockname()[1]}
providers:
  one: {{base_url: ftp://x}}
  two: {{base_url: http://127.0.0.1:1/v1, kees: none}}
routes:
  - {{name: a, match: {{}}, to: [three]}}
timeouts: {{head: soon}}
"""
        ended = run("serve", "--config", written(tmp_path, text))
    assert ended.returncode == 64
    assert ended.stdout == ""
    for number, word in ((3, "base_url"), (4, "kees"), (6, "three"), (7, "soon")):
        assert [line for line in ended.stderr.splitlines() if f":{number}:" in line and word in line], ended.stderr
    assert "cannot listen" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Exit code 64 and the path."""
    ended = run("serve", "--config", str(tmp_path / "nowhere.yaml"))
    assert ended.returncode == 64
    assert "nowhere.yaml" in ended.stderr and "Traceback" not in ended.stderr


def test_an_egress_proxy_that_is_no_address(tmp_path: Path) -> None:
    """What the environment says wrongly is said before a port is bound, and without a password that stands in it."""
    ended = run("serve", "--config", written(tmp_path, DEMO), HTTPS_PROXY="socks5://me:secret@host:1")
    assert ended.returncode == 64
    assert "Traceback" not in ended.stderr and "secret" not in ended.stderr


async def test_a_stdout_that_is_closed_stops_nobody(tmp_path: Path) -> None:
    """A log that nobody can read costs no request, and no exit code."""
    async with Upstream() as upstream:
        fusebox = Fusebox(config(upstream), tmp_path)
        await fusebox.start()
        assert fusebox.process.stdout is not None
        transport = fusebox.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.close()
        async with Client(fusebox.port) as client:
            for _ in range(3):
                await client.send(chat())
                await (await upstream.next()).answer(ok())
                assert (await client.response()).status == 200
        fusebox.signal(signal.SIGTERM)
        assert await fusebox.wait() == 0


def test_curl_gets_an_answer(tmp_path: Path) -> None:
    """Another client than ours: curl with HTTP/1.1, an upload with Expect, and its connection used twice."""
    if subprocess.run(["which", "curl"], capture_output=True, check=False).returncode:
        pytest.skip("no curl here")

    async def play() -> bytes:
        async with Upstream() as upstream, Fusebox(config(upstream), tmp_path) as fusebox:
            bodies: list[bytes] = []

            async def keep(exchange: Exchange) -> None:
                bodies.append(await exchange.answer(ok(b"hello, curl\n")))

            upstream.script = keep
            large = tmp_path / "large"
            large.write_bytes(b"u" * 3_000_000)
            url = f"http://127.0.0.1:{fusebox.port}/v1"
            curl = await asyncio.create_subprocess_exec(
                *("curl", "--http1.1", "-sS", "--fail", "--max-time", "20", "--noproxy", "*"),
                *("-H", "Expect: 100-continue", "-F", f"file=@{large}", "-F", "purpose=x", f"{url}/files"),
                *("--next", "-sS", "--fail", "--noproxy", "*", "--json", '{"model": "a"}', f"{url}/chat/completions"),
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await asyncio.wait_for(curl.communicate(), HANG_S)
            assert curl.returncode == 0
            assert b"u" * 3_000_000 in bodies[0] and bodies[1] == b'{"model": "a"}'
            return out

    assert asyncio.run(play()) == b"hello, curl\n" * 2


async def test_livez_and_unknown_paths_of_the_admin_port(tmp_path: Path) -> None:
    """Alive while it runs; and the admin port forwards nothing."""
    async with (
        Upstream() as upstream,
        Fusebox(config(upstream), tmp_path) as fusebox,
        Client(fusebox.admin_port) as client,
    ):
        assert (await client.exchange(request("GET", "/livez"))).status == 200
        assert (await client.exchange(request("POST", "/v1/chat/completions", b"{}"))).status == 404
        assert upstream.requests == 0
