"""What is wrong with a configuration file, said so that it can be put right, and never telling a secret.

A problem may stand anywhere in the file, so the value at fault may be a key pasted into the wrong place. Everything
quoted from the file goes through `shown` or `render`, which leave out what looks like a key.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Literal

Path = tuple[str | int, ...]
"""The way from the root of the file to a value: mapping keys and list indexes."""

Severity = Literal["error", "warning"]
"""An error makes the file unusable. A warning is about a file that works, though hardly as it was meant."""

_LONGEST_SHOWN = 60
_MOST_KNOWN = 50
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")
# How known providers' keys and tokens begin.
_KEY_PREFIX = re.compile(
    r"(?<![A-Za-z0-9])((sk|pk|rk|gsk|xai|hf|fw|fpk|tgp|r8|nvapi|pplx|ghp|gho|glpat|sess)[-_][A-Za-z0-9_-]{6}"
    r"|AIza|AKIA|AQ\.|eyJ|github_pat_|Bearer |Basic )"
)
# A run of letters and digits longer than words and version dates get, or a UUID. Model names are neither.
_RANDOM_RUN = re.compile(r"(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{18,}|[0-9]{20,}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class BadValue(ValueError):
    """A text is not what its place wants. `what` is wrong, and the `hint` says what to write instead."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}: {self.hint}" if self.hint else self.what


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file. `line` and `column` count from 1; `path` is empty for the file as a whole.

    `file`: the name of the file it stands in; empty until that is known, then never.
    """

    line: int
    column: int
    path: str
    message: str
    hint: str | None = None
    severity: Severity = "error"
    file: str = ""

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self._kind()}{self._where()}{self.message}{f'; {self.hint}' if self.hint else ''}"

    def sentence(self) -> str:
        """The same as sentences for people: ``line:column: path: what is wrong. What to do.``

        A warning has ``warning:`` behind its place.
        """
        return f"{self.line}:{self.column}: {self._kind()}{self.told()}"

    def told(self) -> str:
        """The same without its place and severity."""
        said = f"{self._where()}{self.message}."
        if not self.hint:
            return said
        return f"{said} {self.hint[0].upper()}{self.hint[1:]}{'' if self.hint.endswith(('.', '?')) else '.'}"

    def _kind(self) -> str:
        return "" if self.severity == "error" else f"{self.severity}: "

    def _where(self) -> str:
        return f"{self.path}: " if self.path else ""


def in_order(problems: Iterable[Problem], source: str) -> tuple[Problem, ...]:
    """`problems` in the order of reading: those of the file `source` first, then file by file as they first appear.

    Those that name no file stand in `source`.
    """
    named = [one if one.file else replace(one, file=source) for one in problems]
    files = {file: number for number, file in enumerate(dict.fromkeys([source, *(one.file for one in named)]))}
    return tuple(sorted(named, key=lambda one: (files[one.file], one.line, one.column)))


class ConfigError(ValueError):
    """The file called `source` cannot be used. `problems` holds all that is wrong in it and in the files it includes,
    in the order of reading; warnings too, but never these alone.

    When it was read from the disk, `files` are those it comes from and `digest` is as in `Document`: once one of them
    has changed it is worth another try.
    """

    def __init__(
        self, problems: Sequence[Problem], source: str, *, files: Sequence[FilePath] = (), digest: str = ""
    ) -> None:
        self.problems = in_order(problems, source)
        self.source = source
        self.files = tuple(files)
        self.digest = digest
        super().__init__(self.problems, source)

    def __str__(self) -> str:
        return "\n".join(f"{problem.file}:{problem.sentence()}" for problem in self.problems)


def looks_secret(text: str) -> bool:
    """True when `text` may be a key or a token rather than a name."""
    return any(pattern.search(text) for pattern in (_KEY_PREFIX, _RANDOM_RUN, _UUID))


def shown(text: str) -> str:
    """`text` in quotes for a message, on one line; what is long or looks like a key is not quoted."""
    if len(text) > _LONGEST_SHOWN or looks_secret(text):
        return "this value (not shown)"
    return repr(text)


def render(path: Path) -> str:
    """`path` as people write it: ``routes[2].to[0]``, ``models["openai/gpt-5.4"].context``."""
    written = ""
    for segment in path:
        if isinstance(segment, int):
            written += f"[{segment}]"
        elif len(segment) > _LONGEST_SHOWN or looks_secret(segment):
            written += "[not shown]"
        elif _PLAIN_SEGMENT.fullmatch(segment):
            written += f".{segment}" if written else segment
        else:
            # repr, with the quotes that people use in YAML and JSON, escapes line breaks and control characters.
            written += f'["{repr(segment)[1:-1]}"]'
    return written


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint with the likeliest of `known`, or with all of them when none is like `name`; None when there are none.

    Of very many names the first are taken, because comparing costs time and nobody reads a long list.
    """
    names = [one for one in itertools.islice(known, _MOST_KNOWN) if not looks_secret(one)]
    # Long names cost difflib quadratic time, and none of ours is long.
    close = difflib.get_close_matches(name.lower(), names, n=1) if len(name) <= _LONGEST_SHOWN else []
    if close:
        return f"did you mean {close[0]}?"
    return f"known here: {', '.join(names)}" if names else None
