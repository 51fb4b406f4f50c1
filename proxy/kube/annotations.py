"""What a pod's annotations and labels ask for: settings of its own, or everything that is wrong with them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from proxy.kube import quantity
from proxy.kube.names import INJECT, INJECTED, INJECTION, PREFIX, STATUS
from proxy.kube.settings import Settings

DRAIN_MAX_S = 3600
MEMORY_MIN = 32 * 1024**2
"""Bytes; no Python process starts with less. It also finds ``256m``, which Kubernetes takes for a quarter of a byte."""

MEMORY_SMALL = 96 * 1024**2
"""Bytes; below that an idle process has hardly any room left."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,510}")
_CONTAINER = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

LOG_LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("openai", "anthropic")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a pod asks for. `given`: the fields of `settings` that an annotation set. `problems` refuse the pod."""

    settings: Settings
    given: frozenset[str]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class BadText(ValueError):
    """The text says what to write."""


# The syntax of each value


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise BadText('write "true" or "false"')
    return text == "true"


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise BadText(f"write {', '.join(allowed[:-1])} or {allowed[-1]}")
        return text

    return read


def _whole(least: int, most: int, why: str = "") -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise BadText(f"write a whole number from {least} to {most}{why}")
        return int(text)

    return read


def _matching(form: re.Pattern[str], what: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not form.fullmatch(text):
            raise BadText(f"write {what}")
        return text

    return read


def _formats(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(one.strip() for one in text.split(",")))
    if found == ("none",):
        return ()
    if not all(one in FORMATS for one in found):
        raise BadText("write openai, anthropic, both with a comma, or none")
    return found


def _containers(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(one.strip() for one in text.split(",")))
    if found == ("all",):
        return ()
    if not all(_CONTAINER.fullmatch(one) for one in found):
        raise BadText("write names of containers, with commas between them, or all")
    return found


def _quantity(text: str) -> str:
    try:
        amount = quantity.parse(text)
    except ValueError as error:
        raise BadText(str(error)) from None
    if amount <= 0:
        raise BadText("write more than 0")
    return text


def _memory(text: str) -> str:
    if quantity.parse(_quantity(text)) < MEMORY_MIN:
        hint = f"; did you mean {text[:-1]}Mi?" if text.endswith("m") else ""
        raise BadText(f"write 32Mi or more{hint}")
    return text


_PORT = _whole(1024, 65535, "; lower ones need rights that the sidecar does not have")
_DNS_NAME = "a name as Kubernetes has them: small letters, digits, - and ."

READERS: Mapping[str, Callable[[str], Any]] = {
    "policy-configmap": _matching(_NAME, _DNS_NAME),
    "keys-secret": _matching(_NAME, _DNS_NAME),
    "port": _PORT,
    "admin-port": _PORT,
    "env": _formats,
    "env-containers": _containers,
    "env-override": _boolean,
    "placeholder-key": _one_of("auto", "true", "false"),
    "image": _matching(_IMAGE, "the name of an image, as in registry.example/llm-fusebox:1.0"),
    "image-pull-secret": _matching(_NAME, _DNS_NAME),
    "log-level": _one_of(*LOG_LEVELS),
    "cpu-request": _quantity,
    "cpu-limit": _quantity,
    "memory-request": _memory,
    "memory-limit": _memory,
    "drain-seconds": _whole(0, DRAIN_MAX_S),
    "native-sidecar": _boolean,
}
"""How each annotation is read, by its name without the prefix. The field of `Settings` has the same name, with ``_``."""

SHOWN_MAX = 80
"""Characters of a bad value that an error repeats."""


def read(annotations: Mapping[str, str], labels: Mapping[str, str], settings: Settings) -> Asked:
    """`settings` as the pod wants them."""
    problems: list[str] = []
    warnings: list[str] = []
    values: dict[str, Any] = {}
    for name, text in annotations.items():
        if not name.startswith(PREFIX) or name == STATUS:
            continue
        key = name.removeprefix(PREFIX)
        if key in READERS:
            try:
                values[key.replace("-", "_")] = READERS[key](text)
            except BadText as error:
                problems.append(f"annotation {name}: {_shown(text)}: {error}")
        elif name in (INJECT, INJECTION):
            _misplaced(name, text, problems, warnings)
        else:
            warnings.append(_unknown(name, key))
    if labels.get(INJECT, "true") not in ("true", "false"):
        problems.append(f'label {INJECT}: {_shown(labels[INJECT])}: write "true" or "false"')
    if INJECTION in labels:
        warnings.append(f'label {INJECTION} is for namespaces; a pod has {INJECT}: "true"')
    warnings += [
        f"label {name} is not known; settings are annotations"
        for name in labels
        if name.startswith(PREFIX) and name not in (INJECT, INJECTION, INJECTED)
    ]
    asked = replace(settings, **values)
    if not problems:
        problems += _together(asked)
    if quantity.parse(asked.memory_limit) < MEMORY_SMALL:
        warnings.append(f"memory-limit {asked.memory_limit} is little: an idle sidecar takes more than half of 96Mi")
    return Asked(asked, frozenset(values), tuple(problems), tuple(warnings))


def _together(settings: Settings) -> list[str]:
    """What is wrong with values that are good each by itself."""
    problems = []
    for what in ("cpu", "memory"):
        request, limit = getattr(settings, f"{what}_request"), getattr(settings, f"{what}_limit")
        if quantity.parse(request) > quantity.parse(limit):
            problems.append(
                f"annotation {PREFIX}{what}-request: {request} is more than the limit, {limit}: lower it, or write"
                f" {PREFIX}{what}-limit too"
            )
    if settings.port == settings.admin_port:
        problems.append(f"annotation {PREFIX}port: {settings.port} is the admin port, too: change one of them")
    return problems


def _misplaced(name: str, text: str, problems: list[str], warnings: list[str]) -> None:
    if name == INJECT and text == "false":
        # Going on would put a sidecar where somebody has said that there is to be none.
        problems.append(f'annotation {name}: it is a label; write it under labels to leave the pod out, as "false"')
    elif name == INJECT:
        warnings.append(f"annotation {name} does nothing: it is a label; webhooks select by labels alone")
    else:
        warnings.append(f"annotation {name} does nothing: it is a label of namespaces")


def _unknown(name: str, key: str) -> str:
    near = difflib.get_close_matches(key, READERS, n=1)
    return f"annotation {name} is not known{f': did you mean {PREFIX}{near[0]}?' if near else ''}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}...")
