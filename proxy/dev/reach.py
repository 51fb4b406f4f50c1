"""Whether a provider can be reached: name, connection, TLS, and the time it has. One bounded question, without a key."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import urlsplit

from proxy.config.syntax import origin
from proxy.upstream import tls
from proxy.upstream.egress import Egress, EgressProxy

BOUND_S = 3.0
"""How long one provider may take, and all of them together, as they are asked at the same time."""

HEAD_MAX = 32 * 1024
"""Bytes of a response head that are read."""

Stage = Literal["name", "connect", "proxy", "tls", "time"]


@dataclass(frozen=True, slots=True)
class Reached:
    """How far it came. `failed`: where it ended, None: at the end; `said`: why. `skew_s`: the provider's clock less ours."""

    failed: Stage | None = None
    said: str = ""
    skew_s: float | None = None


class _Failed(Exception):
    def __init__(self, stage: Stage, said: str) -> None:
        super().__init__(said)
        self.stage = stage
        self.said = said


def reach_all(
    urls: Mapping[str, tuple[str, str | None]],
    egress: Egress,
    *,
    bound_s: float = BOUND_S,
    now: Callable[[], float] = time.time,
) -> dict[str, Reached]:
    """What became of each of `urls`: by name, URL and CA file. `now`: this machine's clock, seconds since 1970."""
    answers: queue.SimpleQueue[tuple[str, Reached]] = queue.SimpleQueue()

    def ask(name: str, url: str, ca: str | None) -> None:
        answers.put((name, reach(url, ca, egress, bound_s=bound_s, now=now)))

    # Threads, and left behind when their time is over: a name that is looked up cannot be given up.
    for name, (url, ca) in urls.items():
        threading.Thread(target=ask, args=(name, url, ca), daemon=True).start()
    found = {name: Reached("time", f"no answer within {bound_s:g} s") for name in urls}
    until = time.monotonic() + bound_s
    for _ in urls:
        try:
            name, reached = answers.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        found[name] = reached
    return found


def reach(
    url: str, ca: str | None, egress: Egress, *, bound_s: float = BOUND_S, now: Callable[[], float] = time.time
) -> Reached:
    """Ask the server of `url` for the head of an answer, whichever; `bound_s` for each step."""
    parts = urlsplit(url)
    host, port = origin(url)
    try:
        with _connected(host, port, egress.proxy_for(parts.scheme, host, port), bound_s, parts.scheme) as plain:
            stream = plain if parts.scheme == "http" else _secured(plain, host, ca)
            with stream:
                try:
                    return Reached(skew_s=_skew(stream, parts.netloc, now))
                except OSError as error:
                    return Reached("time", _said(error))
    except _Failed as failed:
        return Reached(failed.stage, failed.said)


def _connected(host: str, port: int, proxy: EgressProxy | None, bound_s: float, scheme: str) -> socket.socket:
    to = (host, port) if proxy is None else (proxy.host, proxy.port)
    try:
        made = socket.create_connection(to, timeout=bound_s)
    except socket.gaierror as error:
        raise _Failed("name" if proxy is None else "proxy", f"{to[0]}: {error.strerror}") from None
    except OSError as error:
        raise _Failed("connect" if proxy is None else "proxy", f"{to[0]} port {to[1]}: {_said(error)}") from None
    if proxy is not None and scheme == "https":
        try:
            _through(made, host, port, proxy)
        except OSError as error:
            made.close()
            raise _Failed("proxy", f"{proxy}: {_said(error)}") from None
    return made


def _through(made: socket.socket, host: str, port: int, proxy: EgressProxy) -> None:
    """Have `proxy` connect (RFC 9110 section 9.3.6). Raises OSError when it does not."""
    named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    credentials = b"" if proxy.authorization is None else b"Proxy-Authorization: " + proxy.authorization + b"\r\n"
    made.sendall(f"CONNECT {named} HTTP/1.1\r\nHost: {named}\r\n".encode("ascii") + credentials + b"\r\n")
    status = _head(made)[9:12].decode("latin-1")
    if status != "200":
        raise OSError(0, f"it answers CONNECT with {status if status.isdecimal() else 'no HTTP'}")


def _secured(plain: socket.socket, host: str, ca: str | None) -> ssl.SSLSocket:
    try:
        return tls.context(ca).wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise _Failed("tls", error.verify_message) from None
    except OSError as error:
        raise _Failed("tls", _said(error)) from None


def _skew(stream: socket.socket, authority: str, now: Callable[[], float]) -> float | None:
    """Seconds by which the server's clock is ahead; None: it did not tell. A second either way is the header's own."""
    asked = now()
    stream.sendall(f"HEAD / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode("ascii"))
    head = _head(stream)
    between = (asked + now()) / 2
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"date":
            try:
                return parsedate_to_datetime(value.decode("latin-1").strip()).timestamp() - between
            except ValueError:
                return None
    return None


def _head(stream: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD_MAX:
        got = stream.recv(4096)
        if not got:
            break
        head += got
    return head


def _said(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or type(error).__name__)
