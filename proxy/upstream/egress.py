"""The proxies of the network: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, in either case (as curl reads them)."""

from __future__ import annotations

import base64
import ipaddress
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """An HTTP proxy on the way out. `authorization` is the Proxy-Authorization value, never to be printed."""

    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Egress:
    """Which proxy leads to a host. Built once from the environment; raises ValueError for one that cannot be used."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        def read(name: str) -> str:
            # The upper-case HTTP_PROXY can be set by a client of a CGI script; no such thing here, so both count.
            return environment.get(name.lower()) or environment.get(name) or ""

        everything = read("ALL_PROXY")
        self._proxies = {
            scheme: _parse(variable, value)
            for scheme, variable in (("http", "HTTP_PROXY"), ("https", "HTTPS_PROXY"))
            if (value := read(variable) or everything)
        }
        self._exempt = {"no": read("NO_PROXY")}
        self._exempt_networks = _networks(self._exempt["no"])

    def proxy_for(self, scheme: str, host: str, port: int) -> EgressProxy | None:
        """The proxy to take, or None for the direct way. Loopback is never sent through a proxy: it is another there."""
        found = self._proxies.get(scheme)
        if found is None or _is_loopback(host) or self._is_in_exempt_network(host):
            return None
        if urllib.request.proxy_bypass_environment(f"{host}:{port}", self._exempt):  # type: ignore[attr-defined]
            return None
        return found

    def _is_in_exempt_network(self, host: str) -> bool:
        address = _address(host)
        return address is not None and any(address in network for network in self._exempt_networks)


def _parse(variable: str, value: str) -> EgressProxy:
    try:
        parts = urllib.parse.urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError:
        # The parser's own words may quote a part of the password, which an unescaped character in it makes the port.
        raise ValueError(
            f"{variable} is not an address: write http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with special"
            " characters percent-encoded"
        ) from None
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(
            f"{variable} must be an http:// proxy, as in http://proxy.example:3128 (its scheme is {parts.scheme!r})"
        )
    authorization = None
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        authorization = b"Basic " + base64.b64encode(pair.encode())
    return EgressProxy(parts.hostname, port or 3128, authorization)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _networks(exempt: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The entries of NO_PROXY that are networks (``10.0.0.0/8``), as curl and clusters write them."""
    networks = []
    for entry in exempt.split(","):
        if "/" in entry:
            try:
                networks.append(ipaddress.ip_network(entry.strip(), strict=False))
            except ValueError:
                pass  # no network: then it is compared as a name, and fits none
    return networks
