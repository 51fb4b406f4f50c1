"""Who holds a port of this machine. Linux tells (``/proc``); elsewhere, and for others' processes, it cannot be told."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxy.config.schema import Config, Listen

_LISTEN = "0A"
"""TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h)."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process: its id and command name. `fusebox`: it is one of ours."""

    pid: int
    command: str
    fusebox: bool = False

    def __str__(self) -> str:
        return f"{'Fusebox' if self.fusebox else self.command} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Taken:
    """An address of a configuration that cannot be had: its `key`, the `host` it failed on, who is there if that can be told."""

    key: str
    address: Listen
    host: str
    holder: Holder | None

    def __str__(self) -> str:
        by = f" by {self.holder}" if self.holder is not None else ", by whom cannot be told"
        return f"port {self.address.port} on {self.host} is taken{by}"


def taken_of(config: Config) -> list[Taken]:
    """Which of the two addresses of `config` cannot be had at this moment."""
    pairs = (("listen", config.listen), ("admin", config.admin))
    return [
        Taken(key, address, host, holder(address.port, host))
        for key, address in pairs
        if (host := taken(address)) is not None
    ]


def taken(address: Listen) -> str | None:
    """The first host of `address` on which its port cannot be taken, None: all can. As ``serve/listener.bind`` takes them."""
    for host in address.hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server((host, address.port), family=family).close()
        except OSError:
            if host in ("::1", "::") and not _has_ipv6():
                continue
            return host
    return None


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that was free on both loopback addresses a moment ago. Raises OSError when none can be found."""
    for _ in range(20):
        with socket.create_server(("127.0.0.1", 0)) as found:
            port: int = found.getsockname()[1]
        if taken(Listen("localhost", port)) is None:
            return port
    raise OSError("no port is free on both loopback addresses")


def holder(port: int, host: str = "127.0.0.1", proc: Path = Path("/proc")) -> Holder | None:
    """The process that listens on `port`, if more than one does that of `host`'s family; None: none does, or it cannot be
    told whose it is.
    """
    for table in ("tcp6", "tcp") if ":" in host else ("tcp", "tcp6"):
        wanted = {f"socket:[{inode}]" for inode in _listening(proc / "net" / table, port)}
        if wanted and (found := _owner(wanted, proc)) is not None:
            return found
    return None


def _owner(wanted: set[str], proc: Path) -> Holder | None:
    for process in proc.iterdir():
        if process.name.isdecimal():
            # Processes end while they are looked at, and others' files cannot be read.
            with suppress(OSError):
                if any(os.readlink(one) in wanted for one in (process / "fd").iterdir()):
                    return _holder(process)
    return None


def _listening(table: Path, port: int) -> set[str]:
    """The inodes of the sockets that listen on `port`, from a table of /proc/net (proc(5))."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return set()
    return {row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port}


def _holder(process: Path) -> Holder:
    command = (process / "comm").read_text(errors="replace").strip()
    # Of the arguments, which may hold secrets, only whether they are ours is looked at.
    arguments = (process / "cmdline").read_bytes().split(b"\0")
    ours = any(argument.rpartition(b"/")[2] == b"fusebox" for argument in arguments[:2]) or [b"-m", b"proxy"] in (
        arguments[1:3],
        arguments[2:4],
    )
    return Holder(int(process.name), command if command.isprintable() else repr(command), ours)
