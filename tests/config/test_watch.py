"""Watching: what is new counts when two looks agree on it, whatever way it came into the file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import watch as watching
from proxy.config.parse import Document
from proxy.config.problems import ConfigError
from proxy.config.store import load_document
from proxy.config.watch import SETTLED_GONE, Watch, is_watchable, read

POLICY = """providers: {near: {base_url: 'http://h/v1', keys: none}}
routes:
  - {name: first, match: {model: "a*"}, to: [near/VERSION]}
  - {name: rest, match: {}, to: [near/VERSION]}
"""


def policy(version: str) -> str:
    """A policy whose targets say which it is."""
    return POLICY.replace("VERSION", version)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a good policy."""
    path = tmp_path / "config.yaml"
    path.write_text(policy("one"))
    return path


def watch(path: Path) -> Watch:
    """A watch that has taken what is in the file."""
    document = load_document(path)
    return Watch(path, document.files, document.digest)


def found(seen: Document | ConfigError | None) -> tuple[str, int]:
    """Which version was found, and how many routes it has."""
    assert isinstance(seen, Document)
    target, _ = seen.config.routes[0].to[0].choices[0]
    return str(target.model), len(seen.config.routes)


def test_nothing_new(path: Path) -> None:
    """Neither the first look nor any other finds anything; touching the file is no change."""
    one = watch(path)
    assert [one.look() for _ in range(4)] == [None] * 4
    os.utime(path, (1, 1))
    path.write_text(path.read_text())
    assert [one.look() for _ in range(4)] == [None] * 4


def test_a_change_is_found_once_by_the_second_look(path: Path) -> None:
    """The first one only notes it; afterwards it is nothing new."""
    one = watch(path)
    path.write_text(policy("two"))
    assert one.look() is None
    assert found(one.look()) == ("two", 2)
    assert [one.look() for _ in range(3)] == [None] * 3


def test_a_file_that_is_still_being_written(path: Path) -> None:
    """Half of it is a policy, too, with half of the routes: it is never taken as long as the writing goes on."""
    one = watch(path)
    lines = policy("two").splitlines(keepends=True)
    path.write_text("".join(lines[:3]))
    assert len(load_document(path).config.routes) == 1
    assert one.look() is None
    path.write_text("".join(lines))
    assert one.look() is None
    assert found(one.look()) == ("two", 2)


