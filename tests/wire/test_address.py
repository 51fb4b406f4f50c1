"""Request targets: what climbs or means another server is refused, everything else is kept to the byte."""

from __future__ import annotations

from urllib.parse import quote, unquote, unquote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.errors import BadRequest, Refused
from proxy.wire import address

OWN = frozenset(("localhost:4010", "127.0.0.1:4010", "[::1]:4010"))


def encoded(text: str, times: int) -> str:
    """`text` with each character percent-encoded, `times` over."""
    for level in range(times):
        text = "".join(f"%{ord(char):02x}" for char in text) if level == 0 else text.replace("%", "%25")
    return text


@pytest.mark.parametrize("dots", [".", ".."])
@pytest.mark.parametrize("times", range(8))
@pytest.mark.parametrize("slash", ["/", "%2f", "%2F", "%252f", "\\", "%5c", "%5C", "%255c"])
@pytest.mark.parametrize(
    "shape", ["/v1{slash}{dots}{slash}x", "/v1{slash}{dots}", "/v1/a{slash}{dots};p=1{slash}x", "/{dots}{slash}v1/x"]
)
def test_dot_segments_are_refused(dots: str, times: int, slash: str, shape: str) -> None:
    """Plain or encoded, once or often, between slashes of each kind, with path parameters or without."""
    with pytest.raises(BadRequest):
        address.split(shape.format(dots=encoded(dots, times), slash=slash), own=OWN)


@pytest.mark.parametrize(
    "path", ["/v1/.%2e/x", "/v1/%2E./x", "/v1/%2e%252e/x", "/p/openai/%2e%2e%5cx", "/v1/%2e%2e%3bx/y", "/..", "/."]
)
def test_mixed_spellings_are_refused(path: str) -> None:
    """Half encoded is encoded."""
    with pytest.raises(BadRequest, match="dot segments"):
        address.split(path, own=OWN)


@pytest.mark.parametrize(
    "raw",
    [
        "/v1/chat/completions",
        "/v1/models/gpt-4..5/x",
        "/v1/files/a...b/.../c",
        "/v1/.well-known/x",
        "/v1/x./y",
        "/v1/a%zz%2/%/%E4%b8%ad",
        "/v1/a%2Fb%2fc",
        "/v1//double//",
        "/v1/%25",
        "/v1/a;b=c,d",
        "/",
        "/v1/~user/@x/:y/!$&'()*+",
    ],
)
@pytest.mark.parametrize("query", [None, "", "a=b", "a=%2e%2e/../..&b=%zz", "?", "x=/./y"])
def test_other_targets_are_kept(raw: str, query: str | None) -> None:
    """Odd percent-encodings stay as they are; dots in a query climb nowhere."""
    assert address.split(raw if query is None else f"{raw}?{query}", own=OWN) == (raw, query)


@pytest.mark.parametrize(
    "raw", ["/v1/a b", "/v1/é", "/v1/\udcff", "/v1/\x00", "/v1/x\ty", "/v1/x#f", "/v1/x?a=\x7f", "/v1/x?ü", "/v1/x?a b"]
)
def test_characters_that_must_be_encoded(raw: str) -> None:
    """RFC 3986 knows none of them in a path or query, and a provider's parser might end the line there."""
    with pytest.raises(BadRequest, match="percent-encoded"):
        address.split(raw, own=OWN)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("http://localhost:4010/v1/x?a=b", ("/v1/x", "a=b")),
        ("HTTP://LocalHost:4010/v1/X", ("/v1/X", None)),
        ("http://[::1]:4010/v1/x", ("/v1/x", None)),
        ("http://127.0.0.1:4010", ("/", None)),
        ("http://127.0.0.1:4010?a", ("/", "a")),
        ("http://127.0.0.1:4010//x", ("//x", None)),
    ],
)
def test_the_absolute_form_of_an_own_address(raw: str, expected: tuple[str, str | None]) -> None:
    """It is taken as if only its path had been written (RFC 9112 section 3.2.2)."""
    assert address.split(raw, own=OWN) == expected


