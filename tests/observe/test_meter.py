"""The numbers of all requests: each is counted once, under names of the policy only."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Model
from proxy.exchange import Plan, Target, Tried, Usage
from proxy.observe.meter import ANSWER_S, BREAKERS_MAX, Histogram, Meter
from proxy.observe.record import Record

FIRST, SECOND, KEPT = Target("a", "one"), Target("b", "two"), Target("c")


def record(*targets: Target, model: str = "asked", status: int = 200) -> Record:
    """A request that was answered at once, in two seconds, with its first event after one."""
    made = Record("POST", "/v1/chat/completions", started_at=10.0, endpoint="chat.completions", client_model=model)
    made.decided(Plan("main", targets or (FIRST,)), model)
    made.attempts, made.status = 1, status
    made.sent_at, made.ready_at, made.written_at = 10.001, 11.0, 11.002
    made.ended_at = 12.0
    made.body_in, made.body_out = 100, 1000
    return made


def tried(target: Target, outcome: str, category: str, verdict: str) -> Tried:
    """An attempt that took no time."""
    return Tried(target, str(target), outcome, category, verdict, 0.0, 0.0)


def test_an_answer_at_once() -> None:
    """One request, one attempt, its times, its bytes."""
    meter = Meter()
    meter.add(record(), {})
    assert meter.requests == {("main", "chat.completions", 200): 1}
    assert meter.attempts == {("a", "one", "success", "OK"): 1}
    one = meter.series["main", "a", "one"]
    assert (one.requests, one.bytes_in, one.bytes_out, one.fallbacks) == ({200: 1}, 100, 1000, 0)
    assert (one.duration.sum, one.first_event.sum) == (2.0, 1.0)
    assert one.duration.counts[ANSWER_S.index(2.0)] == one.first_event.counts[ANSWER_S.index(1.0)] == 1
    assert abs(meter.overhead.sum - 0.003) < 1e-9


def test_a_fallback() -> None:
    """Both attempts are counted, each at its own target; the request at the one that answered."""
    meter, made = Meter(), record(FIRST, SECOND)
    made.tried = [tried(FIRST, "overloaded", "OVERLOAD", "failure"), tried(SECOND, "ok", "OK", "success")]
    made.by, made.target, made.attempts = SECOND, "b/two", 2
    meter.add(made, {})
    assert meter.attempts == {("a", "one", "failure", "OVERLOAD"): 1, ("b", "two", "success", "OK"): 1}
    assert list(meter.series) == [("main", "b", "two")]
    assert meter.series["main", "b", "two"].fallbacks == 1


def test_an_answer_that_broke_off() -> None:
    """Its attempt was a success until then; it is counted as what it was in the end."""
    meter, made = Meter(), record()
    made.broke = "stalled"
    meter.add(made, {})
    assert meter.attempts == {("a", "one", "failure", "TRANSPORT"): 1}
    assert meter.series["main", "a", "one"].incomplete == 1


def test_of_a_race_the_winner_broke_off() -> None:
    """The one that was let go stands behind it."""
    meter, made = Meter(), record(FIRST, SECOND)
    made.tried = [tried(FIRST, "ok", "OK", "success"), tried(SECOND, "let go", "LOCAL", "ignore")]
    made.broke, made.attempts = "stalled", 2
    meter.add(made, {})
    assert meter.attempts == {("a", "one", "failure", "TRANSPORT"): 1, ("b", "two", "ignore", "LOCAL"): 1}
    assert made.line()["tried"][0]["outcome"] == "stalled"


def test_a_client_s_model_is_no_label_unless_the_policy_knows_it() -> None:
    """However many clients make up."""
    meter, models = Meter(), {"c/known": Model()}
    for number in range(100):
        meter.add(record(KEPT, model=f"made-up-{number}"), models)
        meter.add(record(KEPT, model=f"made-up-{number}"), {})
    meter.add(record(KEPT, model="known"), models)
    assert set(meter.series) == {("main", "c", ""), ("main", "c", "known")}
    assert meter.attempts == {("c", "", "success", "OK"): 200, ("c", "known", "success", "OK"): 1}


def test_a_request_that_reached_nobody() -> None:
    """No route, no provider, its own error; no time of a first event, and no attempt."""
    meter, made = Meter(), Record("GET", "/", started_at=10.0)
    made.status, made.error_code, made.error = 404, "no_route", "none"
    made.left_out = (("a", "breaker open"), ("a", "breaker open"))
    meter.add(made, {})
    assert meter.requests == {("", "", 404): 1} and meter.attempts == {}
    assert meter.errors == {("", "no_route"): 1} and meter.skipped == {("a", "breaker open"): 2}
    assert meter.series["", "", ""].first_event.count == meter.overhead.count == 0


def test_tokens_and_cost() -> None:
    """Kinds add up; what has no price and what has no usage are counted as such, never as nothing."""
    meter = Meter()
    for usage, cost in ((Usage(100, 10, cached_input=60), 0.5), (Usage(1, 2, reasoning=1), None), (None, None)):
        made = record()
        made.usage, made.cost_usd, made.bills = usage, cost, True
        meter.add(made, {})
    one = meter.series["main", "a", "one"]
    assert {kind: count for kind, count in one.tokens.items() if count} == {
        "input": 101,
        "output": 12,
        "cached_input": 60,
        "reasoning": 1,
    }
    assert (one.cost_usd, one.unpriced, one.unmetered) == (0.5, 1, 1)


def test_a_call_that_costs_no_tokens_is_not_unmetered() -> None:
    """A file that is read, say."""
    meter = Meter()
    meter.add(record(), {})
    assert meter.series["main", "a", "one"].unmetered == 0


def test_changes_of_breakers_are_bounded() -> None:
    """Beyond so many models they count as their provider's."""
    meter = Meter()
    for number in range(BREAKERS_MAX + 50):
        meter.breaker_changed(f"a/model-{number}", "open")
    assert len(meter.transitions) <= BREAKERS_MAX + 1
    assert meter.transitions["a", "open"] == 50


@given(st.lists(st.floats(0, 700, allow_nan=False)))
def test_a_histogram_counts_as_prometheus_does(values: list[float]) -> None:
    """Each bound has all values that are not above it; infinity has all."""
    histogram = Histogram(ANSWER_S)
    for value in values:
        histogram.add(value)
    shown = list(histogram.cumulative())
    assert [count for _, count in shown] == [sum(value <= bound for value in values) for bound, _ in shown]
    assert shown[-1] == (float("inf"), len(values)) and histogram.count == len(values)
    assert all(first <= second for (_, first), (_, second) in itertools.pairwise(shown))
