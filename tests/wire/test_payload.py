"""The splice: whatever the document, the top-level model's value changes and no other byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from proxy.errors import BadRequest
from proxy.wire import payload

Span = tuple[int, int]

# --- A reference: a reader of JSON that goes character by character and trusts that the text is sound.


def string_end(text: str, at: int) -> int:
    """The place behind the string that begins at `at`."""
    at += 1
    while text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return at + 1


def value_end(text: str, at: int) -> int:
    """The place behind the value that begins at `at`."""
    depth = 0
    while True:
        char = text[at]
        if char == '"':
            at = string_end(text, at)
        elif char in "[{":
            depth, at = depth + 1, at + 1
        elif char in "]}":
            depth, at = depth - 1, at + 1
        elif depth == 0:
            while text[at] not in ",}] \t\r\n":
                at += 1
        else:
            at += 1
        if depth == 0:
            return at


def reference(body: bytes) -> list[Span]:
    """Where the values of the top-level key `model` stand."""
    text = body.decode("latin-1")
    found: list[Span] = []
    at = text.index("{") + 1
    while True:
        while text[at] in " \t\r\n,":
            at += 1
        if text[at] == "}":
            return found
        key_start, at = at, string_end(text, at)
        key = json.loads(text[key_start:at])
        while text[at] in " \t\r\n:":
            at += 1
        start, at = at, value_end(text, at)
        if key == "model":
            found.append((start, at))


def replaced(body: bytes, spans: list[Span], value: bytes) -> bytes:
    """`body` with `value` in each span, put together the slow way."""
    for start, end in reversed(spans):
        body = body[:start] + value + body[end:]
    return body


# --- Documents: texts, not values, so that every spelling occurs.

SPACES = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n    "])
PIECES = st.sampled_from(
    [
        "model", '\\"model\\"', '\\"model', '\\"model\\":', "\\u006dodel", "\\\\", '\\"', "\\/", "\\b\\f\\n\\r\\t", "\\u0000",
        "é", "日本", "😀", "\\ud83d\\ude00", "\\u00E9", "{", "}", "[", "]", ":", ",", " ", "gpt-4o", "\x7f", "\u2028",
    ]
)  # fmt: skip
CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\')
STRINGS = st.lists(PIECES | CHARACTERS, max_size=5).map(lambda pieces: f'"{"".join(pieces)}"')
NUMBERS = st.sampled_from(
    ["0", "-0", "1", "12", "-1.5e-7", "1E+400", "1" * 400, "0.1", "3.14159265358979323846264338327950288"]
)
WORDS = st.sampled_from(["true", "false", "null"])
UNUSUAL = st.sampled_from(["NaN", "Infinity", "-Infinity", '"\\ud800"', '"\\udc00 \\ud800\\n"'])


def letter(char: str) -> st.SearchStrategy[str]:
    """One letter in each of its spellings."""
    return st.sampled_from([char, char, char, f"\\u{ord(char):04x}", f"\\u{ord(char):04X}"])


MODEL_KEYS = st.tuples(*map(letter, "model")).map(lambda letters: f'"{"".join(letters)}"')
MODEL_VALUES = STRINGS.filter(lambda text: text != '""')


@st.composite
def containers(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    """An array or an object of values."""
    parts = draw(st.lists(inner, max_size=4))
    if draw(st.booleans()):
        return "[" + ",".join(draw(SPACES) + part + draw(SPACES) for part in parts) + "]"
    keys = [draw(MODEL_KEYS | STRINGS) for _ in parts]
    return "{" + ",".join(member(draw, key, part) for key, part in zip(keys, parts, strict=True)) + "}"


def member(draw: st.DrawFn, key: str, value: str) -> str:
    """A member with white space wherever it may stand."""
    return f"{draw(SPACES)}{key}{draw(SPACES)}:{draw(SPACES)}{value}{draw(SPACES)}"


SCALARS = STRINGS | NUMBERS | WORDS
VALUES = st.recursive(SCALARS, containers, max_leaves=12)
UNUSUAL_VALUES = st.recursive(SCALARS | UNUSUAL, containers, max_leaves=12)


@st.composite
def documents(draw: st.DrawFn, *, most: int = 3) -> bytes:
    """An object with up to `most` top-level keys `model`, in any place among other members."""
    unusual = draw(st.booleans())
    values = UNUSUAL_VALUES if unusual else VALUES
    keys = STRINGS | st.just('"\\ud800model"') if unusual else STRINGS
    members = draw(st.lists(st.tuples(keys.filter(lambda key: json.loads(key) != "model"), values), max_size=5))
    members += [(draw(MODEL_KEYS), draw(MODEL_VALUES)) for _ in range(draw(st.integers(1, most)))]
    members = draw(st.permutations(members))
    text = "{" + ",".join(member(draw, key, value) for key, value in members) + "}"
    return (draw(SPACES) + text + draw(SPACES)).encode()


def pairs(body: bytes) -> list[tuple[str, Any]]:
    """The members of an object in order, duplicates included; what is not a number stays a word."""
    found: list[tuple[str, Any]] = json.loads(
        body, object_pairs_hook=list, parse_constant=str, parse_int=str, parse_float=str
    )
    return found


@given(documents(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
@example(b'{"model":"a","x":{"model":1}}', 'quote " and \\')
@example(b'{"x":"\\"model\\"","model":"a"}', "b")
@example(b'{"x":"\\\\","model":"\\\\"}', "b")
@example(b'{"model":"a","x":1,"model":"a"}', "b")
@example(b'{"x":"model","model":"model"}', "b")
@example(b'{"x":"\\"model","model":"\\"model"}', "b")
@example(b'{"mod\\u0065l":"a","y":NaN,"x":{"model":"a"}}', "b")
def test_only_the_top_level_model_changes(body: bytes, model: str) -> None:
    """The spans are the reference's; what comes out differs there alone, and reads as the new model."""
    before = pairs(body)
    asked = [value for key, value in before if key == "model"][-1]
    facts = payload.read(body)
    assert facts.model == asked
    spans = payload.find_model(body, asked)
    assert spans == reference(body)
    value = payload.encode_model(model)
    spliced = b"".join(payload.splice(body, spans, value))
    assert spliced == replaced(body, spans, value)
    assert pairs(spliced) == [(key, model if key == "model" else kept) for key, kept in before]


