"""The lines of a log file, and those that are still to come: ``tail -F``, through rotation and truncation."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 256 * 1024
"""Bytes of one read."""

LINE_MAX = 1024 * 1024
"""Bytes of a line whose end is waited for; Fusebox's are far shorter. Longer ones are handed on in pieces."""


class Lines:
    """Bytes in, whole lines out; what is not ended is kept for the next bytes."""

    def __init__(self) -> None:
        self._begun = b""

    def take(self, block: bytes) -> list[bytes]:
        """The lines that `block` ends, without their ends."""
        *lines, self._begun = (self._begun + block).split(b"\n")
        if len(self._begun) > LINE_MAX:
            lines.append(self._begun)
            self._begun = b""
        return lines

    def rest(self) -> list[bytes]:
        """What was begun and will not be ended."""
        begun, self._begun = self._begun, b""
        return [begun] if begun else []


def last_lines(file: BinaryIO, count: int) -> Iterator[bytes]:
    """The last `count` lines of `file`, which stands at its end afterwards; without one that is not ended yet.

    The file then stands at the beginning of that one.
    """
    kept: deque[bytes] = deque(maxlen=count)
    lines = Lines()
    while block := file.read(BLOCK):
        kept.extend(lines.take(block))
    file.seek(-sum(map(len, lines.rest())), os.SEEK_END)
    yield from kept


def follow(path: Path, count: int, pause: Callable[[], None]) -> Iterator[bytes]:
    """The last `count` lines of the file at `path`, then each new one, for ever; `pause` is called when there is none.

    A file put in its place (rotation) is read from its beginning, after the rest of the old one; so is a file that was
    cut short. One that is gone for a while is waited for. Raises OSError when it is not there at the beginning.
    """
    file = path.open("rb")
    try:
        yield from last_lines(file, count)
        lines = Lines()
        while True:
            if block := file.read(BLOCK):
                yield from lines.take(block)
                continue
            now = _stat(path)
            if now is None or _same(now, os.fstat(file.fileno())):
                if now is not None and now.st_size < file.tell():
                    file.seek(0)
                    lines = Lines()
                    continue
                pause()
                continue
            # Another file is there. What came into the old one between the two looks is read first.
            while block := file.read(BLOCK):
                yield from lines.take(block)
            yield from lines.rest()
            try:
                fresh = path.open("rb")
            except OSError:
                pause()
                continue
            file.close()
            file = fresh
    finally:
        file.close()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
