"""What the tests of the walk share: providers that answer as a script says, one clock for everything, books that are kept.

    world = World("a", "b")
    world.script("a", says(500))
    won = await world.walk("a", "b")
    assert world.asked == ["a", "b"] and world.verdicts == [("a", "failure"), ("b", "success")]
    world.settled(won)

Only `send` is fake, and the time; guards, breakers, cool-downs, keys and the walk itself are the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.attempt import chain, judge
from proxy.attempt import guards as guards_room
from proxy.attempt.chain import Walk
from proxy.attempt.circuit import State
from proxy.attempt.guards import Guards
from proxy.attempt.send import Request, Sent
from proxy.attempt.walk import Ground, Terms, Won
from proxy.config import schema
from proxy.config.schema import Seconds, Timeouts
from proxy.config.secrets import Key, KeyRing
from proxy.errors import ConnectFailed, UpstreamFault, Where
from proxy.exchange import Plan, Target
from proxy.observe.logs import Logger
from proxy.upstream.answer import Answer
from proxy.upstream.dial import Origin
from proxy.upstream.pool import Pool
from proxy.upstream.provider import Provider
from proxy.wire.headers import read_response
from tests.attempt.books import Books, Log, kept
from tests.attempt.fakes import MIDDLE, FakeClock
from tests.attempt.sending import post

GOOD = b'{"id": "x", "choices": []}'
EVENT = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
PORT = 9000
"""The first provider's; nothing is ever connected."""


class Line:
    """The source of a fake answer. `aborted`: it was closed before its answer was complete, or given up."""

    def __init__(self) -> None:
        self.aborted = False
        self.answer: Answer | None = None

    def pause(self) -> None:
        """Nothing to hold up."""

    def resume(self) -> None:
        """Nothing was held up."""

    def abort(self) -> None:
        self.aborted = True

    def future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        """Whether nothing is open any more."""
        return self.aborted or (self.answer is not None and (self.answer.complete or self.answer.fault is not None))


@dataclass
class Asked:
    """One call of `send`."""

    target: Target
    provider: Provider
    request: Request
    key: Key | None
    total_at: float
    at_s: float
    line: Line = field(default_factory=Line)


Way = Callable[[Asked], Awaitable[Sent]]
"""How a provider answers one attempt."""


def answered(line: Line, status: int, body: bytes, *lines: tuple[bytes, bytes], complete: bool = True) -> Answer:
    """An answer as its connection leaves it; JSON unless `lines` say otherwise."""
    if not any(name.lower() == b"content-type" for name, _ in lines):
        lines = ((b"Content-Type", b"application/json"), *lines)
    answer = line.answer = Answer(line)
    answer.on_head(status, b"", list(lines), read_response(list(lines)), 0.0)
    if body:
        answer.on_body(body, 1.0)
    if complete:
        answer.on_end([])
    return answer


def says(
    status: int = 200,
    body: bytes | None = None,
    *lines: tuple[bytes, bytes],
    complete: bool = True,
    upload: bool = False,
) -> Way:
    """Answer at once. `upload`: the request is still being sent meanwhile, as long as nobody ends that."""
    text = body if body is not None else GOOD if status < 400 else b'{"error": {"message": "no"}}'

    async def way(asked: Asked) -> Sent:
        task = asyncio.ensure_future(asyncio.Event().wait()) if upload else None
        if task is not None:
            await asyncio.sleep(0)  # it has begun
        answer = answered(asked.line, status, text, *lines, complete=complete)
        return Sent(answer, False, cast("asyncio.Task[None] | None", task))

    return way


def streams(*spans: bytes, complete: bool = False, first_event_s: float = 0.0) -> Way:
    """Answer 200 with the beginning of an event stream; `first_event_s` after it was asked."""

    async def way(asked: Asked) -> Sent:
        line = (b"Content-Type", b"text/event-stream")
        answer = answered(asked.line, 200, b"".join(spans or (EVENT,)), line, complete=complete)
        answer.asked_s, answer.first_event_s = 50.0, 50.0 + first_event_s
        return Sent(answer, False)

    return way


