"""The OTLP exporter's settings: from the configuration, from the environment, and what is refused or never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.parse import parse
from proxy.config.problems import ConfigError
from proxy.config.schema import KeySource, Traces
from proxy.observe.record import Record
from proxy.observe.trace import Trace
from proxy.observe.trace_otlp import Otlp
from tests.observe.receiver import Receiver

BASE = "providers: {openai: }\nroutes: [{name: r, match: {}, to: [openai]}]\n"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "sk-planted-0123456789abcdef"


def recorded() -> Record:
    """A request that has ended, with nothing but its own span."""
    record = Record("GET", "/v1/models", status=200)
    record.ended_at = record.started_at
    record.trace = Trace(TRACE, SPAN, None, 1, 1_700_000_000_000_000_000, record.started_at)
    return record


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of OpenTelemetry's own settings."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("traces:", Traces()),
        ("traces: {otlp: 'http://C:4318/', sample: 0}", Traces(otlp="http://c:4318", sample=0)),
        ("traces: {otlp: 'https://c/otlp/v1/traces'}", Traces(otlp="https://c/otlp")),
        ("traces: {headers: {X-Key: {file: k}}}", Traces(headers={"x-key": KeySource(file="k")})),
        ("", None),
    ],
)
def test_what_may_be_written(written: str, meant: Traces | None) -> None:
    """All of it may be left out; the path of the traces may be written or not."""
    assert parse(BASE + written).traces == meant


@pytest.mark.parametrize(
    "written",
    [
        f"traces: {{headers: {{authorization: {SECRET}}}}}",
        f"traces: {{headers: {{authorization: {{token: {SECRET}}}}}}}",
        f"traces: {{otlp: 'http://user:{SECRET}@c:4318'}}",
        f"traces: {{otlp: 'http://c:4318?key={SECRET}'}}",
        "traces: {headers: {authorization: {}}}",
        "traces: {headers: {authorization: {env: A, file: b}}}",
        "traces: {headers: {A: {env: A}, a: {env: A}}}",
        "traces: {sample: 2}",
        "traces: {endpoint: 'http://c:4318'}",
    ],
)
def test_what_may_not_be_written(written: str) -> None:
    """Secrets above all, and they are not repeated."""
    with pytest.raises(ConfigError) as caught:
        parse(BASE + written)
    assert "traces" in str(caught.value) and SECRET not in str(caught.value)


def test_the_file_stands_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its receiver and its headers count; what it leaves out comes from there. A file's new content needs no restart."""
    key = tmp_path / "key"
    key.write_text(f"Bearer {SECRET}\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=theirs,x-other=kept")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with Receiver() as receiver:
        config = Traces(otlp=f"http://127.0.0.1:{receiver.port}", headers={"authorization": KeySource(file=str(key))})
        otlp = Otlp(config, {})
        receiver.mode = "500"  # compressed, so not read here
        assert otlp.send([recorded()], lambda: None) == f"http://127.0.0.1:{receiver.port} answered 500"
        key.write_text("Bearer new\n")
        otlp.send([recorded()], lambda: None)
        key.unlink()
        otlp.send([recorded()], lambda: None)
        otlp.close()
    assert [one["authorization"] for one in receiver.heads] == [f"Bearer {SECRET}", "Bearer new", "Bearer new"]
    assert {(one["x-other"], one["content-encoding"]) for one in receiver.heads} == {("kept", "gzip")}


def test_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver is the environment's, and its root is read as the SDK reads it; this process has a name of its own."""
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.port}/")
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}/",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
        }
        otlp = Otlp(Traces(), environment)
        assert (otlp.every_s, otlp.missing) == (0.25, [])
        assert otlp.send([recorded()], lambda: None) is None
        otlp.close()
    (span,) = receiver.spans
    assert (span.trace_id, span.name, span.resource["service.name"]) == (TRACE, "GET", "llm-fusebox")


def test_an_address_with_a_key_is_not_shown() -> None:
    """The environment's address may hold one; what is logged is its origin."""
    url = f"https://user:{SECRET}@vendor.example:8443/{SECRET}?k={SECRET}"
    assert Otlp(Traces(), {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url}).receiver == "https://vendor.example:8443"


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), ("", "is empty"), ("a\nb", "only visible ASCII and spaces"), ("ü", "only visible ASCII")],
)
def test_headers_that_cannot_be_read(tmp_path: Path, content: str | None, said: str) -> None:
    """Each is named with its source, never with its value; spans are sent without it."""
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    (missing,) = Otlp(Traces(headers={"x-key": KeySource(file=str(path))}), {}).missing
    assert missing.startswith(f"x-key: file {path} ") and said in missing
