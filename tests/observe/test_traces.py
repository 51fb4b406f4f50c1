"""Which requests are recorded, and the queue of those that wait: bounded, counted, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from proxy.config.diff import in_force, needs_restart
from proxy.config.schema import Config, Traces
from proxy.observe import traces
from proxy.observe.logs import configure
from proxy.observe.record import Record
from proxy.observe.trace import Trace
from proxy.observe.traces import BATCH_MAX, QUEUE_MAX, Tracer
from proxy.wire.traceparent import Parent

HANG_S = 10.0
NEVER_S = 3600.0
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Receiver:
    """What is sent is kept; it answers with `why`, once it may."""

    def __init__(self) -> None:
        self.batches: list[list[Record]] = []
        self.why: str | None = None
        self.breaks = False
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Semaphore(0)
        self.closed = False

    def send(self, records: Sequence[Record], pause: Callable[[], None]) -> str | None:
        """As ``Export.send``."""
        pause()
        self.batches.append(list(records))
        self.asked.release()
        self.may_answer.wait(HANG_S)
        if self.breaks:
            raise ValueError("planted-secret")
        return self.why

    def close(self) -> None:
        """As ``Export.close``."""
        self.closed = True

    async def wait(self) -> None:
        """Until it has been asked once more."""
        assert await asyncio.to_thread(self.asked.acquire, timeout=HANG_S)


class Log:
    """The lines that were logged."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.grown = asyncio.Event()
        self.logger = configure(self._write, "info")

    def _write(self, line: bytes) -> None:
        self.written.append(line)
        self.grown.set()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Without their times."""
        return [{name: value for name, value in json.loads(one).items() if name != "time"} for one in self.written]


@pytest.fixture
def receiver() -> Receiver:
    """One that takes everything."""
    return Receiver()


@pytest.fixture
def log() -> Log:
    """An empty log."""
    return Log()


def ended(tracer: Tracer) -> Record:
    """A recorded request that has ended."""
    record = Record("POST", "/v1/chat/completions")
    record.trace = tracer.begin(Parent(TRACE, SPAN, 1))
    tracer.ended(record, 0.0)
    return record


async def test_a_batch_is_sent_at_once(receiver: Receiver, log: Log) -> None:
    """As soon as it is full, in the order in which its requests ended; what is left goes out at the end."""
    tracer = Tracer(receiver, 1.0, log.logger, NEVER_S)
    first = [ended(tracer) for _ in range(BATCH_MAX)]
    await receiver.wait()
    rest = [ended(tracer) for _ in range(3)]
    await tracer.stop()
    assert receiver.batches == [first, rest]
    assert (tracer.dropped, receiver.closed, log.lines) == (0, True, [])


async def test_a_few_are_sent_after_a_while(receiver: Receiver, log: Log) -> None:
    """Nobody waits for a batch to fill."""
    tracer = Tracer(receiver, 1.0, log.logger, 0.01)
    record = ended(tracer)
    await receiver.wait()
    await tracer.stop()
    assert receiver.batches == [[record]]


async def test_a_receiver_that_hangs(receiver: Receiver, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many requests wait, the others are dropped and counted; one line says so; the end does not wait for long."""
    monkeypatch.setattr(traces, "STOP_S", 0.01)
    receiver.may_answer.clear()
    tracer = Tracer(receiver, 1.0, log.logger, NEVER_S)
    for _ in range(BATCH_MAX):
        ended(tracer)
    await receiver.wait()
    for _ in range(QUEUE_MAX + 5):
        ended(tracer)
    assert tracer.dropped == 5
    assert [line["event"] for line in log.lines] == ["traces_dropped"]
    await tracer.stop()
    assert tracer.dropped == 5 + QUEUE_MAX + BATCH_MAX
    said = "the process ended first"
    assert log.lines[-1] == {
        "event": "traces_dropped",
        "level": "warning",
        "why": said,
        "requests": tracer.dropped - 1,
        "all": tracer.dropped,
    }
    receiver.may_answer.set()


