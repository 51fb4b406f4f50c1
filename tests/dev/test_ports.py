"""Who holds a port: this very process, in these tests."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from proxy.config.schema import Listen
from proxy.dev.ports import Holder, free_port, holder, taken

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells it on Linux only")


def test_a_port_that_is_free() -> None:
    """It can be had on both addresses, and nobody holds it."""
    port = free_port()
    assert taken(Listen("localhost", port)) is None
    assert holder(port) is None


@LINUX
def test_a_port_of_this_process() -> None:
    """The address that is taken, and this process's id and name; it is no Fusebox."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        assert taken(Listen("localhost", port)) == "127.0.0.1"
        who = holder(port)
        assert who is not None
        assert (who.pid, who.fusebox) == (os.getpid(), False)
        assert who.command == Path("/proc/self/comm").read_text().strip()


@LINUX
def test_the_other_loopback_address_counts_too(port_held_on_ipv6: int) -> None:
    """Where only ::1 is taken, Node's requests would go to a stranger."""
    assert taken(Listen("localhost", port_held_on_ipv6)) == "::1"
    who = holder(port_held_on_ipv6)
    assert who is not None and who.pid == os.getpid()


def process(proc: Path, pid: int, arguments: list[bytes]) -> None:
    """A process that holds socket 4711, as /proc shows it."""
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "fd" / "3").symlink_to("socket:[4711]")
    (folder / "comm").write_text("python3\n")
    (folder / "cmdline").write_bytes(b"\0".join(arguments) + b"\0")


ROW = (
    "   0: 0100007F:0FAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0\n"
)


@pytest.mark.parametrize(
    ("arguments", "ours"),
    [
        ([b"python3", b"venv/bin/fusebox", b"dev"], True),
        ([b"fusebox", b"serve"], True),
        ([b"python", b"-m", b"proxy", b"dev"], True),
        ([b"python", b"-X", b"-m", b"proxy"], True),
        ([b"python", b"-m", b"http.server", b"--key", b"planted"], False),
        ([b"vim", b"a", b"b", b"fusebox"], False),
    ],
)
def test_one_of_ours_is_told_by_its_arguments(tmp_path: Path, arguments: list[bytes], ours: bool) -> None:
    """Only whether they are ours: arguments may hold secrets."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("  sl  local_address ...\n" + ROW)
    process(tmp_path, 17, arguments)
    assert holder(4010, proc=tmp_path) == Holder(17, "python3", ours)
    assert "planted" not in repr(holder(4010, proc=tmp_path))
    assert str(holder(4010, proc=tmp_path)) == ("Fusebox (pid 17)" if ours else "python3 (pid 17)")
    assert holder(4011, proc=tmp_path) is None


def test_where_it_cannot_be_told(tmp_path: Path) -> None:
    """Without /proc nobody is named."""
    assert holder(4010, proc=tmp_path) is None