@pytest.mark.parametrize(
    "raw",
    [
        "http://api.openai.com/v1/x", "http://localhost/v1/x", "http://localhost:4011/v1", "https://localhost:4010/v1/x",
        "http://u@localhost:4010/", "http://localhost:4010@evil.example/", "http://localhost:4010.evil.example/", "ftp://localhost:4010/",
        "http://local\thost:4010/v1", "http:///v1", "http://", "//localhost:4010", "localhost:4010", "*", "", "v1/x", "http:/v1", "http://[::1/x",
        "http://evil.example\\@localhost:4010/",
    ],
)  # fmt: skip
def test_what_means_another_server_is_refused(raw: str) -> None:
    """A client can never choose a host; the sentence says what to set instead."""
    if raw.startswith("//"):
        assert address.split(raw, own=OWN)[0] == raw  # a path with an empty segment, no authority
        return
    with pytest.raises(Refused) as caught:
        address.split(raw, own=OWN)
    assert (caught.value.status, caught.value.code) == (421, "not_a_forward_proxy")


def test_an_absolute_form_cannot_climb_either() -> None:
    """The path is looked at in every form."""
    with pytest.raises(BadRequest):
        address.split("http://localhost:4010/v1/%2e%2e/x", own=OWN)


@given(st.text(max_size=40) | st.text("/.%25eEfF\\?#;:", max_size=40).map("/".__add__))
def test_any_target(raw: str) -> None:
    """A path that is let through begins with a slash, is printable ASCII, and no decoding of it holds a dot segment."""
    try:
        path, query = address.split(raw, own=OWN)
    except (BadRequest, Refused):
        return
    assert path.startswith("/")
    assert raw == path + ("" if query is None else "?" + query)
    assert raw.isascii() and raw.isprintable()
    for _ in range(12):
        assert not {".", ".."} & set(path.replace("\\", "/").split("/"))
        path = unquote(path)


MODELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUES = st.text("aZ09-._~%+/:@!$'()*,;=?", max_size=12)


@given(
    st.lists(
        st.tuples(st.sampled_from(["model", "models", "xmodel", "Model", "a", "", "model%20"]), VALUES), max_size=6
    ),
    MODELS,
)
def test_a_query_changes_only_in_its_model(pairs: list[tuple[str, str]], model: str) -> None:
    """Every `model` gets the new value; all else, odd encodings too, is as it was to the byte."""
    query = "&".join(f"{name}={value}" for name, value in pairs)
    models = [value for name, value in pairs if name == "model"]
    assert address.model_of_query(query) == (unquote_plus(models[-1]) if models else None)
    changed = address.query_with_model(query, model)
    expected = "&".join(f"{name}={quote(model, safe='') if name == 'model' else value}" for name, value in pairs)
    assert changed == expected
    if models:
        assert address.model_of_query(changed) == model


def test_no_query() -> None:
    """None stays None, and empty stays empty."""
    assert (address.model_of_query(None), address.query_with_model(None, "a")) == (None, None)
    assert (address.model_of_query(""), address.query_with_model("", "a")) == (None, "")
    assert (address.model_of_query("model"), address.query_with_model("model", "a")) == (None, "model")


@given(st.text("aZ09-._~%:@!$", min_size=1, max_size=12).filter(lambda text: text.strip(".") != ""), MODELS)
@pytest.mark.parametrize("before", ["/v1/models/", "/v1/engines/", "/v1/deployments/"])
@pytest.mark.parametrize("after", ["", "/chat/completions", "/completions", "/embeddings"])
def test_a_path_changes_only_in_its_model(before: str, after: str, old: str, model: str) -> None:
    """The model of old-style paths is what stands between root and call."""
    path = before + old + after
    assert address.model_of_path(path) == unquote(old)
    assert address.path_with_model(path, model) == before + quote(model, safe="/:@") + after


def test_a_model_with_slashes_in_a_path() -> None:
    """SDKs write them as they are."""
    path = "/v1/models/meta-llama/Llama-3.2-3B"
    assert address.model_of_path(path) == "meta-llama/Llama-3.2-3B"
    assert address.path_with_model(path, "ft:gpt-4o:org/x y") == "/v1/models/ft:gpt-4o:org/x%20y"


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/", "/v1/models/a/", "/v1/chat/completions", "/v1/x/models/a", "/v1/models//a"]
)
def test_a_path_without_a_model_is_kept(path: str) -> None:
    """Nothing is replaced where no model stands."""
    assert address.model_of_path(path) is None
    assert address.path_with_model(path, "b") == path


@given(st.text("/v1modelsgnteyp.-:%a", max_size=40))
def test_any_path_is_replaced_in_one_place_or_none(path: str) -> None:
    """What is read of the new path is the new model."""
    assume(address.model_of_path("/v1/models/" + path) is not None)
    changed = address.path_with_model("/v1/models/" + path, "new")
    assert address.model_of_path(changed) == "new"
