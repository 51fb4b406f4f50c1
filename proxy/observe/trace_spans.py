"""From a request that has ended to its spans: one for the request, and below it one for each attempt.

Names as in OpenTelemetry's semantic conventions for HTTP and for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/), and ``fusebox.*`` for what they have no word for. docs/traces.md
lists them all. Metadata only: no prompt, no answer, no key, no header's value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from proxy.exchange import Target, Tried, Usage
from proxy.observe.record import PATH_MAX, Record
from proxy.observe.trace import Begun, Trace
from proxy.wire.endpoints import INFERENCE_NAMES

Value = str | int | float | bool | tuple[str, ...]

TEXT_MAX = 256
"""Characters of a text that a client chose."""

SKIPPED_MAX = 32
"""Reasons for targets that were left out, in one span."""

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))

_OPERATIONS = {
    "chat.completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
"""By endpoint: the operations that the conventions know. A call of another kind is named as its endpoint."""

_VENDORS = {
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""By provider: how the conventions call it, where that differs from its preset's name."""


class Span(msgspec.Struct, frozen=True):
    """A span, ready to be sent. Ids in hexadecimal, times in nanoseconds since 1970.

    `parent_remote`: its parent is the client's. `failed`: it is an error, which this describes.
    """

    name: str
    kind: Literal["server", "client"]
    trace_id: str
    span_id: str
    parent_id: str | None
    parent_remote: bool
    flags: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    failed: str | None = None


def count_of(record: Record) -> int:
    """How many spans `spans_of` gives."""
    return 0 if record.trace is None else 1 + len(record.trace.begun)


def spans_of(record: Record) -> Iterator[Span]:
    """The spans of a request that has ended and is recorded: its own first, then its attempts' as they began."""
    trace = record.trace
    assert trace is not None
    yield _request(record, trace)
    tried = {one.span: one for one in record.tries()}
    if record.tried is None:
        # An only attempt that succeeded is not noted one by one, so it does not say which span is its own.
        answered = trace.begun[0].span_id if len(trace.begun) == 1 else None
        tried = dict.fromkeys([answered or ""], next(iter(tried.values()))) if tried else {}
    else:
        answered = next((one.span for one in reversed(record.tried) if one.category == "OK"), None)
    for begun in trace.begun:
        yield _attempt(record, trace, begun, tried.get(begun.span_id), answered=begun.span_id == answered)


def _request(record: Record, trace: Trace) -> Span:
    known = record.method in _METHODS
    method = record.method if known else "_OTHER"
    attributes: dict[str, Value] = {"http.request.method": method, "url.path": record.path[:PATH_MAX]}
    if record.status:
        attributes["http.response.status_code"] = record.status
    attributes["fusebox.request_id"] = record.request_id[:TEXT_MAX]
    if record.endpoint:
        attributes["fusebox.endpoint"] = record.endpoint
    attributes["fusebox.stream"] = record.stream
    attributes["fusebox.attempts"] = record.attempts
    for name, text in (
        ("fusebox.route", record.route),
        ("fusebox.target", record.target),
        ("fusebox.client_model", record.client_model),
        ("fusebox.error_code", record.error_code),
        ("fusebox.broke", record.broke),
    ):
        if text:
            attributes[name] = text[:TEXT_MAX]
    if record.skipped:
        attributes["fusebox.skipped"] = tuple(one[:TEXT_MAX] for one in record.skipped[:SKIPPED_MAX])
    if record.panic:
        attributes["fusebox.panic"] = True
    if record.cost_usd is not None:
        attributes["fusebox.cost_usd"] = record.cost_usd
    if record.usage is None and record.bills:
        attributes["fusebox.unmetered"] = True
    if record.ready_at:
        attributes["fusebox.first_event_ms"] = round((record.ready_at - record.started_at) * 1000, 2)
    if record.written_at:
        attributes["fusebox.overhead_us"] = round(record.overhead_s() * 1e6)
    failed = _failed(record)
    if failed is not None:
        attributes["error.type"] = failed
    return Span(
        f"{record.method if known else 'HTTP'} {record.endpoint}".rstrip(),
        "server",
        trace.trace_id,
        trace.span_id,
        trace.parent_id,
        True,
        trace.flags,
        trace.ns(record.started_at),
        trace.ns(record.ended_at),
        attributes,
        failed,
    )


