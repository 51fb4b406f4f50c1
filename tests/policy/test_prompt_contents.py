"""Contents of every kind: what counts as text and what does not, and that long lists and texts are bounded work."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange import Carrier, Endpoint, Format, Prompt
from proxy.policy import tokens as tokens_room
from proxy.policy.prompt import Reading, read
from proxy.policy.prompt_contents import CLOSELY_MAX, ELEMENTS_MAX, LOOKED_AT_MAX
from proxy.policy.tokens import SAMPLED_MAX, estimate, estimate_source, unescaped

CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON, inference=True)
BASE64 = "iVBORw0KGgo" * 10_000
URL = "data:image/png;base64," + BASE64


def look(**body: Any) -> Reading:
    """The look into a body of these members."""
    return read(json.dumps(body).encode(), CHAT)


def of(*parts: dict[str, Any]) -> Prompt:
    """What one message of these parts holds."""
    return look(messages=[{"role": "user", "content": list(parts)}]).prompt


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "image_url", "image_url": {"url": URL}}, 1000),
        ({"type": "image_url", "image_url": {"url": URL, "detail": "low"}}, 85),
        ({"type": "image_url", "image_url": {"detail": "low", "url": URL}}, 85),
        ({"type": "input_image", "image_url": URL}, 1000),
        ({"type": "input_image", "image_url": URL, "detail": "low"}, 85),
        ({"type": "input_image", "file_id": "file-1"}, 1000),
        ({"type": "image", "source": {"type": "base64", "data": BASE64}}, 1000),
        ({"type": "image", "source": {"type": "url", "url": "https://pictures.test/1.png"}}, 1000),
        ({"type": "tool_result", "content": [{"type": "image", "source": {"data": BASE64}}]}, 1000),
        ({"type": "computer_call_output", "output": {"type": "input_image", "image_url": URL}}, 1000),
        ({"type": "function_call_output", "output": [{"type": "input_image", "image_url": URL}]}, 1000),
    ],
)
def test_an_image_is_no_text(part: dict[str, Any], tokens: int) -> None:
    """However it comes: by URL, by id or in base64, from the user or from a tool."""
    found = of(part)
    assert found.images
    assert found.tokens == 4 + tokens


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "document", "source": {"type": "base64", "data": "A" * 27_000}}, 1000),
        ({"type": "file", "file": {"file_data": "A" * 27_000}}, 1000),
        ({"type": "input_file", "file_data": "A" * 27_000}, 1000),
        ({"type": "document", "source": {"type": "text", "data": "word " * 1000}}, 940),
        ({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "word " * 1000}]}}, 940),
        ({"type": "search_result", "source": "https://a.test", "content": [{"type": "text", "text": "word " * 1000}]}, 940),
    ],
)  # fmt: skip
def test_documents(part: dict[str, Any], tokens: int) -> None:
    """By their size in base64, or by their text; none is an image."""
    found = of(part)
    assert not found.images
    assert found.tokens == pytest.approx(4 + tokens, abs=3)


def test_what_tools_said_is_counted_and_nobody_s_question() -> None:
    """Calls with their arguments, and results: in chat, in Messages and in Responses."""
    asked = {"role": "user", "content": "Find it."}
    arguments = json.dumps({"query": "word " * 400})
    chat = [asked, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}]
    chat.append({"role": "tool", "content": "word " * 400})
    responses = [asked, {"type": "function_call", "name": "f", "arguments": arguments}]
    responses.append({"type": "function_call_output", "output": "word " * 400})
    messages = [asked, {"role": "assistant", "content": [{"type": "tool_use", "input": {"query": "word " * 400}}]}]
    messages.append({"role": "user", "content": [{"type": "tool_result", "content": "word " * 400}]})
    for found in (look(messages=chat), look(input=responses), look(messages=messages)):
        assert found.asked == b"Find it."
        assert found.prompt.tokens == pytest.approx(770, abs=30)


def test_what_stands_after_a_tool_s_result_is_the_user_s_again() -> None:
    """Both are parts of one message, in the Messages format."""
    parts = [{"type": "tool_result", "content": "42 rows"}, {"type": "text", "text": "Now the next."}]
    assert look(messages=[{"role": "user", "content": parts}]).asked == b"Now the next."


@pytest.mark.parametrize("tokens", [[1, 22, 333, 4444], [[1, 22], [333, 4444]]], ids=["one text", "two texts"])
def test_tokens_are_counted_as_they_are(tokens: list[Any]) -> None:
    """Embeddings and completions take texts that are tokens already."""
    assert look(input=tokens).prompt.tokens == 4
    assert look(prompt=tokens).prompt.tokens == 4


def test_a_long_text_is_looked_at_from_both_ends() -> None:
    """What is to be done stands at the beginning or at the end; the size is that of all of it."""
    found = look(messages=[{"role": "user", "content": "Summarise. " + "word " * 50_000 + "In French."}])
    assert found.asked.startswith(b"Summarise. ") and found.asked.endswith(b" In French.")
    assert len(found.asked) <= LOOKED_AT_MAX + 1
    assert found.asked_tokens == pytest.approx(47_000, rel=0.01)


def test_marks_for_the_cache_are_no_part_of_the_prefix() -> None:
    """Anthropic's clients mark the last message for the cache, in each turn another."""
    marked = [{"role": "user", "content": [{"type": "text", "text": "first", "cache_control": {"type": "ephemeral"}}]}]
    plain = [{"role": "user", "content": [{"type": "text", "text": "first"}]}]
    later = [*plain, {"role": "assistant", "content": "x"}, *marked]
    prefix = look(messages=marked).prompt.prefix
    assert prefix and prefix == look(messages=plain).prompt.prefix == look(messages=later).prompt.prefix


