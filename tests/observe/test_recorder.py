"""The end of a request: priced, counted, told, logged; and what a slow usage and a sample do to that."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import datetime

import pytest

from proxy.config.schema import Config, Log, Model, Price
from proxy.exchange import Target, Tried, Usage
from proxy.observe.logs import configure
from proxy.observe.meter import Meter
from proxy.observe.record import Record
from proxy.observe.recorder import GATHERED_MAX, LATER_MAX, Recorder

USED = Usage(1_000_000, 100_000)


def config(sample: float = 1.0) -> Config:
    """One target with a price."""
    models = {"a/m": Model(price=Price(input=2.0, output=10.0, batch=0.5))}
    return Config(providers={}, routes=(), models=models, log=Log(sample=sample))


def record(usage: Usage | None = USED, status: int = 200) -> Record:
    """A request that was answered by the target with the price."""
    made = Record("POST", "/v1/chat/completions", target="a/m", by=Target("a", "m"), attempts=1, status=status)
    made.first, made.usage, made.bills = made.by, usage, True
    return made


class Slow:
    """A usage that takes as long as the test wants."""

    slow = True

    def __init__(self) -> None:
        self.go = threading.Event()
        self.thread = ""

    def feed(self, span: bytes) -> None:
        """Nothing is looked at."""

    def usage(self) -> Usage:
        """In a thread of its own."""
        assert self.go.wait(10)
        self.thread = threading.current_thread().name
        return USED


class Ended:
    """What came of the ends: log lines, and who was told."""

    def __init__(self, roll: float = 0.5) -> None:
        self.written: list[bytes] = []
        self.told: list[Record] = []
        logger = configure(self.written.append, "info")
        self.recorder = Recorder(logger, Meter(), (self.tell,), lambda: roll)
        self.all_told = asyncio.get_running_loop().create_future()

    def tell(self, record: Record, at_s: float) -> None:
        """One who watches, until all are told that are gathered at most, and one."""
        self.told.append(record)
        if len(self.told) == GATHERED_MAX + 1:
            self.all_told.set_result(None)

    @property
    def lines(self) -> list[dict[str, object]]:
        """The log, once all that has been gathered is dealt with."""
        self.recorder.settle()
        return [json.loads(line) for line in self.written]


async def test_the_cost_is_the_policy_s_price() -> None:
    """In the line, for who watches, and in the numbers."""
    ended = Ended()
    ended.recorder.end(record(), config())
    assert ended.lines[0]["cost_usd"] == 3.0 and ended.lines[0]["tokens"] == {"input": 1_000_000, "output": 100_000}
    assert ended.told[0].cost_usd == 3.0
    assert ended.recorder.meter.series["", "a", "m"].cost_usd == 3.0


async def test_an_answer_at_the_price_of_batches() -> None:
    """Half, as the policy says."""
    ended = Ended()
    ended.recorder.end(record(Usage(1_000_000, 100_000, batch=True)), config())
    assert ended.lines[0]["cost_usd"] == 1.5


async def test_a_slow_usage_is_read_in_a_thread() -> None:
    """Nothing is told before; the time of the request is that of its end."""
    ended, slow = Ended(), Slow()
    made = record(None)
    ended.recorder.end(made, config(), slow)
    await asyncio.sleep(0)
    assert ended.lines == [] and ended.told == []
    slow.go.set()
    await ended.recorder.stop()
    assert ended.lines[0]["cost_usd"] == 3.0 and ended.told == [made]
    assert slow.thread.startswith("usage")


async def test_too_many_slow_ones_are_unmetered() -> None:
    """So that they cannot fill memory: one more is told at once, without its tokens."""
    ended, slow = Ended(), Slow()
    for _ in range(LATER_MAX + 1):
        ended.recorder.end(record(None), config(), slow)
    assert [line["unmetered"] for line in ended.lines] == [True]
    slow.go.set()
    await ended.recorder.stop()
    assert len(ended.lines) == LATER_MAX + 1 and sum("cost_usd" in line for line in ended.lines) == LATER_MAX


@pytest.mark.parametrize(("roll", "written"), [(0.05, 1), (0.1, 0), (0.9, 0)])
async def test_a_sample_of_successes(roll: float, written: int) -> None:
    """The share that is asked for, and the line says which; the numbers are of all."""
    ended = Ended(roll)
    ended.recorder.end(record(), config(0.1))
    assert len(ended.lines) == written
    assert len(ended.told) == 1
    assert ended.recorder.meter.requests == {("", "", 200): 1}
    assert all(line["sample"] == 0.1 for line in ended.lines)


async def test_what_somebody_may_look_for_is_always_written() -> None:
    """Errors of providers, own errors, more than one attempt, an answer that broke off."""
    ended = Ended(roll=0.99)
    refused, own, again, broken = record(status=429), record(), record(), record()
    own.error_code, own.error = "no_route", "none"
    again.tried = [Tried(Target("a", "m"), "a/m", "ok", "OK", "success", 0.0, 1.0, 200)]
    broken.broke, broken.error_code, broken.error = "stalled", "upstream_stalled", "no event for 120 s"
    for one in (refused, own, again, broken):
        ended.recorder.end(one, config(0.1))
    assert len(ended.lines) == 4


async def test_requests_are_gathered() -> None:
    """Nothing is done for one alone until its time has come; for many it is done at once, in the order of their ends."""
    ended, made = Ended(), [record() for _ in range(GATHERED_MAX + 1)]
    for one in made[:-2]:
        ended.recorder.end(one, config())
    assert ended.told == [] and ended.written == []
    ended.recorder.end(made[-2], config())
    assert ended.told == made[:-1] and len(ended.written) == GATHERED_MAX
    ended.recorder.end(made[-1], config())
    async with asyncio.timeout(10):
        await ended.all_told
    assert ended.told == made


async def test_a_line_says_when_its_request_ended() -> None:
    """Not when it was dealt with; and the whole time of the request is that until its end."""
    ended, made = Ended(), record()
    ended.recorder.end(made, config())
    made.ended_at -= 100.0
    made.started_at = made.ended_at - 1.0
    before_s = time.time()
    [line] = ended.lines
    told_s = datetime.fromisoformat(str(line["time"])).timestamp()
    assert abs(before_s - 100.0 - told_s) < 5.0
    assert line["total_ms"] == 1000.0


async def test_a_fault_of_our_own_costs_one_line() -> None:
    """The others have theirs, and the fault is told with the request's id."""
    ended, made = Ended(), record()
    made.request_id, made.by = "req-odd", None
    made.first = made.target = None
    made.usage = "no usage"  # type: ignore[assignment]
    ended.recorder.end(made, config())
    ended.recorder.end(record(), config())
    odd, fine = ended.lines
    assert (odd["event"], odd["request_id"], fine["event"]) == ("request_not_recorded", "req-odd", "request")
    assert "AttributeError" in str(odd["exception"])
