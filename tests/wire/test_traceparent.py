"""W3C Trace Context: which values of ``traceparent`` are valid, what is read of them, and what is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.traceparent import Parent, line, parse

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-03", 3),
        (f"00-{TRACE}-{SPAN}-ff", 3),
        (f"cc-{TRACE}-{SPAN}-01", 1),
        (f"01-{TRACE}-{SPAN}-09-what-the-future-will-be-like", 1),
        (f"cc-{TRACE}-{SPAN}-00-", 0),
    ],
)
def test_a_valid_value(value: str, flags: int) -> None:
    """Ids and known flags are read; of a later version what this one knows."""
    assert parse(value) == Parent(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.replace('f', 'g')}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"0-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-٠1",  # digits, but not of ASCII
    ],
)
def test_an_invalid_value(value: str) -> None:
    """It counts as none."""
    assert parse(value) is None


def test_the_sampled_flag() -> None:
    """The lowest bit, and no other, says that the caller records."""
    assert [Parent(TRACE, SPAN, flags).sampled for flags in (0, 1, 2, 3)] == [False, True, False, True]


def test_a_line() -> None:
    """The line as it stands in a head."""
    assert line(TRACE, SPAN, 1) == f"traceparent: 00-{TRACE}-{SPAN}-01\r\n".encode()


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3))
def test_what_is_written_is_read_again(trace: int, span: int, flags: int) -> None:
    """Every line that is written holds a valid value that says the same."""
    written = line(f"{trace:032x}", f"{span:016x}", flags).decode().removeprefix("traceparent: ").removesuffix("\r\n")
    assert parse(written) == Parent(f"{trace:032x}", f"{span:016x}", flags)


@given(st.text(max_size=80))
def test_no_text_breaks_it(value: str) -> None:
    """Whatever a client sends is either valid or nothing."""
    found = parse(value)
    assert found is None or (value[3:35], value[36:52]) == (found.trace_id, found.span_id)
