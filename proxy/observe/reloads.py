"""What became of reloads: plain facts, for the log, ``/api/status`` and metrics."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.config.problems import ConfigError


class Failure:
    """A configuration that was not taken, or an `error` outside of it; `at_s`: when, in seconds since 1970.

    `digest`: of the files, if they could be read. `config`: with every problem, when the files themselves are bad.
    `message`: in one or several lines, without secrets.
    """

    __slots__ = ("at_s", "config", "digest", "message")

    def __init__(self, at_s: float, error: Exception, digest: str | None) -> None:
        self.at_s = at_s
        self.digest = digest
        self.config = error if isinstance(error, ConfigError) else None
        self.message = str(error)

    def same_as(self, other: Failure | None) -> bool:
        """Whether nothing has changed since `other`."""
        return other is not None and (self.digest, self.message) == (other.digest, other.message)


class Reloads:
    """The policy in force, and the reloads since the start.

    `digest`: of the policy's files, and `loaded_at_s`: when they were taken, in seconds since 1970. `count`: policies
    taken; `failures`: those that were not. `last_failure` stays when a good one has come; `failing`: none has come since.
    `restart_needed`: keys of the policy in force that take effect at the next start only.
    """

    __slots__ = ("count", "digest", "failing", "failures", "last_failure", "loaded_at_s", "restart_needed")

    def __init__(self, digest: str, loaded_at_s: float) -> None:
        self.digest = digest
        self.loaded_at_s = loaded_at_s
        self.count = 0
        self.failures = 0
        self.last_failure: Failure | None = None
        self.failing = False
        self.restart_needed: tuple[str, ...] = ()

    def taken(self, digest: str, at_s: float, restart_needed: Sequence[str]) -> None:
        """A new policy is in force."""
        self.count += 1
        self.digest, self.loaded_at_s = digest, at_s
        self.restart_needed = tuple(restart_needed)
        self.failing = False

    def failed(self, failure: Failure) -> None:
        """The old policy stays in force."""
        self.failures += 1
        self.last_failure = failure
        self.failing = True
