"""How each fault is played: what an attempt meets, beside what a real provider's failure would be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from proxy.attempt import play
from proxy.attempt.faults import Fault
from proxy.attempt.send import Sent
from proxy.config.schema import Seconds, Timeouts
from proxy.errors import AnswerCut, AnswerTimeout, NoKey
from proxy.exchange import Carrier, Endpoint, Format
from proxy.wire.body import RequestBody
from tests.attempt.failing import Stage
from tests.attempt.sending import OWN, Here, pieces, post
from tests.scripted import Peer, Scripted, turns
from tests.upstream.support import EVENT_STREAM, TIMEOUTS, Bench, Kept, whole

MESSAGES = Endpoint("messages", Format.ANTHROPIC, Carrier.JSON)


# A status.


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 429, 500, 502, 503, 504, 529])
async def test_a_status_in_either_format(here: Callable[..., Here], status: int) -> None:
    """The provider's own shape of an error, and nobody is asked."""
    stage = Stage()
    stage.faults.begin("here", Fault(status=status))
    sent = await stage.attempt(here(1), post(streamed=True))
    assert (sent.answer.status, sent.answer.complete) == (status, True)
    error = json.loads(b"".join(sent.answer.held))["error"]
    assert set(error) == {"message", "type", "param", "code"} and "fusebox fault" in error["message"]
    sent = await stage.attempt(here(1), post(endpoint=MESSAGES))
    told = json.loads(b"".join(sent.answer.held))
    assert told["type"] == "error" and set(told["error"]) == {"type", "message"}


async def test_retry_after_and_head(here: Callable[..., Here]) -> None:
    """The wait stands in a header; an answer to HEAD has no body."""
    stage = Stage()
    stage.faults.begin("here", Fault(status=429, retry_after_s=5))
    sent = await stage.attempt(here(1), post(RequestBody(), method="HEAD"))
    assert (b"Retry-After", b"5") in sent.answer.lines
    assert (sent.answer.reason, sent.answer.complete, sent.answer.held) == (b"Too Many Requests", True, [])


async def test_a_body_that_still_comes_in_is_left(here: Callable[..., Here]) -> None:
    """As with a provider that answers before it has read the request."""
    stage = Stage()
    stage.faults.begin("here", Fault(status=503))
    body = RequestBody(b"x", rest=pieces(b"y", b"z"))
    sent = await stage.attempt(here(1), post(body))
    assert sent.answer.status == 503 and sent.upload is not None
    await sent.release()
    assert sent.upload.done()


async def test_a_missing_key_is_said_first(here: Callable[..., Here]) -> None:
    """What would keep a real attempt from being made keeps this one, too."""
    stage = Stage()
    stage.faults.begin("here", Fault(status=503))
    with pytest.raises(NoKey):
        await stage.attempt(here(1, keys=OWN), post())


# Silence.


@pytest.mark.parametrize(
    ("streamed", "short", "phase"),
    [
        (True, {"head": 0.02}, "head"),
        (True, {"first_event": 0.02}, "first_event"),
        (True, {"total": 0.02}, "total"),
        (False, {"total": 0.02}, "total"),
        (False, {"head": 0.01, "first_event": 0.01, "total": 0.03}, "total"),
    ],
)
async def test_silence_ends_as_with_a_real_provider(
    here: Callable[..., Here], streamed: bool, short: dict[str, float], phase: str
) -> None:
    """The same deadline strikes, and says the same, as in front of a provider that really is silent."""
    timeouts = msgspec.structs.replace(TIMEOUTS, **{name: Seconds(value) for name, value in short.items()})
    stage = Stage()
    stage.faults.begin("here", Fault(silence=True))
    done = asyncio.Event()

    async def silent(peer: Peer) -> None:
        await peer.request()
        await done.wait()

    async with Scripted(silent) as server:
        provider = here(server.port)
        with pytest.raises(AnswerTimeout) as real:
            await provider.send(post(streamed=streamed), timeouts=timeouts)
        done.set()
        with pytest.raises(AnswerTimeout) as made:
            await stage.attempt(provider, post(streamed=streamed), timeouts)
    assert (made.value.phase, str(made.value)) == (phase, str(real.value))
    assert made.value.received and made.value.where == real.value.where


async def test_a_client_that_leaves_a_silent_provider(here: Callable[..., Here]) -> None:
    """The attempt ends with it."""
    stage = Stage()
    stage.faults.begin("here", Fault(silence=True))
    waiting = asyncio.ensure_future(stage.attempt(here(1), post()))
    await turns()
    assert stage.faults.standing()["here"][0].struck == 1
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# Latency. Its sleep is the test's.


