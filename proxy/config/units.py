"""Values of the configuration that are written as text with a syntax of their own: durations, sizes, moments, addresses."""

from __future__ import annotations

import re
from datetime import datetime
from typing import ClassVar

import msgspec

from proxy.config.problems import BadValue, shown


class Seconds(float):
    """A duration. Written ``250ms``, ``5s``, ``2m`` or ``1h``; held in seconds."""

    UNITS: ClassVar[dict[str, float]] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"

    @classmethod
    def parse(cls, text: str) -> Seconds:
        """Raises BadValue, a sentence for the user, when `text` is not a duration or has more than nine digits."""
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)", text)
        if found is None:
            raise BadValue(f"{shown(text)} is not a duration", "write a number with ms, s, m or h, as in 250ms, 5s, 2m")
        return cls(float(found[1]) * cls.UNITS[found[2]])


class Bytes(int):
    """A size. Written ``64KiB``, ``32MiB`` or a plain number of bytes."""

    UNITS: ClassVar[dict[str, int]] = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
    PATTERN = r"^[0-9]+(KiB|MiB|GiB)?$"

    @classmethod
    def parse(cls, text: str) -> Bytes:
        """Raises BadValue, a sentence for the user, when `text` is not a size or has more than twelve digits."""
        found = re.fullmatch(r"([0-9]{1,12})(KiB|MiB|GiB|)", text)
        if found is None:
            raise BadValue(f"{shown(text)} is not a size", "write a number with KiB, MiB or GiB, as in 64MiB")
        return cls(int(found[1]) * cls.UNITS[found[2]])


class Moment(float):
    """A moment, written as in RFC 3339 with its offset: ``2026-12-01T06:00:00Z``. Held in seconds since 1970, UTC."""

    PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"

    @classmethod
    def parse(cls, text: str) -> Moment:
        """Raises BadValue, a sentence for the user, when `text` is no moment, or leaves the offset from UTC open."""
        hint = "write date, time and offset, as in 2026-12-01T06:00:00Z or 2026-12-01T07:00:00+01:00"
        if not re.fullmatch(cls.PATTERN, text):
            raise BadValue(f"{shown(text)} is not a moment (RFC 3339)", hint)
        try:
            return cls(datetime.fromisoformat(text.upper().replace(" ", "T")).timestamp())
        except (ValueError, OverflowError):
            raise BadValue(f"{shown(text)} is no moment in the calendar", hint) from None


_BOTH = {"localhost": ("127.0.0.1", "::1"), "*": ("0.0.0.0", "::")}  # noqa: S104  # only where somebody writes *
"""Names that stand for an address of each family."""


class Listen(msgspec.Struct, frozen=True):
    """An address to listen on. ``localhost:4010`` stands for both loopback addresses, ``*:4010`` for all there are."""

    host: str
    port: int

    PATTERN = r"^.+:[0-9]{1,5}$"

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Raises BadValue, a sentence for the user, when `text` is not HOST:PORT. An IPv6 host stands in brackets."""
        found = re.fullmatch(r"(?:([A-Za-z0-9._-]+|\*)|\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]):([0-9]{1,5})", text)
        if found is None or int(found[3]) > 65535:
            hint = "write HOST:PORT, as in 127.0.0.1:4010, [::1]:4010 or localhost:4010"
            raise BadValue(f"{shown(text)} is not an address to listen on", hint)
        return cls(found[1] or found[2], int(found[3]))

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses to bind: two for ``localhost``, because clients differ in which of them they try, and for ``*``."""
        return _BOTH.get(self.host, (self.host,))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
