"""What somebody wants to have explained: a saved request, or what they say of one, as the facts that a policy decides by.

The facts are found in the way of a real request (``serve/inbound``, ``serve/intake``): the same endpoint, model, stream,
wishes and look into the body. What is said beside a saved request stands above what that holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from proxy.config.problems import BadValue
from proxy.config.schema import Complexity, ComplexityClass
from proxy.errors import NoRoute
from proxy.exchange import Carrier, Endpoint, Facts, Format, Look, Prompt
from proxy.policy.look import BodyLook
from proxy.wire import address, payload, wishes
from proxy.wire.endpoints import classify
from proxy.wire.form import FormScanner, boundary, is_form

LookOf = Callable[[bytes, Endpoint], Look]
"""The look into a body that a policy's settings give."""


def looking(settings: Complexity) -> LookOf:
    """The look by these settings, as the proxy takes it."""
    return lambda body, endpoint: BodyLook(body, endpoint, settings)


TOKENS_MAX = 4_000_000
"""Most prompt tokens that a body is written out for; beyond the largest windows."""

_FILLER = "word "
"""A token and the space before the next."""

_PATHS = {None: "/v1/chat/completions", "openai": "/v1/chat/completions", "anthropic": "/v1/messages"}

_SHARED = ("/v1/models", "/v1/files")
"""Paths that both formats have: a header tells whose it is."""


_NO_BODY = msgspec.Raw()


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A saved request. `body`: JSON as it is, or a text that holds the body of a call that is not JSON."""

    method: str | None = None
    path: str | None = None
    headers: dict[str, str] = {}
    body: msgspec.Raw = _NO_BODY


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One question. The admin port takes it as JSON under these names; the command has an option for each.

    `method`, `path`, `headers`, `body`: of the request. `at`: the moment to decide for, RFC 3339; None: now. `roll`: by which
    weighted steps are drawn. `down`, `cooling`, `full`: targets that are to be out, PROVIDER or PROVIDER/MODEL. The others
    state what the request holds, in place of a body or above it.
    """

    method: str | None = None
    path: str | None = None
    format: Literal["openai", "anthropic"] | None = None
    headers: dict[str, str] = {}
    body: msgspec.Raw = _NO_BODY
    model: str | None = None
    stream: bool | None = None
    prompt: str | None = None
    tokens: Annotated[int, Meta(ge=0, le=TOKENS_MAX)] | None = None
    tools: bool | None = None
    images: bool | None = None
    audio: bool | None = None
    json: bool | None = None
    complexity: ComplexityClass | None = None
    user: str | None = None
    at: str | None = None
    roll: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    down: tuple[str, ...] = ()
    cooling: tuple[str, ...] = ()
    full: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True):
    """A question as the policy is asked it. `alone`: why only the plan's first target may be asked; None: all may.

    `past`: the provider of ``/p/PROVIDER/...``, which no route decides.
    """

    facts: Facts
    alone: str | None = None
    past: str | None = None


class Stated:
    """A look into a body in which something is as was stated."""

    def __init__(self, inside: Look, stated: Mapping[str, Any]) -> None:
        self.inside = inside
        self._stated = stated

    @property
    def size(self) -> int:
        """Bytes, at least one for each token."""
        tokens: int = self._stated.get("tokens", 0)
        return max(self.inside.size, tokens)

    @property
    def assessment(self) -> object:
        """How the class was found, if the look inside says so."""
        return getattr(self.inside, "assessment", None)

    @property
    def prompt(self) -> Prompt:
        """What the body holds, but for what was stated."""
        return msgspec.structs.replace(self.inside.prompt, **self._stated)

    @property
    def complexity(self) -> str:
        """As the body looks."""
        return self.inside.complexity

    @property
    def seen(self) -> Prompt | None:
        """As ``exchange.Look``."""
        return None if self.inside.seen is None else self.prompt

    @property
    def classed(self) -> str | None:
        """As ``exchange.Look``."""
        return self.inside.classed


def saved(text: bytes) -> Saved:
    """A saved request: ``{"method", "path", "headers", "body"}``, or a JSON body alone. Raises BadValue."""
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = 'save its body, or {"method": "POST", "path": "/v1/chat/completions", "headers": {}, "body": {}}'
        raise BadValue(f"the saved request is not a JSON object ({error})", hint) from None
    if not {"body", "path"} & set(members):
        return Saved(body=msgspec.Raw(text))
    try:
        return msgspec.json.decode(text, type=Saved)
    except msgspec.DecodeError as error:
        hint = "it may have method, path, headers (each one text) and body"
        raise BadValue(f"the saved request cannot be used ({error})", hint) from None


