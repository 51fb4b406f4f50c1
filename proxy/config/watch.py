"""Looks at the configuration's files again and again, and says when they hold something new that has come to rest.

What counts is the content, never a file's time or inode: a ConfigMap is swapped behind a link, and editors rename. Half
a file may be a whole policy with half of its routes, so what is new must be found by two looks in a row; that holds for
the files that it includes, too, which belong to the same reading. A file that is gone or empty is most likely about to be
written, and gets longer.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from proxy.config.parse import Document
from proxy.config.problems import ConfigError, Problem
from proxy.config.store import digest_of, load_document

SETTLED = 2
"""Looks in a row that must find the same."""

SETTLED_GONE = 5
"""The same where a file is gone or empty: no swap takes so long, and who removed it by mistake should be told."""


def is_watchable(path: Path) -> bool:
    """Whether the file can be read more than once: a pipe, as in ``--config /dev/stdin``, cannot."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def read(path: Path) -> Document:
    """As `load_document`, for a file that is there to be read again. Raises ConfigError, and never waits for a pipe."""
    if path.exists() and not path.is_dir() and not is_watchable(path):
        problem = Problem(
            1, 1, "", "this is a pipe or a device, which cannot be read again", "write a file at this path"
        )
        raise ConfigError([problem], str(path), files=(path,), digest=digest_of([path]))
    return load_document(path)


class Watch:
    """Watches one configuration. `files`, `digest`: what was last taken, as in `Document` and `ConfigError`."""

    def __init__(self, path: Path, files: Sequence[Path], digest: str) -> None:
        self._path = path
        self._found: Document | ConfigError | None = None
        self._looks = 0
        self.take(files, digest)

    def take(self, files: Sequence[Path], digest: str) -> None:
        """What `files` held is known: only something else is worth a word."""
        self._files, self._digest = tuple(files), digest
        self._found = None

    def look(self) -> Document | ConfigError | None:
        """What the files hold, or what is wrong with it, once when it is new and has come to rest. Reads files."""
        found = self._found
        if found is None or digest_of(found.files) != found.digest:
            self._found = None
            now = digest_of(self._files)
            if now != self._digest:
                self._look_inside(now)
            return None
        self._looks += 1
        if self._looks < (SETTLED_GONE if any(map(_is_gone, found.files)) else SETTLED):
            return None
        self.take(found.files, found.digest)
        return found

    def _look_inside(self, now: str) -> None:
        try:
            self._found = read(self._path)
        except ConfigError as error:
            self._found = error
        except BaseException:
            self.take(self._files, now)  # the fault is ours, and would be the same at each look
            raise
        self._looks = 1


def _is_gone(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return True
