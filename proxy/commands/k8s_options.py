"""The injector's settings as options, for every command that injects."""

from __future__ import annotations

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from proxy.kube.annotations import READERS, read
from proxy.kube.names import PREFIX
from proxy.kube.settings import Settings

IMAGE_VARIABLE = "FUSEBOX_IMAGE"
"""The sidecar's image, where no option names one: manifests set it, so that it stands in one place."""

_OPTIONS = {
    "image": "the sidecar's image; by digest in production",
    "image-pull-secret": "a Secret of the pod's namespace by which the image is pulled",
    "policy-configmap": "the ConfigMap with config.yaml",
    "keys-secret": "the Secret whose files are keys",
    "port": "the data port, on the pod's loopback",
    "admin-port": "the port of probes and metrics",
    "env": "whose base URLs are set: openai, anthropic, both with a comma, or none",
    "placeholder-key": "auto, true or false: a stand-in where a container has no key",
    "log-level": "in place of the one in the policy",
    "cpu-request": "of the sidecar",
    "cpu-limit": "of the sidecar",
    "memory-request": "of the sidecar",
    "memory-limit": "of the sidecar",
    "drain-seconds": "how long running answers may go on at the end",
    "native-sidecar": "true or false; false for clusters below 1.29",
}
"""Those annotations that make sense for a whole cluster, each with its help."""


def add_settings(parser: ArgumentParser) -> None:
    """Declare the options. Each is a default: a pod's annotation of the same name wins."""
    group = parser.add_argument_group("defaults, which annotations of a pod change")
    for name, what in _OPTIONS.items():
        group.add_argument(
            f"--{name}", type=_reader(name), metavar="VALUE", help=f"{what}{_default(name)}", default=None
        )
    parser.add_argument(
        "--image-pull-policy", choices=("Always", "IfNotPresent", "Never"), default=None, help="(IfNotPresent)"
    )
    parser.add_argument(
        "--exclude-namespace",
        action="append",
        default=None,
        metavar="NAME",
        help=f"never inject there; may be repeated ({', '.join(Settings().excluded_namespaces)})",
    )


def settings_of(chosen: Namespace, parser: ArgumentParser) -> Settings:
    """The settings that the options make. Ends with a usage error when they do not fit together."""
    settings = Settings()
    if os.environ.get(IMAGE_VARIABLE):
        try:
            settings = replace(settings, image=READERS["image"](os.environ[IMAGE_VARIABLE]))
        except ValueError as error:
            parser.error(f"variable {IMAGE_VARIABLE}: {error}")
    given = {name.replace("-", "_"): getattr(chosen, name.replace("-", "_")) for name in _OPTIONS}
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    if chosen.image_pull_policy is not None:
        settings = replace(settings, image_pull_policy=chosen.image_pull_policy)
    if chosen.exclude_namespace is not None:
        settings = replace(settings, excluded_namespaces=tuple(chosen.exclude_namespace))
    problems = read({}, {}, settings).problems
    if problems:
        parser.error(problems[0].replace(f"annotation {PREFIX}", "--").replace(PREFIX, "--"))
    return settings


def _default(name: str) -> str:
    value: Any = getattr(Settings(), name.replace("-", "_"))
    if value == "":
        return ""
    return f" ({','.join(value) if isinstance(value, tuple) else str(value).lower() if value is True else value})"


def _reader(name: str) -> Callable[[str], Any]:
    def read_one(text: str) -> Any:
        try:
            return READERS[name](text)
        except ValueError as error:
            raise ArgumentTypeError(f"{text!r}: {error}") from None

    return read_one