def question(asked: Asked, look_of: LookOf) -> Question:
    """The facts. Raises ClientFault where the proxy would refuse the request, and BadValue for a question that is none."""
    if asked.body and asked.prompt is not None:
        raise BadValue("a saved request and a prompt beside it", "leave one of them out")
    headers = {name.lower(): value for name, value in asked.headers.items()}
    path, query = address.split(asked.path or _PATHS[asked.format], own=frozenset())
    method = (asked.method or ("GET" if path in ("/v1/models", "/v1/realtime") else "POST")).upper()
    if path.startswith("/p/"):
        provider = path[3:].partition("/")[0]
        return Question(Facts(_PAST, method, path, None, False, headers), past=provider)
    if not path.startswith("/v1/"):
        raise NoRoute(f"no such path {path}: calls are under /v1/, or under /p/PROVIDER/ past the routes")
    if asked.format == "anthropic" and "anthropic-version" not in headers:
        headers["anthropic-version"] = "2023-06-01"  # as its SDKs send it; the paths that both APIs have are told by it
    endpoint = classify(method, path, anthropic_header="anthropic-version" in headers)
    if asked.format is not None and endpoint.format is not Format(asked.format):
        own = endpoint.format.value
        raise BadValue(f"{path} is a call of the {own} format, not of {asked.format}", "leave one of them out")
    return _question(asked, look_of, endpoint, method, path, query, headers)


_PAST = Endpoint("passthrough", Format.OPENAI, Carrier.NONE, stored=True)


def _question(
    asked: Asked,
    look_of: LookOf,
    endpoint: Endpoint,
    method: str,
    path: str,
    query: str | None,
    headers: dict[str, str],
) -> Question:
    model: str | None = None
    stream = tied = False
    look: Look | None = None
    if endpoint.carrier is Carrier.PATH:
        model = address.model_of_path(path)
    elif endpoint.carrier is Carrier.QUERY:
        model = address.model_of_query(query)
    elif endpoint.carrier is not Carrier.NONE:
        content_type = headers.get("content-type")
        body = _body(asked, endpoint)
        if is_form(content_type) and asked.body:
            scanner = FormScanner(boundary(content_type or ""))
            scanner.feed(body)
            model = scanner.model
        elif endpoint.carrier is Carrier.JSON and (endpoint.name != "other" or "json" in (content_type or "json")):
            read = payload.read(body)
            model, stream, tied = read.model, read.stream, read.tied
            look = look_of(body, endpoint)
    stated = {
        name: value
        for name in ("tokens", "tools", "images", "audio", "json", "user")
        if (value := getattr(asked, name)) is not None
    }
    if stated and look is not None:
        look = Stated(look, stated)
    return Question(
        Facts(
            endpoint,
            method,
            path,
            model if asked.model is None else asked.model,
            stream if asked.stream is None else asked.stream,
            headers,
            asked.complexity or (wishes.complexity(headers) if "x-fusebox-complexity" in headers else None),
            look,
        ),
        _alone(endpoint, tied, headers),
    )


def _alone(endpoint: Endpoint, tied: bool, headers: Mapping[str, str]) -> str | None:
    if endpoint.stored or tied:
        return "it is about an object that lives at one provider, so no other can answer it"
    return "x-fusebox-no-fallback keeps it to the first target" if wishes.no_fallback(headers) else None


def _body(asked: Asked, endpoint: Endpoint) -> bytes:
    """The body that was saved, or one that holds what was said of it."""
    if asked.body:
        raw = bytes(asked.body)
        if raw[:1] != b'"':
            return raw
        text = json.loads(raw)
        assert isinstance(text, str)
        return text.encode(errors="surrogatepass")
    text = asked.prompt or ""
    if asked.tokens is not None:
        text += " " * bool(text) + _FILLER * max(0, asked.tokens - len(text) // 4)
    body: dict[str, Any] = {} if asked.model is None else {"model": asked.model}
    if endpoint.name in ("chat.completions", "messages", "messages.count_tokens"):
        body["messages"] = [{"role": "user", "content": _content(text, asked.images or False, endpoint)}]
    else:
        body["prompt" if endpoint.name in ("completions", "images.generations") else "input"] = text
    if asked.stream:
        body["stream"] = True
    if asked.tools:
        schema = {"type": "object", "properties": {}}
        anthropic = endpoint.format is Format.ANTHROPIC
        tool: dict[str, Any] = {"name": "tool", "input_schema" if anthropic else "parameters": schema}
        chat = endpoint.name == "chat.completions"
        body["tools"] = [{"type": "function", "function": tool} if chat else tool if anthropic else _typed(tool)]
    if asked.json and endpoint.name == "chat.completions":
        body["response_format"] = {"type": "json_object"}
    return json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")


def _typed(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", **tool}


def _content(text: str, images: bool, endpoint: Endpoint) -> str | list[dict[str, Any]]:
    """A message's content. The picture is none: nothing looks further than at its being there."""
    if not images:
        return text
    if endpoint.format is Format.ANTHROPIC:
        picture: dict[str, Any] = {"type": "image", "source": {"type": "url", "url": "http://image.invalid/1.png"}}
    else:
        picture = {"type": "image_url", "image_url": {"url": "http://image.invalid/1.png"}}
    return [{"type": "text", "text": text}, picture]
