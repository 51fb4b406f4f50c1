"""A logged request as the facts that a policy decides by. What the log does not hold is `Lacking`, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from proxy.exchange import Carrier, Endpoint, Facts, Format, Prompt
from proxy.policy.compiled import Policy
from proxy.policy.replay_log import Logged
from proxy.wire.endpoints import classify, inference

HEADER_LOGGED = 200
"""Characters of a header's value that are logged; one of this length may have been longer."""

PATH_LOGGED = 1024
"""The same for a path."""


class Lacking(Exception):
    """The log does not hold `fact`, which the policy asks for."""

    def __init__(self, fact: str) -> None:
        super().__init__(f"the log lacks {fact}")
        self.fact = fact


class _Unlogged:
    """A prompt of which nothing is known. Who asked is never logged, so for a sticky route that is nothing new."""

    user = None
    prefix = ""

    def __getattr__(self, name: str) -> Any:
        raise Lacking("prompt")


_UNLOGGED = cast(Prompt, _Unlogged())


@dataclass(frozen=True, slots=True)
class LoggedLook:
    """What the policy in force saw in the body; asking for more raises Lacking."""

    size: int
    prompt: Prompt
    classed: str | None

    @property
    def seen(self) -> Prompt | None:
        """Nothing is looked at: it is all known, or not."""
        return None if self.prompt is _UNLOGGED else self.prompt

    @property
    def complexity(self) -> str:
        """The class that was logged. Raises Lacking."""
        if self.classed is None:
            raise Lacking("complexity")
        return self.classed


class AskedHeaders(dict[str, str]):
    """Headers of a request; asking for one that was not logged raises Lacking. `logged`: None for those it did not have."""

    def __init__(self, logged: Mapping[str, str | None]) -> None:
        super().__init__(
            {name: value for name, value in logged.items() if value is not None and len(value) < HEADER_LOGGED}
        )
        self._absent = frozenset(name for name, value in logged.items() if value is None)

    def get(self, name: str, default: Any = None, /) -> Any:
        """The value; None for a header that the request did not have."""
        if name in self:
            return self[name]
        if name in self._absent:
            return default
        raise Lacking(f"header {name}")

    def knows(self, name: str) -> bool:
        """Whether it is known what the request had of `name`."""
        return name in self or name in self._absent


def endpoint_of(logged: Logged) -> Endpoint:
    """What its path meant. Raises Lacking when only the client's format, which old logs do not hold, could tell."""
    path = logged.path
    if len(path) >= PATH_LOGGED:
        raise Lacking("path")
    if logged.format is not None:
        return classify(logged.method, path, anthropic_header=logged.format == Format.ANTHROPIC.value)
    known = inference(path) if logged.method == "POST" else None
    if known is None:
        raise Lacking("format")
    return known


def facts_of(logged: Logged, headers: AskedHeaders, *, same_classes: bool = True) -> Facts:
    """The facts. `same_classes` False: the class that was found in the body would not be found by the new policy's
    settings, so it is as if it were not logged. Raises Lacking.
    """
    absolute = logged.path.lower().startswith("http://")
    if absolute:  # RFC 9112 section 3.2.2: the form that clients of a forward proxy send
        logged = msgspec.structs.replace(logged, path="/" + logged.path[7:].partition("/")[2])
    endpoint = endpoint_of(logged)
    look: LoggedLook | None = None
    if endpoint.carrier is Carrier.JSON and logged.prompt is not None:
        prompt = _UNLOGGED
        if logged.prompt is not msgspec.UNSET:
            prompt = Prompt(**msgspec.structs.asdict(logged.prompt))
        found = logged.complexity if same_classes and not logged.complexity_stated else None
        look = LoggedLook(logged.bytes_in, prompt, found)
    return Facts(
        endpoint,
        logged.method,
        logged.path,
        logged.model,
        logged.stream,
        dict(headers),
        logged.complexity if logged.complexity_stated else None,
        look,
    )


def told(policy: Policy, facts: Facts, headers: AskedHeaders, now_s: float) -> None:
    """Raises Lacking when a header that was not logged could change which route of `policy` takes the request."""
    asking = msgspec.structs.replace(facts, headers=headers)
    for compiled in policy.routes:
        # In the order of `choose`: what nobody asked for was not logged.
        if compiled.timed and not compiled.in_force(now_s):
            continue
        if compiled.takes(asking) and (compiled.live is None or compiled.live(asking)):
            return