def refused() -> UpstreamFault:
    """The host says that nobody listens: nothing was sent."""
    return ConnectFailed("tcp", "connection refused", refused=True)


def fails(fault: Callable[[], BaseException] = refused) -> Way:
    """No answer."""

    async def way(asked: Asked) -> Sent:
        error = fault()
        raise error.at(asked.provider.where) if isinstance(error, UpstreamFault) else error

    return way


class Gate:
    """Holds an attempt up until it is opened. `reached`: an attempt waits there, or has."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    def then(self, following: Way) -> Way:
        """Wait, and go on as `following`."""

        async def way(asked: Asked) -> Sent:
            self.reached.set()
            await self.opened.wait()
            return await following(asked)

        return way


def after(world: World, seconds: float, following: Way) -> Way:
    """Take so long, by the world's clock."""

    async def way(asked: Asked) -> Sent:
        world.clock.tick(seconds)
        return await following(asked)

    return way


def configured(
    *names: str, breaker: dict[str, Any] | None = None, hosts: dict[str, str] | None = None, **providers: Any
) -> schema.Config:
    """A configuration with these providers. `providers`: options by provider; `hosts`: else they are on this machine."""
    settings: dict[str, Any] = {
        name: Seconds(value) if name in ("window", "open_for", "slow_first_event") else value
        for name, value in (breaker or {}).items()
    }
    made = {}
    for number, name in enumerate(names):
        root = f"https://{hosts[name]}/v1" if hosts and name in hosts else f"http://127.0.0.1:{PORT + number}/v1"
        options = {"base_url": root, "auth": "bearer", "anthropic_auth": "x-api-key", "keys": own_keys(name)}
        made[name] = schema.Provider(**(options | providers.get(name, {})))
    return schema.Config(providers=made, breaker=schema.Breaker(**settings), routes=())


def own_keys(name: str, count: int = 1) -> schema.Keys:
    """So many keys of the provider's own."""
    return schema.Keys("own", tuple(schema.KeySource(env=f"{name}_{number}") for number in range(count)))


