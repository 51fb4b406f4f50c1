"""The problems of checked files as text for people, as JSON for programs, and as annotations for GitHub. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.config.problems import Problem


@dataclass(frozen=True, slots=True)
class Checked:
    """One configuration that was checked. `files`: all that were read for it, itself first; `good`: what to say when it has
    no errors.
    """

    files: tuple[str, ...]
    problems: tuple[Problem, ...]
    good: str = ""

    def count(self, severity: str) -> int:
        """How many problems are of this severity."""
        return sum(problem.severity == severity for problem in self.problems)

    def passes(self, strict: bool) -> bool:
        """Whether it may be used; with `strict`, whether there is nothing at all to say against it."""
        return not self.problems if strict else self.count("error") == 0


def as_text(checked: Sequence[Checked], strict: bool) -> str:
    """A line for each problem, and one for each file without errors."""
    lines = []
    for one in checked:
        lines += [f"{problem.file}:{problem.sentence()}" for problem in one.problems]
        if one.count("error"):
            continue
        warnings = one.count("warning")
        said = "fine" if not warnings else f"usable, with {warnings} warning{'s' if warnings > 1 else ''}"
        refused = " that --strict refuses" if strict and warnings else ""
        lines.append(f"{one.files[0]}: {said}{refused}. {one.good}")
    return "\n".join(lines)


def as_json(checked: Sequence[Checked], strict: bool) -> str:
    """``{"files": [{"file", "problems": [...]}], "ok"}``: every file that was read, the sound ones with no problems."""
    by_file: dict[str, list[dict[str, object]]] = {}
    for one in checked:
        for file in one.files:
            by_file.setdefault(file, [])
        for problem in one.problems:
            told = {name: getattr(problem, name) for name in ("line", "column", "path", "severity", "message", "hint")}
            of_file = by_file.setdefault(problem.file, [])
            if told not in of_file:  # a file that two others include is still one file
                of_file.append(told)
    files = [{"file": file, "problems": problems} for file, problems in by_file.items()]
    return json.dumps({"files": files, "ok": all(one.passes(strict) for one in checked)}, indent=2)


def as_github(checked: Sequence[Checked], strict: bool) -> str:
    """A workflow command for each problem, which GitHub shows beside its line; empty without problems.

    Source: GitHub Docs, "Workflow commands for GitHub Actions", and escapeData and escapeProperty of actions/toolkit.
    """
    return "\n".join(
        f"::{'error' if strict else problem.severity} file={_property(problem.file)},line={problem.line},"
        f"col={problem.column}::{_data(problem.told())}"
        for one in checked
        for problem in one.problems
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
