"""A provider's roots, paths, and credentials: what goes to it, and what never does."""

from __future__ import annotations

from typing import Literal

import pytest

from proxy.config import schema
from proxy.config.secrets import KeyRing
from proxy.errors import NoKey
from proxy.exchange import Format
from proxy.upstream.dial import Origin
from proxy.upstream.egress import Egress
from proxy.upstream.pool import Pool
from proxy.upstream.provider import Provider, parse_root
from proxy.wire.headers import read_request

CLIENT_SECRETS = {
    b"Authorization": b"Bearer client-key",
    b"X-Api-Key": b"client-key",
    b"api-key": b"client-key",
    b"X-Goog-Api-Key": b"client-key",
    b"Cookie": b"session=client-key",
    b"Proxy-Authorization": b"Basic client-key",
}

CLIENT_LINES = [
    (b"Host", b"127.0.0.1:4010"),
    (b"Content-Type", b"application/json"),
    *CLIENT_SECRETS.items(),
    (b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key.client-key, openai-beta.realtime-v1"),
    (b"anthropic-version", b"2023-06-01"),
    (b"Connection", b"keep-alive"),
]

OWN = schema.Keys("own", (schema.KeySource(env="PROVIDER_KEY"),))
CLIENT = schema.Keys("client")
NONE = schema.Keys("none")


def make(
    *,
    keys: schema.Keys = NONE,
    base_url: str | None = "https://api.test/v1",
    anthropic_url: str | None = None,
    auth: Literal["bearer", "x-api-key", "api-key"] = "bearer",
    environment: dict[str, str] | None = None,
    egress: dict[str, str] | None = None,
) -> Provider:
    """A provider called `one`, as the composition root would make it."""
    known = {"PROVIDER_KEY": "own-key"} if environment is None else environment
    config = schema.Provider(
        base_url=base_url, anthropic_url=anthropic_url, keys=keys, auth=auth, anthropic_auth="x-api-key"
    )
    ways = Egress(egress or {})

    def pool_of(origin: Origin, ca: str | None) -> Pool:
        return Pool(origin, None, ways.proxy_for(origin.scheme, origin.host, origin.port))

    return Provider("one", config, KeyRing(keys.sources, known) if keys.mode == "own" else None, pool_of)


def head(provider: Provider, wanted: Format = Format.OPENAI, framing: bytes = b"") -> list[bytes]:
    """The lines of a request head with the client's lines in it."""
    root = provider.root(wanted)
    headers = read_request(CLIENT_LINES, frozenset())
    raw = provider.request_head(root, root.opening("POST", "/v1/x", None), headers, framing)
    assert raw.endswith(b"\r\n\r\n")
    return raw[:-4].split(b"\r\n")


@pytest.mark.parametrize(
    ("base_url", "path", "query", "expected"),
    [
        ("https://api.test/v1", "/v1/chat/completions", None, "/v1/chat/completions"),
        ("https://api.test/v1/", "/v1/chat/completions", None, "/v1/chat/completions"),
        ("https://api.test/v1beta/openai", "/v1/embeddings", None, "/v1beta/openai/embeddings"),
        ("https://api.test", "/v1/chat/completions", None, "/chat/completions"),
        ("https://api.test/v1", "/v1/files/a%2Fb", "x=%20&y", "/v1/files/a%2Fb?x=%20&y"),
        ("https://api.test/v1", "/v1/models", "", "/v1/models?"),
        ("https://api.test/v1", "/v1/v1/odd", None, "/v1/v1/odd"),
    ],
)
async def test_openai_roots_name_their_version(base_url: str, path: str, query: str | None, expected: str) -> None:
    """The client's `/v1` is what the root stands for; the rest, percent-encoding and query, is the client's."""
    assert make(base_url=base_url).root(Format.OPENAI).target(path, query) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.test", "/v1/messages"),
        ("https://api.test/", "/v1/messages"),
        ("https://api.test/anthropic", "/anthropic/v1/messages"),
    ],
)
async def test_anthropic_roots_do_not(url: str, expected: str) -> None:
    """The SDK adds `/v1` itself, so it stays."""
    provider = make(base_url=None, anthropic_url=url)
    assert provider.root(Format.ANTHROPIC).target("/v1/messages", None) == expected
    assert provider.offers == {Format.ANTHROPIC}


@pytest.mark.parametrize(
    "root", [{"base_url": "https://api.test/v1"}, {"base_url": None, "anthropic_url": "https://api.test/a"}]
)
async def test_the_origin_root_keeps_the_path(root: dict[str, str | None]) -> None:
    """`/p/NAME/...` leads to the provider's origin: no prefix, nothing replaced."""
    origin = make(**root).origin_root()  # type: ignore[arg-type]
    assert origin.target("/api/v6/images/text2img", "a=b") == "/api/v6/images/text2img?a=b"
    assert origin.target("/v1/x", None) == "/v1/x"
    assert str(origin.pool.origin) == "https://api.test"
    assert origin.where.provider == "one"


@pytest.mark.parametrize(
    ("url", "origin", "prefix"),
    [
        ("https://API.Test/v1", Origin("https", "api.test", 443), "/v1"),
        ("http://api.test:8080/", Origin("http", "api.test", 8080), ""),
        ("http://[::1]:8080/v1", Origin("http", "::1", 8080), "/v1"),
        ("https://bücher.test/v1", Origin("https", "xn--bcher-kva.test", 443), "/v1"),
    ],
)
def test_roots_as_origins(url: str, origin: Origin, prefix: str) -> None:
    """Host names in lower case and in ASCII; the port that the scheme means."""
    assert parse_root(url) == (origin, prefix)


