"""The text of a configuration file becomes a `Config`, or a `ConfigError` with everything that is wrong in it.

    text ──► nodes ──────► reader ──────────► whole ─────────► rules ──────────► Config
             YAML, bounded  types of schema    included files   what must hold    providers put over
             places kept    texts of syntax    in their place   between parts     their presets

Pure: no file, environment or clock; the text of an included file comes from a function that was passed in. Whether keys
and files exist is for ``config/present``, which finds by `Document.problem_at` where each is named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import msgspec.inspect as types
from msgspec.structs import replace

from proxy.config import rules
from proxy.config.nodes import Mapping as MappingNode
from proxy.config.nodes import Node, Place, Scalar, Unreadable, read_nodes
from proxy.config.overrides import NONE, Overrides
from proxy.config.problems import BadValue, ConfigError, Path, Problem, in_order, render, shown
from proxy.config.reader import EXAMPLES, Reader
from proxy.config.resolve import resolve
from proxy.config.schema import Config, Included
from proxy.config.whole import Part, Whole

INCLUDES_MAX = 16
"""Most files that one may include. Each is read again at every look for changes."""

Read = Callable[[str], tuple[str, str]]
"""From a name as written under ``include``: the file's name for people, and its text. Raises BadValue."""

_CONFIG = types.type_info(Config)
_INCLUDED = types.type_info(Included)


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration and what is to be said of it. Complete when it comes from ``config/store``.

    `positions`: where the main file's values stand: path as in problems → line and column, from 1. `warnings`: of all its
    files. `files`: those that it was read from, the main one first; the candidate's, if it names one, last. `digest`:
    SHA-256 of what they hold, in hexadecimal. `candidate`: of `shadow`, the document or why there is none. `overrides`:
    what `config` has that is not from the files.
    """

    config: Config
    source: str
    positions: Mapping[str, Place]
    warnings: tuple[Problem, ...]
    whole: Whole = field(compare=False, repr=False)
    files: tuple[FilePath, ...] = ()
    digest: str = ""
    candidate: Document | ConfigError | None = None
    overrides: Overrides = NONE

    def with_overrides(self, overrides: Overrides) -> Document:
        """This document with them in its `config`."""
        return dataclasses.replace(self, config=overrides.on(self.config), overrides=overrides)

    def problem_at(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """A warning about the value at `path` of the whole configuration, in the file where it stands."""
        part, own = self.whole.part_of(path)
        line, column = part.reader.place_of(own)
        return Problem(line, column, render(own), message, hint, "warning", part.reader.file or self.source)


def parse(text: str, *, source: str = "config.yaml") -> Config:
    """The configuration in `text`. Raises ConfigError with every problem; `source` is the file's name in it."""
    return parse_document(text, source=source).config


def no_files(name: str) -> tuple[str, str]:
    """The `Read` of a text that comes from no file."""
    raise BadValue("files cannot be included here", f"write what {shown(name)} holds in its place")


def parse_document(
    text: str, *, source: str = "config.yaml", read: Read = no_files, base: Config | None = None
) -> Document:
    """As `parse`, with positions and warnings. Paths that hold what looks like a key are not told apart.

    `read` gives the texts of included files. With `base`, the text is a candidate policy for that configuration, whose
    providers, models and ``complexity`` hold where the candidate has none.
    """
    whole = Whole([Part(Reader(source), 0)])
    config: Config | None = None
    try:
        config = _read(text, whole, read, base)
    except Unreadable as stop:
        whole.stopped.append(stop.problem)
    problems = in_order(whole.problems, source)
    if config is None or any(one.severity == "error" for one in problems):
        raise ConfigError(problems, source)
    positions = {render(path): place for path, place in whole.main.places.items()}
    return Document(config, source, positions, problems, whole)


