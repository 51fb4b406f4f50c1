"""The head of a request, read into facts: what it asks for, in which format, with which wishes of the client's."""

from __future__ import annotations

import itertools
import os
import re
from functools import lru_cache

import msgspec
from aiohttp.http_parser import RawRequestMessage

from proxy.config.schema import Config, Listen
from proxy.errors import BadRequest, NoRoute, Refused
from proxy.exchange import Carrier, Endpoint, Format
from proxy.serve.snapshot import Snapshot
from proxy.wire import address
from proxy.wire.endpoints import classify, inference
from proxy.wire.headers import RequestHeaders
from proxy.wire.payload import MODEL_MAX

READ_HERE = frozenset(
    (
        "anthropic-version",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "origin",
        "sec-fetch-site",
        "traceparent",
        "transfer-encoding",
        "upgrade",
        "x-fusebox-complexity",
        "x-fusebox-no-fallback",
        "x-fusebox-request-id",
        "x-fusebox-timeout-ms",
        "x-stainless-read-timeout",
        "x-stainless-retry-count",
    )
)
"""Header names that are read whatever the policy asks for."""

_process = os.urandom(4).hex()
_counter = itertools.count(1)
_GIVEN_ID = re.compile(r"[!-~]{1,128}")

_JSON = Carrier.JSON

_NOT_SERVED = {
    "CONNECT": "this is no forward proxy",
    # RFC 9110 section 9.3.8: the answer is the request as it arrived, with the provider's own key in it.
    "TRACE": "its answer would show the provider's key",
}

PASSTHROUGH = Endpoint("passthrough", Format.OPENAI, Carrier.NONE, stored=True)


class Inbound(msgspec.Struct, frozen=True):
    """A request's head. `provider` is set for ``/p/{provider}/...``; `path` is then what follows, as the client wrote it."""

    method: str
    path: str
    query: str | None
    endpoint: Endpoint
    headers: RequestHeaders
    upgrade: bool
    provider: str | None = None


def request_id(wanted: dict[str, str]) -> str:
    """The client's own id if it is fit to print, else a new one, unique in this process and all but unique beyond."""
    given = wanted.get("x-fusebox-request-id")
    if given is not None and _GIVEN_ID.fullmatch(given):
        return given
    return f"fb-{_process}-{next(_counter):x}"


def read_head(head: RawRequestMessage, snapshot: Snapshot, headers: RequestHeaders) -> Inbound:
    """The head as facts. Raises ClientFault for a target that is never forwarded."""
    method = head.method
    wanted = headers.facts
    if snapshot.loopback:
        _refuse_foreign_pages(wanted, snapshot.config.allowed_hosts)
    if method == "POST":
        known = inference(head.path)
        if known is not None:
            return Inbound(method, head.path, None, known, headers, False)
    if method in _NOT_SERVED:
        raise Refused(405, "method_not_allowed", f"{method} is not served: {_NOT_SERVED[method]}")
    if head.version < (1, 0):
        raise BadRequest("the request line names no version of HTTP; HTTP/1.1 is spoken here")
    path, query = address.split(head.path, own=snapshot.own)
    upgrade = "upgrade" in wanted and _is_upgrade(wanted)
    if path.startswith("/p/"):
        name, slash, rest = path[3:].partition("/")
        if name not in snapshot.providers:
            raise NoRoute(
                f"no provider {name!r} in the policy: /p/NAME/... takes one of {', '.join(snapshot.providers)}"
            )
        return Inbound(method, slash + rest or "/", query, PASSTHROUGH, headers, upgrade, name)
    if not path.startswith("/v1/") or path.startswith("/v1/v1/"):
        raise NoRoute(_hint(path))
    endpoint = classify(method, path, anthropic_header="anthropic-version" in wanted)
    return Inbound(method, path, query, endpoint, headers, upgrade)


_LOOPBACK = re.compile(
    r"(?:https?://)?(?:localhost|[a-z0-9.-]+\.localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]+)?", re.IGNORECASE
)


def _refuse_foreign_pages(wanted: dict[str, str], allowed: tuple[str, ...]) -> None:
    """A port on loopback is open to every page that its user's browser shows: such a page must not spend the user's keys.

    A page's own name may have been pointed at loopback (DNS rebinding): the browser then asks for that name, and takes
    it for the page's own, so that it says of a GET nothing more than the Host. A page of another site is told by Origin,
    or, where nobody shall read the answer (an image, a form), by Sec-Fetch-Site
    (https://www.w3.org/TR/fetch-metadata/). `allowed`: further names, of requests and of pages.
    """
    host = wanted.get("host")
    if host is not None and not _is_own(host) and _name(host) not in allowed:
        raise Refused(
            403,
            "foreign_host",
            f"a port on loopback is asked for as localhost or a loopback address, not as {host[:80]!r} (DNS rebinding);"
            " a name of your own for it belongs into `allowed_hosts` of the configuration",
        )
    if "origin" not in wanted:
        if wanted.get("sec-fetch-site") == "cross-site":
            raise _foreign_page()
        return
    origin = wanted["origin"]
    if not _is_own(origin) and _name(origin.partition("://")[2]) not in allowed:
        raise _foreign_page()


@lru_cache(maxsize=256)
def _is_own(place: str) -> bool:
    """Whether a Host or an Origin is this machine's loopback. Remembered: a client's requests all say the same."""
    return _LOOPBACK.fullmatch(place) is not None


def _name(authority: str) -> str:
    """A host's name or address without its port, in lower case."""
    name, _, port = authority.rpartition(":")
    return (name if name and port.isdecimal() else authority).lower()


def _foreign_page() -> Refused:
    return Refused(
        403,
        "foreign_origin",
        "a browser sent this for a page of another host; a port on loopback answers only to pages of this machine",
    )


def _is_upgrade(wanted: dict[str, str]) -> bool:
    return wanted["upgrade"].lower() == "websocket" and "upgrade" in wanted.get("connection", "").lower()


def _hint(path: str) -> str:
    """What most likely went wrong with the SDK's base URL."""
    if path.startswith("/v1/v1/"):
        return f"no such path {path}: the base URL has one /v1 too many (Anthropic's SDK adds its own)"
    if classify("POST", "/v1" + path, anthropic_header=False).name != "other":
        return f"no such path {path}: the base URL of OpenAI's SDK must end in /v1"
    return f"no such path {path}: OpenAI and Anthropic calls are under /v1/, calls outside both under /p/PROVIDER/"


def model_outside_body(inbound: Inbound) -> str | None:
    """The model where path or query carry it. Raises BadRequest for one that is longer than any: it is logged and kept."""
    carrier = inbound.endpoint.carrier
    model: str | None = None
    if carrier is Carrier.PATH:
        model = address.model_of_path(inbound.path)
    elif carrier is Carrier.QUERY:
        model = address.model_of_query(inbound.query)
    if model is not None and len(model) > MODEL_MAX:
        raise BadRequest(f"`model` is longer than {MODEL_MAX} characters", param="model")
    return model


def own_authorities(config: Config) -> frozenset[str]:
    """Host:port pairs by which clients may name the data port in an absolute-form request."""
    hosts = {config.listen.host, "localhost", "127.0.0.1", "::1", *config.listen.hosts}
    return frozenset(
        f"[{host}]:{config.listen.port}" if ":" in host else f"{host}:{config.listen.port}" for host in hosts
    )


def is_loopback(listen: Listen) -> bool:
    """Whether only this machine can reach `listen`."""
    return all(_LOOPBACK.fullmatch(f"[{host}]" if ":" in host else host) for host in listen.hosts)
