"""The configuration file on disk, read into a value. Everything wrong with it is one error with every problem."""

from __future__ import annotations

from pathlib import Path

from proxy.config.parse import parse
from proxy.config.problems import ConfigError, Problem
from proxy.config.schema import Config

FILE_MAX = 4 * 1024 * 1024
"""Bytes of a configuration file; a path to something else must not fill memory."""


def load(path: Path) -> Config:
    """The configuration in the file at `path`. Raises ConfigError, for a file that cannot be read as well."""
    source = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(
            [Problem(1, 1, "", f"the file cannot be read: {error.strerror}", "give its path with --config")], source
        ) from None
    if len(raw) > FILE_MAX:
        raise ConfigError([Problem(1, 1, "", f"the file is larger than {FILE_MAX // 1024**2} MiB", None)], source)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # What the error counts in: the bytes behind a byte order mark, if there was one.
        before = error.object[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise ConfigError(
            [Problem(line, column, "", "the file is not UTF-8 text", "save it as UTF-8")], source
        ) from None
    return parse(text, source=source)
