"""What a sound configuration still needs from outside: keys, certificates, time. Looked at by ``check``, not by ``parse``.

Each finding is a warning, since where a file is checked need not be where it is used.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec

from proxy.config.parse import Document
from proxy.config.problems import Path, Problem, in_order, shown
from proxy.config.schema import KeySource
from proxy.config.secrets import describe, read_key


def missing(document: Document, environment: Mapping[str, str] = os.environ) -> tuple[Problem, ...]:
    """Keys that are not there or are no keys, CA files that cannot be used, packages that `traces` needs; each where it is
    named.

    Reads the files that the configuration names; what is in them is never told.
    """
    return in_order(_missing(document, environment), document.source)


def _missing(document: Document, environment: Mapping[str, str]) -> Iterator[Problem]:
    for name, provider in document.config.providers.items():
        for index, source in enumerate(provider.keys.sources):
            path: Path = ("providers", name, "keys", index, "env" if source.env is not None else "file")
            reason = _no_key(source, environment)
            if reason is not None:
                alone = len(provider.keys.sources) == 1
                effect = f"{shown(name)[1:-1]} is not asked until it is there" if alone else "the other keys are used"
                yield document.problem_at(path, f"{describe(source)} {reason[0]}", f"{reason[1]}; {effect}")
        if provider.ca is not None:
            unusable = _no_certificates(provider.ca)
            if unusable is not None:
                hint = "Fusebox does not start without it; write the path of a PEM file"
                yield document.problem_at(("providers", name, "ca"), f"file {provider.ca} {unusable}", hint)

    if document.config.traces is not None:
        if not _installed("opentelemetry.exporter.otlp.proto.http"):
            hint = "Fusebox does not start without them; pip install 'llm-fusebox[otel]' where it runs"
            yield document.problem_at(("traces",), "the packages that send traces are not installed here", hint)
        for header, source in document.config.traces.headers.items():
            reason = _no_key(source, environment, spaces=True)
            if reason is not None:
                path = ("traces", "headers", header, "env" if source.env is not None else "file")
                hint = f"{reason[1]}; traces are sent without this header until it is there"
                yield document.problem_at(path, f"{describe(source)} {reason[0]}", hint)
    if document.config.admin_token is not None:
        source = document.config.admin_token
        reason = _no_key(source, environment)
        if reason is not None:
            path = ("admin_token", "env" if source.env is not None else "file")
            hint = f"{reason[1]}; nobody may read the admin port until it is there"
            yield document.problem_at(path, f"{describe(source)} {reason[0]}", hint)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # one that it is in is absent
        return False


def _no_key(source: KeySource, environment: Mapping[str, str], *, spaces: bool = False) -> tuple[str, str] | None:
    """Why there is no key, and what to do. `spaces`: as in ``read_key``."""
    try:
        read_key(source, environment, spaces=spaces)
    except OSError as error:
        return f"cannot be read: {error.strerror}", "write the path of a file that Fusebox can read"
    except ValueError as error:
        if source.env is None:
            return str(error), "put the key into it, and nothing else"
        return str(error), "set it where Fusebox runs, to the key and nothing else"
    return None


def _no_certificates(file: str) -> str | None:
    try:
        ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        return "holds no certificates in PEM form"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def ended(document: Document, now_s: float) -> tuple[Problem, ...]:
    """Routes whose time is over at `now_s`, in seconds since 1970."""
    found = [
        document.problem_at(
            ("routes", index, "until"),
            f"this route has ended: it is not in force since {datetime.fromtimestamp(route.until, UTC):%Y-%m-%d %H:%M} UTC",
            "take the route out, or write a later moment",
        )
        for index, route in enumerate(document.config.routes)
        if route.until is not None and route.until <= now_s
    ]
    return in_order(found, document.source)
