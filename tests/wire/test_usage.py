"""Usage out of answers of every format: a thousand each, cut anywhere, against numbers known before they were written."""

from __future__ import annotations

import itertools
import math
import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Price
from proxy.exchange import Usage
from proxy.policy.cost import cost_usd
from proxy.wire import usage
from tests.wire.usage_answers import FORMATS, PRICES, STREAMED, Answer, answer

EXCHANGES = 1000

PRICE = Price(
    input=float(PRICES[0]),
    cached_input=float(PRICES[1]),
    cache_write=float(PRICES[2]),
    cache_write_1h=float(PRICES[3]),
    output=float(PRICES[4]),
)


def watched(answer: Answer, cuts: list[int]) -> Usage | None:
    """What a watch says of an answer that came in spans."""
    watch = usage.watch(answer.endpoint, answer.content_type, answer.encoding)
    assert watch is not None
    for start, end in itertools.pairwise([0, *sorted(cuts), len(answer.body)]):
        watch.feed(answer.body[start:end])
    return watch.usage()


@pytest.mark.parametrize("name", FORMATS)
def test_a_thousand_exchanges_come_back_to_the_token_and_the_cent(name: str) -> None:
    """Cut anywhere or in one piece, every third of them compressed."""
    roll = random.Random(name)
    sum_usd, expected_usd, packed = 0.0, Decimal(0), 0
    for _ in range(EXCHANGES):
        one = answer(name, roll)
        packed += one.encoding not in (b"", b"identity")
        cuts = [roll.randrange(len(one.body) + 1) for _ in range(roll.randint(0, 6))]
        found = watched(one, cuts)
        assert found == one.parts.usage, one.body
        assert usage.of_body(one.endpoint, one.content_type, one.encoding, one.body) == one.parts.usage, one.body
        cost = cost_usd(PRICE, found)
        assert math.isclose(cost, one.parts.usd(), rel_tol=1e-9, abs_tol=1e-12)
        sum_usd += cost
        expected_usd += one.parts.usd()
    assert packed > EXCHANGES / 4
    assert f"{sum_usd:.2f}" == f"{expected_usd:.2f}" != "0.00"


@pytest.mark.parametrize("name", STREAMED)
def test_every_cut_of_a_stream_gives_the_same(name: str) -> None:
    """One cut, at each place; pictures only around their ends."""
    one = answer(name, random.Random(2), packed=False)
    places = range(len(one.body) + 1)
    if len(places) > 4000:
        places = range(len(one.body) - 1000, len(one.body) + 1)
    for place in places:
        assert watched(one, [place]) == one.parts.usage, place


@pytest.mark.parametrize("name", FORMATS)
def test_byte_by_byte(name: str) -> None:
    """The other extreme."""
    for seed in range(3):
        for packed in (False, True):
            one = answer(name, random.Random(seed), packed=packed)
            assert watched(one, list(range(1, len(one.body)))) == one.parts.usage


@given(st.sampled_from(list(FORMATS)), st.integers(0, 10**6), st.lists(st.floats(0, 1), max_size=30))
def test_any_cuts(name: str, seed: int, cuts: list[float]) -> None:
    """Of any exchange."""
    one = answer(name, random.Random(seed))
    assert watched(one, [int(cut * len(one.body)) for cut in cuts]) == one.parts.usage


@pytest.mark.parametrize("name", FORMATS)
def test_an_answer_that_was_cut_never_used_more_than_the_whole(name: str) -> None:
    """It is unmetered, or what the provider had said by then; the length of its compressed bytes does not matter."""
    for packed in (False, True):
        one = answer(name, random.Random(5), packed=packed)
        whole = one.parts.usage
        step = max(len(one.body) // 500, 1)
        for end in range(0, len(one.body), step):
            cut = Answer(one.endpoint, one.content_type, one.encoding, one.body[:end], one.parts)
            found = watched(cut, [])
            assert found is None or (found.input <= whole.input and found.output <= max(whole.output, 1)), end
