"""What each path means, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange import Carrier, Endpoint, Format
from proxy.wire import endpoints
from proxy.wire.endpoints import classify, inference

OPENAI, ANTHROPIC = Format.OPENAI, Format.ANTHROPIC


@pytest.mark.parametrize(
    ("method", "path", "name", "carrier", "stored"),
    [
        ("POST", "/v1/chat/completions", "chat.completions", "json", False),
        ("GET", "/v1/chat/completions", "chat.completions", "none", True),
        ("GET", "/v1/chat/completions/c1/messages", "chat.completions", "none", True),
        ("POST", "/v1/completions", "completions", "json", False),
        ("POST", "/v1/responses", "responses", "json", False),
        ("POST", "/v1/responses/input_tokens", "responses.input_tokens", "json", False),
        ("GET", "/v1/responses/r1", "responses", "none", True),
        ("POST", "/v1/responses/r1/cancel", "responses", "none", True),
        ("DELETE", "/v1/responses/r1", "responses", "none", True),
        ("POST", "/v1/embeddings", "embeddings", "json", False),
        ("POST", "/v1/moderations", "moderations", "json", False),
        ("POST", "/v1/rerank", "rerank", "json", False),
        ("POST", "/v1/images/generations", "images.generations", "json", False),
        ("POST", "/v1/images/edits", "images.edits", "multipart", False),
        ("POST", "/v1/images/variations", "images.variations", "multipart", False),
        ("POST", "/v1/audio/speech", "audio.speech", "json", False),
        ("POST", "/v1/audio/transcriptions", "audio.transcriptions", "multipart", False),
        ("POST", "/v1/audio/translations", "audio.translations", "multipart", False),
        ("POST", "/v1/videos", "videos", "multipart", False),
        ("GET", "/v1/videos", "videos", "none", True),
        ("GET", "/v1/videos/v1/content", "videos", "none", True),
        ("GET", "/v1/realtime", "realtime", "query", False),
        ("POST", "/v1/realtime/calls/x/hangup", "realtime.calls", "none", True),
        ("GET", "/v1/models", "models", "none", False),
        ("GET", "/v1/models/gpt-4o", "models.one", "path", False),
        ("GET", "/v1/models/meta-llama/Llama-3", "models.one", "path", False),
        ("DELETE", "/v1/models/ft:gpt-4o:org", "models.delete", "none", True),
        ("POST", "/v1/engines/davinci/completions", "deployments", "path", False),
        ("POST", "/v1/deployments/d/chat/completions", "deployments", "path", False),
        ("POST", "/v1/files", "files", "none", True),
        ("GET", "/v1/files/f1/content", "files", "none", True),
        ("POST", "/v1/uploads/u1/parts", "uploads", "none", True),
        ("POST", "/v1/batches", "batches", "none", True),
        ("POST", "/v1/fine_tuning/jobs", "fine_tuning", "none", True),
        ("POST", "/v1/vector_stores/v1/search", "vector_stores", "none", True),
        ("POST", "/v1/assistants", "assistants", "none", True),
        ("POST", "/v1/threads/t1/runs", "threads", "none", True),
        ("POST", "/v1/conversations", "conversations", "none", True),
        ("POST", "/v1/filesystem", "other", "json", False),
        ("POST", "/v1/something/new", "other", "json", False),
        ("GET", "/v1/something/new", "other", "none", False),
        ("POST", "/v1/chat/completions/", "chat.completions", "none", True),
    ],
)
def test_openai_paths(method: str, path: str, name: str, carrier: str, stored: bool) -> None:
    """Inference may be answered by any target; objects live at one provider; the rest is passed on."""
    found = classify(method, path, anthropic_header=False)
    assert found == Endpoint(name, OPENAI, Carrier(carrier), stored, found.modality, found.inference)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    ("method", "path", "name", "carrier", "stored"),
    [
        ("POST", "/v1/messages", "messages", "json", False),
        ("POST", "/v1/messages/count_tokens", "messages.count_tokens", "json", False),
        ("POST", "/v1/messages/batches", "messages.batches", "none", True),
        ("GET", "/v1/messages/batches/b1/results", "messages.batches", "none", True),
    ],
)
def test_anthropic_paths(header: bool, method: str, path: str, name: str, carrier: str, stored: bool) -> None:
    """They are Anthropic's with its header and without."""
    found = classify(method, path, anthropic_header=header)
    assert found == Endpoint(name, ANTHROPIC, Carrier(carrier), stored, found.modality, found.inference)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/claude", "/v1/files", "/v1/skills/s1", "/v1/other"])
def test_the_header_tells_shared_paths_apart(path: str) -> None:
    """Only the dialect differs."""
    theirs, ours = (classify("GET", path, anthropic_header=header) for header in (True, False))
    assert (theirs.format, ours.format) == (ANTHROPIC, OPENAI)
    assert (theirs.name, theirs.carrier, theirs.stored) == (ours.name, ours.carrier, ours.stored)


@pytest.mark.parametrize("path", sorted(endpoints._INFERENCE))
def test_the_short_way_says_what_the_long_one_says(path: str) -> None:
    """For a POST to exactly such a path nothing else is looked at."""
    for header in (True, False):
        assert inference(path) == classify("POST", path, anthropic_header=header)
    assert not classify("POST", path, anthropic_header=False).stored


@given(st.text(max_size=30))
def test_the_short_way_takes_nothing_else(raw: str) -> None:
    """A query, an absolute form or another spelling goes the long way."""
    assert inference("/v1/chat/completions" + raw) is None or raw == ""


@given(st.sampled_from(["GET", "POST", "DELETE", "PUT"]), st.text("/abcmodels.vt1_-", max_size=30), st.booleans())
def test_any_path_is_something(method: str, path: str, header: bool) -> None:
    """A stored object's call never carries a model to be replaced, and only a POST's body is read."""
    endpoint = classify(method, "/v1/" + path, anthropic_header=header)
    assert not endpoint.stored or endpoint.carrier is Carrier.NONE
    assert endpoint.carrier is not Carrier.JSON or method == "POST"
    assert (endpoint.carrier is Carrier.PATH) <= (endpoints.model_in_path("/v1/" + path) is not None)


@pytest.mark.parametrize(
    ("path", "modality"),
    [
        ("/v1/chat/completions", "text"),
        ("/v1/messages", "text"),
        ("/v1/responses", "text"),
        ("/v1/embeddings", "embedding"),
        ("/v1/images/edits", "image"),
        ("/v1/audio/transcriptions", "audio"),
        ("/v1/videos", "video"),
        ("/v1/rerank", "rerank"),
        ("/v1/moderations", None),
        ("/v1/made/up", None),
    ],
)
def test_modalities(path: str, modality: str | None) -> None:
    """Which kind of model a call takes, where that is known."""
    assert classify("POST", path, anthropic_header=False).modality == modality
