"""Loading: a file becomes a configuration, or one error that says what is wrong with it and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.parse import parse
from proxy.config.problems import ConfigError, Problem
from proxy.config.store import FILE_MAX, load

GOOD = "providers: {near: {base_url: 'http://h/v1', keys: none}}\nroutes: [{name: all, match: {}, to: [near]}]\n"


def problems(path: Path) -> tuple[Problem, ...]:
    """What is wrong with the file."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_good_file(before: bytes, newline: bytes, tmp_path: Path) -> None:
    """With the marks that editors leave, it is the same configuration."""
    path = tmp_path / "config.yaml"
    path.write_bytes(before + GOOD.encode().replace(b"\n", newline))
    assert load(path) == parse(GOOD)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """The system's reason, and how to name another file."""
    for path, reason in ((tmp_path / "absent", "No such file"), (tmp_path, "Is a directory")):
        (problem,) = problems(path)
        assert reason in problem.message and problem.hint is not None and "--config" in problem.hint


def test_a_file_of_another_kind_does_not_fill_memory(tmp_path: Path) -> None:
    """The bound itself is within; a byte more is not."""
    path = tmp_path / "config.yaml"
    path.write_bytes(GOOD.encode() + b"#" * (FILE_MAX - len(GOOD)))
    assert load(path) == parse(GOOD)
    path.write_bytes(b"#" * (FILE_MAX + 1))
    assert "larger than 4 MiB" in problems(path)[0].message
    assert "larger than 4 MiB" in problems(Path("/dev/zero"))[0].message


@pytest.mark.parametrize(
    ("raw", "line", "column"),
    [
        (b"\xff", 1, 1),
        (b"a: b\nc: \xe9\n", 2, 4),
        ("é: ü".encode() + b"\xff", 1, 5),
        (b"\xef\xbb\xbfa: b\n\xff", 2, 1),
        (b"a\n\xc3", 2, 1),
    ],
)
def test_what_is_no_text(raw: bytes, line: int, column: int, tmp_path: Path) -> None:
    """The place is counted in characters, a byte order mark not among them."""
    path = tmp_path / "config.yaml"
    path.write_bytes(raw)
    (problem,) = problems(path)
    assert (problem.line, problem.column) == (line, column) and "not UTF-8" in problem.message


def test_a_bad_file_names_itself(tmp_path: Path) -> None:
    """Every problem of the parser comes through."""
    path = tmp_path / "config.yaml"
    path.write_text(GOOD + "unknown: 1\nother: 2\n")
    assert len(problems(path)) == 2
