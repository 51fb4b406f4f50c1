"""Which proxy leads to a host, from the environment's variables."""

from __future__ import annotations

import base64

import pytest

from proxy.upstream.egress import Egress

PROXY = {"HTTPS_PROXY": "http://proxy.example:3129"}


def through(environment: dict[str, str], host: str, scheme: str = "https", port: int = 443) -> str | None:
    """The proxy for a host, as text."""
    found = Egress(environment).proxy_for(scheme, host, port)
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("environment", "scheme", "expected"),
    [
        ({}, "https", None),
        (PROXY, "https", "proxy.example:3129"),
        (PROXY, "http", None),
        ({"https_proxy": "http://lower:1"}, "https", "lower:1"),
        ({"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:2"}, "https", "lower:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://upper:2"}, "https", "upper:2"),
        ({"HTTP_PROXY": "http://plain:3"}, "http", "plain:3"),
        ({"HTTP_PROXY": "http://plain:3"}, "https", None),
        ({"ALL_PROXY": "http://all:4"}, "https", "all:4"),
        ({"ALL_PROXY": "http://all:4", **PROXY}, "https", "proxy.example:3129"),
        ({"ALL_PROXY": "http://all:4", **PROXY}, "http", "all:4"),
        ({"HTTPS_PROXY": "bare.example:8080"}, "https", "bare.example:8080"),
    ],
)
def test_variables(environment: dict[str, str], scheme: str, expected: str | None) -> None:
    """The scheme's own variable goes before ALL_PROXY, the lower-case name before the upper-case one."""
    assert through(environment, "api.example.com", scheme, 443 if scheme == "https" else 80) == expected


@pytest.mark.parametrize(
    ("exempt", "host", "port", "direct"),
    [
        ("", "api.example.com", 443, False),
        ("example.com", "api.example.com", 443, True),
        ("example.com", "example.com", 443, True),
        (".example.com", "api.example.com", 443, True),
        ("example.com", "notexample.com", 443, False),
        ("other.test, example.com", "api.example.com", 443, True),
        ("EXAMPLE.com", "api.example.com", 443, True),
        ("*", "api.example.com", 443, True),
        ("api.example.com:443", "api.example.com", 443, True),
        ("api.example.com:8443", "api.example.com", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "api.example.com", 443, False),
        ("fd00::/8,10.0.0.0/8", "fd00::1", 8443, True),
        ("10.0.0.1/8", "10.200.0.1", 443, True),
        ("a/b,10.0.0.0/99,example.com", "api.example.com", 443, True),
    ],
)
def test_exempt_hosts(exempt: str, host: str, port: int, direct: bool) -> None:
    """NO_PROXY names hosts, their subdomains, ports, and networks; nothing else is exempt."""
    assert (through({**PROXY, "NO_PROXY": exempt}, host, port=port) is None) is direct
    assert (through({**PROXY, "no_proxy": exempt}, host, port=port) is None) is direct


@pytest.mark.parametrize("host", ["localhost", "app.localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_loopback_is_never_sent_through_a_proxy(host: str) -> None:
    """It would be the proxy's own loopback."""
    assert through({"ALL_PROXY": "http://all:4"}, host) is None
    assert through({"ALL_PROXY": "http://all:4"}, host, "http", 80) is None


def test_credentials_go_into_a_header_and_nowhere_else() -> None:
    """User and password are decoded for the header; neither is in any text of the proxy."""
    found = Egress({"HTTPS_PROXY": "http://us%40er:p%3Ass@proxy.example:3129"}).proxy_for("https", "api.test", 443)
    assert found is not None
    assert found.authorization == b"Basic " + base64.b64encode(b"us@er:p:ss")
    for text in (str(found), repr(found)):
        assert "p:ss" not in text
        assert "p%3Ass" not in text
        assert base64.b64encode(b"us@er:p:ss").decode() not in text


def test_a_user_without_a_password() -> None:
    """The password is empty then."""
    found = Egress({"HTTPS_PROXY": "http://user@proxy.example:3129"}).proxy_for("https", "api.test", 443)
    assert found is not None
    assert found.authorization == b"Basic " + base64.b64encode(b"user:")


@pytest.mark.parametrize(
    "value",
    [
        "socks5://user:hunter2@proxy:1080",
        "https://user:hunter2@proxy:443",
        "http://user:hunter2/x@proxy:3128",
        "http://user:hunter2#x@proxy:3128",
        "http://user:hunter2@proxy:99999",
        "http://user:hunter2@[proxy:1",
        "http://",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "HTTP_PROXY"])
def test_a_proxy_that_cannot_be_used(variable: str, value: str) -> None:
    """The error names the variable, and never the password, not even a part that looked like a port."""
    with pytest.raises(ValueError, match=variable) as raised:
        Egress({variable: value})
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
