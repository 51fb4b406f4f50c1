"""A software bill of materials, CycloneDX 1.6 in JSON: what the image adds to its base, from the lock file and pip's report.

Each component has its version, package URL, licence and the SHA-256 of the very archive that was installed, which must be
one of those that the lock file names. The base image brings a list of its own. Nothing in it is random: the same lock file
gives the same text.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

NAMESPACE = uuid.UUID("6f1c33f7-6c1b-5d0e-9d56-0b8a4d9b6d1a")
"""For the serial number, which is made of the content."""


class Foreign(Exception):
    """Something was installed that the lock file does not name; the text says what."""


def locked(lock: str) -> dict[tuple[str, str], frozenset[str]]:
    """(name, version) → SHA-256s, in hexadecimal, of the archives that a lock file's text allows."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for block in re.findall(r"^[A-Za-z0-9][^\n]*(?:\n    [^\n]*)*", lock, re.MULTILINE):
        head = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", block)
        if head is not None:
            found[canonical(head[1]), head[2]] = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
    return found


def document(packages: Path, report: Mapping[str, Any], lock: Mapping[tuple[str, str], frozenset[str]]) -> str:
    """The text for what stands in the folder `packages`. `report`: of ``pip install --report``. Raises Foreign."""
    there = {canonical(one.metadata["Name"]): one for one in distributions(path=[str(packages)])}
    own = there.pop("llm-fusebox")
    components = []
    for entry in report["install"]:
        name, version = canonical(entry["metadata"]["name"]), str(entry["metadata"]["version"])
        digest = entry["download_info"]["archive_info"]["hashes"]["sha256"]
        if digest not in lock.get((name, version), frozenset()):
            raise Foreign(f"{name} {version} with SHA-256 {digest} is not in the lock file")
        components.append(_component(there.pop(name), name, version, digest))
    if there:
        raise Foreign(f"installed, but not from the lock file: {', '.join(sorted(there))}")
    components.sort(key=lambda one: str(one["purl"]))
    root = {
        "type": "application",
        "bom-ref": f"pkg:pypi/llm-fusebox@{own.version}",
        "name": "llm-fusebox",
        "version": own.version,
        "purl": f"pkg:pypi/llm-fusebox@{own.version}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    content = {"metadata": {"component": root}, "components": components}
    serial = uuid.uuid5(NAMESPACE, json.dumps(content, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1}
    depends = {"ref": root["bom-ref"], "dependsOn": [str(one["bom-ref"]) for one in components]}
    return json.dumps({**head, **content, "dependencies": [depends]}, indent=2) + "\n"


def canonical(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _component(found: Distribution, name: str, version: str, digest: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    licence = _licence(found)
    if licence:
        component["licenses"] = licence
    return component


def _licence(found: Distribution) -> list[dict[str, Any]]:
    """As the package's metadata tells it: an SPDX expression, else a short name, else the classifiers' names."""
    expressions, texts, classifiers = (
        found.metadata.get_all(name) or [] for name in ("License-Expression", "License", "Classifier")
    )
    if expressions:
        return [{"expression": expressions[0]}]
    if texts and 0 < len(texts[0]) <= 60 and "\n" not in texts[0]:
        return [{"license": {"name": texts[0]}}]
    marked = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")]
    return [{"license": {"name": name}} for name in marked]
