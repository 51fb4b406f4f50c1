"""From an origin to an open connection: fresh DNS, Happy Eyeballs (RFC 8305), an egress proxy, TLS."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import aiohappyeyeballs

from proxy.errors import ConnectFailed, ConnectTimeout, NoRoom
from proxy.upstream.connection import Connection
from proxy.upstream.egress import EgressProxy
from proxy.upstream.reading import PlainConnection, TlsConnection

SECOND_ADDRESS_AFTER_S = 0.25
"""The Connection Attempt Delay of RFC 8305 section 8: a host with broken IPv6 costs this much, not the whole timeout."""

KEEPALIVE_AFTER_S = 60
"""A silent connection is probed after this, so that a stream through a dead NAT entry is noticed by the kernel."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: where connections lead."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and, when it is not the scheme's own, port: the value of the Host header (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


async def dial(
    origin: Origin,
    *,
    tls: ssl.SSLContext | None,
    proxy: EgressProxy | None,
    timeout_s: float,
    on_idle: Callable[[Connection], None],
) -> Connection:
    """An open connection to `origin`. Raises ConnectFailed, ConnectTimeout or NoRoom; nothing of the request was sent then."""
    stage = ["looking up its name"]
    try:
        async with asyncio.timeout(timeout_s):
            return await _dial(origin, tls, proxy, on_idle, stage)
    except TimeoutError:
        raise ConnectTimeout(f"no connection within {timeout_s:g} s (timeouts.connect), while {stage[0]}") from None
    except ssl.SSLCertVerificationError as error:
        raise ConnectFailed("tls", f"its certificate was not accepted: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise ConnectFailed("tls", f"no TLS with it: {error.reason or error}") from None
    except socket.gaierror as error:
        kind, name = ("dns", "its name") if proxy is None else ("proxy", f"the name of the egress proxy {proxy}")
        raise ConnectFailed(kind, f"{name} cannot be resolved: {error.strerror or error}") from None
    except OSError as error:
        if error.errno in _OUR_OWN:
            raise NoRoom(os.strerror(error.errno)) from None
        kind = "tls" if stage[0] == _HANDSHAKE else "tcp" if proxy is None else "proxy"
        # asyncio puts words of its own, and the address, in place of what the system says.
        detail = os.strerror(error.errno) if error.errno else str(error) or "the connection was closed"
        refused = kind == "tcp" and error.errno in (errno.ECONNREFUSED, errno.ECONNRESET)
        raise ConnectFailed(kind, f"no connection: {detail}, while {stage[0]}", refused=refused) from None


_HANDSHAKE = "the TLS handshake"

_OUR_OWN = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
"""What this process or machine has run out of: it says nothing about the provider."""


async def _dial(
    origin: Origin,
    tls: ssl.SSLContext | None,
    proxy: EgressProxy | None,
    on_idle: Callable[[Connection], None],
    stage: list[str],
) -> Connection:
    loop = asyncio.get_running_loop()
    hop_host, hop_port = (proxy.host, proxy.port) if proxy is not None else (origin.host, origin.port)
    addresses = await loop.getaddrinfo(hop_host, hop_port, type=socket.SOCK_STREAM)
    stage[0] = f"connecting to the egress proxy {proxy}" if proxy is not None else "connecting"
    sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=SECOND_ADDRESS_AFTER_S, loop=loop)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_AFTER_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if proxy is not None and tls is not None:
            stage[0] = f"asking the egress proxy {proxy} for a tunnel"
            await _open_tunnel(loop, sock, origin, proxy)
        stage[0] = _HANDSHAKE if tls is not None else "connecting"
        server_name = origin.host if tls is not None else None
        reading = TlsConnection if tls is not None else PlainConnection
        _, connection = await loop.create_connection(
            lambda: reading(loop, on_idle), sock=sock, ssl=tls, server_hostname=server_name
        )
    except BaseException:
        sock.close()
        raise
    if not connection.usable:
        raise ConnectFailed("tcp", "it closed the connection, or spoke first, as soon as it was open")
    return connection


TUNNEL_HEAD_MAX = 16 * 1024
"""Bytes of an egress proxy's answer to CONNECT."""


async def _open_tunnel(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, origin: Origin, proxy: EgressProxy
) -> None:
    """CONNECT (RFC 9110 section 9.3.6). Behind its answer the other side is silent until our handshake begins."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    request = f"CONNECT {host}:{origin.port} HTTP/1.1\r\nHost: {host}:{origin.port}\r\n".encode()
    if proxy.authorization is not None:
        request += b"Proxy-Authorization: " + proxy.authorization + b"\r\n"
    await loop.sock_sendall(sock, request + b"\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        part = await loop.sock_recv(sock, 4096)
        if not part:
            raise ConnectFailed("proxy", f"the egress proxy {proxy} closed the connection")
        head += part
        if len(head) > TUNNEL_HEAD_MAX:
            raise ConnectFailed("proxy", f"the egress proxy {proxy} did not answer in HTTP")
    status = head[:64].split(b" ", 2)[1:2]
    if not status or not status[0].startswith(b"2"):
        said = head.split(b"\r\n", 1)[0].decode("latin-1")[:100]
        raise ConnectFailed("proxy", f"the egress proxy {proxy} refused a tunnel: {said}")
