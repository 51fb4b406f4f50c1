"""What a body holds: every format's ways to say it, and any bytes at all without an exception."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange import Carrier, Endpoint, Format, Prompt
from proxy.policy.prompt import Reading, read
from proxy.policy.tokens import SAMPLED_MAX, estimate

CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON, inference=True)
MESSAGES = Endpoint("messages", Format.ANTHROPIC, Carrier.JSON, inference=True)
IMAGE = "data:image/png;base64," + "A" * 100_000
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def look(endpoint: Endpoint = CHAT, **body: Any) -> Reading:
    """The look into a body of these members."""
    return read(json.dumps({"model": "m", **body}, ensure_ascii=False).encode(), endpoint)


def user(content: Any) -> list[dict[str, Any]]:
    """The messages of a conversation of one."""
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": user("hi")}, {"turns": 1, "tools": False, "images": False, "audio": False, "json": False}),
        ({"messages": [*user("a"), {"role": "assistant", "content": "b"}, *user("c")]}, {"turns": 2}),
        ({"messages": user("a"), "tools": [TOOL]}, {"tools": True}),
        ({"messages": user("a"), "tools": [TOOL], "tool_choice": "none"}, {"tools": True}),
        ({"messages": user("a"), "tools": []}, {"tools": False}),
        ({"messages": user("a"), "functions": [{"name": "f"}]}, {"tools": True}),
        ({"messages": user([{"type": "image_url", "image_url": {"url": IMAGE}}])}, {"images": True, "tokens": 1004}),
        (
            {"messages": user([{"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}}])},
            {"images": True, "tokens": 89},
        ),
        ({"messages": user([{"type": "input_audio", "input_audio": {"data": "A" * 21_300}}])}, {"audio": True}),
        ({"messages": user("a"), "response_format": {"type": "json_object"}}, {"json": True}),
        ({"messages": user("a"), "response_format": SCHEMA}, {"json": True}),
        ({"messages": user("a"), "response_format": {"type": "text"}}, {"json": False}),
        ({"messages": user("a"), "user": "u-1"}, {"user": "u-1"}),
        ({"messages": user("a"), "safety_identifier": "s-1"}, {"user": "s-1"}),
        ({"messages": user("a"), "prompt_cache_key": "k"}, {"user": None}),
        ({"messages": user("a"), "max_tokens": 5, "max_completion_tokens": 7}, {"output": 7}),
        ({"messages": user("a"), "max_tokens": "many"}, {"output": None}),
        ({"input": "hi there"}, {"turns": 1, "tokens": 2}),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}, {"turns": 1}),
        ({"input": user([{"type": "input_image", "image_url": IMAGE}])}, {"images": True}),
        ({"input": "a", "text": {"format": {"type": "json_schema", "name": "x"}}}, {"json": True}),
        ({"input": ["one text", "another"]}, {"tokens": 3}),
        ({"prompt": "Once upon a time"}, {"turns": 1, "tokens": 4}),
    ],
)  # fmt: skip
def test_openai(body: dict[str, Any], expected: dict[str, Any]) -> None:
    """Chat, Responses, completions and embeddings."""
    found = look(**body).prompt
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": user("hi"), "system": "Be brief."}, {"turns": 1, "tokens": 7}),
        ({"messages": user([{"type": "image", "source": {"data": "A" * 90_000}}])}, {"images": True, "tokens": 1004}),
        ({"messages": user([{"type": "document", "source": {"data": "A" * 27_000}}])}, {"images": False}),
        ({"messages": user("a"), "tools": [{"name": "f", "input_schema": {}}]}, {"tools": True}),
        ({"messages": user("a"), "metadata": {"user_id": "u-9"}}, {"user": "u-9"}),
        ({"messages": user("a"), "output_config": {"format": {"type": "json_schema"}}}, {"json": True}),
        ({"messages": user("a"), "max_tokens": 1024}, {"output": 1024}),
    ],
)  # fmt: skip
def test_anthropic(body: dict[str, Any], expected: dict[str, Any]) -> None:
    """Messages: system apart, sources, thinking."""
    found = look(MESSAGES, **body).prompt
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({}, 0.0),
        ({"reasoning_effort": "low"}, 0.3),
        ({"reasoning": {"effort": "high"}}, 1.0),
        ({"thinking": {"type": "enabled", "budget_tokens": 8000}}, 0.5),
        ({"thinking": {"type": "adaptive"}}, 0.6),
        ({"output_config": {"effort": "medium"}}, 0.6),
        ({"reasoning_effort": "beyond"}, 0.0),
        ({"reasoning_effort": ["high"]}, 0.0),
    ],
)
def test_how_much_thought_is_asked_for(body: dict[str, Any], asked: float) -> None:
    """OpenAI's effort, Anthropic's budget and effort; what is not known is none."""
    assert look(messages=user("a"), **body).reasoning == asked


def test_what_was_asked_last() -> None:
    """The last text of the user's; a tool's result is not the user's, though Anthropic has it in the user's message."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": "42 rows"}
    found = look(MESSAGES, messages=[*user("first"), *user([{"type": "text", "text": "sec\nond"}, result])])
    assert found.asked == b"sec\nond"
    assert found.prompt.turns == 2


