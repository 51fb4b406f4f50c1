"""A log that grows, is rotated, cut short, gone for a while; what the pauses do is written in the test."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from proxy.dev.follow import LINE_MAX, Lines, follow, last_lines


def append(path: Path, data: bytes) -> None:
    """As a log's writer does."""
    with path.open("ab") as file:
        file.write(data)


class Pauses:
    """In place of waiting, the next thing happens to the file. A pause too many is an error: it would be for ever."""

    def __init__(self, *happenings: Callable[[], object]) -> None:
        self._left = list(happenings)

    def __call__(self) -> None:
        assert self._left, "it waits, and nothing more will come"
        self._left.pop(0)()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of three lines."""
    path = tmp_path / "log"
    path.write_bytes(b"1\n2\n3\n")
    return path


def test_it_begins_with_the_last_lines(log: Path) -> None:
    """As many as asked for; then what is new, in whole lines however it comes."""
    pauses = Pauses(lambda: append(log, b"4\n5"), lambda: append(log, b"5\n"))
    assert list(islice(follow(log, 2, pauses), 4)) == [b"2", b"3", b"4", b"55"]


def test_a_line_that_is_not_ended_yet(log: Path) -> None:
    """It is shown once, when it is whole."""
    append(log, b"4")
    pauses = Pauses(lambda: append(log, b"4\n"))
    assert list(islice(follow(log, 1, pauses), 2)) == [b"3", b"44"]


def test_rotation(log: Path) -> None:
    """The old file is read to its end, the new one from its beginning."""

    def rotate() -> None:
        append(log, b"4\n")
        log.rename(log.with_suffix(".1"))
        append(log.with_suffix(".1"), b"5\nno end")
        log.write_bytes(b"6\n")

    pauses = Pauses(rotate, lambda: append(log, b"7\n"))
    assert list(islice(follow(log, 0, pauses), 5)) == [b"4", b"5", b"no end", b"6", b"7"]


def test_a_file_that_is_gone_for_a_while(log: Path) -> None:
    """It is waited for."""
    pauses = Pauses(log.unlink, lambda: None, lambda: log.write_bytes(b"new\n"))
    assert list(islice(follow(log, 1, pauses), 2)) == [b"3", b"new"]


def test_a_file_that_was_cut_short(log: Path) -> None:
    """It is read from its beginning (logrotate's copytruncate)."""
    pauses = Pauses(lambda: log.write_bytes(b"x\n"))
    assert list(islice(follow(log, 1, pauses), 2)) == [b"3", b"x"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A wrong name is an error at once, not a wait."""
    with pytest.raises(FileNotFoundError):
        next(iter(follow(tmp_path / "none", 1, Pauses())))


def test_lines_in_any_pieces() -> None:
    """Cut anywhere, the same lines; a line without an end is handed on before it fills memory."""
    whole = b"one\n\ntwo\r\nthree"
    for size in range(1, len(whole) + 1):
        lines = Lines()
        got = [line for start in range(0, len(whole), size) for line in lines.take(whole[start : start + size])]
        assert [*got, *lines.rest()] == [b"one", b"", b"two\r", b"three"]
    endless = Lines()
    assert endless.take(b"x" * LINE_MAX) == []
    assert endless.take(b"x") == [b"x" * (LINE_MAX + 1)]
    assert endless.rest() == []


@pytest.mark.parametrize(
    ("content", "count", "kept", "rest"),
    [
        (b"", 2, [], b""),
        (b"a", 2, [], b"a"),
        (b"a\nb\nc", 2, [b"a", b"b"], b"c"),
        (b"a\nb\n", 0, [], b""),
        (b"\n", 1, [b""], b""),
    ],
)
def test_the_last_lines(content: bytes, count: int, kept: list[bytes], rest: bytes) -> None:
    """Whole ones; the file stands behind them."""
    file = io.BytesIO(content)
    got: Iterator[bytes] = last_lines(file, count)
    assert list(got) == kept
    assert file.read() == rest
