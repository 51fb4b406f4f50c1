"""What a path means: which API, where its model sits, whether another provider could answer it.

The table holds the paths of OpenAI's API reference (https://platform.openai.com/docs/api-reference) and Anthropic's
(https://docs.anthropic.com/en/api). A path that is in no row is forwarded all the same, as an opaque call of its format.
"""

from __future__ import annotations

import re

from proxy.exchange import Carrier, Endpoint, Format

_OPENAI = Format.OPENAI
_ANTHROPIC = Format.ANTHROPIC


def _openai(name: str, carrier: Carrier, modality: str | None) -> Endpoint:
    return Endpoint(name, _OPENAI, carrier, modality=modality, inference=True)


_INFERENCE = {
    "/v1/chat/completions": _openai("chat.completions", Carrier.JSON, "text"),
    "/v1/completions": _openai("completions", Carrier.JSON, "text"),
    "/v1/responses": _openai("responses", Carrier.JSON, "text"),
    "/v1/responses/input_tokens": _openai("responses.input_tokens", Carrier.JSON, "text"),
    "/v1/embeddings": _openai("embeddings", Carrier.JSON, "embedding"),
    "/v1/moderations": _openai("moderations", Carrier.JSON, None),
    "/v1/rerank": _openai("rerank", Carrier.JSON, "rerank"),
    "/v1/images/generations": _openai("images.generations", Carrier.JSON, "image"),
    "/v1/images/edits": _openai("images.edits", Carrier.MULTIPART, "image"),
    "/v1/images/variations": _openai("images.variations", Carrier.MULTIPART, "image"),
    "/v1/audio/speech": _openai("audio.speech", Carrier.JSON, "audio"),
    "/v1/audio/transcriptions": _openai("audio.transcriptions", Carrier.MULTIPART, "audio"),
    "/v1/audio/translations": _openai("audio.translations", Carrier.MULTIPART, "audio"),
    "/v1/videos": _openai("videos", Carrier.MULTIPART, "video"),
    "/v1/realtime": _openai("realtime", Carrier.QUERY, "realtime"),
    "/v1/messages": Endpoint("messages", _ANTHROPIC, Carrier.JSON, modality="text", inference=True),
    "/v1/messages/count_tokens": Endpoint(
        "messages.count_tokens", _ANTHROPIC, Carrier.JSON, modality="text", inference=True
    ),
}
"""Calls that carry a model and leave nothing behind at the provider: any target of a chain may answer them."""

INFERENCE_NAMES = frozenset(endpoint.name for endpoint in _INFERENCE.values())
"""The names of all endpoints that ask a model for something."""

MODELS = Endpoint("models", _OPENAI, Carrier.NONE)

_MODEL_IN_PATH = re.compile(
    r"/v1/(?:models|engines|deployments)/([^/?]+(?:/[^/?]+)*?)(?:/(?:chat/completions|completions|embeddings))?"
)
"""``GET /v1/models/{model}``, and the deployment paths that older SDKs build. A model may hold slashes."""

_STORED = re.compile(
    r"/v1/(files|uploads|batches|fine_tuning|fine-tunes|vector_stores|assistants|threads|conversations|containers|evals|videos"
    r"|responses|chat/completions|messages/batches|realtime/calls|realtime/transcription_sessions|skills|organization)(?:/|$)"
)
"""Objects that live at one provider. The inference paths themselves are looked up before this."""


def inference(raw: str) -> Endpoint | None:
    """The endpoint of a request target that is, to the letter, the path of an inference call that is POSTed; else None.

    The usual case: such a target needs no further look.
    """
    return _INFERENCE.get(raw)


def classify(method: str, path: str, *, anthropic_header: bool) -> Endpoint:
    """The endpoint of a path without its query; `anthropic_header`: the request carries ``anthropic-version``.

    Both APIs share a few paths (``/v1/models``, ``/v1/files``); there the header tells them apart, as their SDKs send it.
    """
    if method == "POST" or path == "/v1/realtime":
        found = _INFERENCE.get(path)
        if found is not None:
            return found
    if path == "/v1/models":
        return Endpoint("models", _ANTHROPIC, Carrier.NONE) if anthropic_header else MODELS
    dialect = _ANTHROPIC if anthropic_header or path.startswith("/v1/messages") else _OPENAI
    if _MODEL_IN_PATH.fullmatch(path):
        if method == "DELETE":
            # A fine-tuned model of the client's own: never another one in its place.
            return Endpoint("models.delete", dialect, Carrier.NONE, stored=True)
        return Endpoint("models.one" if path.startswith("/v1/models/") else "deployments", dialect, Carrier.PATH)
    stored = _STORED.match(path)
    if stored is not None:
        return Endpoint(stored[1].replace("/", "."), dialect, Carrier.NONE, stored=True)
    # Not in the table: a body with a model in it may still be routed by it, so it is read like the others.
    return Endpoint("other", dialect, Carrier.JSON if method == "POST" else Carrier.NONE)


def model_in_path(path: str) -> tuple[int, int] | None:
    """Where the model stands in a path that carries one: start and end, still percent-encoded; else None."""
    found = _MODEL_IN_PATH.fullmatch(path)
    return None if found is None else found.span(1)
