"""From an origin to a connection: names, addresses, TLS, egress proxies, and what each failure says."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from typing import Any

import pytest
import trustme

from proxy.errors import ConnectFailed, ConnectTimeout
from proxy.upstream import tls as client_tls
from proxy.upstream.dial import TUNNEL_HEAD_MAX, Origin
from proxy.upstream.egress import EgressProxy
from tests.scripted import Peer, Scripted, always, response, within
from tests.upstream.support import Dialled, ask, whole

SECRET = b"Basic " + base64.b64encode(b"user:hunter2")


def addresses(*pairs: tuple[str, int]) -> list[tuple[Any, ...]]:
    """What a name look-up gives for these."""
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", pair) for pair in pairs]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *found: tuple[Any, ...]) -> list[str]:
    """Make every name lead to `found`; the list of names that were asked for."""
    asked: list[str] = []

    real = asyncio.get_running_loop().getaddrinfo

    async def look_up(host: str, port: int, **options: Any) -> list[tuple[Any, ...]]:
        if host[0].isdigit():
            return list(await real(host, port, **options))  # uvloop asks for addresses, too
        asked.append(host)
        return list(found)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    return asked


def closed_port() -> int:
    """A port of the loopback address on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (Origin("https", "api.test", 443), "api.test"),
        (Origin("https", "api.test", 8443), "api.test:8443"),
        (Origin("http", "api.test", 80), "api.test"),
        (Origin("http", "api.test", 443), "api.test:443"),
        (Origin("http", "::1", 8080), "[::1]:8080"),
    ],
)
def test_the_authority_of_an_origin(origin: Origin, authority: str) -> None:
    """The port is left out where it is the scheme's own."""
    assert origin.authority == authority
    assert str(origin) == f"{origin.scheme}://{authority}"


