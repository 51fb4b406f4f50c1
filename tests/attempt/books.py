"""The books of the walk's tests: every permit that was given, every verdict that came back, every line that was logged."""

from __future__ import annotations

from typing import Any

from proxy.attempt.breaker import Breaker
from proxy.attempt.permit import Failed, Judge, Permit


class Books:
    """Every permit that was given, and every verdict that came back to the state that gave it."""

    def __init__(self) -> None:
        self.permits = 0
        self.verdicts: list[tuple[str, str]] = []
        self.amended: list[tuple[str, str]] = []


class Kept:
    """A state of a circuit, with the books kept."""

    def __init__(self, judge: Judge, label: str, books: Books) -> None:
        self._judge = judge
        self._label = label
        self._books = books

    @property
    def kind(self) -> str:
        return self._judge.kind

    def succeeded(self, permit: Permit, slow: bool) -> float | None:
        self._books.verdicts.append((self._label, "slow success" if slow else "success"))
        return self._judge.succeeded(permit, slow)

    def failed(self, permit: Permit, failure: Failed) -> None:
        self._books.verdicts.append((self._label, "failure"))
        self._judge.failed(permit, failure)

    def ignored(self, permit: Permit) -> None:
        self._books.verdicts.append((self._label, "ignore"))
        self._judge.ignored(permit)

    def broke(self, counted_at_s: float, slow: bool, failure: Failed) -> None:
        self._books.amended.append((self._label, failure.reason))
        self._judge.broke(counted_at_s, slow, failure)


def kept(books: Books) -> type[Breaker]:
    """A breaker whose permits are in the books."""

    class BreakerWithBooks(Breaker):
        def acquire(self) -> Permit:
            return self._noted(super().acquire())

        def acquire_early(self) -> Permit:
            permit = super().acquire_early()
            return permit if isinstance(permit.judge, Kept) else self._noted(permit)

        def _noted(self, permit: Permit) -> Permit:
            if permit.judge is not None:
                books.permits += 1
                permit.judge = Kept(permit.judge, self.label, books)
            return permit

    return BreakerWithBooks


class Log:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))
