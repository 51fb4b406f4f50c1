"""The configuration file as types: one declaration serves the reader, the editor's JSON Schema and the running proxy.

Every value is frozen and complete: defaults are here and nowhere else. A field's docstring line states its unit and
why the default is what it is. ``config/parse`` turns a file into a `Config` or into a list of problems. A text with a
syntax of its own is a type with a ``parse`` method, or a ``str`` whose `Meta` names the function under ``parse``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from proxy.config.syntax import env_name, file_name, header_name, host_name, key_file, otlp_root, sticky, url_root
from proxy.config.units import Bytes as Bytes
from proxy.config.units import Listen as Listen
from proxy.config.units import Moment as Moment
from proxy.config.units import Seconds as Seconds
from proxy.exchange import Target


def _read(description: str, parse: Callable[[str], str]) -> Meta:
    """What a text means, and the function of ``config/syntax`` that brings it into its final form."""
    return Meta(description=description, extra={"parse": parse})


class KeySource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one key of a provider comes from: an environment variable or a file. Exactly one of the two."""

    env: Annotated[str, _read("Name of the environment variable that holds the key.", env_name)] | None = None
    file: Annotated[str, _read("Path of the file that holds it; read again when it changes.", key_file)] | None = None


class Keys(msgspec.Struct, frozen=True):
    """Whose credentials a provider gets: its `own`, the `client`'s as they came, or `none` at all.

    `stated` is False only for a provider whose file and preset have not been put together yet (``config/resolve``).
    """

    mode: Literal["own", "client", "none"]
    sources: tuple[KeySource, ...] = ()
    stated: bool = True


CLIENT_KEYS = Keys("client")
UNSTATED_KEYS = Keys("client", stated=False)


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who answers: base URLs and keys. A known name takes what is not written here from its preset.

    `keys`: whose credentials it gets; the preset's default, or the client's.

    In a `Config` that was parsed this has been done: `auth` and `anthropic_auth` are set and `keys` is stated.
    """

    base_url: (
        Annotated[str, _read("OpenAI-format root with its version: https://api.openai.com/v1", url_root)] | None
    ) = None
    anthropic_url: Annotated[str, _read("Anthropic-format root; /v1/messages is added to it.", url_root)] | None = None
    keys: Keys = UNSTATED_KEYS
    auth: Annotated[
        Literal["bearer", "x-api-key", "api-key"] | None,
        Meta(description="Header for the provider's own key, OpenAI format; default: the preset's, or bearer."),
    ] = None
    anthropic_auth: Annotated[
        Literal["bearer", "x-api-key"] | None,
        Meta(description="The same, Anthropic format; default: the preset's, or x-api-key."),
    ] = None
    max_concurrency: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Most requests under way at once; more go to the next target."),
    ] = None
    ca: Annotated[
        str | None, Meta(description="File with the CA certificates to trust here, instead of the system's.")
    ] = None


Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="use letters, digits, dot, underscore and dash, at most 63, the first a letter or digit",
    ),
]


class Breaker(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a provider's circuit opens, and how.

    `mode`: enforce; shadow (counts and reports, refuses nothing); or disabled. `scope`: one circuit for each provider, or for
    each target. `failure_rate`: share of failures in the last `window` that opens it, once that holds `min_requests`.
    `window`: how far back failures count. `min_requests`: no judgement on fewer requests in the window. `open_for`: time
    until the first probe; it doubles up to 60 s while probes fail. `slow_first_event`: an answer whose first event takes
    longer is slow; None: none is. `slow_rate`: share of slow answers in the window that opens it, too.
    """

    mode: Literal["enforce", "shadow", "disabled"] = "enforce"
    scope: Literal["provider", "target"] = "provider"
    failure_rate: Annotated[float, Meta(gt=0, le=1)] = 0.5
    window: Seconds = Seconds(30)
    min_requests: Annotated[int, Meta(ge=1)] = 10
    open_for: Seconds = Seconds(5)
    slow_first_event: Seconds | None = None
    slow_rate: Annotated[float, Meta(gt=0, le=1)] = 1.0


class Timeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long each phase of an attempt may take.

    `connect`: name look-up, TCP and TLS. `head`: from the request sent to the response head, for streamed answers (an
    unstreamed one may take until `total`). `first_event`: from the request sent to the first data event of a stream.
    `idle`: between two data events of a stream; comments do not count. `total`: the whole request, all its attempts together.
    """

    connect: Seconds = Seconds(3)
    head: Seconds = Seconds(30)
    first_event: Seconds = Seconds(60)
    idle: Seconds = Seconds(120)
    total: Seconds = Seconds(600)


class RouteTimeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A route's own timeouts; what it leaves out is as at the top of the file."""

    connect: Seconds | None = None
    head: Seconds | None = None
    first_event: Seconds | None = None
    idle: Seconds | None = None
    total: Seconds | None = None

    def over(self, base: Timeouts) -> Timeouts:
        """`base` with what this route states put over it."""
        own = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(base, **own)


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same target again.

    `attempts`: extra tries. `max_wait`: longest wait before one. `budget`: retries per request, as a share.
    """

    attempts: Annotated[int, Meta(ge=0, le=5)] = 1
    max_wait: Seconds = Seconds(2)
    budget: Annotated[float, Meta(ge=0, le=1)] = 0.2


class LongContext(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prices for long prompts, in USD per million tokens.

    `over`: the tokens of a prompt above which they hold. `input`: tokens of the prompt. `output`: tokens of the answer.
    """

    over: Annotated[int, Meta(ge=1)]
    input: Annotated[float, Meta(ge=0)]
    output: Annotated[float, Meta(ge=0)]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """USD per million tokens.

    `input`: tokens of the prompt. `output`: tokens of the answer. `cached_input`: those of the prompt that the provider
    had in its cache; as `input` if left out. `cache_write`: those that it put there; as `input` if left out.
    `cache_write_1h`: those that it put there for an hour; as `cache_write` if left out. `batch`: a factor on all prices
    in the batch API. `long_context`: see there.
    """

    input: Annotated[float, Meta(ge=0)]
    output: Annotated[float, Meta(ge=0)]
    cached_input: Annotated[float, Meta(ge=0)] | None = None
    cache_write: Annotated[float, Meta(ge=0)] | None = None
    cache_write_1h: Annotated[float, Meta(ge=0)] | None = None
    batch: Annotated[float, Meta(ge=0, le=1)] = 1.0
    long_context: LongContext | None = None


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of a target.

    `context`: its window in tokens. `modalities`: the kinds of call it answers; a request of another kind passes it by.
    None: every kind. `price`: see there.
    """

    context: Annotated[int, Meta(ge=1)] | None = None
    price: Price | None = None
    modalities: tuple[Literal["text", "embedding", "image", "audio", "video", "rerank", "realtime"], ...] | None = None


PathGlob = Annotated[str, Meta(pattern=r"^[/*]", description="begin it with / or *, as in /v1/chat/*")]
HostName = Annotated[str, _read("Name of a host, in lower case once read.", host_name)]
HeaderName = Annotated[str, _read("Name of a header, in lower case once read.", header_name)]


class TokenRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A range of the request's estimated prompt tokens.

    `over`: it holds more than these. `up_to`: it holds at most these.
    """

    over: Annotated[int, Meta(ge=0)] | None = None
    up_to: Annotated[int, Meta(ge=1)] | None = None


ComplexityClass = Literal["simple", "standard", "complex", "creative"]


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which requests a route takes; all that is written must hold, an empty match takes everything.

    A glob may hold ``*`` (any text) and ``?`` (any one character); letters count as they are. Of a list one must fit.
    `model`: globs of the model that the client asks for. `path`: globs of the request's path, as in /v1/chat/*.
    `header`: globs of values, by the header's name, in which case does not count. `format`: the client's.
    `stream`: whether it asks for an event stream. `tools`, `images`, `audio`: whether the request holds any.
    `json`: whether it asks for JSON (a JSON mode or a schema). `prompt_tokens`: their estimated number.
    `complexity`: classes, as the client states them in x-fusebox-complexity or as the request looks.
    """

    model: tuple[str, ...] = ()
    path: tuple[PathGlob, ...] = ()
    header: dict[HeaderName, tuple[str, ...]] = {}
    format: Literal["openai", "anthropic"] | None = None
    stream: bool | None = None
    tools: bool | None = None
    images: bool | None = None
    audio: bool | None = None
    json: bool | None = None
    prompt_tokens: TokenRange | None = None
    complexity: tuple[ComplexityClass, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """One step of a chain: a target, or several with weights of which one is drawn per request."""

    choices: tuple[tuple[Target, float], ...]


class Hedge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One attempt more at another target when the first is slow. It costs tokens twice, so it is off unless written.

    `after`: how long the first event may take before. `extra_load`: hedges as a share of requests.
    """

    after: Seconds
    extra_load: Annotated[float, Meta(gt=0, le=1)] = 0.02


class Mirror(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A copy of a share of the requests, sent aside. Its answer is dropped, and it never delays the client.

    `to`: the target of the copies. `percent`: how many of a hundred requests are copied.
    """

    to: Step
    percent: Annotated[float, Meta(gt=0, le=100)] = 100.0


class RouteRetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A route's own retries; what it leaves out is as at the top of the file."""

    attempts: Annotated[int, Meta(ge=0, le=5)] | None = None
    max_wait: Seconds | None = None
    budget: Annotated[float, Meta(ge=0, le=1)] | None = None

    def over(self, base: Retry) -> Retry:
        """`base` with what this route states put over it."""
        own = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(base, **own) if own else base


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"from_": "from"}):
    """A rule of the policy: what it matches, and the chain of targets that answers.

    `name`: stands in logs and headers. `match`: the requests it takes; {} takes all. `to`: the chain, in the order in which
    it is tried. `sticky`: what keeps a client on one choice of a weighted step: header:NAME, user or prompt.
    `order`: of the chain's targets; ``cost`` asks the cheapest first, ``latency`` the one whose first events came soonest.
    `mirror`: see there. `timeouts`, `retry`: over those at the top of the file. `deliver`: ``whole`` holds a stream back
    until it is complete, so that a cut one can still fall back. `on_broken_stream`: what the client sees of a cut.
    `on_content_filter`: ``fallback`` asks the next target when a provider's filter refused. `hedge`: see there.
    `from`: the route takes requests from this moment on. `until`: it takes them before this moment.
    """

    name: Name
    match: Match
    to: tuple[Step, ...]
    sticky: Annotated[str, _read("What keeps a client on one choice: header:NAME, user or prompt.", sticky)] | None = (
        None
    )
    order: Literal["as_written", "cost", "latency"] = "as_written"
    mirror: Mirror | None = None
    timeouts: RouteTimeouts = RouteTimeouts()
    retry: RouteRetry = RouteRetry()
    deliver: Literal["live", "whole"] = "live"
    on_broken_stream: Literal["abort", "error_event"] = "abort"
    on_content_filter: Literal["answer", "fallback"] = "answer"
    hedge: Hedge | None = None
    from_: Moment | None = None
    until: Moment | None = None


