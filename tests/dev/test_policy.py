"""The policy that is made from findings: it parses without a warning, and sends each model where the page says."""

from __future__ import annotations

import pytest

from proxy.commands.parts import as_served
from proxy.config.parse import parse_document
from proxy.config.presets import PRESETS
from proxy.dev.findings import Found
from proxy.dev.policy import BY_NAME_HEADER, GLOBS, policy_text
from proxy.exchange import Carrier, Endpoint, Facts, Format
from proxy.policy.compiled import compile_policy
from proxy.policy.decide import decide

OLLAMA = Found("ollama", None, ("llama3.2:3b", "gpt-oss:20b"))


def found(*names: str) -> list[Found]:
    """These providers with a key; ``ollama`` with two models."""
    return [OLLAMA if name == "ollama" else Found(name, PRESETS[name].env[0]) for name in names]


def asked(providers: list[Found], model: str, *, anthropic: bool = False, header: str | None = None) -> str:
    """The target that a request for `model` would go to."""
    config = parse_document(policy_text(providers, 4010, 4011)).config
    form = Format.ANTHROPIC if anthropic else Format.OPENAI
    path = "/v1/messages" if anthropic else "/v1/chat/completions"
    endpoint = Endpoint("x", form, Carrier.JSON, modality="text", inference=True)
    facts = Facts(endpoint, "POST", path, model, False, {} if header is None else {BY_NAME_HEADER: header})
    return str(decide(compile_policy(as_served(config)), facts, roll=0.5).plan.targets[0])


EVERYBODY = ("openai", "anthropic", "google", "deepseek", "groq", "openrouter", "ollama")


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-5.4", "openai"),
        ("o3", "openai"),
        ("o4-mini", "openai"),
        ("text-embedding-3-small", "openai"),
        ("ft:gpt-4o:team::id", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("gemini-2.5-pro", "google"),
        ("deepseek-chat", "deepseek"),
        ("llama-3.3-70b-versatile", "groq"),
        ("groq/compound", "groq"),
        ("meta-llama/Llama-3.3-70B-Instruct", "openrouter"),
        ("openai/gpt-5.4", "openrouter"),
        ("llama3.2:3b", "ollama"),
        ("gpt-oss:20b", "ollama"),
        ("of-nobody", "openai"),
    ],
)
def test_a_model_goes_to_its_provider(model: str, provider: str) -> None:
    """By a local server's list, by its name, by a slash, or to the first; the model stays as it is."""
    assert asked(found(*EVERYBODY), model) == provider


def test_a_provider_is_asked_by_name() -> None:
    """The header goes before the model's name, and only a provider that was found has a name."""
    assert asked(found("openai", "groq"), "gpt-5.4", header="groq") == "groq"
    assert asked(found("openai", "groq"), "gpt-5.4", header="mistral") == "openai"


@pytest.mark.parametrize(
    ("names", "provider"),
    [
        (("openai", "anthropic"), "anthropic"),
        (("openai", "groq", "ollama"), "ollama"),
        (("deepseek", "anthropic"), "deepseek"),
    ],
)
def test_anthropic_format_goes_where_it_is_spoken(names: tuple[str, ...], provider: str) -> None:
    """An unknown model in that format goes to the first that offers it, not to the first of all."""
    assert asked(found(*names), "of-nobody", anthropic=True) == provider


def test_without_findings_the_demo_answers() -> None:
    """Both formats, any model."""
    assert asked([], "gpt-5.4") == asked([], "claude-sonnet-4-5", anthropic=True) == "demo"


def test_one_provider_gets_everything() -> None:
    """With nothing to choose there is one route."""
    config = parse_document(policy_text(found("mistral"), 4010, 4011)).config
    assert [route.name for route in config.routes] == ["everything-else"]
    assert asked(found("mistral"), "gpt-5.4") == "mistral"


def test_every_provider_at_once_is_a_sound_policy() -> None:
    """No errors, and no warning either: no route is out of reach, none repeats another."""
    everybody = [
        Found(name, preset.env[0], base_url="https://x.example/openai/v1" if preset.base_url is None else None)
        for name, preset in PRESETS.items()
        if preset.env
    ]
    document = parse_document(policy_text([*everybody, OLLAMA], 4100, 4101))
    assert document.warnings == ()
    assert len(document.config.providers) == len(everybody) + 1
    assert (str(document.config.listen), str(document.config.admin)) == ("localhost:4100", "localhost:4101")
    assert document.config.providers["google"].keys.sources[0].env == "GEMINI_API_KEY"


def test_addresses_of_ones_own_are_written() -> None:
    """An address from a variable stands in the policy, and the preset's other address is given up with it."""
    provider = Found("anthropic", "ANTHROPIC_API_KEY", anthropic_url="https://gate.example")
    config = parse_document(policy_text([provider], 4010, 4011)).config
    assert config.providers["anthropic"].anthropic_url == "https://gate.example"
    assert config.providers["anthropic"].base_url is None


def test_names_of_local_models_are_only_texts() -> None:
    """What a local server calls its models cannot become anything else of the policy."""
    odd = ('a", to: [x]', "{}", "- b", "é #", "'", "\\", "true", "12")
    config = parse_document(policy_text([*found("openai"), Found("ollama", None, odd)], 4010, 4011)).config
    [route] = [route for route in config.routes if route.name == "ollama-models"]
    assert route.match.model == odd


def test_globs_are_of_known_providers() -> None:
    """A misspelt name would never be asked."""
    assert set(GLOBS) <= set(PRESETS)
