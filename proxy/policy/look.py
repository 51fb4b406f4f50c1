"""A look into a request's body, taken when a route first asks for it, and only once."""

from __future__ import annotations

from proxy.config.schema import Complexity
from proxy.exchange import Endpoint, Prompt
from proxy.policy.complexity import Assessment, assess
from proxy.policy.prompt import Body, Reading, read


class BodyLook:
    """The look into one JSON body (see ``exchange.Look``)."""

    __slots__ = ("_assessment", "_body", "_endpoint", "_reading", "_settings", "size")

    def __init__(self, body: Body, endpoint: Endpoint, settings: Complexity) -> None:
        self.size = len(body)
        self._body = body
        self._endpoint = endpoint
        self._settings = settings
        self._reading: Reading | None = None
        self._assessment: Assessment | None = None

    @property
    def _read(self) -> Reading:
        if self._reading is None:
            self._reading = read(self._body, self._endpoint)
        return self._reading

    @property
    def prompt(self) -> Prompt:
        """What the body holds."""
        return self._read.prompt

    @property
    def assessment(self) -> Assessment:
        """The class of the request, and how it came about."""
        if self._assessment is None:
            self._assessment = assess(self._read, self._settings)
        return self._assessment

    @property
    def complexity(self) -> str:
        """The class of the request."""
        return self.assessment.complexity

    @property
    def seen(self) -> Prompt | None:
        """`prompt`, if somebody has asked for anything."""
        return None if self._reading is None else self._reading.prompt

    @property
    def classed(self) -> str | None:
        """`complexity`, if somebody has asked for it."""
        return None if self._assessment is None else self._assessment.complexity