@given(documents())
def test_the_ways_agree(body: bytes) -> None:
    """Which way finds the model never matters; a length that cannot be trusted is not used."""
    expected = reference(body)
    assert payload._by_scanning(body) == expected
    assert payload._by_lengths(body) in (None, expected)


@given(documents(most=1))
def test_lengths_are_enough_without_duplicates(body: bytes) -> None:
    """The quick way is really taken: for every sound document in which no key stands twice."""
    keys = [key for key, _ in pairs(body)]
    assume(
        len(set(keys)) == len(keys)
        and b"\\ud800" not in body
        and not any(word in body for word in (b"NaN", b"Infinity"))
    )
    assert payload._by_lengths(body) == reference(body)


@given(documents())
def test_a_bytearray_is_read_like_bytes(body: bytes) -> None:
    """Bodies that came in pieces are bytearrays."""
    held = bytearray(body)
    facts = payload.read(held)
    assert facts == payload.read(body) and facts.model is not None
    spans = payload.find_model(held, facts.model)
    assert spans == payload.find_model(body, facts.model)
    assert b"".join(payload.splice(held, spans, b'"new"')) == replaced(body, spans, b'"new"')
    assert held == body


@given(documents(), st.sampled_from([payload.COPIED_MAX - 40, payload.COPIED_MAX + 1, 200_000]))
def test_a_large_body_is_spliced_without_a_copy(body: bytes, size: int) -> None:
    """Above the bound the pieces are views on the body; the outcome is the same on both sides of it."""
    start = body.index(b"{") + 1
    large = body[:start] + b'"filling":"' + b"model " * (size // 6) + b'",' + body[start:]
    spans = payload.find_model(large, payload.read(large).model or "")
    assert spans == reference(large)
    pieces = payload.splice(large, spans, b'"new"')
    assert b"".join(pieces) == replaced(large, spans, b'"new"')
    if len(large) > payload.COPIED_MAX:
        assert all(piece.obj is large for piece in pieces if isinstance(piece, memoryview))
        assert sum(len(piece) for piece in pieces if not isinstance(piece, memoryview)) == len(b'"new"') * len(spans)


def test_deep_nesting_within_the_reader_s_bound() -> None:
    """Brackets are counted, not recursed into."""
    deep = b"[" * 300 + b'{"model":1}' + b"]" * 300
    body = b'{"x":' + deep + b',"model":"a","y":' + deep + b',"x":0}'
    assert payload.find_model(body, "a") == reference(body) == payload._by_scanning(body)


@given(st.integers(0, 5000), st.sampled_from([b"[", b'{"a":', b'[{"model":']))
def test_any_depth_is_read_or_refused(depth: int, opening: bytes) -> None:
    """Nesting beyond the reader's bound is the client's fault, not a crash."""
    closing = {b"[": b"]", b'{"a":': b"}", b'[{"model":': b"}]"}[opening]
    body = b'{"model":"a","x":' + opening * depth + b"0" + closing * depth + b"}"
    try:
        facts = payload.read(body)
    except BadRequest as error:
        assert "nested too deeply" in str(error) and depth > 100
    else:
        assert payload.find_model(body, facts.model or "") == [(9, 12)]


def test_bytes_that_are_no_utf_8_pass_where_they_are_not_read() -> None:
    """They are the provider's to judge; the model is still found, in the scanning way too."""
    body = b'{"\xff\\n":"\xfe","model":"a","x":{"model":1},"model":"b"}'
    assert payload.read(body).model == "b"
    spans = payload.find_model(body, "b")
    assert [body[start:end] for start, end in spans] == [b'"a"', b'"b"']


def test_numbers_that_python_would_not_read_pass() -> None:
    """More digits than Python converts, in a body that only the lenient reader takes."""
    body = b'{"model":"a","x":NaN,"y":' + b"1" * 5000 + b"}"
    assert payload.find_model(body, payload.read(body).model or "") == [(9, 12)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"[]", "Expected `object`, got `array`"),
        (b'"model"', "Expected `object`"),
        (b"null", "Expected `object`"),
        (b"{", "JSON"),
        (b'{"model":"a"', "JSON"),
        (b'{"model":"a"}}', "trailing characters"),
        (b'{"model":"a"}\x00', "trailing characters"),
        (b'{"model":"a",}', "JSON"),
        (b'{"a\nb":1}', "invalid character (byte 3)"),
        (b"{'model':'a'}", "JSON"),
        (b'\xef\xbb\xbf{"model":"a"}', "byte order mark"),
        ('{"model":"a"}'.encode("utf-16"), "JSON"),
        ('{"model":"a"}'.encode("utf-16-le"), "JSON"),
        ('{"model":"a"}'.encode("utf-32-be"), "JSON"),
        (b'{"model":"\xff"}', "utf-8"),
        (b"model=a&x=1", "JSON"),
        (b'{"x":' + b"[" * 100_000, "nested too deeply"),
        (b'{"model":"a","x":NaN,"y":' + b"0," * 3 * 1024 * 1024 + b"0}", "JSON"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_read_is_refused(body: bytes, said: str) -> None:
    """The message says what is wrong with the body, and never quotes it at length."""
    with pytest.raises(BadRequest) as caught:
        payload.read(body)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"1", "a number"),
        (b"-1.5", "a number"),
        (b"1" * 400, "a number"),
        (b"true", "a boolean"),
        (b'["a"]', "an array"),
        (b'{"a":1}', "an object"),
        (b'""', "an empty string"),
        (b'"\\ud800"', "a lone surrogate"),
        (b'"' + b"a" * (payload.MODEL_MAX + 1) + b'"', f"longer than {payload.MODEL_MAX}"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize(
    "around", [b'{"model":%b}', b'{"x":{"model":"a"},"model":%b,"stream":true}', b'{"stream":"odd","model":%b}']
)
def test_a_model_that_is_none_is_refused(value: bytes, said: str, around: bytes) -> None:
    """The error names `model` and what stands there instead."""
    with pytest.raises(BadRequest) as caught:
        payload.read(around % value)
    assert said in str(caught.value)
    assert caught.value.param == "model"


def test_the_longest_model_is_taken() -> None:
    """The bound itself is within."""
    name = "a" * payload.MODEL_MAX
    assert payload.read(json.dumps({"model": name}).encode()).model == name


@pytest.mark.parametrize(
    "body", [b"{}", b'{"model":null}', b'{"x":{"model":"a"}}', b'{"Model":"a"}', b'{"model":"a","model":null}']
)
def test_no_model(body: bytes) -> None:
    """Nested or differently spelled keys are none; null says none."""
    assert payload.read(body).model is None


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"true", True),
        (b"false", False),
        (b"null", False),
        (b'"true"', False),
        (b"1", False),
        (b'[{"stream":true}]', False),
    ],
)
@pytest.mark.parametrize("rest", [b"", b',"x":NaN', b',"x":"\\ud800"'])
def test_stream_is_true_or_not_asked_for(stream: bytes, expected: bool, rest: bytes) -> None:
    """Any other value is passed on for the provider to judge."""
    assert payload.read(b'{"model":"a","stream":' + stream + rest + b"}") == payload.JsonFacts("a", expected)


