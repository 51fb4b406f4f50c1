"""What is found in an environment: names of variables, never what they hold."""

from __future__ import annotations

import pytest

from proxy.dev import findings
from proxy.dev.findings import LOCAL, look
from proxy.dev.shell import variables

SECRET = "sk-planted-4711-secret"


@pytest.fixture(autouse=True)
def asked_ports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The machine's servers are left alone; whom would be asked is kept."""
    asked: list[dict[str, str]] = []

    def nobody(urls: dict[str, str]) -> dict[str, tuple[str, ...]]:
        asked.append(urls)
        return {"ollama": ("llama3.2:3b",)} if "ollama" in urls else {}

    monkeypatch.setattr(findings, "servers", nobody)
    return asked


def test_keys_by_the_presets_variables() -> None:
    """Each provider with the first of its variables that is set, in the presets' order, local servers last."""
    environment = {"GOOGLE_API_KEY": SECRET, "OPENAI_API_KEY": SECRET, "MISTRAL_API_KEY": "  ", "OTHER_API_KEY": SECRET}
    assert [(one.name, one.variable) for one in look(environment).providers] == [
        ("openai", "OPENAI_API_KEY"),
        ("google", "GOOGLE_API_KEY"),
        ("ollama", None),
    ]


def test_no_key_is_told() -> None:
    """Neither in a sentence nor in a value of what was found."""
    told = look(
        {"OPENAI_API_KEY": SECRET, "GROQ_API_KEY": f"{SECRET} with spaces", "OPENAI_BASE_URL": f"http://{SECRET}@x/"}
    )
    assert "planted" not in repr(told) and "planted" not in "".join(map(str, told.providers))
    assert [what for what, _ in told.unused] == [
        "OPENAI_BASE_URL: a URL here must not hold a user name or password (nor any @)",
        "GROQ_API_KEY holds characters that no key has (only visible ASCII, no spaces inside)",
    ]


def test_the_placeholder_is_no_key() -> None:
    """What `fusebox env` set for the SDKs must not be sent to a provider."""
    assert [one.name for one in look(variables(4010, {})).providers] == ["ollama"]


def test_a_key_goes_to_the_address_beside_it() -> None:
    """Whoever sets OPENAI_BASE_URL means that host; the preset's would be a stranger."""
    [openai, *_] = look({"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "https://gate.example/v1/"}).providers
    assert (openai.base_url, openai.anthropic_url) == ("https://gate.example/v1", None)
    assert str(openai) == "OPENAI_API_KEY, for https://gate.example/v1 (OPENAI_BASE_URL)"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"OPENAI_BASE_URL": "https://gate.example"}, "(OPENAI_BASE_URL: most servers want /v1 after it)"),
        ({"OPENAI_BASE_URL": "https://gate.example/openai"}, "(OPENAI_BASE_URL)"),
        ({"ANTHROPIC_BASE_URL": "https://gate.example/v1"}, "adds /v1 by itself, so leave it off)"),
        ({"ANTHROPIC_BASE_URL": "https://gate.example"}, "(ANTHROPIC_BASE_URL)"),
    ],
)
def test_an_odd_address_is_doubted(address: dict[str, str], said: str) -> None:
    """One SDK wants /v1 in its base URL, the other adds it: who mixes them up is told before the first 404."""
    one = look({"OPENAI_API_KEY": SECRET, "ANTHROPIC_API_KEY": SECRET, **address})
    assert [str(found).endswith(said) for found in one.providers].count(True) == 1


def test_an_address_without_a_key_is_told() -> None:
    """It is not served, and whoever set it would wonder why; unless it leads to Fusebox itself."""
    alone = look({"OPENAI_BASE_URL": "http://localhost:1234/v1"}, (4010,))
    assert [one.name for one in alone.providers] == ["ollama"]
    assert alone.unused == (
        (
            "OPENAI_BASE_URL is set without a key",
            "set OPENAI_API_KEY beside it, to any text if that server wants no key, or unset it",
        ),
    )
    assert look(variables(4010, {}), (4010,)).unused == ()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_an_address_of_fuseboxs_own_is_left_out(host: str) -> None:
    """In a shell with the exports of an earlier run it would send to itself."""
    environment = {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": f"http://{host}:4010/v1"}
    assert look(environment, (4010,)).providers[0].base_url is None
    assert look(environment, (4020,)).providers[0].base_url == f"http://{host}:4010/v1"


def test_azure_needs_its_endpoint() -> None:
    """The key alone leads nowhere, and that is said; with the endpoint there is a provider."""
    alone = look({"AZURE_OPENAI_API_KEY": SECRET})
    assert "azure" not in [one.name for one in alone.providers]
    assert alone.unused[0][0] == "AZURE_OPENAI_API_KEY is set without AZURE_OPENAI_ENDPOINT"
    both = look({"AZURE_OPENAI_API_KEY": SECRET, "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/"})
    assert both.providers[0].base_url == "https://r.openai.azure.com/openai/v1"


def test_own_ports_are_not_asked(asked_ports: list[dict[str, str]]) -> None:
    """A Fusebox on vLLM's port is no vLLM."""
    look({}, (8000, 4011))
    look({})
    assert [set(urls) for urls in asked_ports] == [set(LOCAL) - {"vllm"}, set(LOCAL)]


def test_what_is_said_of_a_local_server() -> None:
    """Its address and how many models it has."""
    assert str(look({}).providers[0]) == "http://127.0.0.1:11434/v1, 1 model"
