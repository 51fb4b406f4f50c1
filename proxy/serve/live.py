"""The configuration in force, and how another one takes its place: read, build everything, then swap one reference.

Whatever goes wrong on the way, the one in force stays. A request keeps the snapshot that it started with.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from proxy.config.diff import Changes, changes, in_force, needs_restart
from proxy.config.parse import Document
from proxy.config.problems import ConfigError, Problem
from proxy.config.schema import Config
from proxy.config.watch import Watch, is_watchable, read
from proxy.observe.logs import Logger, set_level
from proxy.observe.reloads import Failure, Reloads
from proxy.serve.build import Builder, CannotStart, aside
from proxy.serve.snapshot import Snapshot

Why = Literal["content", "signal", "api"]
"""Who asked for a reload: the files themselves, a SIGHUP, or somebody at the admin port."""

LOGGED_MAX = 20
"""Problems in one log line; a file may have thousands."""

AGAIN_AFTER = 10
"""Looks at the files between two tries of a good configuration that something else kept out, such as a CA file."""


class Taken(msgspec.Struct, frozen=True):
    """A reload that went well: what it changed, from the digest `was` to `digest`, and what is to be said of it."""

    digest: str
    was: str
    changes: Changes
    restart_needed: tuple[str, ...]
    warnings: tuple[Problem, ...]


class OwnFault(Exception):
    """A fault of Fusebox's own while it reloaded. The text names no more than its kind: it might quote the file."""


class Live:
    """Holds `snapshot`, the one reference that a reload swaps; `document`, what it was built from; and `reloads`.

    `document` is that of the start, which must have been read from files if it is ever to be reloaded. Its overrides count
    for those that come later, too.
    """

    snapshot: Snapshot

    def __init__(
        self, document: Document, builder: Builder, logger: Logger, clock: Callable[[], float] = time.time
    ) -> None:
        self.document = document
        self.reloads = Reloads(document.digest, clock())
        self._started = document.config
        self._builder = builder
        self._logger = logger
        self._clock = clock
        self._watch = Watch(document.files[0], document.files, document.digest) if document.files else None
        self._kept_out: Document | None = None
        self._waited = 0
        self._lock = asyncio.Lock()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.snapshot.config

    async def start(self) -> None:
        """Build the first snapshot. Raises CannotStart and OSError."""
        self.snapshot = await self._build(self.document, None)

    async def reload(self, why: Why) -> Taken | Failure:
        """Read the files and take what they hold, now."""
        async with self._lock:
            if self._watch is None:
                return self._failed(CannotStart("this configuration came from no file, so there is none to read"), None)
            try:
                found: Document | ConfigError = await aside(read, self.document.files[0])
            except ConfigError as error:
                found = error
            except Exception as error:
                return self._own_fault(error, None)
            self._watch.take(found.files, found.digest)
            return await self._take(found, why)

    async def keep_watch(self, every_s: float) -> None:
        """Look at the files' content every `every_s` seconds, for ever, and take what is new. Returns if it cannot be."""
        if self._watch is None or not is_watchable(self.document.files[0]):
            return
        while True:
            await asyncio.sleep(every_s)
            async with self._lock:
                await self._look(self._watch)

    async def _look(self, watch: Watch) -> None:
        try:
            # In a thread: a file system that hangs must not hold up requests.
            found = await aside(watch.look)
        except Exception as error:
            self._own_fault(error, None)
            return
        if found is None and self._kept_out is not None:
            self._waited += 1
            found = self._kept_out if self._waited >= AGAIN_AFTER else None
        if found is not None:
            await self._take(found, "content")

    async def _take(self, found: Document | ConfigError, why: Why) -> Taken | Failure:
        self._kept_out, self._waited = None, 0
        if isinstance(found, ConfigError):
            return self._failed(found, found.digest)
        found = found.with_overrides(self.document.overrides)
        try:
            snapshot = await self._build(found, self.snapshot)
        except (CannotStart, OSError) as error:
            self._kept_out = found
            return self._failed(error, found.digest, quiet=why == "content")
        except Exception as error:
            return self._own_fault(error, found.digest)
        before = self.document
        self.snapshot, self.document = snapshot, found
        taken = Taken(
            found.digest,
            before.digest,
            changes(before.config, found.config),
            needs_restart(found.config, self._started),
            found.warnings,
        )
        self.reloads.taken(found.digest, self._clock(), taken.restart_needed)
        set_level(self._logger, found.config.log.level)
        told: dict[str, Any] = msgspec.to_builtins(taken.changes)
        if taken.restart_needed:
            told["restart_needed"] = list(taken.restart_needed)
        self._logger.info("reloaded", why=why, file=found.source, hash=taken.digest, was=taken.was, **told)
        self.report()
        return taken

    async def _build(self, document: Document, before: Snapshot | None) -> Snapshot:
        candidate = document.candidate if isinstance(document.candidate, Document) else None
        return await self._builder.build(
            in_force(document.config, self._started),
            candidate.config if candidate is not None else None,
            candidate.source if candidate is not None else "",
            before,
        )

    def report(self) -> None:
        """Log what should be looked at in the configuration in force."""
        document = self.document
        for name, provider in self.snapshot.providers.items():
            if provider.ring is not None and provider.ring.missing:
                missing = list(provider.ring.missing)
                self._logger.warning("keys_missing", provider=name, keys=len(provider.ring), missing=missing)
        token = self.snapshot.admin_token
        if token is not None and token.missing:
            self._logger.warning(
                "admin_token_missing", missing=list(token.missing), effect="nobody may read the admin port"
            )
        if document.warnings:
            self._logger.warning("config_warnings", file=document.source, **_listed(document.warnings))
        if isinstance(document.candidate, ConfigError):
            candidate = document.candidate
            self._logger.warning("shadow_unusable", file=candidate.source, **_listed(candidate.problems))

    def _own_fault(self, error: Exception, digest: str | None) -> Failure:
        where = "".join(traceback.format_tb(error.__traceback__))
        told = OwnFault(f"an error of Fusebox's own ({type(error).__name__}); please report this line of the log")
        return self._failed(told, digest, traceback=where)

    def _failed(self, error: Exception, digest: str | None, *, quiet: bool = False, **more: str) -> Failure:
        """Note a failure. `quiet`: but for one that has been told already."""
        failure = Failure(self._clock(), error, digest)
        if quiet and self.reloads.failing and failure.same_as(self.reloads.last_failure):
            return failure
        self.reloads.failed(failure)
        found = _listed(failure.config.problems) if failure.config is not None else {"error": failure.message}
        kept = {"file": self.document.source, "kept": self.reloads.digest}
        self._logger.error("reload_failed", **kept, **found, **more)
        return failure


def _listed(problems: tuple[Problem, ...]) -> dict[str, Any]:
    shown = [f"{problem.file}:{problem.sentence()}" for problem in problems[:LOGGED_MAX]]
    return {"problems": shown, "count": len(problems)}
