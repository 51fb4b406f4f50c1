"""The configuration in force: swapped whole or not at all, and every failure told once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from proxy.attempt.guards import Guards
from proxy.config import schema
from proxy.config.parse import parse_document
from proxy.config.store import load_document
from proxy.observe.logs import configure
from proxy.observe.reloads import Failure
from proxy.serve import live as living
from proxy.serve.build import Builder, CannotStart, Pools
from proxy.serve.live import AGAIN_AFTER, LOGGED_MAX, Live, Taken
from proxy.upstream.egress import Egress

POLICY = """
providers:
  main: {{base_url: "http://127.0.0.1:1/v1", keys: [{{env: KEY}}]{more}}}
routes: [{{name: {name}, match: {{}}, to: [main]}}]
"""


class World:
    """A `Live` over a file, whose builder fails as long as `fault` is set; `looks` is how often it looked since then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fault: Exception | None = None
        self.built = 0
        self._log: list[bytes] = []
        self.logger = configure(self._log.append, "info")
        self.pools = Pools(Egress({}))
        builder = Builder({"KEY": "k-1"}, self.pools, self._guards, self._complete, self.logger)
        self.write("one")
        self.live = Live(load_document(path), builder, self.logger, lambda: 1000.0)

    def write(self, name: str, more: str = "") -> None:
        """Write a policy whose route has this name."""
        self.path.write_text(POLICY.format(name=name, more=more))

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What was logged of one kind."""
        return [line for line in map(json.loads, self._log) if line["event"] == event]

    @property
    def route(self) -> str:
        """The one in force."""
        return self.live.config.routes[0].name

    async def look(self, times: int = 1) -> None:
        """As many looks as the watch takes in that many of its intervals."""
        for _ in range(times):
            assert self.live._watch is not None
            await self.live._look(self.live._watch)

    async def _complete(self, config: schema.Config) -> schema.Config:
        self.built += 1
        if self.fault is not None:
            raise self.fault
        return config

    @staticmethod
    def _guards(config: schema.Config, before: Guards | None) -> Guards:
        return Guards(config, clock=lambda: 0.0, rng=lambda: 0.5, before=before)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """One that has started."""
    made = World(tmp_path / "config.yaml")
    await made.live.start()
    return made


async def test_a_good_file_is_swapped_in(world: World) -> None:
    """Guards, key rings and pools of what has not changed are the same objects; the snapshot of before is as it was."""
    before = world.live.snapshot
    world.write("two", ", max_concurrency: 3")
    taken = await world.live.reload("api")
    assert isinstance(taken, Taken) and taken.changes.providers_changed == ("main.max_concurrency",)
    after = world.live.snapshot
    assert after is not before and before.config.routes[0].name == "one" and world.route == "two"
    old, new = before.providers["main"], after.providers["main"]
    assert new is not old and new.ring is old.ring and new.origin_root().pool is old.origin_root().pool
    assert after.ground.guards["main"] is before.ground.guards["main"]
    assert after.ground.guards["main"].places.limit == 3


async def test_a_failure_touches_nothing(world: World) -> None:
    """Not even the places of the providers, which both have in common."""
    before, places = world.live.snapshot, world.live.snapshot.ground.guards["main"].places
    for fault in (CannotStart("no"), OSError("no"), KeyError("no")):
        world.fault = fault
        world.write("two", ", max_concurrency: 3")
        assert isinstance(await world.live.reload("signal"), Failure)
    world.fault = None
    world.path.write_text("providers: 5\n")
    assert isinstance(await world.live.reload("signal"), Failure)
    assert world.live.snapshot is before and places.limit is None
    assert (world.live.reloads.count, world.live.reloads.failures, world.live.reloads.failing) == (0, 4, True)
    assert len(world.lines("reload_failed")) == 4 and world.lines("reloaded") == []


async def test_what_something_else_keeps_out_is_tried_again(world: World) -> None:
    """Now and then, told once; and taken as it was read, when it can be."""
    world.fault = CannotStart("the CA file x cannot be used")
    world.write("two")
    await world.look(2)
    assert world.built == 2 and world.route == "one"
    await world.look(3 * AGAIN_AFTER)
    assert world.built == 5 and len(world.lines("reload_failed")) == world.live.reloads.failures == 1
    world.fault = CannotStart("another reason")
    await world.look(AGAIN_AFTER)
    assert [line["error"] for line in world.lines("reload_failed")][1:] == ["another reason"]
    world.fault = None
    await world.look(AGAIN_AFTER)
    assert world.route == "two" and not world.live.reloads.failing
    built = world.built
    await world.look(2 * AGAIN_AFTER)
    assert world.built == built


async def test_what_was_kept_out_is_forgotten_for_something_newer(world: World) -> None:
    """Even if that is the old one again."""
    world.fault = CannotStart("no")
    world.write("two")
    await world.look(2)
    world.fault = None
    world.write("one")
    await world.look(2 * AGAIN_AFTER)
    assert world.route == "one" and [line["why"] for line in world.lines("reloaded")] == ["content"]


@pytest.mark.parametrize("where", ["reading", "building"])
async def test_a_fault_of_our_own_is_no_end(world: World, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """It is told with its place and without its words, which may quote the file; the watch goes on."""
    secret = "words-of-the-file"
    world.write("two")
    with monkeypatch.context() as patched:
        if where == "reading":
            patched.setattr(living, "read", _raise(RuntimeError(secret)))
            patched.setattr("proxy.config.watch.read", _raise(RuntimeError(secret)))
        else:
            world.fault = RuntimeError(secret)
        await world.look(4)
        assert isinstance(await world.live.reload("api"), Failure)
    world.fault = None
    told = world.lines("reload_failed")
    assert len(told) == 2 and all("RuntimeError" in line["error"] and line["traceback"] for line in told)
    assert secret not in json.dumps(told)
    world.write("three")
    await world.look(2)
    assert world.route == "three"


def _raise(error: Exception) -> Callable[[Path], Any]:
    def fail(path: Path) -> Any:
        raise error

    return fail


async def test_a_thousand_problems_are_no_long_line(world: World) -> None:
    """The first are told, and how many there are."""
    world.path.write_text(POLICY.format(name="x", more="") + "".join(f"no{number}: 1\n" for number in range(1000)))
    await world.look(2)
    [line] = world.lines("reload_failed")
    assert len(line["problems"]) == LOGGED_MAX < line["count"]


async def test_what_is_hardly_meant_is_told(world: World) -> None:
    """With the key that is missing; the policy is in force all the same."""
    other = "  other: {base_url: 'http://o.test/v1', keys: [{env: NO_SUCH}]}\nroutes:"
    text = POLICY.format(name="two", more="").replace("routes:", other)
    world.path.write_text(text.replace("to: [main]}]", "to: [{main/a: 90, other/b: 20}]}]"))
    await world.look(2)
    assert world.route == "two"
    [warnings], [missing] = world.lines("config_warnings"), world.lines("keys_missing")
    assert warnings["count"] == len(warnings["problems"]) >= 1 and "100" in str(warnings["problems"])
    assert (missing["provider"], missing["missing"]) == ("other", ["environment variable NO_SUCH is not set"])


async def test_one_at_a_time(world: World) -> None:
    """Orders that come together are carried out one after the other; each finds what the one before left."""
    world.write("two")
    outcomes = await asyncio.gather(*(world.live.reload("api") for _ in range(5)))
    assert [isinstance(one, Taken) and bool(one.changes) for one in outcomes] == [True, False, False, False, False]


async def test_the_watch_itself(world: World) -> None:
    """It finds what was written, and nothing twice."""
    watch = asyncio.create_task(world.live.keep_watch(0.001))
    world.write("two")
    async with asyncio.timeout(20):
        while world.route != "two":  # noqa: ASYNC110 - files have no event to wait for
            await asyncio.sleep(0)
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch
    assert len(world.lines("reloaded")) == 1


async def test_a_configuration_from_no_file(world: World) -> None:
    """There is nothing to watch, and a reload says so."""
    document = parse_document(world.path.read_text())
    live = Live(document, world.live._builder, world.logger)
    await live.start()
    await live.keep_watch(0.0)
    outcome = await live.reload("signal")
    assert isinstance(outcome, Failure) and "no file" in outcome.message