def _read(text: str, whole: Whole, read: Read, base: Config | None) -> Config | None:
    """The whole configuration, None when a part is missing; all problems are noted with `whole`."""
    root, problems = read_nodes(text)
    whole.main.problems += problems
    if root is None or (isinstance(root, Scalar) and root.tag == "null"):
        example = EXAMPLES[Config, "providers"].removesuffix('"').removeprefix('write for example "')
        message = "the file is empty"
        raise Unreadable(Problem(1, 1, "", message, f'begin with "{example}" and "routes:", or copy config.yaml'))
    written = _supply(root, base)
    config: Config = whole.main.read(_CONFIG, root, (), root.place)
    if () in whole.main.blanks:
        return None
    if base is not None:
        held = {name: getattr(base, name) for name in ("providers", "models", "complexity") if name not in written}
        config = replace(config, **held)
        if config.shadow is not None:
            whole.report(("shadow",), "a candidate policy names a candidate of its own", "take this line out")
    complete = _include(config, whole, read)
    if complete is None:
        return None
    resolved = replace(complete, providers={name: resolve(name, one) for name, one in complete.providers.items()})
    rules.check(resolved, whole)
    return resolved


def _supply(root: Node, base: Config | None) -> set[str]:
    """The top-level keys that are written; those that may be left out, being in other files, are put in empty."""
    if not isinstance(root, MappingNode):
        return set()
    written = {key.text for key, _ in root.pairs if isinstance(key, Scalar)}
    elsewhere = {"providers", "routes"} if "include" in written else {"providers"} if base is not None else set()
    for name in sorted(elsewhere - written):
        root.pairs.append((Scalar(root.place, name, "str"), Scalar(root.place, "", "null")))
    return written


def _include(config: Config, whole: Whole, read: Read) -> Config | None:
    """`config` with what its included files hold; None when one of them could not be read to its end."""
    if len(config.include) > INCLUDES_MAX:
        said = f"{len(config.include)} files, where at most {INCLUDES_MAX} can be included"
        whole.report(("include",), said, "put several files' routes into one")
        return None
    complete = True
    for index, name in enumerate(config.include):
        path: Path = ("include", index) if ("include", index) in whole.main.places else ("include",)
        if name in config.include[:index]:
            whole.report(path, f"{shown(name)} is included twice", "keep one")
            continue
        try:
            file, text = read(name)
        except BadValue as error:
            whole.report(path, error.what, error.hint)
            complete = False
            continue
        part = Part(Reader(file), len(config.routes))
        whole.parts.append(part)
        included = _read_included(text, part, whole)
        complete = complete and included is not None
        if included is not None:
            config = _merge(config, included, part, whole)
    return config if complete else None


def _read_included(text: str, part: Part, whole: Whole) -> Included | None:
    reader = part.reader
    try:
        root, problems = read_nodes(text)
        reader.problems += problems
        if root is None or (isinstance(root, Scalar) and root.tag == "null"):
            hint = "write providers, models or routes in it, or take it out of include"
            raise Unreadable(Problem(1, 1, "", "the file is empty", hint))
        included: Included = reader.read(_INCLUDED, root, (), root.place)
    except Unreadable as stop:
        problem = stop.problem
        whole.stopped.append(
            Problem(problem.line, problem.column, problem.path, problem.message, problem.hint, file=reader.file)
        )
        return None
    return None if () in reader.blanks else included


def _merge(config: Config, included: Included, part: Part, whole: Whole) -> Config:
    """`config` with what `included` adds. A name that is declared in both is a problem: which of them was meant?"""
    merged: dict[str, dict[str, object]] = {}
    for kind in ("providers", "models"):
        names = dict(getattr(config, kind))
        for name, value in getattr(included, kind).items():
            if name in names:
                line = f"line {whole.place_of((kind, name))[1][0]} of {whole.place_of((kind, name))[0]}"
                part.reader.report((kind, name), f"{shown(name)} is declared in {line} already", "keep one of the two")
            else:
                names[name] = value
                whole.owners[kind, name] = part
        merged[kind] = names
    return replace(config, **merged, routes=config.routes + included.routes)
