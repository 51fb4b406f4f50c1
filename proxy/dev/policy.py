"""The policy that a developer gets without writing one: a YAML text, as they would write it, from what was found.

Pure: findings in, text out. The rules, first match wins:

1. ``x-fusebox-provider: NAME`` in a request's header asks that provider. (A name before the model, as in openai/gpt-5.4,
   cannot do that: a policy keeps a model or replaces it by another, it takes nothing off it.)
2. A model that a local server listed goes to that server.
3. A model that its name tells (`GLOBS`) goes to the provider whose it is.
4. A name with a slash goes to the first found of the providers whose models have such names (`RESELLERS`).
5. Everything else goes to the first found; Anthropic-format requests to the first found that speaks that format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from proxy.config.presets import PRESETS
from proxy.dev.findings import Found

_OPENAI = (
    "gpt-*",
    "chatgpt-*",
    "o1",
    "o1-*",
    "o3",
    "o3-*",
    "o4-*",
    "text-embedding-*",
    "omni-moderation-*",
    "dall-e-*",
    "sora-*",
    "tts-*",
    "whisper-*",
    "codex-*",
    "computer-use-*",
    "ft:*",
)

GLOBS: Mapping[str, tuple[str, ...]] = {
    "openai": _OPENAI,
    "anthropic": ("claude-*",),
    "google": ("gemini-*", "gemma-*", "imagen-*", "veo-*"),
    "meta": ("Llama-*",),
    "mistral": (
        "mistral-*",
        "ministral-*",
        "magistral-*",
        "codestral-*",
        "devstral-*",
        "pixtral-*",
        "voxtral-*",
        "open-mi?tral-*",
    ),
    "deepseek": ("deepseek-*",),
    "minimax": ("MiniMax-*",),
    "inception": ("mercury", "mercury-*"),
    "reka": ("reka-*",),
    "groq": ("groq/*", "*-versatile", "*-instant"),
    "fireworks": ("accounts/*",),
    "azure": _OPENAI,
}
"""Whose a model is by its name, in the order of asking; a glob goes to the first provider found that has it."""

RESELLERS = ("openrouter", "together", "groq", "fireworks", "modelslab")
"""Providers of others' models, whose names hold the maker's before a slash."""

BY_NAME_HEADER = "x-fusebox-provider"
"""The request header that asks one provider. Headers with this beginning never go on to a provider."""

DEMO = ("demo", "demo-spare")
"""Who answers where nothing was found: two, so that a fallback can be seen (``fusebox fault demo``)."""

LISTED_MAX = 200
"""Models of a local server that get a line of the policy; more than anybody keeps on a laptop."""

DRAIN = "5s"
"""How long answers may go on after Ctrl-C: whoever develops wants to leave."""


def policy_text(found: Sequence[Found], port: int, admin_port: int) -> str:
    """The configuration for the providers in `found`, on both loopback addresses; for none, the demo providers'."""
    lines = [
        "# What fusebox dev made of the keys and the local servers that it found. To change it, save it as a file:",
        "#     fusebox dev --print-config > fusebox.yaml && fusebox dev --config fusebox.yaml",
        "# A second target of a route is its fallback, as in to: [openai, deepseek/deepseek-chat].",
        f"listen: localhost:{port}",
        f"admin: localhost:{admin_port}",
        f"drain: {DRAIN}",
        "",
        "providers:",
        *([f"  {one.name}: {_provider(one)}" for one in found] or [f"  {name}: {{}}" for name in DEMO]),
        "",
        "routes:",
        *_routes(found),
    ]
    return "\n".join(lines) + "\n"


def _provider(found: Found) -> str:
    """What stands behind a provider's name: only what the preset does not say."""
    said = {}
    for name in ("base_url", "anthropic_url"):
        url = getattr(found, name)
        if url is not None and url != getattr(PRESETS[found.name], name):
            said[name] = _text(url)
    if found.variable is not None:
        said["keys"] = f"[{{env: {found.variable}}}]"
    return "{" + ", ".join(f"{name}: {value}" for name, value in said.items()) + "}"


def _routes(found: Sequence[Found]) -> Iterator[str]:
    if len(found) > 1:
        yield "  # Asked for by name, whatever the model. Headers of this name go no further than Fusebox."
        for one in found:
            yield _route(f"ask-{one.name}", f"{{header: {{{BY_NAME_HEADER}: {one.name}}}}}", one.name)
    yield from _by_model(found)
    if len(found) > 1 and not found[0].speaks_anthropic:
        second = next((one for one in found if one.speaks_anthropic), None)
        if second is not None:
            yield f"  # {found[0].name} does not speak the format of Anthropic's SDK."
            yield _route("anthropic-format", "{format: anthropic}", second.name)
    yield "  # The first that was found."
    yield _route("everything-else", "{}", found[0].name if found else ", ".join(DEMO))


def _by_model(found: Sequence[Found]) -> Iterator[str]:
    """Rules 2 to 4. With one provider alone there is nothing to choose."""
    if len(found) < 2:
        return
    names = [one.name for one in found]
    local = [one for one in found if one.models]
    if local:
        yield "  # The models that local servers listed."
    for one in local:
        yield _route(f"{one.name}-models", _models(one.models[:LISTED_MAX]), one.name)
    taken: set[str] = set()
    # The last route takes whatever is left to the first provider; yet a glob of its own keeps later ones off its models.
    yield "  # Models that their names tell."
    for name, globs in GLOBS.items():
        own = [glob for glob in globs if glob not in taken]
        if name in names and own:
            taken.update(own)
            yield _route(name, _models(own), name)
    reseller = next((name for name in RESELLERS if name in names), None)
    if reseller is not None:
        yield "  # Models of many makers, as in meta-llama/Llama-3.3-70B-Instruct."
        yield _route("names-with-a-slash", _models(["*/*"]), reseller)


def _route(name: str, match: str, chain: str) -> str:
    return f"  - {{name: {name}, match: {match}, to: [{chain}]}}"


def _models(globs: Sequence[str]) -> str:
    return f"{{model: [{', '.join(map(_text, globs))}]}}"


def _text(text: str) -> str:
    """A YAML text in double quotes; JSON's are read the same."""
    return json.dumps(text, ensure_ascii=False)