class Slept:
    """Stands for asyncio in the room that plays."""

    def __init__(self) -> None:
        self.naps: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> Slept:
    """What was slept."""
    made = Slept()
    monkeypatch.setattr(play, "asyncio", made)
    return made


async def test_latency_is_the_providers_time(here: Callable[..., Here], slept: Slept) -> None:
    """The request goes out late, to deadlines that have run on, and looks as if it had gone out in time."""
    stage = Stage()
    stage.faults.begin("here", Fault(latency_s=2))
    given: list[Timeouts] = []
    bench = Bench()
    answer = bench.begin()
    bench.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    asked_s = answer.asked_s

    async def send(*arguments: Any) -> Sent:
        given.append(arguments[3])
        return Sent(answer, False, written_at=50.0)

    sent = await stage.attempt(here(1), post(streamed=True), send=send)
    assert slept.naps == [2]
    assert [given[0].head, given[0].first_event] == [Seconds(28), Seconds(58)]
    assert (given[0].idle, given[0].total) == (TIMEOUTS.idle, TIMEOUTS.total)
    assert (sent.written_at, sent.answer.asked_s) == (48.0, asked_s - 2)


@pytest.mark.parametrize(
    ("streamed", "limits", "phase"),
    [(True, {"head": 1.0}, "head"), (True, {"first_event": 1.5}, "first_event"), (False, {"total": 1.0}, "total")],
)
async def test_more_latency_than_time(
    here: Callable[..., Here], slept: Slept, streamed: bool, limits: dict[str, float], phase: str
) -> None:
    """The deadline strikes when it would, and nobody is asked any more."""
    timeouts = msgspec.structs.replace(TIMEOUTS, **{name: Seconds(value) for name, value in limits.items()})
    stage = Stage()
    stage.faults.begin("here", Fault(latency_s=2))
    with pytest.raises(AnswerTimeout) as late:
        await stage.attempt(here(1), post(streamed=streamed), timeouts)
    assert late.value.phase == phase and late.value.where is not None
    assert slept.naps[0] == pytest.approx(limits[phase], abs=0.5) and slept.naps[0] <= limits[phase]


@pytest.mark.parametrize("phase", ["head", "first_event", "total"])
async def test_what_is_left_of_the_time_is_too_little(here: Callable[..., Here], slept: Slept, phase: str) -> None:
    """The error speaks of the policy's timeout, not of the rest."""
    stage = Stage()
    stage.faults.begin("here", Fault(latency_s=2))

    async def send(*arguments: Any) -> Sent:
        raise AnswerTimeout(phase, getattr(arguments[3], phase)).at(arguments[0].where)

    with pytest.raises(AnswerTimeout) as late:
        await stage.attempt(here(1), post(streamed=True), send=send)
    assert f"within {getattr(TIMEOUTS, phase):g} s" in str(late.value) and "provider 'here'" in str(late.value)


# A cut.


def events(*texts: str, end: bytes = b"\n") -> bytes:
    """A stream of these data events."""
    return b"".join(b"data: " + text.encode() + end + end for text in texts)


def chunked(body: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(body), body)


class Cut:
    """A stream on a wire of the test's, cut after so many events."""

    def __init__(self, count: int, here: Here) -> None:
        self.stage = Stage()
        self.stage.faults.begin("here", Fault(cut_after=count))
        self.here = here
        self.bench = Bench()
        self.real = self.bench.begin()
        self.kept = Kept()

    async def begin(self, *reads: bytes) -> Sent:
        """The provider has sent `reads` when the answer is handed on."""
        self.bench.feed(*reads)

        async def send(*_: object) -> Sent:
            return Sent(self.real, False)

        return await self.stage.attempt(self.here, post(streamed=True), send=send)

    async def relayed(self, *reads: bytes) -> Sent:
        """The same; and somebody takes it, as a relay does."""
        sent = await self.begin(*reads)
        self.kept.spans += sent.answer.held
        if not sent.answer.complete:
            sent.answer.attach(self.kept)
        return sent


