"""What the demo provider says: its words, its count of tokens, its made-up arguments."""

from __future__ import annotations

import pytest

from proxy.dev.demo_answer import DEPTH_LIMIT, arguments_for, cut, estimate_tokens, excerpt, text_of, words


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("é" * 8, 2)])
def test_tokens_are_four_characters_each(text: str, tokens: int) -> None:
    """The estimate is one token for every four characters begun, in characters and not bytes."""
    assert estimate_tokens(text) == tokens


@pytest.mark.parametrize("limit", [None, 1, 2, 3])
def test_cut_keeps_what_fits(limit: int | None) -> None:
    """A text is cut exactly when it has more tokens than the limit, and then to that many."""
    text, was_cut = cut("abcdefgh", limit)
    assert (text, was_cut) == (("abcd", True) if limit == 1 else ("abcdefgh", False))


@pytest.mark.parametrize("length", [0, 59, 60, 61, 5000])
def test_only_a_short_part_of_a_prompt_is_repeated(length: int) -> None:
    """A prompt up to the limit is repeated whole, a longer one is cut to the limit with an ellipsis."""
    short = excerpt("x" * length)
    assert len(short) == min(length, 60)
    assert short.endswith("…") == (length > 60)


def test_words_joined_are_the_text() -> None:
    """No character is lost between the pieces, leading and doubled white space included."""
    text = "  one two\n\nthree "
    assert words(text) == ["  one ", "two\n\n", "three "]
    assert words(" \n") == [" \n"]
    assert words("") == []


def test_deep_nesting_is_not_followed() -> None:
    """Text is found as deep as the limit and no deeper, so that a hostile body costs nothing."""

    def nested(levels: int) -> object:
        value: object = "deep"
        for _ in range(levels):
            value = [value]
        return value

    assert text_of(nested(DEPTH_LIMIT)) == "deep"
    assert text_of(nested(DEPTH_LIMIT + 1)) == ""


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (None, "demo"),
        ({"type": "object"}, {}),
        ({"type": "number"}, 1.5),
        ({"type": ["boolean", "null"]}, True),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"const": 7}, 7),
        ({"enum": ["b", "a"]}, "b"),
        ({"default": None}, None),
        ({"properties": {"a": {"type": "null"}, "b": {}}, "required": ["a"]}, {"a": None}),
    ],
)
def test_arguments_fit_the_schema(schema: object, value: object) -> None:
    """Each kind of schema gets a value of its own kind; only required properties are filled."""
    assert arguments_for(schema) == value