def _failed(record: Record) -> str | None:
    """What makes a request an error: a 5xx, or an answer that broke off. A client's own mistake or leaving is none."""
    if record.broke is not None:
        return record.broke
    if record.status >= 500:
        return record.error_code or str(record.status)
    return record.error_code if record.error_code is not None and record.status < 400 else None


def _attempt(record: Record, trace: Trace, begun: Begun, tried: Tried | None, *, answered: bool) -> Span:
    """The span of an attempt. `answered`: its answer went to the client, so it lasts as long as the request."""
    method = record.method if record.method in _METHODS else "_OTHER"
    attributes: dict[str, Value] = {"http.request.method": method}
    host, port = _address(begun.origin)
    attributes["server.address"] = host
    if port:
        attributes["server.port"] = port
    start, end, failed = begun.at, record.ended_at, None
    label = "" if tried is None else tried.target
    if tried is not None:
        if not answered:
            end = min(end, start + tried.ms / 1000)
        if tried.status:
            attributes["http.response.status_code"] = tried.status
        attributes["fusebox.outcome"] = tried.outcome
        attributes["fusebox.class"] = tried.category
        attributes["fusebox.verdict"] = tried.verdict
        if tried.category not in ("OK", "LOCAL"):
            failed = str(tried.status) if tried.status and tried.status >= 400 else tried.outcome
            attributes["error.type"] = failed
        attributes.update(_ai(record, trace, tried.by, label, answered))
    operation, model = attributes.get("gen_ai.operation.name"), attributes.get("gen_ai.request.model")
    name = f"{operation} {model or ''}".rstrip() if operation else f"{method} {label.partition('/')[0]}".rstrip()
    return Span(
        name,
        "client",
        trace.trace_id,
        begun.span_id,
        trace.span_id,
        False,
        trace.flags,
        trace.ns(start),
        trace.ns(end),
        attributes,
        failed,
    )


def _ai(record: Record, trace: Trace, by: Target, label: str, answered: bool) -> dict[str, Value]:
    """What the conventions for generative AI say of an attempt; `label`: its target, with the model asked for."""
    vendor = _VENDORS.get(by.provider, by.provider)
    told: dict[str, Value] = {"fusebox.provider": by.provider}
    if record.endpoint not in INFERENCE_NAMES:
        return told
    told["gen_ai.operation.name"] = _OPERATIONS.get(record.endpoint, record.endpoint)
    told["gen_ai.provider.name"] = told["gen_ai.system"] = vendor
    model = label.partition("/")[2]
    if model:
        told["gen_ai.request.model"] = model[:TEXT_MAX]
    told["gen_ai.request.stream"] = record.stream
    if answered:
        if trace.model is not None:
            told["gen_ai.response.model"] = trace.model
        if record.stream and record.ready_at:
            told["gen_ai.response.time_to_first_chunk"] = round(record.ready_at - record.sent_at, 5)
        if record.usage is not None:
            told.update(_usage(record.usage))
    return told


def _usage(usage: Usage) -> dict[str, Value]:
    told: dict[str, Value] = {
        "gen_ai.usage.input_tokens": usage.input,
        "gen_ai.usage.output_tokens": usage.output,
    }
    if usage.cached_input:
        told["gen_ai.usage.cache_read.input_tokens"] = usage.cached_input
    if usage.cache_write:
        told["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write
    if usage.reasoning:
        told["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning
    return told


def _address(origin: str) -> tuple[str, int]:
    """Host and port of ``scheme://host:port``; port 0 if it names none."""
    authority = origin.partition("://")[2] or origin
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdecimal():
        host, port = authority, "443" if origin.startswith("https") else "80"
    return host.strip("[]"), int(port)
