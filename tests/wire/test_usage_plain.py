"""The short way to a usage says what the long way says, or nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange import Usage
from proxy.wire.usage_fields import read
from proxy.wire.usage_plain import plain
from proxy.wire.usage_text import in_body
from tests.wire.usage_answers import endpoint

CHAT = endpoint("/v1/chat/completions")

COUNT = st.one_of(st.integers(0, 2000), st.sampled_from([-1, 10**9 + 1, 1.5, 100.0, True, None, "7"]))
INTO = st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens", "cache_write_tokens", "text_tokens"]), COUNT)
OUT_OF = st.dictionaries(st.sampled_from(["reasoning_tokens", "audio_tokens", "accepted_prediction_tokens"]), COUNT)


@st.composite
def usages(draw: st.DrawFn) -> dict[str, object]:
    """Usage objects, most of them right, some with what other providers say, or with what cannot be."""
    input_, output = draw(COUNT), draw(COUNT)
    both = isinstance(input_, int) and isinstance(output, int)
    total = draw(st.just(int(input_ or 0) + int(output or 0)) if both else COUNT)
    fields: dict[str, object] = {"prompt_tokens": input_, "completion_tokens": output, "total_tokens": total}
    if draw(st.booleans()):
        fields["prompt_tokens_details"] = draw(st.one_of(INTO, st.none(), st.just([])))
    if draw(st.booleans()):
        fields["completion_tokens_details"] = draw(st.one_of(OUT_OF, st.none()))
    for name in draw(
        st.sets(st.sampled_from(["cost", "prompt_cache_hit_tokens", "cached_tokens", "seconds"]), max_size=1)
    ):
        fields[name] = draw(COUNT)
    for name in draw(st.sets(st.sampled_from(list(fields)), max_size=1)):
        del fields[name]
    return fields


@given(usages(), st.sampled_from([None, "default", "flex", "batch", 7]), st.booleans(), st.booleans())
def test_both_ways_say_the_same(fields: dict[str, object], tier: object, tier_first: bool, long: bool) -> None:
    """For any usage object, before and behind the tier, in short bodies and in long ones."""
    body: dict[str, object] = {"id": "x", "service_tier": tier} if tier_first else {"id": "x"}
    body["choices"] = ["x" * 3000] if long else []
    body["usage"] = fields
    if not tier_first:
        body["service_tier"] = tier
    text = json.dumps(body).encode()
    found = plain(text)
    slowly = in_body(text)
    if found is not None:
        assert slowly is not None and found == read(CHAT, slowly)


@pytest.mark.parametrize("long", [False, True])
def test_the_usual_answer_takes_the_short_way(long: bool) -> None:
    """What OpenAI sends today; else the short way would be none."""
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 30,
        "total_tokens": 42,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 1},
        "completion_tokens_details": {
            "reasoning_tokens": 20,
            "audio_tokens": 2,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    body = {"choices": ["x" * 3000 * long], "usage": usage, "service_tier": "default", "system_fingerprint": "f"}
    used = Usage(12, 30, cached_input=8, reasoning=20, audio_input=1, audio_output=2)
    assert plain(json.dumps(body).encode()) == used


@pytest.mark.parametrize(
    "text",
    [
        rb'{"choices":["%b \"usage\":{\"prompt_tokens\":1,\"total_tokens\":1}}"]}' % (b"x" * 3000),
        rb'{"choices":[{"x":"%b","usage":{"prompt_tokens":1,"total_tokens":1}}]}' % (b"x" * 3000),
        b'{"usage":{"prompt_tokens":1,"total_tokens":1}',
        b"\xff" * 3000,
        b"",
    ],
)
def test_what_is_no_usage_of_the_answer_s(text: bytes) -> None:
    """A text that quotes one, one of an inner object, half a body, no JSON."""
    assert plain(text) is None
