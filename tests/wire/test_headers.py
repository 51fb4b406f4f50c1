"""Which header lines go on: sorted by meaning, otherwise untouched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import headers
from proxy.wire.headers import CREDENTIALS, HOP_BY_HOP, block, find, read_request, read_response, without_key_protocols

Line = tuple[bytes, bytes]
NOTHING: frozenset[str] = frozenset()

NAMES = st.sampled_from(
    [
        *sorted(HOP_BY_HOP | CREDENTIALS),
        b"Host",
        b"content-length",
        b"Expect",
        b"Content-Type",
        b"X-Team",
        b"x-team",
        b"accept",
        b"openai-beta",
        b"anthropic-version",
        b"x-fusebox-complexity",
        b"X-FUSEBOX-anything",
        b"Sec-WebSocket-Protocol",
        b"sec-websocket-key",
        b"x-fuseboxer",
    ]
)
CASED = NAMES.flatmap(lambda name: st.sampled_from([name, name.upper(), name.title(), name.lower()]))
LINES = st.lists(
    st.tuples(CASED, st.sampled_from([b"", b"a", b"a, b", b"keep-alive", b"close", b"v\xe9"])), max_size=12
)
NAMED = st.lists(
    st.sampled_from([b"x-team", b"X-Team", b"close", b"authorization", b"accept", b"", b"upgrade"]), max_size=3
)


def goes_on(line: Line, named: set[bytes], credentials: bool) -> bool:
    """The rules once more, as plainly as they can be said."""
    name = line[0].lower()
    if name in HOP_BY_HOP or name in named or name in (b"host", b"content-length", b"expect"):
        return False
    return not name.startswith(b"x-fusebox-") and (credentials or name not in CREDENTIALS)


@given(LINES, st.none() | NAMED, st.data())
def test_request_lines(lines: list[Line], options: list[bytes] | None, data: st.DataObject) -> None:
    """Order, case, duplicates and values are kept; hop-by-hop, framing and own lines go; credentials only when asked."""
    lines = [line for line in lines if line[0].lower() != b"connection"]
    named: set[bytes] = set()
    if options is not None:
        connection = data.draw(st.sampled_from([b", ", b",", b" ,"])).join(options)
        lines.insert(
            data.draw(st.integers(0, len(lines))),
            (data.draw(st.sampled_from([b"Connection", b"connection"])), connection),
        )
        named = {option.strip().lower() for option in options}
    read = read_request(lines, NOTHING)
    assert read.block(credentials=False) == block(line for line in lines if goes_on(line, named, credentials=False))
    assert read.block(credentials=True) == block(line for line in lines if goes_on(line, named, credentials=True))


@pytest.mark.parametrize("name", sorted(CREDENTIALS))
@pytest.mark.parametrize("case", [bytes.lower, bytes.upper, bytes.title])
def test_credentials_are_never_among_the_lines(name: bytes, case: type[bytes]) -> None:
    """Whatever the spelling, and however often."""
    spelled = bytes(case(name))
    read = read_request([(spelled, b"secret"), (b"accept", b"*/*"), (spelled, b"secret")], NOTHING)
    assert read.plain == b"accept: */*\r\n"
    assert b"secret" not in read.block(credentials=False)
    assert read.block(credentials=True).count(b"secret") == 2


@pytest.mark.parametrize(
    ("value", "public"),
    [
        (b"realtime, openai-insecure-api-key.sk-abc, openai-beta.realtime-v1", b"realtime, openai-beta.realtime-v1"),
        (b"realtime,OpenAI-Insecure-API-Key.sk-abc", b"realtime"),
        (b"openai-insecure-api-key.sk-abc", None),
        (b"realtime,openai-beta.realtime-v1", b"realtime,openai-beta.realtime-v1"),
        (b"realtime", b"realtime"),
    ],
)
def test_a_key_among_the_websocket_protocols(value: bytes, public: bytes | None) -> None:
    """It is a credential; the other entries go on, untouched when there is no key among them."""
    read = read_request([(b"Sec-WebSocket-Protocol", value)], NOTHING)
    assert read.plain == (b"" if public is None else b"Sec-WebSocket-Protocol: " + public + b"\r\n")
    assert read.block(credentials=True) == b"Sec-WebSocket-Protocol: " + value + b"\r\n"
    assert without_key_protocols(value) == (public or b"")


def test_a_protocol_line_named_by_connection_goes() -> None:
    """Connection counts for the lines that are treated apart as well."""
    lines = [
        (b"Connection", b"sec-websocket-protocol, authorization"),
        (b"Sec-WebSocket-Protocol", b"a"),
        (b"Authorization", b"b"),
    ]
    assert read_request(lines, NOTHING).block(credentials=True) == b""


@given(LINES, st.frozensets(st.sampled_from(["x-team", "accept", "host", "authorization", "connection", "absent"])))
def test_facts_are_first_values(lines: list[Line], wanted: frozenset[str]) -> None:
    """By lower-case name, of every kind of line that was asked for."""
    expected: dict[str, str] = {}
    for name, value in lines:
        if name.decode().lower() in wanted:
            expected.setdefault(name.decode().lower(), value.decode("latin-1"))
    assert read_request(lines, wanted).facts == expected


def test_a_flood_of_names_does_not_grow_memory() -> None:
    """The caches have a bound; what no longer fits is sorted just as well."""
    for number in range(3 * headers._NAMES_MAX):
        name = b"X-Made-Up-%d" % number
        assert read_request([(name, b"v")], NOTHING).plain == name + b": v\r\n"
        assert read_response([(name, b"v")]).block == name + b": v\r\n"
    assert len(headers._NAMES) <= headers._NAMES_MAX
    assert len(headers._SENSES) <= headers._NAMES_MAX
    odd = [
        (b"AuthorizatioN", b"secret"),
        (b"tRANSFER-eNCODING", b"chunked"),
        (b"X-Fusebox-nEW", b"v"),
        (b"aCcept", b"v"),
    ]
    assert read_request(odd, NOTHING).plain == b"aCcept: v\r\n"
    assert read_response([(b"tRANSFER-eNCODING", b"chunked"), (b"eTAG", b"v")]).block == b"eTAG: v\r\n"


@pytest.fixture(autouse=True)
def _fresh_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test fills its own."""
    monkeypatch.setattr(headers, "_NAMES", {})
    monkeypatch.setattr(headers, "_SENSES", {})


