"""The frozen values that travel from room to room: what came in, what was decided, what became of it.

Nothing here does anything. A value is built once, by the room named in its docstring, and only read afterwards.
The values are msgspec Structs, not dataclasses: several are built for every request, and a frozen dataclass takes eight
times as long to build as a frozen Struct.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

RawHeaders = Sequence[tuple[bytes, bytes]]
"""Header lines in the order of the wire, names in the case of the wire, values without surrounding white space."""


class Format(StrEnum):
    """The API dialect a client speaks. It decides the URL root, the credential header and the shape of errors."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Carrier(StrEnum):
    """Where an endpoint carries its model."""

    JSON = "json"
    MULTIPART = "multipart"
    QUERY = "query"
    PATH = "path"
    NONE = "none"


class Endpoint(msgspec.Struct, frozen=True):
    """What a path means (built by ``wire/endpoints``).

    ``stored``: the call is about an object that lives at one provider (a file, a batch, a stored response), so
    another provider can never answer it. ``modality``: which kind of model it takes; None: any, or it is not known.
    ``inference``: it asks a model for something, so a success without an answer is none.
    """

    name: str
    format: Format
    carrier: Carrier
    stored: bool = False
    modality: str | None = None
    inference: bool = False


class Target(msgspec.Struct, frozen=True):
    """A provider by name, and the model to ask it for; ``None`` keeps the client's model."""

    provider: str
    model: str | None = None

    def __str__(self) -> str:
        return self.provider if self.model is None else f"{self.provider}/{self.model}"


class Prompt(msgspec.Struct, frozen=True):
    """What a request's body holds, as far as policies ask (built by ``policy/prompt``).

    `tokens`: the estimated size of the prompt, its tools and images too. `turns`: messages of the user's. `json`: the
    answer is to be JSON. `user`: the end user's id, if the request names one. `prefix`: a digest of the prompt's
    beginning, which is the same for all requests of one conversation; empty without a prompt. `output`: most tokens of
    the answer, if the request bounds it.
    """

    tokens: int = 0
    turns: int = 0
    tools: bool = False
    images: bool = False
    audio: bool = False
    json: bool = False
    user: str | None = None
    prefix: str = ""
    output: int | None = None


class Look(Protocol):
    """A look into the body, taken only when a route asks for it."""

    @property
    def size(self) -> int:
        """Bytes of the body."""

    @property
    def prompt(self) -> Prompt:
        """What the body holds."""

    @property
    def complexity(self) -> str:
        """The class of the request: simple, standard, complex or creative."""

    @property
    def seen(self) -> Prompt | None:
        """`prompt`, if somebody has asked for it; None: nobody has, and this does not look either."""

    @property
    def classed(self) -> str | None:
        """`complexity`, if somebody has asked for it; None: nobody has, and this does not look either."""


class Facts(msgspec.Struct, frozen=True):
    """What the policy may ask about a request (built by ``serve/intake``); header names are lower case.

    `complexity`: the class that the client stated. `look`: None for a body that is not JSON, or not held.
    """

    endpoint: Endpoint
    method: str
    path: str
    model: str | None
    stream: bool
    headers: dict[str, str]
    complexity: str | None = None
    look: Look | None = None


class Skipped(msgspec.Struct, frozen=True):
    """A target that was not taken, and the reason in words that a log line can carry."""

    target: Target
    reason: str


class Plan(msgspec.Struct, frozen=True):
    """The targets decided for one request, in order, and the reasons for those left out (built by ``policy/decide``)."""

    route: str
    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...] = ()


class Tried(msgspec.Struct, frozen=True):
    """One attempt and what came of it (built by ``attempt/chain``).

    `by`: the target as the policy has it; `target`: the same with the model that was asked for. `outcome`, `category`,
    `verdict`: as in ``attempt/outcomes``. `start_ms`: since the walk began; `ms`: until its answer could be handed on, or
    until it had failed. `span`: the id of its span, if the request is traced.
    """

    by: Target
    target: str
    outcome: str
    category: str
    verdict: str
    start_ms: float
    ms: float
    status: int | None = None
    span: str = ""


class Usage(msgspec.Struct, frozen=True):
    """What a provider says one exchange used (built by ``wire/usage``), in one meaning for every format.

    `input`: all tokens of the prompt, with those read from and written to the provider's cache. `output`: all tokens of
    the answer, reasoning included. The other token counts are parts of these two: `cached_input`, `cache_write` and
    `audio_input` of `input`, `cache_write_1h` (kept for an hour, not minutes) of `cache_write`, `reasoning` and
    `audio_output` of `output`. `seconds`: of audio. `units`: of a provider's own, as searches of a reranker.
    `reported_usd`: the cost, where the provider tells it. `batch`: it was answered at the price of batches, which is also
    that of OpenAI's flex tier (https://platform.openai.com/docs/guides/flex-processing).
    """

    input: int
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    seconds: float = 0.0
    units: float = 0.0
    reported_usd: float | None = None
    batch: bool = False
