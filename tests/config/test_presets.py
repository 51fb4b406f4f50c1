"""The presets: sound as data, accepted by the configuration's types, and the same in ``docs/providers.md``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

from proxy.config.presets import PRESETS, Preset
from proxy.config.schema import Keys, Provider

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
LOCAL = {"ollama", "vllm", "llamacpp"}
HOSTED = {
    "openai", "anthropic", "google", "meta", "mistral", "deepseek", "modelslab", "minimax", "inception", "reka",
    "groq", "together", "fireworks", "openrouter", "azure",
}  # fmt: skip


def addresses() -> Iterator[tuple[str, str]]:
    """(preset, URL) for each address that is known."""
    for name, preset in PRESETS.items():
        for url in (preset.base_url, preset.anthropic_url):
            if url is not None:
                yield name, url


def expected_row(name: str, preset: Preset) -> list[str]:
    """The cells of `preset` in the table of the page."""

    def code(*values: str | None) -> str:
        return ", ".join(f"`{value}`" for value in values if value is not None) or "-"

    if preset.unconfirmed:
        confirmed = f"no: {code(*preset.unconfirmed)}"
    elif preset.second_hand:
        confirmed = f"second hand: {code(*preset.second_hand)}"
    else:
        confirmed = "-" if preset.base_url is None else "yes"
    docs = f"<{preset.docs}>" if preset.docs.startswith("https://") else preset.docs
    return [
        code(name),
        code(preset.base_url),
        code(preset.anthropic_url),
        code(*preset.env),
        code(preset.auth),
        code(preset.anthropic_auth),
        code(preset.keys_default),
        docs,
        confirmed,
    ]


def table_rows(page: str) -> list[list[str]]:
    """The cells of each row of the page's one table, heading left out."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert lines[0].startswith("| Name |") and set(lines[1]) == {"|", "-"}
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_all_names_of_the_design_are_there() -> None:
    """Every provider that the design names has a preset, and there is no other."""
    assert set(PRESETS) == HOSTED | LOCAL | {"demo", "demo-spare"}


@pytest.mark.parametrize("name", PRESETS)
def test_name_can_be_part_of_a_target(name: str) -> None:
    """Names are lower case without a slash, because a target is written provider/model."""
    assert re.fullmatch(r"[a-z][a-z0-9-]*", name)