def test_who_said_it_is_part_of_the_prefix() -> None:
    """The same text from another is another prompt."""
    said = [[{"role": role, "content": "a"}, {"role": "user", "content": "b"}] for role in ("system", "user")]
    assert len({look(messages=messages).prompt.prefix for messages in said}) == 2


@pytest.mark.parametrize("member", ["messages", "input", "tools"])
@pytest.mark.parametrize(
    "elements",
    ["{}", "0", '""', "[]", '{"role":"user"}', '"a",0,null'],
    ids=["objects", "numbers", "texts", "lists", "messages", "mixed"],
)
def test_a_list_without_end_is_bounded_work(member: str, elements: str) -> None:
    """Of a list of millions of elements no object each is made."""
    body = f'{{"{member}": [{",".join([elements] * (3_000_000 // len(elements)))}]}}'.encode()
    tracemalloc.start()
    try:
        found = read(body, CHAT).prompt
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000
    assert found.tokens > 1000


@pytest.mark.parametrize("number", [ELEMENTS_MAX - 1, ELEMENTS_MAX + 1])
def test_very_many_messages(number: int) -> None:
    """Up to the bound they are messages; from it on they are a text of about the size, whose turns nobody knows."""
    found = look(messages=[{"role": "user", "content": "hi"}] * number).prompt
    assert found.turns == (number if number < ELEMENTS_MAX else 0)
    assert found.tokens > 4 * number
    assert found.prefix


def test_many_long_texts_are_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the first megabyte only a little of each text is looked at, and the estimate hardly changes."""
    looked_at: list[int] = []
    counted = tokens_room._counted

    def noted(text: bytes) -> float:
        looked_at.append(len(text))
        return counted(text)

    monkeypatch.setattr(tokens_room, "_counted", noted)
    text = "The answer is 42, or so they say (see page 7).\n" * 300
    found = look(messages=[{"role": "user", "content": text}] * 700).prompt
    assert len(text) * 700 > 9 * CLOSELY_MAX
    assert sum(looked_at) < 1.6 * CLOSELY_MAX
    assert found.tokens == pytest.approx(700 * (estimate(text.encode()) + 4), rel=0.05)


@given(st.text(max_size=3000))
def test_the_source_counts_as_the_text(text: str) -> None:
    """Escaped or not, and whatever is escaped: the whole of a string comes to the same."""
    plain = text.encode("utf-8", "replace")
    for ascii_only in (True, False):
        source = json.dumps(plain.decode(), ensure_ascii=ascii_only).encode()
        assert estimate_source(memoryview(source)[1:-1]) == pytest.approx(estimate(plain))


@given(
    st.text(alphabet='a\\"\n/uß代\N{GRINNING FACE}\x00', min_size=20, max_size=200),
    st.integers(0, 60),
    st.integers(20, 80),
)
def test_a_window_into_a_string_begins_and_ends_anywhere(text: str, start: int, size: int) -> None:
    """Escapes that are cut are left out; all others are undone, so no backslash stays that the text does not have."""
    source = memoryview(json.dumps(text).encode())[1:-1]
    found = unescaped(source, start, min(start + size, len(source)))
    assert found.count(b"\\") <= text.count("\\")
    assert found.count(b"\\") <= bytes(source[start : start + size]).count(b"\\")


def test_escapes_of_a_long_text_are_no_text_either() -> None:
    """A long text is sampled from its source, whose escapes count as what they stand for."""
    text = "代理的任务是接收请求，并原封不动地转交回答。\n" * 2000
    plain, escaped = (
        read(json.dumps({"prompt": text}, ensure_ascii=ascii_only).encode(), CHAT).prompt.tokens
        for ascii_only in (False, True)
    )
    assert len(text.encode()) > SAMPLED_MAX
    assert escaped == pytest.approx(plain, rel=0.02)
