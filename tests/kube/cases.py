"""The golden files: a pod, what is to become of it, and the pod that comes out; one file for each situation.

A file holds YAML documents: the pod; what is expected (`outcome`, `reasons` by code, `because`, `warnings`, `patch`, and what
was asked with: `settings`, `namespace`); and, for an injected pod, the pod with the sidecar. Its comment says the situation.
``python -m tests.kube.cases`` writes all but the pod anew; look at the difference then.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy.kube.patch import Decision, decide
from proxy.kube.pointer import apply
from proxy.kube.settings import Settings

FOLDER = Path(__file__).parent / "golden"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SETTINGS = Settings(image="registry.example/llm-fusebox@sha256:" + "0" * 64, version="1.0.0")
"""Fixed, so that a release does not change every file."""


@dataclass(frozen=True, slots=True)
class Case:
    """One file, read."""

    name: str
    pod: dict[str, Any]
    expected: dict[str, Any]
    injected: dict[str, Any] | None

    @property
    def settings(self) -> Settings:
        """Those of all cases, with what the file says."""
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in self.expected.get("settings", {}).items()
        }
        return dataclasses.replace(SETTINGS, **given)

    def decide(self) -> Decision:
        """What the injector says."""
        return decide(self.pod, self.settings, namespace=self.expected.get("namespace", "shop"))


def read(path: Path) -> Case:
    """The case in a file."""
    documents = list(yaml.load_all(path.read_text(), Loader=_LOADER))
    expected = documents[1] if len(documents) > 1 else {}
    return Case(path.stem, documents[0], expected, documents[2] if len(documents) > 2 else None)


def all_cases() -> list[Case]:
    """Every file, by name."""
    return [read(path) for path in sorted(FOLDER.glob("*.yaml"))]


def told(decision: Decision) -> dict[str, Any]:
    """A decision as a file has it."""
    found: dict[str, Any] = {"outcome": str(decision.outcome)}
    if decision.reasons:
        found |= {"reasons": [one.code for one in decision.reasons], "because": decision.because}
    if decision.warnings:
        found["warnings"] = list(decision.warnings)
    if decision.patch:
        found["patch"] = json.loads(json.dumps(decision.patch))
    return found


def write(case: Case, decision: Decision, injected: dict[str, Any] | None) -> None:
    """The file with this in place of what it expected; the pod and its comment stay as they are."""
    path = FOLDER / f"{case.name}.yaml"
    parts = [path.read_text().partition("\n---\n")[0].rstrip() + "\n"]
    kept: dict[str, Any] = {key: case.expected[key] for key in ("settings", "namespace") if key in case.expected}
    documents = [{**kept, **told(decision)}, *([injected] if injected is not None else [])]
    parts += [yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=120) for one in documents]
    path.write_text("---\n".join(parts))


class _Dumper(yaml.SafeDumper):
    """Writes the same list twice where it stands twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


if __name__ == "__main__":
    for one in all_cases():
        made = one.decide()
        write(one, made, apply(one.pod, made.patch) if made.patch else None)
