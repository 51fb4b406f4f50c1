"""How hard a request looks: the features one by one, the classes, and how it does on the labelled prompts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Complexity, Feature
from proxy.exchange import Carrier, Endpoint, Format
from proxy.policy.complexity import WEIGHTS, Assessment, assess
from proxy.policy.prompt import read

CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON, inference=True)
PAGE = Path(__file__).parent.parent.parent / "docs/complexity.md"
PROMPTS = yaml.safe_load((Path(__file__).parent / "prompts.yaml").read_text())


def of(text: str, settings: Complexity | None = None, **body: Any) -> Assessment:
    """The class of one message."""
    raw = json.dumps({"messages": [{"role": "user", "content": text}], **body}).encode()
    return assess(read(raw, CHAT), settings or Complexity())


def test_every_feature_has_a_weight() -> None:
    """Built in and in the policy they are the same."""
    assert set(WEIGHTS) == set(get_args(Feature))


@pytest.mark.parametrize(
    ("feature", "text", "body"),
    [
        ("size", "word " * 5000, {}),
        ("code", "def f(x): return x", {}),
        ("mathematics", "Prove the theorem: $$\\frac{a}{b}$$", {}),
        ("instructions", "Analyse, compare and justify the trade-offs step by step", {}),
        ("creation", "Write a poem", {}),
        ("tools", "x", {"tools": [{"type": "function"}]}),
        ("reasoning", "x", {"reasoning_effort": "high"}),
        ("structured", "x", {"response_format": {"type": "json_object"}}),
    ],
)
def test_each_feature_is_seen(feature: str, text: str, body: dict[str, Any]) -> None:
    """And is not there in a plain question."""
    assert of("What is the capital of Peru").features[feature] == 0.0
    assert of(text, **body).features[feature] > 0.0


@pytest.mark.parametrize(
    ("text", "demands"),
    [
        ("Say what it costs", 0),
        ("Say what it costs and which one it is and how long it takes", 1),
        ("How do I get there", 1),
        ("Is it far? Is it dear?", 1),
        ("Work out the cost", 2),
        ("Discuss it:\n- cost\n- time", 3),
    ],
)
def test_demands_are_counted(text: str, demands: int) -> None:
    """Words, phrases, questions, several things asked in one sentence, and list entries; six are all there is."""
    assert of(text).features["instructions"] == demands / 6


def test_turns_and_images_are_seen() -> None:
    """They are in the messages."""
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x.test"}}]}
    raw = json.dumps({"messages": [picture] * 4}).encode()
    features = assess(read(raw, CHAT), Complexity()).features
    assert features["images"] == 1.0 and features["turns"] == 0.25


def test_the_policy_s_weights_and_thresholds_hold() -> None:
    """Over the built-in ones, those that are not named stay."""
    text = "def f(x): return x"
    plain = of(text)
    heavy = of(text, Complexity(weights={"code": 10.0}))
    assert heavy.parts["code"] == 10 * plain.features["code"] and heavy.parts["size"] == plain.parts["size"]
    assert (plain.complexity, heavy.complexity) == ("standard", "complex")
    assert of(text, Complexity(simple_below=9, complex_from=10)).complexity == "simple"
    assert of("Write a poem", Complexity(creative_from=1.1)).complexity == "simple"


def test_why() -> None:
    """The sentence names the class and what led to it, the heaviest first."""
    assert of("Write a poem").why == "creative: it is asked to create something (0.60)"
    assert of("hi").why == "simple: score 0.00"
    assert of("Prove the theorem step by step, and justify the trade-offs").why.startswith(
        "complex: score 0.88 (instructions 0.50, mathematics 0.36"
    )


@given(st.text(max_size=400))
def test_any_text_has_a_class(text: str) -> None:
    """Features and parts stay in their bounds, and the score is the sum of the parts."""
    found = of(text)
    assert all(0 <= value <= 1 for value in found.features.values())
    assert abs(sum(found.parts.values()) - found.score) < 1e-3
    assert found == of(text)


TUNED = 40
"""Prompts of each class by which words and weights were chosen; those after them were not seen before."""


def confusion(held_out: bool) -> Counter[tuple[str, str]]:
    """Meant class and found class of the prompts."""
    return Counter(
        (meant, of(text).complexity)
        for meant, texts in PROMPTS.items()
        for text in (texts[TUNED:] if held_out else texts[:TUNED])
    )


def test_the_labelled_prompts_are_as_many_as_the_page_says() -> None:
    """Of each class alike, and none twice."""
    texts = [text for of_class in PROMPTS.values() for text in of_class]
    assert {len(of_class) for of_class in PROMPTS.values()} == {60}
    assert len(set(texts)) == len(texts)
    assert f"{len(texts)} prompts" in PAGE.read_text()


@pytest.mark.parametrize("held_out", [False, True], ids=["tuned", "held out"])
def test_the_labelled_prompts(held_out: bool) -> None:
    """As docs/complexity.md says: its table is what comes out here."""
    classes = list(PROMPTS)
    matrix = confusion(held_out)
    right = sum(matrix[name, name] for name in classes)
    page = PAGE.read_text()
    section = page[page.index("### Held out" if held_out else "### Tuned") :]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:5]
    assert rows == [
        f"| {meant} | " + " | ".join(str(matrix[meant, found]) for found in classes) + " |" for meant in classes
    ]
    assert f"{right} of {sum(matrix.values())}" in section.partition("|")[0]
