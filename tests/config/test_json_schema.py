"""The JSON Schema: the committed one is the one of the types, it takes what `parse` takes, and no key that there is not."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from proxy.cli import main
from proxy.config.json_schema import build, text
from proxy.config.parse import INCLUDES_MAX, parse
from proxy.config.problems import ConfigError

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).parent / "broken"

PROVIDERS = "providers: {openai: {keys: none}}\n"
ALL = "routes: [{name: all, match: {}, to: [openai]}]\n"


class Loader(yaml.SafeLoader):
    """As editors read YAML: a moment is a text."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@cache
def validator() -> Draft202012Validator:
    """For main files."""
    return Draft202012Validator(build())


def errors(written: str) -> list[str]:
    """What the schema has against a text, each with its path."""
    tree = yaml.load(written, Loader)  # a SafeLoader
    return [f"{'.'.join(map(str, one.absolute_path))}: {one.message}" for one in validator().iter_errors(tree)]


def test_the_committed_schema_is_that_of_the_types() -> None:
    """After a change of the types: make schema."""
    assert (ROOT / "config.schema.json").read_text(encoding="utf-8") == text()


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """As it is committed."""
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == text()


def test_it_is_a_schema() -> None:
    """By the metaschema of its draft, and every reference leads somewhere."""
    shape = build()
    Draft202012Validator.check_schema(shape)
    references = set(re.findall(r'"#/\$defs/(\w+)"', text()))
    assert references | {"Included"} == set(shape["$defs"])


def mappings(shape: Any) -> Iterator[dict[str, Any]]:
    """Every schema of a mapping with known keys."""
    if isinstance(shape, dict):
        if "properties" in shape:
            yield shape
        for inner in shape.values():
            yield from mappings(inner)
    elif isinstance(shape, list):
        for inner in shape:
            yield from mappings(inner)


def test_every_key_is_described_and_no_other_is_allowed() -> None:
    """By itself or by the type that it leads to; an editor shows it."""
    shape = build()
    found = list(mappings(shape))
    assert len(found) >= 15
    for one in found:
        assert one["additionalProperties"] is False
        for name, key in one["properties"].items():
            told = (
                key.get("description") or shape["$defs"][re.findall(r"defs/(\w+)", json.dumps(key))[0]]["description"]
            )
            assert not told.startswith("A duration")
            assert len(told) > 8 and not told.startswith("See there"), name