def test_what_is_taken_is_what_two_looks_saw(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes between the look and the reading is looked at anew: nothing is taken that was seen only once."""
    one = watch(path)
    path.write_text(policy("two"))

    def written_meanwhile(path: Path) -> Document:
        document = read(path)
        path.write_text(policy("three"))
        return document

    with monkeypatch.context() as patched:
        patched.setattr(watching, "read", written_meanwhile)
        assert one.look() is None
    assert one.look() is None
    assert found(one.look()) == ("three", 2)


def test_there_and_back_again(path: Path) -> None:
    """Who takes a change back before it was taken has changed nothing."""
    one = watch(path)
    path.write_text(policy("two"))
    assert one.look() is None
    path.write_text(policy("one"))
    assert [one.look() for _ in range(3)] == [None] * 3


def test_an_editor_that_renames(path: Path) -> None:
    """The name leads to another file; its content counts."""
    one = watch(path)
    beside = path.with_suffix(".new")
    beside.write_text(policy("two"))
    beside.rename(path)
    assert one.look() is None and found(one.look()) == ("two", 2)


def test_a_config_map_is_swapped_behind_its_link(tmp_path: Path) -> None:
    """As the kubelet does it: config.yaml -> ..data/config.yaml, ..data -> a folder of the day, swapped by a rename."""
    for version in ("one", "two"):
        folder = tmp_path / f"..2026_{version}"
        folder.mkdir()
        (folder / "config.yaml").write_text(policy(version))
    (tmp_path / "..data").symlink_to("..2026_one")
    path = tmp_path / "config.yaml"
    path.symlink_to("..data/config.yaml")
    one = watch(path)
    assert one.look() is None
    (tmp_path / "..data_tmp").symlink_to("..2026_two")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert one.look() is None and found(one.look()) == ("two", 2)


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_gone_for_an_instant_is_no_change(path: Path, how: str) -> None:
    """Two looks may even agree on it."""
    one = watch(path)
    if how == "gone":
        path.unlink()
    else:
        path.write_text("")
    assert [one.look() for _ in range(SETTLED_GONE - 1)] == [None] * (SETTLED_GONE - 1)
    path.write_text(policy("one"))
    assert [one.look() for _ in range(4)] == [None] * 4


@pytest.mark.parametrize("how", ["gone", "empty", "a folder", "a pipe"])
def test_gone_for_good_is_told_once(path: Path, how: str) -> None:
    """As an error that says what is there; and what comes back is found."""
    one = watch(path)
    path.unlink()
    if how == "empty":
        path.write_text("")
    elif how == "a folder":
        path.mkdir()
    elif how == "a pipe":
        os.mkfifo(path)
    told = [one.look() for _ in range(SETTLED_GONE + 3)]
    [error] = [each for each in told if each is not None]
    assert isinstance(error, ConfigError)
    words = {"gone": "cannot be read", "empty": "empty", "a folder": "directory", "a pipe": "a pipe or a device"}
    assert words[how] in str(error)
    path.rmdir() if how == "a folder" else path.unlink(missing_ok=True)
    path.write_text(policy("one"))
    assert one.look() is None and found(one.look()) == ("one", 2)


def test_a_bad_file_is_told_once(path: Path) -> None:
    """Then each further content by itself; and the first one again, when it comes back."""
    one = watch(path)
    for version, text in (("bad", "routes: 5\n"), ("worse", "routes: 6\n"), ("one", None)):
        path.write_text(policy(version) if text is None else text)
        assert one.look() is None
        seen = one.look()
        assert found(seen) == ("one", 2) if text is None else isinstance(seen, ConfigError)
        assert [one.look() for _ in range(3)] == [None] * 3


def test_included_files_count(tmp_path: Path) -> None:
    """Their content, their coming and going, and those that the change itself has brought in."""
    main, team, more = (tmp_path / name for name in ("main.yaml", "team.yaml", "more.yaml"))
    main.write_text(policy("main"))
    one = watch(main)
    main.write_text("include: [team.yaml]\n" + policy("main").replace("{}", "{model: x}"))
    team.write_text("routes: [{name: team, match: {}, to: [near]}]\n")
    assert one.look() is None
    # The new file is not complete yet, though the old one is: both must have come to rest.
    team.write_text("routes: [{name: team, match: {model: y}, to: [near]}, {name: last, match: {}, to: [near]}]\n")
    assert one.look() is None
    assert found(one.look()) == ("main", 4)
    team.write_text("routes: [{name: team, match: {}, to: [near]}]\n")
    assert one.look() is None and found(one.look()) == ("main", 3)
    team.rename(more)
    told = [one.look() for _ in range(SETTLED_GONE + 1)]
    assert [isinstance(each, ConfigError) for each in told if each is not None] == [True]
    more.rename(team)
    assert one.look() is None and found(one.look()) == ("main", 3)


def test_a_fault_of_our_own_is_raised_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be the same at each look, until the file changes."""

    def broken(path: Path) -> Document:
        raise RecursionError

    one = watch(path)
    path.write_text(policy("two"))
    with monkeypatch.context() as patched:
        patched.setattr(watching, "read", broken)
        with pytest.raises(RecursionError):
            one.look()
        assert [one.look() for _ in range(3)] == [None] * 3
    path.write_text(policy("three"))
    assert one.look() is None and found(one.look()) == ("three", 2)


def test_only_files_can_be_watched(tmp_path: Path) -> None:
    """A pipe is read once; a link to a file is a file."""
    file, link, pipe = (tmp_path / name for name in ("file", "link", "pipe"))
    file.write_text("")
    link.symlink_to(file)
    os.mkfifo(pipe)
    shown = [is_watchable(one) for one in (file, link, pipe, tmp_path, tmp_path / "absent")]
    assert shown == [True, True, False, False, False]


CONTENTS = ["", "routes: 5\n", policy("one"), policy("two"), policy("two")[:60], None]


@given(st.lists(st.sampled_from(CONTENTS), min_size=1, max_size=12))
def test_whatever_happens_only_what_stood_twice_is_told(written: list[str | None]) -> None:
    """And never the same twice in a row, unless something else was told between."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(policy("one"))
        one, last = watch(path), load_document(path).digest
        before: str | None = policy("one")
        for content in written:
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_text(content)
            seen = one.look()
            if seen is not None:
                assert content == before and seen.digest != last
                assert isinstance(seen, Document) == (content in (policy("one"), policy("two")))
                last = seen.digest
            before = content
