"""Several files read as one configuration: what a rule says of a value is said of the file in which it stands.

The routes of an included file count on from those before it, so ``("routes", 5)`` of the whole may be ``("routes", 1)``
of a file. Rules speak of the whole; `Whole` knows which file that is, and whose `Reader` notes the problem.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.config.nodes import Place
from proxy.config.problems import Path, Problem, Severity
from proxy.config.reader import Reader


@dataclass(frozen=True, slots=True)
class Part:
    """One file: its reader, and how many routes stand before its own."""

    reader: Reader
    routes_before: int


@dataclass(slots=True)
class Whole:
    """The main file's part first. `owners`: in which part a provider or model is declared, if not in the main one."""

    parts: list[Part]
    owners: dict[Path, Part] = field(default_factory=dict)
    stopped: list[Problem] = field(default_factory=list)

    @property
    def main(self) -> Reader:
        """The reader of the main file."""
        return self.parts[0].reader

    @property
    def problems(self) -> list[Problem]:
        """All that was noted, in all files."""
        return [one for part in self.parts for one in part.reader.problems] + self.stopped

    def part_of(self, path: Path) -> tuple[Part, Path]:
        """The part in which the value at `path` of the whole stands, and its path there."""
        match path:
            case ("routes", int(index), *rest):
                part = next(part for part in reversed(self.parts) if part.routes_before <= index)
                return part, ("routes", index - part.routes_before, *rest)
            case ("providers" | "models", name, *_):
                return self.owners.get((path[0], name), self.parts[0]), path
        return self.parts[0], path

    def report(self, path: Path, message: str, hint: str | None = None, *, severity: Severity = "error") -> None:
        """Notes a problem where `path` of the whole stands."""
        part, own = self.part_of(path)
        part.reader.report(own, message, hint, severity=severity)

    def warn(self, path: Path, message: str, hint: str | None = None) -> None:
        """Notes a warning."""
        self.report(path, message, hint, severity="warning")

    def sound(self, path: Path) -> bool:
        """As `Reader.sound`. A list or mapping of the whole is sound when it is in every file."""
        if path in (("providers",), ("models",), ("routes",)):
            return all(part.reader.sound(path) for part in self.parts)
        part, own = self.part_of(path)
        return part.reader.sound(own)

    def known(self, name: str) -> bool:
        """Whether the top-level mapping called `name` could be read at all, in every file."""
        return all((name,) not in part.reader.blanks for part in self.parts)

    def written(self, path: Path) -> bool:
        """Whether there is a value at `path`, and not a default."""
        part, own = self.part_of(path)
        return own in part.reader.places

    def in_main(self, path: Path) -> bool:
        """Whether `path` stands in the main file."""
        return self.part_of(path)[0] is self.parts[0]

    def line_of(self, path: Path, seen_from: Path) -> str:
        """``line 3``, or ``line 3 of team.yaml`` when `seen_from` stands in another file."""
        part, own = self.part_of(path)
        line = part.reader.place_of(own)[0]
        here, _ = self.part_of(seen_from)
        return f"line {line}" if here is part else f"line {line} of {part.reader.file}"

    def place_of(self, path: Path) -> tuple[str, Place]:
        """The file in which the value at `path` stands, or what is around it, and its place there."""
        part, own = self.part_of(path)
        return part.reader.file, part.reader.place_of(own)
