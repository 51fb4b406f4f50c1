"""Spans on their way out: OpenTelemetry's own exporter speaks OTLP over HTTP. The only import of opentelemetry.

Imported only when the configuration asks for traces: it takes a fifth of a second, and needs the extra `otel`.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_SCHEDULE_DELAY,
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
)
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from proxy import __version__
from proxy.config.schema import Traces
from proxy.config.secrets import describe, read_key
from proxy.observe.record import Record
from proxy.observe.trace_spans import Span, count_of, spans_of
from proxy.observe.traces import EVERY_S

_PATH = "/v1/traces"

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_SCOPE = InstrumentationScope("llm-fusebox", __version__, "https://opentelemetry.io/schemas/1.37.0")


class Otlp:
    """Sends the spans of requests to the receiver of `config`.

    What `config` leaves out is as the environment has it, by the names of the SDK's: OTEL_EXPORTER_OTLP_*,
    OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_SCHEDULE_DELAY. `missing`: headers that could not be read, and
    why. `receiver`: its origin. `every_s`: how long a request waits at the most. Raises ValueError for what the environment
    says wrongly.
    """

    def __init__(self, config: Traces, environment: Mapping[str, str] = os.environ) -> None:
        self._config = config
        self._environment = environment
        self._session = requests.Session()
        self._values: dict[str, str] = {}
        self._session.auth = self._sign
        # The status says all; a body is not read, as it might never end. A new connection every few seconds costs nothing.
        self._session.stream = True
        self._session.hooks["response"].append(_close)
        endpoint = None if config.otlp is None else config.otlp + _PATH
        self.receiver = _receiver(endpoint, environment)
        if _is_here(self.receiver):
            # No proxy stands between this machine and itself, whatever HTTP_PROXY says.
            self._session.trust_env = False
        self._heard = _Heard()
        self.missing = self._refresh()
        self._exporter = OTLPSpanExporter(endpoint=endpoint, session=self._session)
        self._resource = _resource()
        self.every_s = int(environment.get(OTEL_BSP_SCHEDULE_DELAY) or EVERY_S * 1000) / 1000

    def send(self, records: Sequence[Record], pause: Callable[[], None]) -> str | None:
        """As ``traces.Export.send``. Takes as long as OTEL_EXPORTER_OTLP_TIMEOUT says: 10 s."""
        self._refresh()
        self._heard.forget()
        spans = _Spans(records, self._resource, pause)
        # The exporter asks for no more than its length and one pass.
        result = self._exporter.export(cast(Sequence[ReadableSpan], spans))
        if result is not SpanExportResult.FAILURE:
            return None
        code = self._heard.code
        return f"{self.receiver} " + (f"answered {code}" if code is not None else "gave no answer in time")

    def close(self) -> None:
        """As ``traces.Export.close``: a pause before another try ends, too."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _refresh(self) -> list[str]:
        """Read the headers' values: files may have changed. What cannot be read is left as it was."""
        missing = []
        for name, source in self._config.headers.items():
            try:
                self._values[name] = read_key(source, self._environment, spaces=True).decode("ascii")
            except (OSError, ValueError) as error:
                said = error.strerror if isinstance(error, OSError) else error
                missing.append(f"{name}: {describe(source)} {said}")
        return missing

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the configured headers over all others; called by requests for each one that it sends."""
        request.headers.update(self._values)
        return request


class _Spans:
    """The spans of `records`, made one by one while they are encoded, with a `pause` after each request's.

    Made all at once they would hold the interpreter for as long as it takes to make hundreds.
    """

    def __init__(self, records: Sequence[Record], resource: Resource, pause: Callable[[], None]) -> None:
        self._records = records
        self._resource = resource
        self._pause = pause

    def __len__(self) -> int:
        return sum(map(count_of, self._records))

    def __iter__(self) -> Iterator[ReadableSpan]:
        for record in self._records:
            for span in spans_of(record):
                yield _readable(span, self._resource)
            self._pause()


def _close(response: requests.Response, **_: object) -> None:
    response.close()


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    """`span` as OpenTelemetry has it."""
    flags, trace_id = TraceFlags(span.flags), int(span.trace_id, 16)
    parent = None
    if span.parent_id is not None:
        parent = SpanContext(trace_id, int(span.parent_id, 16), span.parent_remote, flags)
    return ReadableSpan(
        span.name,
        SpanContext(trace_id, int(span.span_id, 16), False, flags),
        parent,
        resource,
        attributes=span.attributes,
        kind=_KINDS[span.kind],
        status=Status(StatusCode.UNSET) if span.failed is None else Status(StatusCode.ERROR, span.failed),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )


def _resource() -> Resource:
    """Who sends: as the environment says, else this process by its own name."""
    found = Resource.create()
    name = found.attributes.get(SERVICE_NAME)
    if isinstance(name, str) and name.startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "llm-fusebox", SERVICE_VERSION: __version__}))
    return found


def _receiver(endpoint: str | None, environment: Mapping[str, str]) -> str:
    """The receiver's origin, for people: a whole URL of the environment's may hold a key."""
    url = (
        endpoint
        or environment.get(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)
        or environment.get(OTEL_EXPORTER_OTLP_ENDPOINT)
        or "http://localhost:4318"
    )
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _is_here(receiver: str) -> bool:
    host = urlsplit(receiver).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Heard(logging.Handler):
    """Hears what OpenTelemetry logs, in place of stderr; `code`: the status that the receiver answered, if any.

    Its texts may quote what the receiver said, so nothing else is taken from them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.code: int | None = None
        # For good: a thread that is left behind at the end of the process may still have something to say.
        logger = logging.getLogger("opentelemetry")
        logger.propagate = False
        logger.addHandler(self)

    def forget(self) -> None:
        """Nothing has been heard."""
        self.code = None

    def emit(self, record: logging.LogRecord) -> None:
        """One message of the library's."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        self.code = next((one for one in arguments if type(one) is int and 100 <= one < 600), None)
