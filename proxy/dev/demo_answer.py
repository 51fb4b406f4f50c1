"""What the demo provider says: the words of its answer, the size of a text in tokens, made-up arguments and vectors.

Values in, values out: nothing here reads a clock or a socket, and nothing is kept.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable

CHARACTERS_PER_TOKEN = 4
"""The rule by which this provider counts. An estimate: English text has about four characters in a token."""

EXCERPT_CHARACTERS = 60
"""How much of the last user message an answer repeats: enough to recognise it, too little to fill a terminal."""

DEPTH_LIMIT = 8
"""How deep a body is searched for text or a schema followed; a hostile body may nest a thousand levels."""


def estimate_tokens(text: str) -> int:
    """Number of tokens in `text`, estimated: one for every four characters begun; 0 for an empty text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def text_of(content: object, depth: int = DEPTH_LIMIT) -> str:
    """The text inside a message's content: a string, a list of parts, or a part with `text` or `content`.

    Images, audio and whatever else is no text count as nothing.
    """
    if isinstance(content, str):
        return content
    if depth == 0:
        return ""
    if isinstance(content, list):
        return "\n".join(part for part in (text_of(part, depth - 1) for part in content) if part)
    if isinstance(content, dict):
        text = content.get("text")
        return text if isinstance(text, str) else text_of(content.get("content"), depth - 1)
    return ""


def last_user_text(messages: Iterable[object]) -> str:
    """Text of the last message whose role is `user` and which has any text; empty when there is none."""
    last = ""
    for message in messages:
        if isinstance(message, dict) and message.get("role") == "user":
            last = text_of(message) or last
    return last


def excerpt(text: str) -> str:
    """The beginning of `text` on one line, at most `EXCERPT_CHARACTERS` long, with an ellipsis where it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT_CHARACTERS else line[: EXCERPT_CHARACTERS - 1].rstrip() + "…"


def answer(model: str, user_text: str) -> str:
    """The answer to a request for `model` whose last user message is `user_text`."""
    heard = f"and you wrote: “{excerpt(user_text)}”." if user_text.strip() else "and you wrote nothing I can read."
    return (
        f"Hello! I am the demo provider of Fusebox. You asked for the model “{model}”, {heard} "
        "No language model thinks behind these words: they only show how an answer travels through the proxy, "
        "piece by piece. Give Fusebox a provider's key and the same request reaches a real model."
    )


def cut(text: str, max_tokens: int | None) -> tuple[str, bool]:
    """The part of `text` that fits `max_tokens` by the rule of `estimate_tokens`, and whether anything was cut off."""
    if max_tokens is None or estimate_tokens(text) <= max_tokens:
        return text, False
    return text[: max_tokens * CHARACTERS_PER_TOKEN], True


def words(text: str) -> list[str]:
    """`text` in pieces of one word with the white space after it; the pieces joined are the text again."""
    return re.findall(r"\s*\S+\s*|\s+", text)


def arguments_for(schema: object, depth: int = DEPTH_LIMIT) -> object:
    """A value that fits a JSON Schema of the kind tools have: types, properties, required, items, enum, const.

    Only required properties are filled in. What the schema does not say becomes the string "demo".
    """
    if not isinstance(schema, dict):
        return "demo"
    for fixed in ("const", "default"):
        if fixed in schema:
            return schema[fixed]
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        properties, required = schema.get("properties"), schema.get("required")
        if depth == 0 or not isinstance(properties, dict) or not isinstance(required, list):
            return {}
        return {str(name): arguments_for(properties.get(name), depth - 1) for name in required if isinstance(name, str)}
    simple: dict[object, object] = {"integer": 1, "number": 1.5, "boolean": True, "null": None, "array": []}
    return simple.get(kind, "demo")


def vector(text: str, dimensions: int) -> list[float]:
    """An embedding made from a hash of `text`: `dimensions` numbers of unit length together, the same every time."""
    noise = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    raw = [int.from_bytes(noise[i : i + 2], "big") - 32767.5 for i in range(0, len(noise), 2)]
    length = math.sqrt(sum(number * number for number in raw))
    return [number / length for number in raw]