class World:
    """Providers, their guards and the walks among them. Options: see `configured`; `models`: their declared contexts."""

    def __init__(self, *names: str, models: dict[str, int] | None = None, **options: Any) -> None:
        self.clock = FakeClock()
        self.books = Books()
        self.log = Log()
        self.uplink: list[bool] = []
        self.calls: list[Asked] = []
        self.slept: list[float] = []
        self.config = configured(*names, **options)
        self._ways: dict[str, list[Way]] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(guards_room, "Breaker", kept(self.books))
            self.guards = Guards(self.config, clock=self.clock, rng=lambda: MIDDLE, uplink_changed=self.uplink.append)
        environment = {f"{name}_{number}": f"secret-{name}-{number}" for name in names for number in range(5)}
        self.providers = {
            name: Provider(
                name, one, KeyRing(one.keys.sources, environment, name) if one.keys.mode == "own" else None, _pool
            )
            for name, one in self.config.providers.items()
        }
        known = {label: schema.Model(context=context) for label, context in (models or {}).items()}
        self.ground = Ground(self.providers, self.guards, known, cast(Logger, self.log))

    # What is asked.

    def script(self, label: str, *ways: Way) -> None:
        """How `label` (a provider, or provider/model) answers, attempt by attempt; the last of `ways` goes on."""
        self._ways[label] = list(ways)

    async def send(
        self, provider: Provider, target: Target, request: Request, timeouts: Timeouts, total_at: float, key: Key | None
    ) -> Sent:
        """As ``attempt/send.attempt``: what it opened is closed when it does not bring an answer."""
        asked = Asked(target, provider, request, key, total_at, self.clock())
        self.calls.append(asked)
        ways = self._ways.get(str(target)) or self._ways.get(target.provider) or [says()]
        way = ways.pop(0) if len(ways) > 1 else ways[0]
        try:
            return await way(asked)
        except BaseException:
            asked.line.abort()
            raise

    async def sleep(self, seconds: float) -> None:
        """Time passes at once, but other tasks get a turn."""
        self.slept.append(seconds)
        self.clock.tick(max(seconds, 0.0))
        await asyncio.sleep(0)

    def terms(self, **options: Any) -> Terms:
        """Terms; `total`: seconds for all attempts."""
        timeouts = Timeouts(total=Seconds(options.pop("total", 600.0)))
        values: dict[str, Any] = {
            "timeouts": timeouts,
            "total_at": self.clock() + timeouts.total,
            "retry": retry(),
            "model": "m",
        }
        return Terms(**(values | options))

    def ready(self, *labels: str, request: Request | None = None, **options: Any) -> Walk:
        """A walk that has not begun, along targets as the policy writes them."""
        targets = []
        for label in labels:
            provider, _, model = label.partition("/")
            targets.append(Target(provider, model or None))
        loop = cast(asyncio.AbstractEventLoop, SimpleNamespace(time=self.clock))
        return Walk(
            self.ground, Plan("r", tuple(targets)), request or post(), self.terms(**options), loop, cast(Any, self.send)
        )

    async def walk(self, *labels: str, **options: Any) -> Won:
        """Walk to the end; asyncio's sleep in it only moves the clock."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chain, "asyncio", SimpleNamespace(sleep=self.sleep))
            patch.setattr(judge, "ERROR_BODY_S", 0.001)
            return await self.ready(*labels, **options).answer()

    # What became of it.

    @property
    def asked(self) -> list[str]:
        """The targets that were asked, in order, as the policy writes them."""
        return [str(call.target) for call in self.calls]

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        """All verdicts so far, by breaker."""
        return self.books.verdicts

    def taken(self, provider: str) -> int:
        """Places taken."""
        return self.guards[provider].places.taken

    def state(self, provider: str) -> State:
        """Of its breaker."""
        return self.guards[provider].breaker(None).snapshot().state

    def trip(self, provider: str, floor_s: float | None = None) -> None:
        """Open its breaker."""
        breaker = self.guards[provider].breaker(None)
        while breaker.snapshot().state == "closed":
            breaker.acquire().failure("x", floor_s)
        self.books.verdicts.clear()
        self.books.permits = 0

    def cool(self, provider: str, reason: Any, seconds: float | None = None, *, model: str = "m", key: int = 0) -> None:
        """Have one of its keys cool."""
        ring = self.providers[provider].ring
        assert ring is not None
        wanted = b"secret-%b-%d" % (provider.encode(), key)
        found = next(one for one in ring.turn() if one.secret == wanted)
        self.guards.cooldowns.cool(found.id, model, reason, seconds)

    def settled(self, won: Won | None = None) -> None:
        """Nothing is left behind: one verdict for each permit, no place taken, nothing open but `won`'s answer."""
        if won is not None:
            won.finish()
        assert len(self.books.verdicts) == self.books.permits, self.books.verdicts
        assert {name: self.taken(name) for name in self.providers} == dict.fromkeys(self.providers, 0)
        kept_open = won.sent.answer.source if won is not None else None
        assert all(call.line.over for call in self.calls if call.line is not kept_open), "a connection was left open"


def retry(attempts: int = 1, max_wait: float = 2.0, budget: float = 0.2) -> schema.Retry:
    """The configuration's `retry`."""
    return schema.Retry(attempts=attempts, max_wait=Seconds(max_wait), budget=budget)


def hedge(after_s: float = 0.001, extra_load: float = 1.0) -> schema.Hedge:
    """A hedge after a moment, for any request."""
    return schema.Hedge(after=Seconds(after_s), extra_load=extra_load)


def fault_at(fault: UpstreamFault, host: str) -> UpstreamFault:
    """`fault`, at a host of the wide world."""
    return fault.at(Where(host, f"https://{host}"))


def _pool(origin: Origin, ca: str | None) -> Pool:
    """What a provider wants of a pool, as long as nothing is sent."""
    return cast(Pool, SimpleNamespace(origin=origin, proxy=None))
