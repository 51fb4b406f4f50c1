"""What is known of each provider by name: its addresses, how it takes a key, where that is documented. Data only.

A preset is one entry of `PRESETS` and one row of ``docs/providers.md``; a test holds the two together. The comment
over an entry names the pages its addresses come from. They are pages of the provider itself unless the comment says
otherwise. "Read" means read in November 2026, from a stored copy and in the part that gives the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

OpenAIAuth = Literal["bearer", "x-api-key", "api-key"]
AnthropicAuth = Literal["bearer", "x-api-key"]
Address = Literal["base_url", "anthropic_url"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One provider as it is when the configuration names it and writes nothing else.

    ``base_url``: OpenAI-format root with its version, to which ``/chat/completions`` is added. ``anthropic_url``:
    Anthropic-format root, to which ``/v1/messages`` is added; None where no page says that the provider has one.
    Neither ends in a slash. ``address``: who supplies ``base_url``: this file (`fixed`), the user's configuration
    (`user`: an error without it), or the running process (`built-in`).

    ``auth`` and ``anthropic_auth``: the header that carries the provider's own key, for each format: ``bearer`` is
    ``authorization: Bearer KEY``, the others are the header's name. ``env``: variables that users commonly hold the key
    in, the likeliest first. A name that could as well hold another provider's key stays out, because a key found under
    it might be sent to the wrong host. ``keys_default``: what ``keys`` is when the configuration does not write it.

    ``docs``: the page to read. ``unconfirmed``: addresses that no public page confirmed. ``second_hand``: addresses
    that only pages of others confirmed, none of the provider's own. ``note``: a sentence for the user.
    """

    base_url: str | None
    docs: str
    anthropic_url: str | None = None
    address: Literal["fixed", "user", "built-in"] = "fixed"
    auth: OpenAIAuth = "bearer"
    anthropic_auth: AnthropicAuth = "x-api-key"
    env: tuple[str, ...] = ()
    keys_default: Literal["client", "none"] = "client"
    unconfirmed: tuple[Address, ...] = ()
    second_hand: tuple[Address, ...] = ()
    note: str = ""


