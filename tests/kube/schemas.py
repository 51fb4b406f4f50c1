"""The strict JSON schemas of several Kubernetes versions, from the package kubernetes-validate; each is loaded once."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema
from kubernetes_validate import utils
from referencing import Registry, Resource

NEWEST = utils.major_minor(utils.latest_version())
VERSIONS = ("1.29", "1.33", NEWEST)
"""The first with native sidecars on by default, the first in which they are stable, and the newest there is."""


@cache
def validator(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    """For one kind, such as ``pod`` and ``v1`` or ``deployment`` and ``apps-v1``."""
    folder = _folder(version)
    schema = utils.schema_contents(f"{folder}/{kind}-{api_version}.json", version)
    registry: Registry[Any] = Resource.from_contents(schema) @ Registry()
    return jsonschema.Draft202012Validator(schema, registry=_definitions(version) @ registry)


@cache
def _definitions(version: str) -> Resource[Any]:
    return Resource.from_contents(utils.schema_contents(f"{_folder(version)}/_definitions.json", version))


def _folder(version: str) -> str:
    full = next(one for one in utils.all_versions() if utils.major_minor(one) == version)
    return f"kubernetes-json-schema/v{full}-local-strict"


def invalid(document: dict[str, Any], version: str) -> list[str]:
    """What the schema says against `document`."""
    group, _, number = document["apiVersion"].rpartition("/")
    name = "-".join(filter(None, (group.partition(".")[0], number)))
    found = validator(document["kind"].lower(), name, version).iter_errors(document)
    return [f"{'.'.join(map(str, error.path))}: {error.message[:200]}" for error in found]