def good_texts() -> list[str]:
    """Files that people copy, files with warnings, and those of the tables below."""
    files = [ROOT / "config.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]
    texts = [file.read_text(encoding="utf-8") for file in [*files, *sorted(BROKEN.glob("*.yaml"))]]
    good = []
    for one in texts:
        try:
            parse(one)
        except ConfigError:
            continue
        good.append(one)
    return good


SHAPES = [
    "listen: '[::1]:4010'\nadmin: localhost:4011\n",
    "breaker:\ntimeouts:\nretry:\nlimits:\nlog:\nmodels:\ncomplexity:\n",
    "limits: {body: 65536, headers: 1KiB}\n",
    "breaker: {slow_first_event: ~}\n",
    "models: {openai/m: {context: ~, price: {input: 0, output: 1_0, long_context: {over: 1, input: 1, output: 1}}}}\n",
    "models: {openai/m: }\n",
    "models: {openai/m: {modalities: [text, image]}}\n",
    "models: {openai/m: {modalities: text}}\n",
    "complexity: {weights: {code: 0.5}}\n",
]
ROUTES = [
    "match: {model: a}",
    "match: {model: [a, 'b*'], path: ['*', /v1/*], header: {X-A: b, c: [d, e]}}",
    "match: {complexity: [simple, creative], prompt_tokens: {over: 0}, tools: ~, json: true, format: openai}",
    "match: {prompt_tokens: }",
    "match: {}, sticky: header:X-A",
    "match: {}, sticky: ~, hedge: ~, mirror: ~",
    "match: {}, mirror: {to: openai/x, percent: 0.5}",
    "match: {}, mirror: {to: {openai/x: 50, openai/y: 50}}",
    "match: {}, timeouts: , retry: , until: 2026-12-01T06:00:00+01:00",
    "match: {}, from: '2026-12-01 06:00:00.5z'",
]
KEYS = ["", "{}", "{keys: client}", "{keys: [{file: /k}, {env: A}]}", "{keys: none, base_url: 'HTTPS://h:1/v1', ca: ~}"]


def accepted() -> list[str]:
    """One text for each shape that `Reader` takes a value in."""
    texts = [f"{PROVIDERS}{ALL}{one}" for one in SHAPES]
    texts += [f"{PROVIDERS}routes: [{{name: r, to: [openai], {one}}}]\n" for one in ROUTES]
    texts += [f"{ALL}providers: {{openai: {one}}}\n" for one in KEYS]
    return [*texts, f"{PROVIDERS}routes: [{{name: r, match: {{}}, to: [{{openai/a: 50, openai: 50}}]}}]\n"]


@pytest.mark.parametrize("written", [*accepted(), *good_texts()], ids=lambda written: repr(written)[-50:])
def test_what_parse_accepts_the_schema_accepts(written: str) -> None:
    """And the test's own texts are accepted by both."""
    parse(written)
    assert errors(written) == []


def test_a_file_that_includes_and_one_that_is_included() -> None:
    """The one may leave providers and routes to the other, which has a schema of its own within this one."""
    assert errors("include: a.yaml\n") == []
    assert errors(f"include: [{', '.join(f'{n}.yaml' for n in range(INCLUDES_MAX))}]\n") == []
    assert errors(f"include: [{', '.join(f'{n}.yaml' for n in range(INCLUDES_MAX + 1))}]\n")
    shape = build()
    included = Draft202012Validator({"$ref": "#/$defs/Included", "$defs": shape["$defs"]})
    assert included.is_valid(yaml.safe_load(ALL)) and not included.is_valid({"listen": "h:1"})


@pytest.mark.parametrize(
    ("written", "at"),
    [
        (PROVIDERS + ALL + "drian: 5s\n", ""),
        (PROVIDERS + ALL + "drain: 5\n", "drain"),
        (PROVIDERS + ALL + "drain: 5 s\n", "drain"),
        (PROVIDERS + ALL + "log: {level: loud}\n", "log.level"),
        (PROVIDERS + ALL + "breaker: {failure_rate: 2}\n", "breaker.failure_rate"),
        (PROVIDERS + ALL + "limits: {body: 64MB}\n", "limits.body"),
        (PROVIDERS + ALL.replace("{}", "{modle: x}"), "routes.0.match"),
        (PROVIDERS + ALL.replace("match: {}, ", ""), "routes.0"),
        (PROVIDERS + ALL.replace("[openai]", "openai"), "routes.0.to"),
        (PROVIDERS + ALL.replace("[openai]", "[openai/]"), "routes.0.to.0"),
        (PROVIDERS + ALL.replace("{}", "{model: []}"), "routes.0.match.model"),
        (PROVIDERS + ALL.replace("{}", "{path: v1}"), "routes.0.match.path"),
        (ALL + "providers: {openai: {keys: mine}}\n", "providers.openai.keys"),
        (ALL + "providers: {openai: {keys: [{env: a-b}]}}\n", "providers.openai.keys"),
        (ALL + "providers: {openai: {base_url: h/v1}}\n", "providers.openai.base_url"),
        (ALL + "providers: {'open ai': {}}\n", "providers"),
        (PROVIDERS, ""),
    ],
)
def test_what_an_editor_marks(written: str, at: str) -> None:
    """At the place of the mistake; `parse` refuses it as well."""
    assert [one.split(": ")[0] for one in errors(written)] == [at]
    with pytest.raises(ConfigError):
        parse(written)


def places(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a tree."""
    if isinstance(tree, dict):
        yield tree
        for inner in tree.values():
            yield from places(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from places(inner)


def test_an_unknown_key_is_refused_wherever_it_stands() -> None:
    """In every mapping of the example whose keys are not names that people choose."""
    tree = yaml.load((ROOT / "config.yaml").read_text(encoding="utf-8"), Loader)  # a SafeLoader
    marked = 0
    for number in range(sum(1 for _ in places(tree))):
        changed = copy.deepcopy(tree)
        list(places(changed))[number]["unknown key"] = "x"
        marked += not validator().is_valid(changed)
    # Free names are those of headers alone; those of providers, models and targets have a syntax or values of their own.
    assert marked == sum(1 for _ in places(tree))