async def test_the_host_line_is_the_providers() -> None:
    """Never the client's: it is written anew, with the port where that is not the scheme's own."""
    assert b"Host: api.test" in head(make())
    lines = head(make(base_url="http://[::1]:8080/v1"))
    assert [line for line in lines if line.lower().startswith(b"host:")] == [b"Host: [::1]:8080"]
    assert lines[0] == b"POST /v1/x HTTP/1.1"


@pytest.mark.parametrize(
    ("auth", "line"),
    [
        ("bearer", b"Authorization: Bearer own-key"),
        ("x-api-key", b"x-api-key: own-key"),
        ("api-key", b"api-key: own-key"),
    ],
)
async def test_own_keys_take_the_place_of_the_clients(
    auth: Literal["bearer", "x-api-key", "api-key"], line: bytes
) -> None:
    """In the provider's own style; of the client's credentials nothing is left anywhere."""
    lines = head(make(keys=OWN, auth=auth))
    assert lines.count(line) == 1
    text = b"\n".join(lines)
    assert text.count(b"own-key") == 1
    assert b"client-key" not in text
    names = {one.partition(b":")[0].lower() for one in lines[1:]}
    others = {name.lower() for name in CLIENT_SECRETS} - {line.partition(b":")[0].lower()}
    assert not names & others
    assert b"Sec-WebSocket-Protocol: realtime, openai-beta.realtime-v1" in lines
    assert b"Content-Type: application/json" in lines


async def test_each_format_has_its_own_style() -> None:
    """The same key as a bearer token in one format, as x-api-key in the other."""
    provider = make(keys=OWN, anthropic_url="https://api.test/a")
    assert b"x-api-key: own-key" in head(provider, Format.ANTHROPIC)
    assert b"Authorization: Bearer own-key" in head(provider, Format.OPENAI)
    assert b"anthropic-version: 2023-06-01" in head(provider, Format.ANTHROPIC)


async def test_the_clients_keys_pass() -> None:
    """`keys: client`: its credentials go on as they came, but for those that are for a proxy."""
    lines = head(make(keys=CLIENT))
    for name, value in CLIENT_SECRETS.items():
        assert (name + b": " + value in lines) is (name != b"Proxy-Authorization")
    assert any(b"openai-insecure-api-key.client-key" in line for line in lines)


async def test_no_keys_at_all() -> None:
    """`keys: none` strips the client's and adds none."""
    text = b"\n".join(head(make(keys=NONE)))
    assert b"client-key" not in text
    assert b"uthorization" not in text


async def test_several_keys_are_taken_in_turn() -> None:
    """Each request takes the next."""
    keys = schema.Keys("own", tuple(schema.KeySource(env=name) for name in ("A", "B", "C")))
    provider = make(keys=keys, environment={"A": "key-a", "B": "key-b", "C": "key-c"})
    taken = [provider.credential("bearer") for _ in range(6)]
    assert taken[:3] == taken[3:]
    assert set(taken) == {b"Authorization: Bearer key-%b\r\n" % one for one in (b"a", b"b", b"c")}


@pytest.mark.parametrize(
    "environment", [{}, {"PROVIDER_KEY": "  "}, {"PROVIDER_KEY": "hunter2 hunter3"}, {"PROVIDER_KEY": "hunter2\u00e9"}]
)
async def test_no_key_can_be_read(environment: dict[str, str]) -> None:
    """The error names the provider and where the key was looked for; nothing of what was found there."""
    provider = make(keys=OWN, environment=environment)
    with pytest.raises(NoKey, match="'one' has no usable key: environment variable PROVIDER_KEY") as raised:
        head(provider)
    assert raised.value.status == 503
    assert "hunter" not in str(raised.value)


async def test_nothing_printed_holds_a_key() -> None:
    """Neither the provider nor its ring."""
    provider = make(keys=OWN, egress={"HTTPS_PROXY": "http://user:hunter2@proxy:3128"})
    text = repr(provider) + repr(provider.ring) + repr(provider.root(Format.OPENAI))
    assert "own-key" not in text
    assert "hunter2" not in text
    assert repr(provider) == "<Provider one: https://api.test>"


async def test_a_plain_origin_behind_a_proxy() -> None:
    """The target is in absolute form, and the proxy's credentials go with each request, in place of the client's."""
    egress = {"HTTP_PROXY": "http://user:hunter2@proxy:3128", "HTTPS_PROXY": "http://user:hunter2@proxy:3128"}
    lines = head(make(base_url="http://api.test:8080/v1", egress=egress))
    assert lines[0] == b"POST http://api.test:8080/v1/x HTTP/1.1"
    assert b"Host: api.test:8080" in lines
    assert [line for line in lines if line.startswith(b"Proxy-Authorization")] == [
        b"Proxy-Authorization: Basic dXNlcjpodW50ZXIy"
    ]
    secure = head(make(base_url="https://api.test/v1", egress=egress))
    assert secure[0] == b"POST /v1/x HTTP/1.1"
    assert not any(line.lower().startswith(b"proxy-") for line in secure), "those were for CONNECT alone"
    local = head(make(base_url="http://127.0.0.1:8080/v1", egress=egress))
    assert local[0] == b"POST /v1/x HTTP/1.1"
    assert not any(line.lower().startswith(b"proxy-") for line in local)


async def test_the_framing_stands_last() -> None:
    """What delimits the body is the caller's, once."""
    lines = head(make(), framing=b"Content-Length: 3\r\n")
    assert lines[-1] == b"Content-Length: 3"
