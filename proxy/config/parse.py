"""The text of a configuration file becomes a `Config`, or a `ConfigError` with everything that is wrong in it.

    text ──► nodes ──────► reader ──────────► rules ──────────► Config
             YAML, bounded  types of schema    what must hold    providers put over
             places kept    texts of syntax    between the parts their presets

Pure: no file, environment or clock. Whether keys and files exist is for ``config/secrets``, which finds in
`Document.positions` where each is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec.inspect as types
from msgspec.structs import replace

from proxy.config import rules
from proxy.config.nodes import Node, Place, Scalar, Unreadable, read_nodes
from proxy.config.problems import ConfigError, Problem, render
from proxy.config.reader import EXAMPLES, Reader
from proxy.config.resolve import resolve
from proxy.config.schema import Config

_CONFIG = types.type_info(Config)


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration and where its values stand: path as in problems → line and column, from 1."""

    config: Config
    positions: Mapping[str, Place]


def parse(text: str, *, source: str = "config.yaml") -> Config:
    """The configuration in `text`. Raises ConfigError with every problem; `source` is the file's name in it."""
    return parse_document(text, source=source).config


def parse_document(text: str, *, source: str = "config.yaml") -> Document:
    """As `parse`, with the positions. Paths that hold what looks like a key are not told apart."""
    reader = Reader()
    problems: list[Problem] = []
    config: Config | None = None
    try:
        root, problems = read_nodes(text)
        config = _read(root, reader)
    except Unreadable as stop:
        problems = [*problems, stop.problem]
    problems = [*problems, *reader.problems]
    if problems or config is None:
        raise ConfigError(problems, source)
    return Document(config, {render(path): place for path, place in reader.places.items()})


def _read(root: Node | None, reader: Reader) -> Config:
    """The whole configuration; all its problems are noted with `reader`."""
    if root is None or (isinstance(root, Scalar) and root.tag == "null"):
        example = EXAMPLES[Config, "providers"].removesuffix('"').removeprefix('write for example "')
        message = "the file is empty"
        raise Unreadable(Problem(1, 1, "", message, f'begin with "{example}" and "routes:", or copy config.yaml'))
    config: Config = reader.read(_CONFIG, root, (), root.place)
    resolved = replace(config, providers={name: resolve(name, one) for name, one in config.providers.items()})
    if () not in reader.blanks:
        rules.check(resolved, reader)
    return resolved
