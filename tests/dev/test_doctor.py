"""What the doctor finds, each finding with its fix, and never with a key."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest
import trustme

from proxy.config.parse import parse
from proxy.config.schema import Config, Listen
from proxy.dev.doctor import (
    Finding,
    descriptor_finding,
    examine,
    key_findings,
    oddity,
    port_finding,
    proxy_finding,
    reach_findings,
)
from proxy.dev.ports import free_port
from proxy.dev.reach import Reached, reach
from proxy.upstream.egress import Egress

NOW = 1_700_000_000.0
SECRET = "sk-planted-4711"
LONG_S = 30.0


@contextmanager
def answering(head: bytes, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that answers whoever connects with `head`, after their request's; TLS with `context`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                try:
                    with plain if context is None else context.wrap_socket(plain, server_side=True) as client:
                        client.recv(4096)
                        client.sendall(head)
                except OSError:
                    pass  # the client did not like the certificate

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            # A blocked accept is not woken by a close; by a shutdown it is.
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def dated(at_s: float) -> bytes:
    """A response head with that time."""
    return f"HTTP/1.1 404 Not Found\r\ndate: {formatdate(at_s, usegmt=True)}\r\nContent-Length: 0\r\n\r\n".encode()


# Reaching providers


def test_reached_with_its_time() -> None:
    """Any answer will do; the difference of the clocks is theirs less ours."""
    with answering(dated(NOW + 90)) as port:
        reached = reach(f"http://127.0.0.1:{port}/v1", None, Egress({}), bound_s=LONG_S, now=lambda: NOW)
    assert reached == Reached(skew_s=90.0)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nDate: soon\r\n\r\n", b""])
def test_reached_without_a_time(head: bytes) -> None:
    """A server that tells no time is reached all the same."""
    with answering(head) as port:
        assert reach(f"http://127.0.0.1:{port}", None, Egress({}), bound_s=LONG_S) == Reached()


def test_nobody_there() -> None:
    """A port where nobody listens."""
    port = free_port()
    reached = reach(f"http://127.0.0.1:{port}", None, Egress({}), bound_s=LONG_S)
    assert (reached.failed, reached.said) == ("connect", f"127.0.0.1 port {port}: Connection refused")


def test_tls(tmp_path: Path) -> None:
    """Good with the CA that signed; a failure with its reason without."""
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    with answering(dated(NOW), context) as port:
        url = f"https://127.0.0.1:{port}/v1"
        assert reach(url, str(file), Egress({}), bound_s=LONG_S, now=lambda: NOW) == Reached(skew_s=0.0)
        refused = reach(url, None, Egress({}), bound_s=LONG_S)
        assert refused.failed == "tls" and "certificate" in refused.said


def test_through_the_networks_proxy() -> None:
    """A proxy that refuses is named, without its password."""
    with answering(b"HTTP/1.1 403 Forbidden\r\n\r\n") as port:
        egress = Egress({"HTTPS_PROXY": f"http://user:planted@127.0.0.1:{port}"})
        reached = reach("https://api.example/v1", None, egress, bound_s=LONG_S)
    assert reached == Reached("proxy", f"127.0.0.1:{port}: it answers CONNECT with 403")


# What is made of it


def findings(**reached: Reached) -> list[Finding]:
    """What is said of providers ``a`` and ``b``, away, and ``here``, on this machine."""
    urls: dict[str, tuple[str, str | None]] = {
        "a": ("https://a.example/v1", None),
        "b": ("https://b.example/v1", None),
        "here": ("http://127.0.0.1:11434/v1", None),
    }
    return list(reach_findings({name: urls[name] for name in reached}, reached))


def test_offline_is_said_as_such() -> None:
    """When no provider away can be reached, that is no problem of any of them; a local server's is its own."""
    a, b, here, clock = findings(a=Reached("name", "x"), b=Reached("connect", "y"), here=Reached("connect", "z"))
    assert [one.state for one in (a, b, here, clock)] == ["unknown", "unknown", "problem", "unknown"]
    assert "offline" in a.said and here.fix == "start the server on port 11434"
    assert clock.said == "not checked: no provider told its time"


def test_a_proxy_that_leads_nowhere_is_the_problem() -> None:
    """Nobody is told that all is well while a dead proxy takes every request; the variable to look at is named."""
    urls: dict[str, tuple[str, str | None]] = {"a": ("https://a.example/v1", None), "b": ("https://b.example/v1", None)}
    reached = dict.fromkeys(urls, Reached("proxy", "127.0.0.1 port 9: Connection refused"))
    way, a, b, _ = reach_findings(urls, reached, "HTTPS_PROXY and all_proxy")
    assert (way.about, way.state, a.state, b.state) == ("way out", "problem", "unknown", "unknown")
    assert "127.0.0.1 port 9: Connection refused" in way.said and way.fix.endswith("or unset HTTPS_PROXY and all_proxy")


@pytest.mark.parametrize("failed", ["name", "connect", "proxy", "tls", "time"])
def test_one_of_two_is_a_problem_with_a_fix(failed: str) -> None:
    """Where another one answers, the fault is this one's, and there is something to do."""
    a, b, clock = findings(a=Reached(failed, "why"), b=Reached(skew_s=0.4))  # type: ignore[arg-type]
    assert (a.state, b.state, clock.state) == ("problem", "fine", "fine")
    assert "why" in a.said and a.fix


