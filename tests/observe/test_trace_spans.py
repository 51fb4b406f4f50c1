"""From a record to its spans: what is an error, which attempt answered, and what stays out."""

from __future__ import annotations

import pytest

from proxy.exchange import Target, Tried, Usage
from proxy.observe.record import Record
from proxy.observe.trace import Begun, Trace
from proxy.observe.trace_spans import TEXT_MAX, Span, count_of, spans_of

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"
ORIGIN = "https://api.vendor.example"
NS = 1_700_000_000_000_000_000


def record(*begun: float, **facts: object) -> Record:
    """A request that came at 10 s of its clock and ended at 13 s; `begun`: when its attempts were."""
    made = Record("POST", "/v1/chat/completions", 10.0, endpoint="chat.completions", status=200, attempts=len(begun))
    made.ended_at, made.target, made.by = 13.0, "google/m", Target("google", "m")
    made.trace = Trace(TRACE, SPAN, PARENT, 1, NS, 10.0)
    made.trace.begun = [Begun(f"{number:016x}", at, ORIGIN) for number, at in enumerate(begun, 1)]
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def tried(number: int, outcome: str, category: str, ms: float = 500.0, status: int | None = None) -> Tried:
    """What came of the attempt with that number."""
    verdict = {"OK": "success", "LOCAL": "ignore"}.get(category, "failure")
    return Tried(Target("google", "m"), "google/m", outcome, category, verdict, 0.0, ms, status, f"{number:016x}")


def spans(made: Record) -> list[Span]:
    """All of them."""
    found = list(spans_of(made))
    assert len(found) == count_of(made)
    return found


def test_times_are_those_of_the_clock() -> None:
    """Moments of the process's own clock become those of the calendar, to the microsecond."""
    whole, attempt = spans(record(10.25, ready_at=11.0, sent_at=10.5, answer_status=200))
    assert (whole.start_ns, whole.end_ns) == (NS, NS + 3_000_000_000)
    assert (attempt.start_ns, attempt.end_ns) == (NS + 250_000_000, NS + 3_000_000_000)
    assert (whole.parent_id, whole.parent_remote, attempt.parent_id, attempt.parent_remote) == (
        PARENT,
        True,
        SPAN,
        False,
    )


def test_the_attempt_that_answered_lasts() -> None:
    """The others end when they had failed; a later loser of a race does not hide who answered."""
    made = record(
        10.0,
        10.1,
        10.2,
        tried=[tried(1, "503", "OVERLOAD", 50), tried(2, "ok", "OK", 9), tried(3, "let go", "LOCAL", 700)],
    )
    _, one, two, three = spans(made)
    assert [span.end_ns - NS for span in (one, two, three)] == [50_000_000, 3_000_000_000, 900_000_000]
    assert [span.failed for span in (one, two, three)] == ["503", None, None]


def test_a_break_after_a_failure_of_the_same_name() -> None:
    """Only the answer that broke off lasted until the end."""
    made = record(10.0, 11.0, tried=[tried(1, "cut", "TRANSPORT"), tried(2, "ok", "OK", status=200)], broke="cut")
    whole, one, two = spans(made)
    assert (one.end_ns - NS, two.end_ns - NS) == (500_000_000, 3_000_000_000)
    assert (whole.failed, one.failed, two.failed) == ("cut", "cut", "cut")
    assert two.attributes["http.response.status_code"] == 200


@pytest.mark.parametrize(
    ("facts", "failed"),
    [
        ({"status": 200}, None),
        ({"status": 429}, None),
        ({"status": 404, "error_code": "no_route"}, None),
        ({"status": 499, "error_code": "client_closed_request"}, None),
        ({"status": 503}, "503"),
        ({"status": 503, "error_code": "all_out"}, "all_out"),
        ({"status": 200, "broke": "cut", "error_code": "answer_cut"}, "cut"),
        ({"status": 200, "error_code": "late"}, "late"),
    ],
)
def test_what_is_an_error(facts: dict[str, object], failed: str | None) -> None:
    """A 5xx, and an answer that was not as it should be; not a client's own mistake."""
    (whole,) = spans(record(**facts))
    assert (whole.failed, whole.attributes.get("error.type")) == (failed, failed)


def test_an_attempt_that_nobody_noted() -> None:
    """It is there all the same, with what is known: where it went, and when."""
    (_, attempt) = spans(record(10.5, attempts=0))
    assert (attempt.name, attempt.attributes) == (
        "POST",
        {"http.request.method": "POST", "server.address": "api.vendor.example", "server.port": 443},
    )


def test_usage_is_of_the_attempt_that_answered() -> None:
    """So that a sum over all spans is right; the parts are there when they are not nothing. Cost is the request's."""
    made = record(10.0, 11.0, tried=[tried(1, "503", "OVERLOAD"), tried(2, "ok", "OK")], cost_usd=0.25)
    made.usage = Usage(10, 5, cached_input=4, cache_write=3, reasoning=2)
    whole, one, two = spans(made)
    used = {name: value for name, value in two.attributes.items() if "usage" in name}
    assert used == {
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_creation.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 2,
    }
    assert [name for span in (whole, one) for name in span.attributes if "usage" in name] == []
    assert [span.attributes.get("fusebox.cost_usd") for span in (whole, one, two)] == [0.25, None, None]
    assert two.attributes["gen_ai.provider.name"] == "gcp.gemini"


def test_texts_of_clients_are_bounded() -> None:
    """A long model, a method of its own making and a long list of reasons do not fill the receiver."""
    made = record(client_model="m" * 5000, path="/" + "p" * 5000, skipped=["s" * 5000] * 500, bills=True, panic=True)
    made.method = "X" * 5000
    (whole,) = spans(made)
    assert (whole.name, whole.attributes["http.request.method"]) == ("HTTP chat.completions", "_OTHER")
    assert whole.attributes["fusebox.client_model"] == "m" * TEXT_MAX
    assert whole.attributes["fusebox.skipped"] == ("s" * TEXT_MAX,) * 32
    assert len(str(whole.attributes["url.path"])) == 1024
    assert whole.attributes["fusebox.unmetered"] is whole.attributes["fusebox.panic"] is True


@pytest.mark.parametrize(
    ("origin", "address", "port"),
    [
        ("https://api.openai.com", "api.openai.com", 443),
        ("http://local", "local", 80),
        ("http://127.0.0.1:11434", "127.0.0.1", 11434),
        ("http://[::1]:8080", "::1", 8080),
    ],
)
def test_addresses(origin: str, address: str, port: int) -> None:
    """Host and port of the provider's origin."""
    made = record(10.0, ready_at=11.0)
    assert made.trace is not None
    made.trace.begun = [Begun(f"{1:016x}", 10.0, origin)]
    attempt = spans(made)[1]
    assert (attempt.attributes["server.address"], attempt.attributes["server.port"]) == (address, port)