def test_the_prefix_is_the_conversation_s() -> None:
    """The same through all turns and for every model; another for other tools, another system text or another beginning."""
    opening = [{"role": "system", "content": "s"}, *user("first")]
    first = look(messages=opening).prompt.prefix
    assert len(first) == 16
    later = [*opening, {"role": "assistant", "content": "x"}, *user("more")]
    assert look(messages=later).prompt.prefix == first
    assert read(json.dumps({"model": "other", "messages": later}).encode(), CHAT).prompt.prefix == first
    others = [
        look(messages=user("first")),
        look(messages=[{"role": "system", "content": "t"}, *user("first")]),
        look(messages=opening, tools=[TOOL]),
        look(messages=[{"role": "system", "content": "s"}, *user("second")]),
    ]
    assert len({first, *(one.prompt.prefix for one in others)}) == 5
    assert look(MESSAGES, messages=user("first"), system="s").prompt.prefix == first
    assert look().prompt.prefix == ""


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("The quick brown fox jumps over the lazy dog. " * 50, 400, 700),
        ("代理的任务是接收请求，决定它们走哪条路。" * 50, 800, 1100),
        ("Задача посредника состоит в том, чтобы принимать запросы. " * 50, 700, 1500),
        ("1234567890 " * 100, 400, 1100),
    ],
    ids=["English", "Chinese", "Russian", "digits"],
)
def test_about_how_many_tokens(text: str, low: int, high: int) -> None:
    """The estimate lies where real tokenizers' counts of such texts lie (docs/complexity.md)."""
    assert low <= estimate(text.encode()) <= high
    assert low <= look(messages=user(text)).prompt.tokens <= high


def test_escapes_are_not_counted_as_text() -> None:
    """A writer that escapes every character beyond ASCII has sent the same prompt."""
    body = {"messages": user("Größe: 代理的任务 — «ok»\n" * 20)}
    plain, escaped = json.dumps(body, ensure_ascii=False).encode(), json.dumps(body).encode()
    assert len(escaped) > 1.5 * len(plain)
    assert read(escaped, CHAT).prompt.tokens == read(plain, CHAT).prompt.tokens


@given(st.text(max_size=2000), st.text(max_size=2000))
def test_a_longer_text_has_no_fewer_tokens(text: str, more: str) -> None:
    """Each character adds to the estimate."""
    assert estimate(text.encode("utf-8", "replace")) <= estimate((text + more).encode("utf-8", "replace")) + 1e-9


def test_a_long_text_is_sampled() -> None:
    """From the beginning, the middle and the end: the same kind of text throughout gives about what a full count gives."""
    line = "The answer is 42, or so they say (see page 7).\n"
    long = line * (20 * SAMPLED_MAX // len(line))
    full = sum(estimate((line * 100).encode()) for _ in range(len(long) // (100 * len(line))))
    assert abs(estimate(long.encode()) / full - 1) < 0.02


KEYS = [
    *("messages", "input", "prompt", "system", "instructions", "tools", "functions", "content", "text", "role", "type"),
    *(
        "image_url",
        "source",
        "input_audio",
        "response_format",
        "user",
        "metadata",
        "max_tokens",
        "thinking",
        "reasoning",
    ),
    *("tool_calls", "file", "output", "arguments", "reasoning_effort", "output_config", "detail", "user_id"),
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6))
def test_any_members_of_any_type_are_looked_at(body: dict[str, Any]) -> None:
    """What is not as expected is known less of; the same body looks the same each time."""
    raw = json.dumps(body).encode()
    found = read(raw, CHAT)
    assert found.prompt.tokens >= 0
    assert read(raw, CHAT) == found


@given(st.binary(max_size=300))
def test_any_bytes_are_looked_at(raw: bytes) -> None:
    """Bytes that are no JSON have a size, and nothing else."""
    found = read(raw, CHAT).prompt
    assert found.tokens >= 0
    try:
        json.loads(raw)
    except ValueError:
        assert found == Prompt(tokens=found.tokens)


def test_deep_nesting_is_not_followed() -> None:
    """Contents in contents in contents: counted by their bytes from some depth on."""
    deep = '[{"content":' * 50_000 + '"x"' + "}]" * 50_000
    assert read(f'{{"messages": {deep}}}'.encode(), CHAT).prompt.tokens > 0
    shallow = '[{"content":' * 100 + '"x"' + "}]" * 100
    assert read(f'{{"messages": {shallow}}}'.encode(), CHAT).prompt.tokens > 100


def test_a_large_body_is_not_copied() -> None:
    """Of 20 MB of text and images less than a megabyte more is held while looking."""
    body = json.dumps(
        {"messages": user([{"type": "text", "text": "word " * 2_000_000}, {"image_url": {"url": IMAGE * 100}}])}
    ).encode()
    tracemalloc.start()
    try:
        found = read(body, CHAT).prompt
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(body) > 20_000_000 and peak < 1_000_000
    assert found.images and 1_800_000 < found.tokens < 2_200_000