@pytest.mark.parametrize("breaks", [False, True])
async def test_a_receiver_that_refuses(receiver: Receiver, log: Log, breaks: bool) -> None:
    """What it refuses is not sent again, and the next batch waits for its time, full or not; the line says why."""
    receiver.why, receiver.breaks = "it answered 500", breaks
    tracer = Tracer(receiver, 1.0, log.logger, NEVER_S)
    for _ in range(2 * BATCH_MAX):
        ended(tracer)
    await receiver.wait()
    await asyncio.wait_for(log.grown.wait(), HANG_S)
    assert (len(receiver.batches), tracer.dropped) == (1, BATCH_MAX)
    why = "an error of its own (ValueError)" if breaks else "it answered 500"
    assert [(line["why"], line["requests"]) for line in log.lines] == [(why, BATCH_MAX)]
    await tracer.stop()
    await asyncio.sleep(0)
    assert tracer.dropped == 2 * BATCH_MAX and receiver.closed


async def test_who_decides(receiver: Receiver, log: Log) -> None:
    """A client's trace is recorded as the client says; of those that begin here a share is, by the trace's id."""
    tracer = Tracer(receiver, 0.25, log.logger, NEVER_S)
    continued = tracer.begin(Parent(TRACE, SPAN, 3))
    assert continued is not None
    assert (continued.trace_id, continued.parent_id, continued.flags, continued.recorded) == (TRACE, SPAN, 3, True)
    assert continued.span_id != SPAN
    assert tracer.begin(Parent(TRACE, SPAN, 0)) is None
    random.seed(1)
    begun = [tracer.begin(None) for _ in range(2000)]
    own = [one for one in begun if one is not None]
    assert len({one.trace_id for one in own}) == len({one.span_id for one in own}) == 2000
    assert all(one.recorded == (int(one.trace_id[16:], 16) < 2**62) for one in own)
    assert 430 < sum(one.recorded for one in own) < 570
    unrecorded = Record("GET", "/")
    unrecorded.trace = next(one for one in own if not one.recorded)
    tracer.ended(unrecorded, 0.0)
    tracer.ended(Record("GET", "/"), 0.0)
    await tracer.stop()
    assert receiver.batches == []


@pytest.mark.parametrize("sample", [0.0, 1.0])
async def test_all_or_none(receiver: Receiver, log: Log, sample: float) -> None:
    """The ends of the range are exact."""
    tracer = Tracer(receiver, sample, log.logger, NEVER_S)
    begun = [tracer.begin(None) for _ in range(200)]
    assert {one.recorded for one in begun if one is not None} == {bool(sample)}
    await tracer.stop()


@pytest.mark.parametrize(
    ("held", "model"),
    [
        ([b'{"id":"1","model":"gpt-5.4-2026","choices":['], "gpt-5.4-2026"),
        ([b": wait\n\n", b'data: {"model" : "vendor/m:1"}\n\n'], "vendor/m:1"),
        ([b'{"text":"\\"model\\": \\"mine\\""}'], None),
        ([b'{"text":"model: mine"}'], None),
        ([b'{"model":"has spaces or a prompt"}'], None),
        ([b'{"model":"' + b"x" * 200 + b'"}'], None),
        ([b" " * 1024 + b'{"model":"late"}'], None),
        ([], None),
    ],
)
def test_the_model_that_answered(held: list[bytes], model: str | None) -> None:
    """It is a key near the beginning, with a value that looks like a model; what stands in a text is none."""
    trace = Trace(TRACE, SPAN, None, 1, 0, 0.0)
    trace.answered(held)
    assert trace.model == model


def test_a_reload_that_changes_traces() -> None:
    """It takes effect at the next start, and the reload says so."""
    before, after = Config(providers={}, routes=()), Config(providers={}, routes=(), traces=Traces())
    assert needs_restart(after, before) == ("traces",)
    assert needs_restart(in_force(after, after), after) == ()
