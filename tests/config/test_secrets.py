"""Keys: read from where the policy says, taken in turn, read again when they change, and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.schema import KeySource
from proxy.config.secrets import KEY_FILE_MAX, KeyRing, describe, refresh

SECRET = "sk-very-secret"


def ring(*sources: str | Path, environment: dict[str, str] | None = None) -> KeyRing:
    """A ring of environment variables (texts) and files (paths)."""
    return KeyRing(
        tuple(KeySource(file=str(one)) if isinstance(one, Path) else KeySource(env=one) for one in sources),
        environment or {},
    )


def taken(keys: KeyRing) -> bytes | None:
    """The next key's text."""
    key = keys.take()
    return None if key is None else key.secret


def turns(keys: KeyRing, count: int) -> list[bytes | None]:
    """What the next `count` requests get."""
    return [taken(keys) for _ in range(count)]


@pytest.mark.parametrize("raw", [b"sk-a", b"sk-a\n", b"sk-a\r\n", b"  sk-a \t\r\n\r\n", b"\nsk-a"])
def test_white_space_around_a_key_is_none_of_it(raw: bytes, tmp_path: Path) -> None:
    """Editors and secret stores add line ends."""
    (tmp_path / "key").write_bytes(raw)
    assert taken(ring(tmp_path / "key")) == b"sk-a"
    assert taken(ring("KEY", environment={"KEY": raw.decode()})) == b"sk-a"


@pytest.mark.parametrize(
    "raw",
    [
        f"{SECRET} {SECRET}".encode(),
        f"{SECRET}\r\nX-Evil: 1".encode(),
        f"{SECRET}\x00".encode(),
        f"{SECRET}é".encode(),
        b"\xef\xbb\xbf" + SECRET.encode(),
        SECRET.encode("utf-16"),
        f"{SECRET}\t{SECRET}".encode(),
    ],
    ids=range(7),
)
def test_what_can_be_no_key_is_refused(raw: bytes, tmp_path: Path) -> None:
    """Nothing that could end a header line goes into one; the reason holds nothing of the value."""
    (tmp_path / "key").write_bytes(raw)
    keys = ring(tmp_path / "key", "KEY", environment={"KEY": raw.decode("latin-1")})
    assert (len(keys), keys.take()) == (0, None)
    assert len(keys.missing) == 2
    assert all("characters that no key has" in reason for reason in keys.missing)
    assert SECRET not in " ".join(keys.missing)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """By its place and reason."""
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "large").write_bytes(b"a" * (KEY_FILE_MAX + 1))
    (tmp_path / "fits").write_bytes(b"a" * KEY_FILE_MAX)
    (tmp_path / "folder").mkdir()
    names = ["absent", "empty", "large", "folder"]
    keys = ring("UNSET", "BLANK", *(tmp_path / name for name in names), tmp_path / "fits", environment={"BLANK": " "})
    assert keys.missing == (
        "environment variable UNSET is not set",
        "environment variable BLANK is not set",
        f"file {tmp_path}/absent No such file or directory",
        f"file {tmp_path}/empty is empty",
        f"file {tmp_path}/large is too large for a key",
        f"file {tmp_path}/folder Is a directory",
    )
    assert len(keys) == 1


def test_keys_are_taken_in_turn(tmp_path: Path) -> None:
    """Each as often as the others; the same key from two places counts once."""
    (tmp_path / "c").write_text("c")
    keys = ring("A", "B", tmp_path / "c", "AGAIN", environment={"A": "a", "B": "b", "AGAIN": "a"})
    first = turns(keys, 3)
    assert sorted(filter(None, first)) == [b"a", b"b", b"c"]
    assert turns(keys, 6) == first * 2


def test_a_single_key() -> None:
    """Always the same."""
    assert turns(ring("A", environment={"A": "a"}), 3) == [b"a"] * 3


def test_a_swapped_secret_is_read_again(tmp_path: Path) -> None:
    """As Kubernetes does it: the file is a link through `..data`, which is renamed onto the new version."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "key").write_text(f"key-{version}\n")
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "key").symlink_to("..data/key")
    keys = ring(tmp_path / "key")
    assert taken(keys) == b"key-v1"
    assert keys.refresh() is False
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert keys.refresh() is True
    assert turns(keys, 2) == [b"key-v2"] * 2
    assert keys.refresh() is False


def test_a_vanished_file_leaves_the_last_key(tmp_path: Path) -> None:
    """It is told once that it is missing, and once that it is back."""
    path = tmp_path / "key"
    path.write_text("old")
    keys = ring(path)
    path.unlink()
    assert [keys.refresh() for _ in range(3)] == [True, False, False]
    assert taken(keys) == b"old" and len(keys.missing) == 1
    path.write_text("new")
    assert [keys.refresh() for _ in range(2)] == [True, False]
    assert taken(keys) == b"new" and not keys.missing


def test_an_emptied_file_leaves_the_last_key(tmp_path: Path) -> None:
    """A writer that truncates first is between two steps."""
    path = tmp_path / "key"
    path.write_text("old")
    keys = ring(path)
    path.write_text("")
    assert keys.refresh() is True
    assert taken(keys) == b"old"


def test_a_pool_goes_on_with_the_keys_it_can_read(tmp_path: Path) -> None:
    """A file that was taken away is a key that was taken back, as long as another one is there."""
    for name in "abc":
        (tmp_path / name).write_text(name)
    keys = ring(*(tmp_path / name for name in "abc"))
    turns(keys, 2)
    (tmp_path / "b").unlink()
    assert keys.refresh() is True
    assert sorted(filter(None, turns(keys, 4))) == [b"a", b"a", b"c", b"c"]


def test_a_key_that_comes_later(tmp_path: Path) -> None:
    """No restart is needed for a file."""
    keys = ring(tmp_path / "key")
    assert keys.take() is None
    (tmp_path / "key").write_text("a")
    assert keys.refresh() is True
    assert taken(keys) == b"a"


def test_only_rings_that_changed_are_told_of(tmp_path: Path) -> None:
    """By the provider's name."""
    (tmp_path / "a").write_text("a")
    rings = {"one": ring(tmp_path / "a"), "two": ring("B", environment={"B": "b"})}
    told: list[tuple[str, int]] = []
    refresh(rings, lambda name, changed: told.append((name, len(changed))))
    assert told == []
    (tmp_path / "a").write_text("new")
    refresh(rings, lambda name, changed: told.append((name, len(changed))))
    assert told == [("one", 1)]


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    """Not by the ring, not by the words for a source."""
    (tmp_path / "key").write_text(SECRET)
    keys = ring(tmp_path / "key", "A", environment={"A": SECRET + "2"})
    assert repr(keys) == str(keys) == "<KeyRing of 2 keys>"
    assert describe(KeySource(env="A")) == "environment variable A"
    assert describe(KeySource(file="/k")) == "file /k"
