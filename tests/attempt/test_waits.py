"""The waits that providers state in headers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.attempt.waits import STATED_MAX_S, stated_wait

NOW_S = 1_800_000_000.0
"""Fri, 15 Jan 2027 08:00:00 GMT."""

DATE = ("Date", "Fri, 15 Jan 2027 08:00:00 GMT")
LATER = "Fri, 15 Jan 2027 08:01:40 GMT"


def wait(status: int, *lines: tuple[str, str], wall_now_s: float = NOW_S) -> float | None:
    """With headers as text."""
    return stated_wait(status, [(name.encode(), value.encode()) for name, value in lines], wall_now_s)


@pytest.mark.parametrize(
    ("name", "value", "stated_s"),
    [
        ("retry-after-ms", "1500", 1.5),
        ("Retry-After-Ms", "12.5", 0.0125),
        ("Retry-After", "7", 7.0),
        ("retry-after", " 0.5 ", 0.5),
        ("retry-after", "0", 0.0),
        ("Retry-After", LATER, 100.0),
        ("Retry-After", "Friday, 15-Jan-27 08:01:40 GMT", 100.0),  # the obsolete forms of RFC 9110 section 5.6.7
        ("Retry-After", "Fri Jan 15 08:01:40 2027", 100.0),
        ("Retry-After", "Fri, 15 Jan 2027 07:00:00 GMT", 0.0),  # past
        ("x-ratelimit-reset-requests", "1s", 1.0),
        ("x-ratelimit-reset-tokens", "6m0s", 360.0),
        ("x-ratelimit-reset-tokens", "6m30s", 390.0),
        ("x-ratelimit-reset-tokens", "20ms", 0.02),
        ("x-ratelimit-reset-tokens", "1h2m3.5s", 3723.5),
        ("x-ratelimit-reset-tokens", "500µs", 0.0005),
        ("x-ratelimit-reset-tokens", "2m59.56s", 179.56),
        ("x-ratelimit-reset-requests", "59.9", 59.9),
        ("X-RateLimit-Reset", "1800000030", 30.0),
        ("X-RateLimit-Reset", "1800000030500", 30.5),
        ("X-RateLimit-Reset", "1799999999", 0.0),
        ("anthropic-ratelimit-requests-reset", "2027-01-15T08:00:20Z", 20.0),
        ("anthropic-ratelimit-input-tokens-reset", "2027-01-15T09:00:20+01:00", 20.0),
        ("anthropic-priority-ratelimit-tokens-reset", "2027-01-15T08:00:20.250Z", 20.25),
        ("anthropic-ratelimit-requests-reset", "2027-01-15T08:00:20", 20.0),
    ],
)
def test_each_notation_is_read(name: str, value: str, stated_s: float) -> None:
    """On a 429, one line alone."""
    assert wait(429, (name, value)) == pytest.approx(stated_s)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("retry-after-ms", "Retry-After", "x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset")
        for value in ("", "soon", "-5", "+5", "1e3", "nan", "inf", "0x10", "5 s", "1s2", "s", "1_000", "٣", "5,6")
    ]
    + [
        ("Retry-After", "9" * 5000),
        ("Retry-After", "Fri, 99 Jan 2027 08:01:40 GMT"),
        ("Retry-After", "Fri, 15 Jan 99999 08:01:40 GMT"),
        ("anthropic-ratelimit-tokens-reset", "2027-13-15T08:00:20Z"),
        ("anthropic-ratelimit-tokens-reset", "2027-01-15T99:00:20Z"),
        ("x-ratelimit-reset-tokens", "1.2.3s"),
        ("x-ratelimit-reset-tokens", "-6m"),
        ("x-ratelimit-limit-tokens", "6m"),
        ("x-reset", "6m"),
    ],
)
def test_what_cannot_be_read_is_left_out(name: str, value: str) -> None:
    """Garbage, signs, other notations, other headers: as if the line were not there."""
    assert wait(429, (name, value)) is None
    assert wait(429, (name, value), ("retry-after", "3")) == 3.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry-after", "999999999999999999"),
        ("retry-after-ms", "999999999999999999"),
        ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ("x-ratelimit-reset-tokens", "999999999h999999999h"),
        ("x-ratelimit-reset", "999999999999999999"),
        ("anthropic-ratelimit-tokens-reset", "9999-12-31T23:59:59Z"),
    ],
)
def test_absurd_waits_are_cut_to_a_day(name: str, value: str) -> None:
    """The longest that is reported."""
    assert wait(429, (name, value)) == STATED_MAX_S


def test_dates_are_told_from_the_providers_own_clock() -> None:
    """Its Date header says what time it takes it to be; ours may be off by hours."""
    for skew_s in (-3600.0, 0.0, 3600.0):
        assert wait(503, DATE, ("Retry-After", LATER), wall_now_s=NOW_S + skew_s) == 100.0
        assert wait(429, DATE, ("x-ratelimit-reset", "1800000030"), wall_now_s=NOW_S + skew_s) == 30.0
    assert wait(503, ("Date", "nonsense"), ("Retry-After", LATER), wall_now_s=NOW_S + 40.0) == 60.0


def test_the_longest_stated_wait_counts() -> None:
    """Whichever header it comes from, and when a name stands twice."""
    lines = [("retry-after-ms", "900"), ("retry-after", "2"), ("retry-after", "1"), ("x-ratelimit-reset-tokens", "4s")]
    assert wait(429, *lines) == 4.0
    assert wait(429, *lines[:3]) == 2.0


def test_of_two_allowances_the_one_that_is_used_up_counts() -> None:
    """The other is stated all the same."""
    lines = [
        ("x-ratelimit-remaining-requests", "59"),
        ("x-ratelimit-reset-requests", "6m0s"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "8s"),
    ]
    assert wait(429, *lines) == 8.0
    assert wait(429, *lines[:2]) is None
    assert wait(200, *lines) == 8.0
    assert wait(200, lines[3]) is None


@pytest.mark.parametrize(("remaining", "stated_s"), [("0", 20.0), ("1", None), ("many", 20.0)])
def test_anthropics_allowances(remaining: str, stated_s: float | None) -> None:
    """Named the other way round; what cannot be read does not excuse it on a 429."""
    lines = [
        ("anthropic-ratelimit-tokens-remaining", remaining),
        ("anthropic-ratelimit-tokens-reset", "2027-01-15T08:00:20Z"),
    ]
    assert wait(429, *lines) == stated_s


def test_a_success_states_no_retry_after() -> None:
    """Below 400 it means something else (a redirection, RFC 9110 section 10.2.3) or nothing."""
    assert wait(200, ("retry-after", "5"), ("retry-after-ms", "5")) is None
    assert wait(400, ("retry-after", "5")) == 5.0


names = st.sampled_from(
    ["Date", "Retry-After", "retry-after-ms"]
    + [f"x-ratelimit-{word}-tokens" for word in ("reset", "remaining")]
    + [f"anthropic-ratelimit-tokens-{word}" for word in ("reset", "remaining")]
)
values = st.one_of(
    st.binary(max_size=40),
    st.text("0123456789.-+:TZhmsn µ,GMTFri Jan", max_size=40).map(lambda text: text.encode()),
    st.datetimes().map(lambda moment: moment.isoformat().encode()),
    st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT").encode()),
    st.integers().map(lambda number: str(number).encode()),
)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(100, 599),
    st.lists(st.tuples(names.map(lambda name: name.encode()), values), max_size=6),
    st.floats(0, 1e11),
)
def test_any_headers_give_a_bounded_wait_or_none(
    status: int, headers: list[tuple[bytes, bytes]], wall_now_s: float
) -> None:
    """Nothing a peer writes raises."""
    found = stated_wait(status, headers, wall_now_s)
    assert found is None or (0.0 <= found <= STATED_MAX_S and math.isfinite(found))