@pytest.mark.parametrize(
    ("skew_s", "state"), [(60.0, "fine"), (-60.0, "fine"), (60.1, "problem"), (-3600.0, "problem")]
)
def test_the_clock(skew_s: float, state: str) -> None:
    """A minute either way is let pass; a provider's clock goes before a local server's."""
    clock = findings(here=Reached(skew_s=9999.0), a=Reached(skew_s=skew_s))[-1]
    assert (clock.about, clock.state) == ("clock", state)
    if state == "problem":
        assert clock.said == ("60 s behind a.example" if skew_s > 0 else "3600 s ahead of a.example")
        assert "timedatectl" in clock.fix


# Keys


@pytest.mark.parametrize(
    ("key", "odd"),
    [
        ('"sk-abcdefgh"', "quotes"),
        ("'sk-abcdefgh", "quotes"),
        ("$OPENAI_API_KEY", "begins with $"),
        ("OPENAI_API_KEY=sk-abcdefgh", ".env"),
        ("sk-...", "placeholder"),
        ("your-api-key-here", "placeholder"),
        ("<key-of-openai>", "placeholder"),
        ("fusebox", "`fusebox env`"),
        ("sk-1234", "shorter"),
    ],
)
def test_what_no_key_looks_like(key: str, odd: str) -> None:
    """Each in words, and never with the key."""
    said = oddity(key)
    assert said is not None and odd in said
    assert key == "fusebox" or key not in said


@pytest.mark.parametrize(
    "key", ["sk-proj-abc_DEF-123", "gsk_0123456789", "AIzaSyA-1", "0123456789abcdef", "YWJjZGVmZ2g="]
)
def test_what_keys_look_like(key: str) -> None:
    """Nothing is said of these."""
    assert oddity(key) is None


def test_keys_of_a_configuration(tmp_path: Path) -> None:
    """From variables and files; each finding with its fix, and no key in any."""
    (tmp_path / "key").write_text(f"{SECRET} and more")
    config = configuration(
        f"[{{env: GOOD}}, {{env: MISSING}}, {{env: QUOTED}}, {{file: {tmp_path}/key}}, {{file: {tmp_path}/none}}]"
    )
    environment = {"GOOD": f" {SECRET}\n", "QUOTED": f"'{SECRET}'"}
    found = list(key_findings(config, environment))
    assert [one.state for one in found] == ["fine", "problem", "problem", "problem", "problem"]
    assert found[0].said == "present (blanks around it are left out)"
    assert all(one.fix for one in found[1:])
    assert "planted" not in "".join(map(str, found))


def configuration(keys: str = "none", url: str = "http://127.0.0.1:9/v1", listen: str = "") -> Config:
    """One provider."""
    return parse(
        f"{listen}\nproviders: {{p: {{base_url: '{url}', keys: {keys}}}}}\nroutes: [{{name: r, match: {{}}, to: [p]}}]\n"
    )


# The machine


def test_a_port_somebody_else_has() -> None:
    """With the process, and the option that takes another."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        found = port_finding("listen", Listen("127.0.0.1", port))
        assert found.state == "problem" and "pid" in found.said and "--port" in found.fix
        assert "--admin-port" in port_finding("admin", Listen("127.0.0.1", port)).fix
        unknown = port_finding("listen", Listen("127.0.0.1", port), Path("/nowhere"))
        assert unknown.state == "problem" and "cannot be told" in unknown.said
    assert port_finding("listen", Listen("localhost", free_port())).state == "fine"


def test_proxy_variables() -> None:
    """A proxy that would swallow loopback, with the line that mends it, and without its password."""
    found = proxy_finding({"HTTP_PROXY": "http://user:planted@proxy:3128", "NO_PROXY": "a.example,localhost"})
    assert found.state == "problem" and found.fix == "export NO_PROXY=a.example,localhost,127.0.0.1,::1"
    assert "planted" not in str(found)
    assert proxy_finding({"HTTPS_PROXY": "http://proxy:3128"}).state == "fine"


@pytest.mark.parametrize(("limit", "state"), [(None, "fine"), (4096, "fine"), (4095, "problem"), (16, "problem")])
def test_descriptors(limit: int | None, state: str) -> None:
    """Enough for two thousand streams, or a problem."""
    assert descriptor_finding(limit).state == state


def test_everything_at_once() -> None:
    """All findings of a machine on which all is well."""
    listen = f"listen: localhost:{free_port()}\nadmin: localhost:{free_port()}"
    with answering(dated(time.time())) as port:
        config = configuration("[{env: K}]", f"http://127.0.0.1:{port}/v1", listen)
        found = examine(config, {"K": SECRET}, 65536, bound_s=LONG_S)
    assert [one.state for one in found] == ["fine"] * 7, "\n".join(map(str, found))
    assert [one.about.split(" ")[0] for one in found] == [
        "listen",
        "admin",
        "proxy",
        "key",
        "open",
        "provider",
        "clock",
    ]


def test_an_unusable_proxy_variable_is_one_of_the_findings() -> None:
    """It does not end the examination."""
    config = configuration(listen=f"listen: localhost:{free_port()}\nadmin: localhost:{free_port()}")
    found = examine(config, {"HTTPS_PROXY": "socks5://user:planted@x:1"}, None, bound_s=LONG_S)
    assert "way out" in [one.about for one in found if one.state == "problem"]
    assert "planted" not in "".join(map(str, found))