def test_table_and_entries_cannot_be_changed() -> None:
    """Neither the table nor an entry takes an assignment."""
    with pytest.raises(TypeError):
        cast(dict[str, Preset], PRESETS)["openai"] = PRESETS["groq"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["openai"].base_url = None  # type: ignore[misc]
    assert not hasattr(PRESETS["openai"], "__dict__")


@pytest.mark.parametrize(("name", "url"), list(addresses()))
def test_address_is_well_formed(name: str, url: str) -> None:
    """HTTPS except on loopback; a host; no trailing slash, credentials, query or fragment."""
    parts = urlsplit(url)
    assert parts.scheme == ("http" if name in LOCAL else "https")
    assert (parts.hostname == "127.0.0.1") is (name in LOCAL)
    assert parts.hostname and parts.netloc == parts.netloc.lower()
    assert not url.endswith("/") and "//" not in parts.path
    assert "@" not in parts.netloc and "?" not in url and "#" not in url


@pytest.mark.parametrize("name", PRESETS)
def test_anthropic_root_is_without_the_version(name: str) -> None:
    """``/v1/messages`` is added to it, so a root that ends in ``/v1`` would double the version."""
    assert not (PRESETS[name].anthropic_url or "").endswith(("/v1", "/messages"))


@pytest.mark.parametrize("name", PRESETS)
def test_both_addresses_are_of_one_host(name: str) -> None:
    """A key belongs to one host, so the two formats of a preset never lead to two."""
    preset = PRESETS[name]
    if preset.base_url is not None and preset.anthropic_url is not None:
        assert urlsplit(preset.base_url).netloc == urlsplit(preset.anthropic_url).netloc


@pytest.mark.parametrize("name", PRESETS)
def test_missing_address_says_who_supplies_it(name: str) -> None:
    """A preset without ``base_url`` says whether the user or the process supplies it, and tells the user so."""
    preset = PRESETS[name]
    assert (preset.base_url is None) is (preset.address != "fixed")
    assert preset.base_url is not None or preset.note
    assert preset.base_url is not None or preset.anthropic_url is None


def test_only_azure_asks_the_user_for_its_address() -> None:
    """Azure's address holds the name of a resource; the note shows its shape and the header is Azure's own."""
    assert [name for name, preset in PRESETS.items() if preset.address == "user"] == ["azure"]
    assert [name for name, preset in PRESETS.items() if preset.address == "built-in"] == ["demo", "demo-spare"]
    assert "https://RESOURCE.openai.azure.com/openai/v1" in PRESETS["azure"].note
    assert PRESETS["azure"].auth == "api-key"


@pytest.mark.parametrize("name", PRESETS)
def test_documentation_page_is_given(name: str) -> None:
    """Every preset names a page; all but the built-in ones at an HTTPS address."""
    docs = PRESETS[name].docs
    if PRESETS[name].address == "built-in":
        assert PAGE.as_posix().endswith("/" + docs)
    else:
        assert urlsplit(docs).scheme == "https" and urlsplit(docs).hostname and not docs.endswith("/")


@pytest.mark.parametrize("name", PRESETS)
def test_hosted_providers_name_a_key_variable_and_local_ones_take_no_key(name: str) -> None:
    """Hosted ones pass the client's key by default and know a variable; local ones and the demo send no key."""
    preset = PRESETS[name]
    assert bool(preset.env) is (name in HOSTED)
    assert preset.keys_default == ("client" if name in HOSTED else "none")
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*_API_KEY", variable) for variable in preset.env)


def test_no_key_variable_stands_for_two_providers() -> None:
    """A variable found in the environment points to one provider, so a key cannot go to another's host."""
    variables = [variable for preset in PRESETS.values() for variable in preset.env]
    assert len(variables) == len(set(variables))
    assert not {"API_KEY", "MODEL_API_KEY", "LLM_API_KEY"} & set(variables)


@pytest.mark.parametrize("name", PRESETS)
def test_marks_of_doubt_name_addresses_that_exist(name: str) -> None:
    """``unconfirmed`` and ``second_hand`` name known addresses of the preset, and no address is in both."""
    preset = PRESETS[name]
    assert not set(preset.unconfirmed) & set(preset.second_hand)
    for field in (*preset.unconfirmed, *preset.second_hand):
        assert getattr(preset, field) is not None


@pytest.mark.parametrize("name", PRESETS)
def test_values_are_those_that_a_configuration_may_hold(name: str) -> None:
    """Whatever a preset says could also be written in the file: the types of the schema accept it."""
    preset = PRESETS[name]
    written = {"base_url": preset.base_url, "anthropic_url": preset.anthropic_url, "auth": preset.auth}
    provider = msgspec.convert(written, Provider)
    assert (provider.base_url, provider.anthropic_url, provider.auth) == tuple(written.values())
    assert msgspec.convert({"auth": preset.anthropic_auth}, Provider).auth == preset.anthropic_auth
    assert msgspec.convert({"mode": preset.keys_default}, Keys).mode == preset.keys_default


def test_page_and_presets_agree_in_every_cell() -> None:
    """The table of the page holds each preset once, in the same order, with the same data."""
    assert table_rows(PAGE.read_text(encoding="utf-8")) == [expected_row(*item) for item in PRESETS.items()]


@pytest.mark.parametrize(
    ("change", "cell"),
    [
        ({"unconfirmed": ("base_url",)}, "no: `base_url`"),
        ({"second_hand": ("base_url", "anthropic_url")}, "second hand: `base_url`, `anthropic_url`"),
        ({}, "yes"),
    ],
)
def test_doubt_shows_in_the_table(change: dict[str, Any], cell: str) -> None:
    """A mark of doubt in the data changes the last cell, so the page cannot hide it."""
    assert expected_row("x", dataclasses.replace(PRESETS["deepseek"], **change))[-1] == cell


def test_page_holds_every_note_and_no_other() -> None:
    """The notes under the table are those of the presets, word for word, in the order of the table."""
    section = PAGE.read_text(encoding="utf-8").split("### Notes\n", 1)[1].split("\n## ", 1)[0]
    notes = [f"- `{name}`: {preset.note}" for name, preset in PRESETS.items() if preset.note]
    assert section.strip().splitlines() == notes


def test_examples_of_the_page_use_keys_that_exist() -> None:
    """Every YAML example is a providers section whose entries have a known name or an address of their own."""
    examples = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        providers = yaml.safe_load(example)["providers"]
        for name, written in providers.items():
            assert set(written) <= set(Provider.__struct_fields__)
            assert name in PRESETS or "base_url" in written