Feature = Literal[
    "size", "turns", "code", "mathematics", "tools", "images", "reasoning", "structured", "instructions", "creation"
]


class Complexity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How requests are classed: each feature, from 0 to 1, times its weight; the sum is the score.

    `weights`: of features, in place of the built-in ones. `simple_below`: scores below it are ``simple``. `complex_from`:
    scores from it on are ``complex``, those between ``standard``. `creative_from`: how strong the instructions to create
    must be, from 0 to 1, for ``creative``; above 1: never.
    """

    weights: dict[Feature, Annotated[float, Meta(ge=0, le=10)]] = {}
    simple_below: Annotated[float, Meta(ge=0)] = 0.14
    complex_from: Annotated[float, Meta(ge=0)] = 0.45
    creative_from: Annotated[float, Meta(ge=0)] = 0.5


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds on one request.

    `body`: the most of it held in memory to find the model. `headers`: their total size.
    """

    body: Bytes = Bytes(64 * 1024**2)
    headers: Bytes = Bytes(64 * 1024)


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The log; lines go to stdout.

    `level`: the least of what is written. `format`: JSON, or text for eyes; auto: text on a terminal, JSON elsewhere.
    `sample`: the share of requests that succeeded at the first attempt whose lines are written; all others' are. Numbers
    (metrics, `/api/requests`) are of all requests.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    sample: Annotated[float, Meta(gt=0, le=1)] = 1.0


class Traces(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Traces: a span for each request and each of its attempts, sent to an OTLP receiver over HTTP. Needs the extra `otel`.

    `otlp`: the receiver's root, to which /v1/traces is added; default: as OTEL_EXPORTER_OTLP_ENDPOINT says, or
    http://localhost:4318. `sample`: the share of traces that are recorded, of those that begin here; a trace that a
    client began is recorded if the client says so. `headers`: header lines for the receiver, each value from an
    environment variable or a file.
    """

    otlp: Annotated[str, _read("The receiver's root, as in http://127.0.0.1:4318.", otlp_root)] | None = None
    sample: Annotated[float, Meta(ge=0, le=1)] = 1.0
    headers: dict[HeaderName, KeySource] = {}


FileName = Annotated[str, _read("Path of a file, as seen from the folder of this one.", file_name)]


class Included(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file that another one includes: more providers, models and routes, and nothing else."""

    providers: dict[Name, Provider] = {}
    models: dict[str, Model] = {}
    routes: tuple[Route, ...] = ()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole configuration file.

    `listen`: where the service beside Fusebox sends its requests. `admin`: health, metrics and the page.
    `admin_token`: where the token is that the page and the API ask for; with one they may be reached from other hosts,
    and the page has buttons. `allowed_hosts`: names that a data port on loopback answers to beside its own, and whose
    pages may ask it; any other gets 403, as a page may have pointed its own name there. `providers`: who may answer, by
    name. `models`: what is known of targets, by provider/model. `routes`: which request goes where; the first one whose
    match fits is taken. `response_headers`: whether answers carry x-fusebox-route and the like. `drain`: how long running
    answers may go on when the process is asked to stop. `traces`: see there. `faults`: whether `fusebox fault` may have
    providers behave as if they failed; off, as a production proxy is no place for that.

    `include`: files with more providers, models and routes; their routes come after those written here, in the order of
    the files. `shadow`: a file with a candidate policy, which decides beside this one; nothing is sent for it.

    In a `Config` that was parsed, what is included is in its place.
    """

    listen: Listen = Listen("127.0.0.1", 4010)
    admin: Listen = Listen("127.0.0.1", 4011)
    admin_token: KeySource | None = None
    allowed_hosts: tuple[HostName, ...] = ()
    providers: dict[Name, Provider]
    breaker: Breaker = Breaker()
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    models: dict[str, Model] = {}
    routes: tuple[Route, ...]
    complexity: Complexity = Complexity()
    response_headers: bool = True
    limits: Limits = Limits()
    drain: Seconds = Seconds(300)
    log: Log = Log()
    traces: Traces | None = None
    faults: bool = False
    include: tuple[FileName, ...] = ()
    shadow: FileName | None = None
