"""The configuration's files on disk, read into a value. Everything wrong with them is one error with every problem."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from proxy.config.parse import Document, Read, parse_document
from proxy.config.problems import BadValue, ConfigError, Problem
from proxy.config.schema import Config

FILE_MAX = 4 * 1024 * 1024
"""Bytes of one file; a path to something else must not fill memory."""

_ABSENT = b"(cannot be read)"
"""What counts in a digest in place of a file that cannot be read: once it can be, the digest is another one."""


def load(path: Path) -> Config:
    """The configuration in the file at `path` and in those it includes.

    Raises ConfigError, for a file that cannot be read as well.
    """
    return load_document(path).config


def load_document(path: Path, contents: Mapping[Path, bytes] | None = None) -> Document:
    """As `load`, with warnings, all the files, and the digest of what they held when they were read, each once.

    `contents`: all files that there are, in place of the disk's. The ConfigError it raises holds the files and their
    digest, too. What is wrong with the candidate policy (`shadow`) is no reason for one: see `load_shadow`.
    """
    texts = _Texts(contents)
    try:
        document = parse_document(texts.main(path), source=str(path), read=texts.beside(path))
        candidate = _candidate(document, path, texts)
    except ConfigError as error:
        raise ConfigError(error.problems, error.source, files=texts.files, digest=texts.digest) from None
    return replace(document, files=texts.files, digest=texts.digest, candidate=candidate)


def load_shadow(document: Document) -> Config | None:
    """The candidate policy that `document` names, as it was read with it; None: it names none.

    What the candidate leaves out of providers, models and complexity is as in `document`. Raises ConfigError when it
    cannot be used, which is no reason not to use the document.
    """
    if isinstance(document.candidate, ConfigError):
        raise document.candidate
    return None if document.candidate is None else document.candidate.config


def digest_of(files: Iterable[Path]) -> str:
    """The digest of what `files` hold now: SHA-256 of the content, in hexadecimal, or of all the contents' SHA-256.

    It is `Document.digest` as long as none of them has changed. A file that cannot be read counts as absent.
    """
    return _digest([_content(path) for path in files])


def _digest(contents: list[bytes]) -> str:
    if len(contents) == 1:
        return hashlib.sha256(contents[0]).hexdigest()
    return hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in contents)).hexdigest()


def _content(path: Path) -> bytes:
    try:
        # As in `beside`: a pipe in a file's place would keep the process waiting.
        return _bytes(path) if stat.S_ISREG(path.stat().st_mode) else _ABSENT
    except OSError:
        return _ABSENT


def _bytes(path: Path) -> bytes:
    """At most one byte more than a file may have."""
    with path.open("rb") as file:
        return file.read(FILE_MAX + 1)


class _Texts:
    """Reads each file once, and remembers what was read. `given`: what there is to read; None: the disk."""

    def __init__(self, given: Mapping[Path, bytes] | None) -> None:
        self._given = given
        self._contents: dict[Path, bytes] = {}

    @property
    def files(self) -> tuple[Path, ...]:
        """All that was asked for, in that order."""
        return tuple(self._contents)

    @property
    def digest(self) -> str:
        """Of all of them."""
        return _digest(list(self._contents.values()))

    def main(self, path: Path) -> str:
        """The text of a main file. Raises ConfigError."""
        source = str(path)
        try:
            raw = self._contents[path] = self._bytes(path)
        except OSError as error:
            self._contents[path] = _ABSENT
            said = f"the file cannot be read: {error.strerror}"
            raise ConfigError([Problem(1, 1, "", said, "give its path with --config")], source) from None
        try:
            return _text(raw)
        except _NoText as error:
            raise ConfigError([Problem(*error.place, "", error.what, error.hint)], source) from None

    def beside(self, path: Path) -> Read:
        """The `Read` for what the file at `path` includes: names are as seen from its folder."""

        def read(name: str) -> tuple[str, str]:
            other = path.parent / name
            try:
                # A pipe or a device would keep the process waiting at each look for changes.
                if self._given is None and not stat.S_ISREG(other.stat().st_mode):
                    self._contents[other] = _ABSENT
                    raise BadValue(f"{other} is not a file", "name a file; its path begins at this file's folder")
                raw = self._contents[other] = self._bytes(other)
            except OSError as error:
                self._contents[other] = _ABSENT
                hint = "write its path as seen from this file's folder"
                raise BadValue(f"the file {other} cannot be read: {error.strerror}", hint) from None
            try:
                return str(other), _text(raw)
            except _NoText as error:
                raise BadValue(f"{other}, line {error.place[0]}: {error.what}", error.hint) from None

        return read

    def _bytes(self, path: Path) -> bytes:
        """Raises OSError."""
        if self._given is None:
            return _bytes(path)
        if path not in self._given:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._given[path]


class _NoText(BadValue):
    """Bytes that are not the text of a configuration file; `place`: from where on."""

    def __init__(self, place: tuple[int, int], what: str, hint: str | None = None) -> None:
        super().__init__(what, hint)
        self.place = place


def _text(raw: bytes) -> str:
    if len(raw) > FILE_MAX:
        raise _NoText((1, 1), f"the file is larger than {FILE_MAX // 1024**2} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # What the error counts in: the bytes behind a byte order mark, if there was one.
        before = error.object[: error.start].decode("utf-8")
        place = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise _NoText(place, "the file is not UTF-8 text", "save it as UTF-8") from None


def _candidate(document: Document, path: Path, texts: _Texts) -> Document | ConfigError | None:
    """The candidate policy of `document`, or what is wrong with it."""
    name = document.config.shadow
    if name is None:
        return None
    try:
        file, text = texts.beside(path)(name)
    except BadValue as error:
        problem = replace(document.problem_at(("shadow",), error.what, error.hint), severity="error")
        return ConfigError([problem], document.source)
    try:
        return parse_document(text, source=file, read=texts.beside(path.parent / name), base=document.config)
    except ConfigError as error:
        return error
