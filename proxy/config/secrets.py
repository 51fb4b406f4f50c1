"""Provider keys: read from the environment and from files, rotated, read again when a file changes. Never printed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping

from proxy.config.schema import KeySource

KEY_FILE_MAX = 16 * 1024
"""Bytes of a key file: keys are short, and a path that leads to something else must not fill memory."""


def describe(source: KeySource) -> str:
    """Where a key is looked for, in words that hold no secret."""
    return f"environment variable {source.env}" if source.env is not None else f"file {source.file}"


def key_id(provider: str, credential: bytes) -> str:
    """A name for a provider's key that says nothing about it beyond which provider's it is."""
    return f"{provider}:{hashlib.blake2b(credential, digest_size=6, person=b'fusebox-cooldown').hexdigest()}"


class Key:
    """One key. `id` may be shown; `secret` goes to its provider and nowhere else."""

    __slots__ = ("id", "secret")

    def __init__(self, provider: str, secret: bytes) -> None:
        self.id = key_id(provider, secret)
        self.secret = secret

    def __repr__(self) -> str:
        return f"<Key {self.id}>"


class KeyRing:
    """The keys of one provider, taken in turn. What cannot be read is left out and named in `missing`."""

    def __init__(
        self, sources: tuple[KeySource, ...], environment: Mapping[str, str] = os.environ, provider: str = ""
    ) -> None:
        self._sources = sources
        self._environment = environment
        self._provider = provider
        self._keys: tuple[Key, ...] = ()
        self._next = 0
        self.missing: tuple[str, ...] = ()
        self.refresh()

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._keys)} keys>"

    def __len__(self) -> int:
        return len(self._keys)

    def take(self) -> Key | None:
        """The next key in turn, or None when there is none."""
        keys = self._keys
        if not keys:
            return None
        self._next = (self._next + 1) % len(keys)
        return keys[self._next]

    def turn(self) -> tuple[Key, ...]:
        """All keys, the next one in turn first."""
        keys = self._keys
        if len(keys) < 2:
            return keys
        start = self._next = (self._next + 1) % len(keys)
        return keys[start:] + keys[:start]

    def upcoming(self) -> tuple[Key, ...]:
        """What `turn` would give; the turn stays where it is."""
        keys = self._keys
        if len(keys) < 2:
            return keys
        start = (self._next + 1) % len(keys)
        return keys[start:] + keys[:start]

    def refresh(self) -> bool:
        """Read all sources again; whether anything changed. When none can be read, the last keys stay in use."""
        keys, missing = [], []
        for source in self._sources:
            try:
                keys.append(read_key(source, self._environment))
            except (OSError, ValueError) as error:
                missing.append(f"{describe(source)} {error.strerror if isinstance(error, OSError) else error}")
        known = {key.secret: key for key in self._keys}
        fresh = tuple(known.get(secret) or Key(self._provider, secret) for secret in dict.fromkeys(keys))
        before = (self._keys, self.missing)
        # During a ConfigMap or Secret swap a file can be gone for an instant; an old key is better than none.
        if fresh or not self._keys:
            self._keys = fresh
        self.missing = tuple(missing)
        return before != (self._keys, self.missing)


def read_key(source: KeySource, environment: Mapping[str, str], *, spaces: bool = False) -> bytes:
    """One key as header bytes. Raises OSError, or ValueError with what is wrong (never with the key).

    `spaces`: it is a whole header value, which may hold some.
    """
    if source.env is not None:
        text = environment.get(source.env, "")
        if not text.strip():
            raise ValueError("is not set")
    else:
        assert source.file is not None
        with open(source.file, "rb") as file:
            text = file.read(KEY_FILE_MAX + 1).decode("latin-1")
        if len(text) > KEY_FILE_MAX:
            raise ValueError("is too large for a key")
        if not text.strip():
            raise ValueError("is empty")
    key = text.strip()
    if not key.isascii() or not key.isprintable() or (" " in key and not spaces):
        wanted = "only visible ASCII and spaces" if spaces else "only visible ASCII, no spaces inside"
        raise ValueError(f"holds characters that no key has ({wanted})")
    return key.encode("ascii")


def refresh(rings: Mapping[str, KeyRing], changed: Callable[[str, KeyRing], None]) -> None:
    """Refresh every ring once, telling `changed` of those that differ. Meant to be called every few seconds."""
    for provider, ring in rings.items():
        if ring.refresh():
            changed(provider, ring)
