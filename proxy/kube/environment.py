"""The variables that lead a container's SDKs to the sidecar; only those that it does not have."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.kube.names import PLACEHOLDER, PREFIX
from proxy.kube.pods import Container
from proxy.kube.pointer import Operation, add, pointer, replace
from proxy.kube.settings import Settings

_KEYS = {"openai": ("OPENAI_API_KEY",), "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")}
"""What each SDK takes for its key; the first is what it asks for."""

_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_STRAIGHT = ("NO_PROXY", "no_proxy")
LOOPBACK = "127.0.0.1,localhost"


@dataclass(frozen=True, slots=True)
class Variables:
    """What is done to one container. `names`: the variables that are set."""

    operations: tuple[Operation, ...]
    names: tuple[str, ...]
    warnings: tuple[str, ...]


def base_urls(settings: Settings) -> dict[str, str]:
    """The variables of the formats asked for. Anthropic's SDK adds ``/v1`` itself."""
    origin = f"http://127.0.0.1:{settings.port}"
    urls = {"openai": ("OPENAI_BASE_URL", f"{origin}/v1"), "anthropic": ("ANTHROPIC_BASE_URL", origin)}
    return dict(urls[one] for one in settings.env)


def plan(container: Container, place: tuple[str | int, ...], settings: Settings) -> Variables:
    """What `container`, which stands at `place` in the pod, gets."""
    operations: list[Operation] = []
    replaced: list[str] = []
    added: dict[str, str] = {}
    warnings: list[str] = []
    for name, url in base_urls(settings).items():
        found = container.variable(name)
        if found is None:
            added[name] = url
            continue
        index, entry = found
        if entry.value == url and entry.value_from is None:
            continue
        if settings.env_override:
            operations.append(replace(pointer(*place, "env", index), {"name": name, "value": url}))
            replaced.append(name)
        else:
            warnings.append(
                f"container {container.name} has its own {name}, which stays: what it sends there does not come to the"
                f' sidecar ({PREFIX}env-override: "true" would change it)'
            )
    added |= _keys(container, settings)
    if settings.env:
        added |= _no_proxy(container, warnings)
    if added and not container.env:  # an empty list is left out where types are written as JSON
        operations.append(add(pointer(*place, "env"), []))
    # First, so that the container's own entries may refer to them: $(NAME) sees earlier ones only.
    operations += [
        add(pointer(*place, "env", index), {"name": name, "value": value})
        for index, (name, value) in enumerate(added.items())
    ]
    return Variables(tuple(operations), (*replaced, *added), tuple(warnings))


def _keys(container: Container, settings: Settings) -> dict[str, str]:
    """Placeholders. An entry of `env` beats `envFrom`, so one could hide the key in a Secret that is not seen here."""
    if settings.placeholder_key == "false" or (settings.placeholder_key == "auto" and container.env_from):
        return {}
    return {
        names[0]: PLACEHOLDER
        for one, names in _KEYS.items()
        if one in settings.env and not any(container.variable(name) for name in names)
    }


def _no_proxy(container: Container, warnings: list[str]) -> dict[str, str]:
    """With a proxy of the network, requests to loopback must be told not to go there."""
    proxies = [found[1] for name in _PROXIES if (found := container.variable(name)) is not None]
    if not any(entry.value or entry.value_from is not None for entry in proxies):
        return {}
    present = [found[1] for name in _STRAIGHT if (found := container.variable(name)) is not None]
    if not present and not container.env_from:
        return dict.fromkeys(_STRAIGHT, LOOPBACK)
    for entry in present:
        exempt = {one.strip() for one in (entry.value or "").split(",")}
        if entry.value_from is None and not exempt & {"127.0.0.1", "*", "127.0.0.0/8"}:
            warnings.append(
                f"container {container.name}: {entry.name} lacks 127.0.0.1, so requests to the sidecar go to the"
                " network's proxy: add 127.0.0.1"
            )
    if not present:
        warnings.append(
            f"container {container.name} has a proxy of the network and takes variables from elsewhere (envFrom): see that"
            " NO_PROXY holds 127.0.0.1"
        )
    return {}