RESPONSE_NAMES = st.sampled_from(
    [
        b"Content-Type",
        b"content-length",
        b"Set-Cookie",
        b"ETag",
        b"Transfer-Encoding",
        b"Keep-Alive",
        b"Trailer",
        b"Upgrade",
        b"X-A",
        b"x-a",
        b"Proxy-Authenticate",
        b"X-Fusebox-Target",
        b"x-fusebox-error",
        b"Authorization",
        b"X-B",
        b"retry-after",
    ]
)
FRAMING = {b"content-length": b"7", b"transfer-encoding": b"chunked"}
REPLACED = {b"x-fusebox-route", b"x-fusebox-target", b"x-fusebox-attempts", b"x-fusebox-request-id"}


@given(
    st.lists(st.tuples(RESPONSE_NAMES, st.sampled_from([b"", b"a", b"b, c"])), max_size=10),
    st.lists(
        st.sampled_from([b"close", b"keep-alive", b"X-A", b"x-b, ETag", b"content-length, x-a", b"x-none"]), max_size=3
    ),
    st.data(),
)
def test_response_lines(lines: list[Line], connections: list[bytes], data: st.DataObject) -> None:
    """End-to-end lines as they came, several Connection lines counted together; the length always stays."""
    lines = [(name, FRAMING.get(name.lower(), value)) for name, value in lines]
    for value in connections:
        lines.insert(data.draw(st.integers(0, len(lines))), (b"Connection", value))
    named = {option.strip().lower() for value in connections for option in value.split(b",")} - {b"content-length"}
    dropped = HOP_BY_HOP | REPLACED | named
    read = read_response(lines)
    assert read.block == block(line for line in lines if line[0].lower() not in dropped)
    names = {name.lower() for name, _ in lines}
    assert (read.length, read.chunked) == (7 if b"content-length" in names else None, b"transfer-encoding" in names)


@pytest.mark.parametrize("coding", [None, b"identity", b"gzip"])
@pytest.mark.parametrize("kind", [b"text/event-stream", b"Text/Event-Stream; charset=utf-8", b"application/json"])
def test_event_streams(coding: bytes | None, kind: bytes) -> None:
    """Known by their type, unless a coding hides the events."""
    lines = [(b"Content-Type", kind), *([] if coding is None else [(b"Content-Encoding", coding)])]
    assert read_response(lines).events is (kind.lower().startswith(b"text/event") and coding != b"gzip")
    assert read_response(lines[::-1]).events is read_response(lines).events


def test_a_transfer_coding_that_nobody_asked_for() -> None:
    """Its bytes could not be handed on as they are."""
    with pytest.raises(ValueError, match="nobody asked for"):
        read_response([(b"Transfer-Encoding", b"gzip, chunked")])


def test_very_many_connection_lines() -> None:
    """An odd provider is no reason to run out of stack."""
    lines = [line for number in range(5000) for line in ((b"Connection", b"x-%d" % number), (b"x-%d" % number, b"v"))]
    assert read_response([*lines, (b"ETag", b"v")]).block == b"ETag: v\r\n"


def test_find() -> None:
    """The first value, whatever the case; None without one."""
    lines = [(b"A", b"1"), (b"Location", b"2"), (b"location", b"3")]
    assert find(lines, b"location") == b"2"
    assert find(lines, b"absent") is None