_PRESETS: dict[str, Preset] = {
    # OpenAI's own Python SDK, its default and its table of regions (openai/_data_residency.py, read). The page below
    # was read in others' quotes only.
    "openai": Preset(
        base_url="https://api.openai.com/v1",
        env=("OPENAI_API_KEY",),
        docs="https://developers.openai.com/api/reference/overview",
        note="A project bound to a region uses that region's host, as in https://eu.api.openai.com/v1.",
    ),
    # https://platform.claude.com/docs/en/api/openai-sdk for the OpenAI format (read); for its own format the default
    # of Anthropic's Python SDK (anthropic/_client.py, read) and https://docs.anthropic.com/ja/api/getting-started
    # (read).
    "anthropic": Preset(
        base_url="https://api.anthropic.com/v1",
        anthropic_url="https://api.anthropic.com",
        env=("ANTHROPIC_API_KEY",),
        docs="https://platform.claude.com/docs/en/api/overview",
        note="Anthropic offers its OpenAI format for trying models out, not for production.",
    ),
    # https://ai.google.dev/gemini-api/docs/openai (read). Gemini and Gemma models share it. No Anthropic format found.
    "google": Preset(
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        docs="https://ai.google.dev/gemini-api/docs/openai",
    ),
    # Meta's own pages (https://dev.meta.ai/docs/overview) could not be read. Pages of others that give the addresses:
    # https://ai-sdk.dev/providers/openai-compatible-providers/meta and https://docs.litellm.ai/docs/providers/meta
    # (base_url, read); several public repositories post to https://api.meta.ai/v1/messages (read), and
    # https://www.promptfoo.dev/docs/providers/meta says that the Messages API exists and that the Llama API
    # (api.llama.com) was retired (read). Meta names the variable MODEL_API_KEY, too general a name to look for.
    "meta": Preset(
        base_url="https://api.meta.ai/v1",
        anthropic_url="https://api.meta.ai",
        anthropic_auth="bearer",
        env=("META_API_KEY", "META_MODEL_API_KEY"),
        docs="https://dev.meta.ai/docs/overview",
        second_hand=("base_url", "anthropic_url"),
        note="This is the Meta Model API; the Llama API at api.llama.com was retired on 6 July 2026.",
    ),
    # https://docs.mistral.ai/resources/migration-guides (read). No Anthropic format found.
    "mistral": Preset(
        base_url="https://api.mistral.ai/v1",
        env=("MISTRAL_API_KEY",),
        docs="https://docs.mistral.ai/resources/migration-guides",
    ),
    # https://api-docs.deepseek.com (read): the OpenAI-format root has no version segment there. Anthropic format:
    # https://api-docs.deepseek.com/guides/anthropic_api (read).
    "deepseek": Preset(
        base_url="https://api.deepseek.com",
        anthropic_url="https://api.deepseek.com/anthropic",
        env=("DEEPSEEK_API_KEY",),
        docs="https://api-docs.deepseek.com",
    ),
    # https://docs.modelslab.com/llm-api/chat-completions and https://docs.modelslab.com/llm-api/messages (both read):
    # one root for both formats, /chat/completions and /v1/messages below it. The project was given the latter as well.
    "modelslab": Preset(
        base_url="https://modelslab.com/api/v7/llm",
        anthropic_url="https://modelslab.com/api/v7/llm",
        env=("MODELSLAB_API_KEY",),
        docs="https://docs.modelslab.com/llm-api/chat-completions",
    ),
    # https://platform.minimax.io/docs/api-reference/text-openai-api and .../text-anthropic-api (both read); the header
    # from .../text-chat-anthropic (read).
    "minimax": Preset(
        base_url="https://api.minimax.io/v1",
        anthropic_url="https://api.minimax.io/anthropic",
        anthropic_auth="bearer",
        env=("MINIMAX_API_KEY",),
        docs="https://platform.minimax.io/docs/api-reference/text-openai-api",
        note="Accounts made in China use api.minimaxi.com in place of api.minimax.io: write both addresses.",
    ),
    # Inception's own pages could not be read. Pages of others that give the address (read):
    # https://docs.litellm.ai/docs/providers/inception and
    # https://docs.agno.com/models/providers/native/inception/overview. No Anthropic format found.
    "inception": Preset(
        base_url="https://api.inceptionlabs.ai/v1",
        env=("INCEPTION_API_KEY",),
        docs="https://docs.inceptionlabs.ai/get-started/get-started",
        second_hand=("base_url",),
    ),
    # https://docs.reka.ai/chat/api-reference/llms.txt says OpenAI-compatible without the address (read). The address is
    # given by https://docs.litellm.ai/docs/providers/reka (read), and as a quote from Reka's quickstart, which uses the
    # OpenAI SDK and so a bearer key, by the public repository juspay/neurolink (read); it adds that Reka's plain HTTP
    # examples send x-api-key. LiteLLM's page lists /messages, but gives no address and may mean its own translation:
    # left out.
    "reka": Preset(
        base_url="https://api.reka.ai/v1",
        env=("REKA_API_KEY",),
        docs="https://docs.reka.ai/quickstart",
        second_hand=("base_url",),
        note="Should a bearer key be refused, write `auth: x-api-key`.",
    ),
    # https://console.groq.com/docs/openai (read). No Anthropic format found.
    "groq": Preset(
        base_url="https://api.groq.com/openai/v1",
        env=("GROQ_API_KEY",),
        docs="https://console.groq.com/docs/openai",
    ),
    # https://docs.together.ai/docs/inference/openai-compatibility (read); api.together.xyz is the older name of the
    # host. No Anthropic format found.
    "together": Preset(
        base_url="https://api.together.ai/v1",
        env=("TOGETHER_API_KEY",),
        docs="https://docs.together.ai/docs/inference/openai-compatibility",
    ),
    # https://docs.fireworks.ai/tools-sdks/openai-compatibility and .../anthropic-compatibility (both read).
    "fireworks": Preset(
        base_url="https://api.fireworks.ai/inference/v1",
        anthropic_url="https://api.fireworks.ai/inference",
        anthropic_auth="bearer",
        env=("FIREWORKS_API_KEY",),
        docs="https://docs.fireworks.ai/tools-sdks/openai-compatibility",
    ),
    # https://openrouter.ai/docs/quickstart (read) and, for POST https://openrouter.ai/api/v1/messages,
    # https://openrouter.ai/docs/api/api-reference/anthropic-messages/create-a-message (read).
    "openrouter": Preset(
        base_url="https://openrouter.ai/api/v1",
        anthropic_url="https://openrouter.ai/api",
        anthropic_auth="bearer",
        env=("OPENROUTER_API_KEY",),
        docs="https://openrouter.ai/docs/quickstart",
    ),
    # Every resource has its own host. The page below (read in translation, /openai/v1 without the host), a copy of
    # Microsoft's article on the Responses API (the whole address, with the api-key header, read), and for the header
    # the Azure client of OpenAI's Python SDK (openai/lib/azure.py, read). Claude models in the same resource:
    # https://platform.claude.com/docs/en/build-with-claude/claude-in-microsoft-foundry (read), and for the header the
    # Foundry client of Anthropic's Python SDK (anthropic/lib/foundry.py, read), which sends x-api-key and api-key.
    "azure": Preset(
        base_url=None,
        address="user",
        auth="api-key",
        env=("AZURE_OPENAI_API_KEY",),
        docs="https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle",
        note="Write `base_url: https://RESOURCE.openai.azure.com/openai/v1` with the name of your resource, and for "
        "Claude models `anthropic_url: https://RESOURCE.services.ai.azure.com/anthropic`.",
    ),
    # https://docs.ollama.com/api/openai-compatibility (read as the copy of docs/openai.md in Ollama's repository) and
    # https://docs.ollama.com/api/anthropic-compatibility (read).
    "ollama": Preset(
        base_url="http://127.0.0.1:11434/v1",
        anthropic_url="http://127.0.0.1:11434",
        anthropic_auth="bearer",
        keys_default="none",
        docs="https://docs.ollama.com/api/openai-compatibility",
    ),
    # The page below in its repository, and https://docs.vllm.ai/en/stable/serving/integrations/claude_code (both read).
    "vllm": Preset(
        base_url="http://127.0.0.1:8000/v1",
        anthropic_url="http://127.0.0.1:8000",
        anthropic_auth="bearer",
        keys_default="none",
        docs="https://docs.vllm.ai/en/stable/serving/openai_compatible_server",
    ),
    # The README below as of https://github.com/ggml-org/llama.cpp/pull/17570 (read) and its makers' article
    # https://huggingface.co/blog/ggml-org/anthropic-messages-api-in-llamacpp (read).
    "llamacpp": Preset(
        base_url="http://127.0.0.1:8080/v1",
        anthropic_url="http://127.0.0.1:8080",
        anthropic_auth="bearer",
        keys_default="none",
        docs="https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    ),
    # Runs inside Fusebox, which listens on a free loopback port and fills in both addresses.
    "demo": Preset(
        base_url=None,
        address="built-in",
        keys_default="none",
        docs="docs/providers.md",
        note="A built-in provider for trying Fusebox without a key; it speaks both formats and needs no address.",
    ),
    "demo-spare": Preset(
        base_url=None,
        address="built-in",
        keys_default="none",
        docs="docs/providers.md",
        note="The demo provider under a second name, so that there is one to fall back to.",
    ),
}

PRESETS: Mapping[str, Preset] = MappingProxyType(_PRESETS)
"""Presets by the name that a configuration uses under ``providers``; read-only."""