@given(st.text())
def test_a_model_s_name_is_escaped(model: str) -> None:
    """What JSON asks for is escaped, and nothing is lost; a lone surrogate is refused."""
    try:
        written = payload.encode_model(model)
    except BadRequest as error:
        assert error.param == "model"
        assert any("\ud800" <= char <= "\udfff" for char in model)
    else:
        assert json.loads(written) == model


@given(st.binary(max_size=60) | st.text('{}[]",:model \\n\ufeff\x00', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """No other error comes out, and what is read can be spliced."""
    try:
        facts = payload.read(body)
    except BadRequest:
        return
    if facts.model is not None:
        assert payload.find_model(body, facts.model) == reference(body)


@pytest.mark.parametrize(
    ("body", "tied"),
    [
        (b'{"model":"a","previous_response_id":"resp_1"}', True),
        (b'{"model":"a","conversation":{"id":"conv_1"}}', True),
        (b'{"model":"a","previous_response_id":null}', False),
        (b'{"model":"a","previous_response_id":null,"stream":"odd"}', False),
        (b'{"model":"a","conversation":"c","stream":5}', True),
        (b'{"model":"a","conversation":"c","temperature":NaN}', True),
        (b'{"model":"a","input":{"previous_response_id":"x"}}', False),
        (b'{"model":"a"}', False),
    ],
)
def test_what_a_request_goes_on_from(body: bytes, tied: bool) -> None:
    """A stored response or conversation ties it to one provider; null is none."""
    assert payload.read(body).tied is tied