async def test_a_name_that_does_not_exist(dialled: Dialled, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS failure is one of its own kind; nothing was sent."""

    async def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    with pytest.raises(ConnectFailed, match="its name cannot be resolved: Name or service not known") as raised:
        await dialled(80, host="api.test")
    assert (raised.value.kind, raised.value.received, raised.value.status) == ("dns", False, 502)


async def test_nobody_listens(dialled: Dialled) -> None:
    """Refused: the message says at which stage."""
    with pytest.raises(ConnectFailed, match="no connection: Connection refused, while connecting") as raised:
        await dialled(closed_port())
    assert raised.value.kind == "tcp"


async def test_the_first_address_is_dead(dialled: Dialled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is tried, whether the first refuses or says nothing."""
    async with Scripted(always(response(b"hello"))) as server:
        resolve_to(monkeypatch, *addresses(("127.0.0.1", closed_port()), ("127.0.0.1", server.port)))
        connection = await dialled(server.port, host="api.test")
        assert await whole(ask(connection)) == b"hello"

        # A listener that never accepts, and whose queue is full, drops what comes: as a dead address does.
        full = socket.socket()
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            resolve_to(monkeypatch, *addresses(full.getsockname(), ("127.0.0.1", server.port)))
            connection = await dialled(server.port, host="api.test")
            assert await whole(ask(connection)) == b"hello"
        finally:
            for sock in (full, *fillers):
                sock.close()


async def test_all_addresses_refuse(dialled: Dialled, monkeypatch: pytest.MonkeyPatch) -> None:
    """One error for all of them."""
    resolve_to(monkeypatch, *addresses(("127.0.0.1", closed_port()), ("127.0.0.1", closed_port())))
    with pytest.raises(ConnectFailed, match=r"no connection: .+, while connecting") as raised:
        await dialled(80, host="api.test")
    assert raised.value.kind == "tcp"


async def test_a_fresh_look_up_for_each_connection(dialled: Dialled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are not remembered here: a provider that moves is followed."""
    async with Scripted(always(response())) as server:
        asked = resolve_to(monkeypatch, *addresses(("127.0.0.1", server.port)))
        await dialled(server.port, host="api.test")
        await dialled(server.port, host="api.test")
        assert asked == ["api.test", "api.test"]


async def test_no_connection_in_time(dialled: Dialled, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which stage took the time; the socket does not stay open."""

    async def never(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        await asyncio.Event().wait()
        raise AssertionError

    closed = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.gone()
        closed.set()

    async with Scripted(silent) as server:
        with pytest.raises(
            ConnectTimeout, match=r"within 0.05 s \(timeouts.connect\), while the TLS handshake"
        ) as raised:
            await dialled(server.port, host="localhost", tls=client_tls.context(ca_file), timeout_s=0.05)
        assert (raised.value.status, raised.value.received) == (504, False)
        await within(closed.wait())
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
        with pytest.raises(ConnectTimeout, match="while looking up its name"):
            await dialled(server.port, host="api.test", timeout_s=0.01)


async def test_cancelled_in_the_handshake(dialled: Dialled, ca_file: str) -> None:
    """The socket is closed, and nothing is left behind."""
    begun, closed = asyncio.Event(), asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.read(1)
        begun.set()
        await peer.gone()
        closed.set()

    async with Scripted(silent) as server:
        dialling = asyncio.ensure_future(dialled(server.port, host="localhost", tls=client_tls.context(ca_file)))
        await within(begun.wait())
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await within(closed.wait())


async def test_tls(dialled: Dialled, ca_file: str, server_tls: ssl.SSLContext) -> None:
    """A certificate for the name asked for, from the CA that the policy names."""
    async with Scripted(always(response(b"hello")), tls=server_tls) as server:
        for host in ("localhost", "127.0.0.1"):
            connection = await dialled(server.port, host=host, tls=client_tls.context(ca_file))
            assert await whole(ask(connection)) == b"hello"


async def test_a_certificate_for_another_name(dialled: Dialled, ca: trustme.CA, ca_file: str) -> None:
    """It is not accepted, and the error says why."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("other.test").configure_cert(context)
    async with Scripted(_quiet, tls=context) as server:
        with pytest.raises(ConnectFailed, match="certificate was not accepted: Hostname mismatch") as raised:
            await dialled(server.port, host="localhost", tls=client_tls.context(ca_file))
    assert raised.value.kind == "tls"


async def test_a_certificate_of_an_unknown_authority(dialled: Dialled, server_tls: ssl.SSLContext) -> None:
    """With the system's trust store, the test's authority is unknown."""
    async with Scripted(_quiet, tls=server_tls) as server:
        with pytest.raises(ConnectFailed, match="certificate was not accepted: unable to get local issuer") as raised:
            await dialled(server.port, host="localhost", tls=client_tls.context(None))
    assert raised.value.kind == "tls"


async def test_tls_to_a_plain_port(dialled: Dialled, ca_file: str) -> None:
    """The usual mistake in a base URL has an error of its own."""

    async def plain(peer: Peer) -> None:
        await peer.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with Scripted(plain) as server:
        with pytest.raises(ConnectFailed, match=r"no TLS with it: .+") as raised:
            await dialled(server.port, host="localhost", tls=client_tls.context(ca_file))
    assert raised.value.kind == "tls"


@pytest.mark.parametrize("reset", [False, True])
async def test_closed_in_the_handshake(reset: bool, dialled: Dialled, ca_file: str) -> None:
    """The message is a sentence, whatever the event loop says of it."""

    async def leave(peer: Peer) -> None:
        await peer.read(1)
        if reset:
            peer.reset()
        else:
            peer.fin()

    async with Scripted(leave) as server:
        with pytest.raises(ConnectFailed, match=r"no (connection|TLS with it): .*\w.*") as raised:
            await dialled(server.port, host="localhost", tls=client_tls.context(ca_file))
    assert raised.value.kind == "tls"
    assert ": ," not in str(raised.value)


async def _quiet(peer: Peer) -> None:
    try:
        await peer.gone()
    except ssl.SSLError:
        pass  # the client's alert


# Egress proxies.


async def test_through_a_proxy(dialled: Dialled, ca_file: str, server_tls: ssl.SSLContext) -> None:
    """CONNECT names the origin; the proxy's credentials are for the proxy, and inside the tunnel is TLS with the origin."""
    connects: list[Any] = []
    requests: list[Any] = []

    async def origin(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(response(b"hello"))

    async def proxy(peer: Peer) -> None:
        connects.append(await peer.head())
        await peer.send(b"HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n")
        await peer.pipe_to(server.port)

    async with Scripted(origin, tls=server_tls) as server, Scripted(proxy) as hop:
        way = EgressProxy("127.0.0.1", hop.port, SECRET)
        connection = await dialled(443, host="api.test", tls=client_tls.context(ca_file), proxy=way)
        assert await whole(ask(connection)) == b"hello"
        [connect], [request] = connects, requests
        assert connect.start == b"CONNECT api.test:443 HTTP/1.1"
        assert connect.all(b"host") == [b"api.test:443"]
        assert connect.all(b"proxy-authorization") == [SECRET]
        assert request.all(b"proxy-authorization") == []


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 204 Fine\r\n\r\n"])
async def test_a_proxys_answer_in_pieces(
    reply: bytes, dialled: Dialled, ca_file: str, server_tls: ssl.SSLContext
) -> None:
    """Any 2xx opens the tunnel, however it is cut."""

    async def proxy(peer: Peer) -> None:
        assert (await peer.head()).all(b"proxy-authorization") == []
        await peer.send(*(reply[at : at + 1] for at in range(len(reply))))
        await peer.pipe_to(server.port)

    async with Scripted(always(response(b"hello")), tls=server_tls) as server, Scripted(proxy) as hop:
        way = EgressProxy("127.0.0.1", hop.port)
        connection = await dialled(443, host="api.test", tls=client_tls.context(ca_file), proxy=way)
        assert await whole(ask(connection)) == b"hello"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "refused a tunnel: HTTP/1.1 407 Proxy",
        ),
        (b"HTTP/1.1 503 No\r\n\r\nbody", "refused a tunnel: HTTP/1.1 503 No"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "refused a tunnel"),
        (b"\r\n\r\n", "refused a tunnel"),
        (b"HTTP/1.1 200 OK\r\n", "closed the connection"),
        (b"", "closed the connection"),
        (b"a" * (TUNNEL_HEAD_MAX + 1), "did not answer in HTTP"),
    ],
)
async def test_a_proxy_that_does_not_help(reply: bytes, says: str, dialled: Dialled, ca_file: str) -> None:
    """It is named and its own answer quoted; its credentials are not."""

    async def proxy(peer: Peer) -> None:
        await peer.head()
        if reply:
            await peer.send(reply)
        peer.fin()

    async with Scripted(proxy) as hop:
        way = EgressProxy("127.0.0.1", hop.port, SECRET)
        with pytest.raises(ConnectFailed, match=says) as raised:
            await dialled(443, host="api.test", tls=client_tls.context(ca_file), proxy=way)
    assert raised.value.kind == "proxy"
    assert f"the egress proxy 127.0.0.1:{hop.port}" in str(raised.value)
    assert SECRET.decode() not in repr(raised.value) + str(raised.value)


async def test_a_proxy_that_cannot_be_reached(dialled: Dialled, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is not to blame: the error is of the proxy's kind, and names it."""
    context = client_tls.context(ca_file)
    with pytest.raises(ConnectFailed, match="while connecting to the egress proxy") as raised:
        await dialled(443, host="api.test", tls=context, proxy=EgressProxy("127.0.0.1", closed_port(), SECRET))
    assert raised.value.kind == "proxy"

    async def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    with pytest.raises(ConnectFailed, match="the name of the egress proxy proxy:3128 cannot") as raised:
        await dialled(443, host="api.test", tls=context, proxy=EgressProxy("proxy", 3128, SECRET))
    assert raised.value.kind == "proxy"


async def test_a_proxy_that_stays_silent(dialled: Dialled, ca_file: str) -> None:
    """The connect timeout holds for it, too."""
    async with Scripted(_quiet) as hop:
        way = EgressProxy("127.0.0.1", hop.port, SECRET)
        with pytest.raises(ConnectTimeout, match=r"while asking the egress proxy 127.0.0.1:\d+ for a tunnel"):
            await dialled(443, host="api.test", tls=client_tls.context(ca_file), proxy=way, timeout_s=0.05)


async def test_a_plain_origin_through_a_proxy(dialled: Dialled) -> None:
    """Nothing is tunnelled: the request itself is for the proxy, which the connection leads to."""
    async with Scripted(always(response(b"hello"))) as hop:
        connection = await dialled(80, host="api.test", proxy=EgressProxy("127.0.0.1", hop.port))
        assert await whole(ask(connection)) == b"hello"
