"""What an exchange costs: the prices as providers publish them, worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import LongContext, Price
from proxy.policy.cost import Usage, blended, charge_usd, cost_usd

PLAIN = Price(input=2.50, output=15.00)
CACHED = Price(input=2.50, cached_input=0.25, output=15.00, batch=0.5)
LONG = Price(
    input=2.50, cached_input=0.25, output=15.00, long_context=LongContext(over=272_000, input=5.00, output=22.50)
)
WRITES = Price(input=3.00, cached_input=0.30, cache_write=3.75, cache_write_1h=6.00, output=15.00)
LONG_WRITES = Price(
    input=3.00,
    cached_input=0.30,
    cache_write=3.75,
    cache_write_1h=6.00,
    output=15.00,
    long_context=LongContext(over=200_000, input=6.00, output=22.50),
)
MILLION = 1_000_000


@pytest.mark.parametrize(
    ("price", "usage", "usd"),
    [
        (PLAIN, Usage(0), 0.0),
        (PLAIN, Usage(MILLION), 2.50),
        (PLAIN, Usage(0, MILLION), 15.00),
        (PLAIN, Usage(1000, 500), 0.0025 + 0.0075),
        (PLAIN, Usage(1000, 0, 400), 0.0025),  # no price for cached input: it costs as any
        (CACHED, Usage(1000, 0, 400), 0.0015 + 0.0001),
        (CACHED, Usage(1000, 0, 1000), 0.00025),
        (CACHED, Usage(1000, 0, 5000), 0.00025),  # more cached than there was is all of it
        (LONG, Usage(272_000), 0.68),
        (LONG, Usage(272_001), 1.360005),  # all of it costs the long price, not only the token beyond
        (LONG, Usage(300_000, 1000), 1.5 + 0.0225),
        (LONG, Usage(300_000, 0, 100_000), 1.0 + 0.05),  # cached input costs twice as much when other input does
        (LONG, Usage(1000, MILLION), 0.0025 + 15),  # the answer's length is not the prompt's
        (Price(input=0, output=0), Usage(MILLION, MILLION), 0.0),
        # 400 fresh at 3, 300 read at 0.30, 200 written at 3.75, 100 written for an hour at 6.
        (WRITES, Usage(1000, 0, 300, 300, 100), 0.0012 + 0.00009 + 0.00075 + 0.0006),
        (WRITES, Usage(1000, 0, 0, 1000), 0.00375),
        (WRITES, Usage(1000, 0, 0, 1000, 1000), 0.006),
        (WRITES, Usage(1000, 0, 0, 5000, 9000), 0.006),  # more written than there was is all of it
        (WRITES, Usage(1000, 0, 900, 500), 0.00027 + 0.000375),  # nothing is both read and written
        (PLAIN, Usage(1000, 0, 0, 400, 100), 0.0025),  # no price for writes: they cost as any
        (Price(input=3, output=15, cache_write=3.75), Usage(1000, 0, 0, 1000, 1000), 0.00375),
        (Price(input=3, output=15, cache_write_1h=6), Usage(1000, 0, 0, 600, 100), 0.0027 + 0.0006),
        (LONG_WRITES, Usage(200_000, 0, 0, 200_000), 0.75),
        (LONG_WRITES, Usage(300_000, 0, 100_000, 100_000, 50_000), 0.6 + 0.06 + 0.375 + 0.6),
        (PLAIN, Usage(1000, 500, reasoning=400, audio_input=900, audio_output=90, seconds=60), 0.0025 + 0.0075),
        (Price(input=0, output=1, long_context=LongContext(over=1, input=4, output=5)), Usage(2, 0, 2), 0.0),
    ],
)
def test_costs(price: Price, usage: Usage, usd: float) -> None:
    """In USD."""
    assert math.isclose(cost_usd(price, usage), usd, rel_tol=1e-12)


@pytest.mark.parametrize(("batch", "usd"), [(False, 17.5), (True, 8.75)])
def test_a_batch_costs_its_share(batch: bool, usd: float) -> None:
    """A factor on everything."""
    assert math.isclose(cost_usd(CACHED, Usage(MILLION, MILLION), batch=batch), usd)


@pytest.mark.parametrize(
    ("price", "usage", "usd"),
    [
        (PLAIN, Usage(MILLION), 2.50),
        (PLAIN, Usage(MILLION, reported_usd=9.0), 2.50),  # the policy states its own price
        (None, Usage(MILLION, reported_usd=9.0), 9.0),
        (None, Usage(MILLION, reported_usd=0.0), 0.0),
        (None, Usage(MILLION), None),
        (PLAIN, Usage(0, 0), 0.0),
        (PLAIN, Usage(0, MILLION, seconds=9), 15.00),
        (PLAIN, Usage(0, seconds=9), None),  # a price per token says nothing about seconds, nor about searches
        (PLAIN, Usage(0, units=1), None),
        (PLAIN, Usage(0, units=1, reported_usd=0.002), 0.002),
    ],
)
def test_what_is_charged(price: Price | None, usage: Usage, usd: float | None) -> None:
    """None where nobody knows, never zero instead."""
    assert charge_usd(price, usage) == usd


def test_a_charge_in_a_batch() -> None:
    """Of the policy's price, the share; what the provider says it costs is so already."""
    assert charge_usd(CACHED, Usage(MILLION), batch=True) == 1.25
    assert charge_usd(None, Usage(MILLION, reported_usd=9.0), batch=True) == 9.0


COUNTS = st.integers(0, 10**7)


@given(COUNTS, COUNTS, COUNTS, st.booleans())
def test_a_token_more_never_costs_less(input_: int, output: int, cached: int, batch: bool) -> None:
    """Nor does a cached token become dearer than another one, and nothing is negative."""
    usage = Usage(input_, output, cached)
    now = cost_usd(LONG, usage, batch=batch)
    assert now >= 0
    assert cost_usd(LONG, Usage(input_ + 1, output, cached), batch=batch) > now
    assert cost_usd(LONG, Usage(input_, output + 1, cached), batch=batch) > now
    assert cost_usd(LONG, Usage(input_, output, cached + 1), batch=batch) <= now


@pytest.mark.parametrize(
    ("price", "tokens", "usd"),
    [
        (PLAIN, 0, 5.625),  # 0.75 × 2.50 + 0.25 × 15
        (PLAIN, 10**9, 5.625),
        (LONG, 272_000, 5.625),
        (LONG, 272_001, 9.375),  # 0.75 × 5 + 0.25 × 22.50
    ],
)
def test_what_chains_are_sorted_by(price: Price, tokens: int, usd: float) -> None:
    """Three parts prompt to one part answer, by the tier of the prompt."""
    assert blended(price, tokens) == usd
