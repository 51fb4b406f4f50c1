"""An OTLP receiver, in threads of the test's process: it takes spans over HTTP, or misbehaves as the test says.

with Receiver() as receiver:
    ...  # send spans to http://127.0.0.1:{receiver.port}
    request, *attempts = await receiver.trace(trace_id)
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

HANG_S = 20.0
"""Seconds after which anything awaited here counts as hung."""

Mode = Literal["ok", "500", "503", "garbage", "trickle", "hang", "cut"]


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it came; ids in hexadecimal, times in nanoseconds since 1970."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    error: str | None
    attributes: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)


class Receiver:
    """Takes spans on a free port. `mode`: how it behaves; `bodies`: all that was sent to it, `heads` with what headers."""

    def __init__(self) -> None:
        self.mode: Mode = "ok"
        self.bodies: list[bytes] = []
        self.heads: list[dict[str, str]] = []
        self.spans: list[Received] = []
        self._grown = threading.Condition()
        self._let_go = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that has gone is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._let_go.set()
        self._server.shutdown()
        self._server.server_close()

    async def trace(self, trace_id: str) -> list[Received]:
        """The spans of a trace, the request's own first, then its attempts' as they began; waits for them."""
        spans = await self._once(lambda: [one for one in self.spans if one.trace_id == trace_id])
        # All spans of a request come in one message.
        return sorted(spans, key=lambda one: (one.kind != "server", one.start_ns))

    async def asked(self, count: int) -> None:
        """Wait until so many messages have come, whatever became of them."""
        await self._once(lambda: len(self.bodies) >= count)

    async def _once(self, wanted: Any) -> Any:
        def wait() -> Any:
            with self._grown:
                assert self._grown.wait_for(wanted, HANG_S), "the spans did not come"
                return wanted()

        return await asyncio.to_thread(wait)

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        mode = self.mode
        with self._grown:
            self.bodies.append(body)
            self.heads.append({name.lower(): value for name, value in handler.headers.items()})
            if mode == "ok":
                assert handler.path == "/v1/traces"
                self.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
            self._grown.notify_all()
        if mode == "garbage":
            handler.wfile.write(b"\x16\x03\x01\x00 this is no HTTP at all\r\n\r\n" * 10)
        elif mode == "hang":
            self._let_go.wait(HANG_S)
        elif mode == "trickle":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while not self._let_go.wait(0.05):
                handler.wfile.write(b"x")
        elif mode in ("500", "503"):
            handler.send_response(int(mode))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        elif mode == "ok":
            handler.send_response(200)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.close_connection = True


def _spans(message: ExportTraceServiceRequest) -> list[Received]:
    found = []
    for resource in message.resource_spans:
        about = {one.key: _value(one.value) for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for one in scope.spans:
                found.append(
                    Received(
                        one.name,
                        ProtoSpan.SpanKind.Name(one.kind).removeprefix("SPAN_KIND_").lower(),
                        one.trace_id.hex(),
                        one.span_id.hex(),
                        one.parent_span_id.hex(),
                        one.start_time_unix_nano,
                        one.end_time_unix_nano,
                        one.status.message if one.status.code == Status.STATUS_CODE_ERROR else None,
                        {each.key: _value(each.value) for each in one.attributes},
                        about,
                    )
                )
    return found


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind is not None else None