ENDS = [b"\n", b"\r\n", b"\r"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_stream_breaks_off_after_its_event(
    here: Callable[..., Here], end: bytes, count: int, size: int
) -> None:
    """However it is cut into reads: whole events and not a byte of the next one; comments are no events."""
    texts = ["a", "bb", "ccc", "dddd"]
    comment = b": keep-alive" + end + end
    stream = comment + b"event: x" + end + events(texts[0], end=end) + comment + events(*texts[1:], end=end)
    cut = Cut(count, here(1))
    reads = [chunked(stream[at : at + size]) for at in range(0, len(stream), size)]
    while not cut.real.first_event_s:
        cut.bench.feed(EVENT_STREAM if not cut.real.status else reads.pop(0))
    await cut.relayed()
    cut.bench.feed(*reads)
    wanted = comment + b"event: x" + end + events(texts[0], end=end)
    if count > 1:
        wanted += comment + events(*texts[1:count], end=end)
    # With «\r\n» cut between the two, whose «\n» comes later, the event has ended before it.
    assert cut.kept.body in (wanted, wanted.removesuffix(b"\n"))
    assert isinstance(cut.kept.fault, AnswerCut) and "closed the connection" in str(cut.kept.fault)
    assert cut.bench.wire.aborted


async def test_a_cut_before_the_first_event(here: Callable[..., Here]) -> None:
    """Nothing could be handed on: the attempt has failed, and another target may be asked."""
    cut = Cut(0, here(1))
    with pytest.raises(AnswerCut) as broken:
        await cut.begin(EVENT_STREAM, chunked(events("a", "b")))
    assert broken.value.where == cut.here.provider.where and cut.bench.wire.aborted


async def test_a_stream_that_is_shorter_ends_well(here: Callable[..., Here]) -> None:
    """In one read, and in several."""
    for reads in (
        [chunked(events("a", "b")) + b"0\r\n\r\n"],
        [chunked(events("a")), chunked(events("b")), b"0\r\n\r\n"],
    ):
        cut = Cut(3, here(1))
        sent = await cut.relayed(EVENT_STREAM, reads[0])
        cut.bench.feed(*reads[1:])
        assert sent.answer.complete and cut.kept.body == events("a", "b") and cut.kept.fault is None


async def test_a_stream_that_breaks_first(here: Callable[..., Here]) -> None:
    """What really happened is what is told."""
    cut = Cut(3, here(1))
    await cut.relayed(EVENT_STREAM, chunked(events("a")))
    cut.bench.feed(b"no chunk\r\n")
    assert isinstance(cut.kept.fault, AnswerCut) and "not HTTP/1.1" in str(cut.kept.fault)


async def test_the_one_who_takes_it_is_obeyed(here: Callable[..., Here]) -> None:
    """Pause, resume and drop reach the provider's connection."""
    cut = Cut(3, here(1))
    sent = await cut.relayed(EVENT_STREAM, chunked(events("a")))
    sent.answer.pause()
    assert not cut.bench.wire.reading
    sent.answer.resume()
    assert cut.bench.wire.reading and not cut.bench.wire.aborted
    sent.answer.drop()
    assert cut.bench.wire.aborted


async def test_a_compressed_stream(here: Callable[..., Here]) -> None:
    """Its events cannot be seen: each span counts as one."""
    head = EVENT_STREAM.replace(b"\r\n\r\n", b"\r\nContent-Encoding: br\r\n\r\n")
    cut = Cut(2, here(1))
    await cut.relayed(head, chunked(b"\x01\x02"))
    cut.bench.feed(chunked(b"\x03"), chunked(b"\x04"))
    assert cut.kept.body == b"\x01\x02\x03" and isinstance(cut.kept.fault, AnswerCut)


async def test_an_answer_of_known_length_breaks_half_way(here: Callable[..., Here]) -> None:
    """By its stated length, in whatever pieces it comes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n"
    for reads in ([b'{"a": "bc"}'], [b'{"a"', b": ", b'"bc"}']):
        cut = Cut(20, here(1))
        await cut.relayed(head, reads[0])
        cut.bench.feed(*reads[1:])
        assert cut.kept.body == b'{"a":' and isinstance(cut.kept.fault, AnswerCut)


async def test_an_answer_of_unknown_length(here: Callable[..., Here]) -> None:
    """It breaks in the middle of what came first."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    cut = Cut(20, here(1))
    await cut.relayed(head, chunked(b'{"a": "b'))
    assert cut.kept.body == b'{"a"' and isinstance(cut.kept.fault, AnswerCut)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nback",
        b"HTTP/1.1 204 Nothing\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_what_is_not_cut(here: Callable[..., Here], answer: bytes) -> None:
    """Errors, and answers without a body, come as they are."""
    cut = Cut(1, here(1))
    sent = await cut.begin(answer)
    assert sent.answer is cut.real and sent.answer.complete


async def test_a_cut_of_a_real_answer(here: Callable[..., Here]) -> None:
    """Over a socket, through the pool."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(EVENT_STREAM, *(chunked(events(text)) for text in "abcd"))

    stage = Stage()
    stage.faults.begin("here", Fault(cut_after=2))
    async with Scripted(script) as server:
        provider = here(server.port)
        sent = await stage.attempt(provider, post(streamed=True), send=_real)
        with pytest.raises(AnswerCut):
            await whole(sent.answer)
        assert provider.pool.idle == 0


async def _real(*arguments: Any) -> Sent:
    from proxy.attempt.send import attempt

    return await attempt(*arguments)
