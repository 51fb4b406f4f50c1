"""Arrivals: read, made up, compressed; the script of the outages; the configuration that goes with them."""

from __future__ import annotations

import asyncio
import random
import socket
from itertools import pairwise
from pathlib import Path

import pytest

from drill.__main__ import main, parse
from drill.outages import LAST_MINUTE, PROVIDERS, SCRIPT, Mode, steps
from drill.policy import config_text, duration, settings
from drill.providers import Asked, Provider, asked, error, events
from drill.traffic import Arrival, TraceError, compress, parse_trace, read_trace, synthetic
from proxy.config.parse import parse as parse_config
from proxy.config.schema import Config

TRACE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:46.6805900,374,44
"""


def test_a_trace_is_read_in_the_order_of_time() -> None:
    """Seven digits of a second are understood, and times count from the first arrival."""
    first, second = parse_trace(TRACE.splitlines())
    assert first == Arrival(0.0, 374, 44)
    assert (second.context, second.generated) == (396, 109)
    assert second.at_s == pytest.approx(4.314579, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must name the columns"),
        ("TIMESTAMP,ContextTokens\n", "must name the columns"),
        (TRACE + "yesterday,1,1\n", "line 4 cannot be read"),
        (TRACE + "2023-11-16 18:15:50.9951690,many,1\n", "line 4 cannot be read"),
        (TRACE + "2023-11-16 18:15:50.9951690,1\n", "line 4 cannot be read"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "fewer than two"),
    ],
)
def test_a_trace_that_is_none_is_refused(text: str, said: str) -> None:
    """The error says what is wrong, and where."""
    with pytest.raises(TraceError, match=said):
        parse_trace(text.splitlines())


def test_an_absent_trace_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with the way to another file and the way to do without."""
    with pytest.raises(TraceError, match="absent"):
        read_trace(tmp_path / "none.csv")
    assert main(["--trace", str(tmp_path / "none.csv")]) == 2
    said = capsys.readouterr().err
    assert "--trace FILE" in said
    assert "--synthetic" in said


def test_a_trace_too_short_for_the_script_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script needs its time: four seconds of a trace are not enough."""
    path = tmp_path / "short.csv"
    path.write_text(TRACE)
    assert main(["--trace", str(path)]) == 2
    assert "minutes long" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--seconds", "119"], ["--seconds", "3601"], ["--max-rate", "4"]])
def test_a_run_is_bounded(arguments: list[str]) -> None:
    """Wrong usage is refused."""
    with pytest.raises(SystemExit) as refused:
        parse(arguments)
    assert refused.value.code == 2


def test_made_up_traffic_is_like_the_trace_and_repeatable() -> None:
    """An hour long, in order, with sizes about the trace's; the same seed gives the same."""
    arrivals = synthetic(1)
    assert arrivals == synthetic(1) != synthetic(2)
    assert arrivals[-1].at_s >= LAST_MINUTE * 60
    assert all(one.at_s <= following.at_s for one, following in pairwise(arrivals))
    assert 4.5 < len(arrivals) / arrivals[-1].at_s < 6.5
    assert 150 < sum(one.generated for one in arrivals) / len(arrivals) < 270
    assert min(one.generated for one in arrivals) >= 1


def test_compression_keeps_all_as_long_as_the_rate_allows() -> None:
    """Twice as fast: half the time, the same requests."""
    arrivals = [Arrival(float(at), 1, 1) for at in range(0, 101, 10)]
    traffic = compress(arrivals, 50.0, 120.0, 1, "test")
    assert traffic.compression == 2.0
    assert [one.at_s for one in traffic.arrivals] == [at / 2 for at in range(0, 101, 10)]
    assert traffic.left_out == 0
    assert traffic.drill_s(1.0) == 30.0


def test_compression_leaves_out_what_is_too_much() -> None:
    """A thousand requests in ten seconds at 50 a second at the most: about half are left."""
    arrivals = [Arrival(at / 10, 1, 1) for at in range(1001)]
    traffic = compress(arrivals, 10.0, 50.0, 1, "test")
    assert 400 < len(traffic.arrivals) < 600
    assert traffic.left_out == 1001 - len(traffic.arrivals)


def test_the_script_has_calm_between_and_leaves_every_provider_well() -> None:
    """Outages follow each other with two minutes between them at least, and each ends what it began."""
    for one, following in pairwise(SCRIPT):
        assert following.begin - one.end >= 2
    assert SCRIPT[-1].end < LAST_MINUTE
    last = {step.provider: step.mode for step in steps(SCRIPT)}
    assert last == dict.fromkeys(PROVIDERS, Mode.WELL)
    assert {mode for outage in SCRIPT for mode in (phase.mode for phase in outage.phases)} == set(Mode) - {Mode.WELL}
    assert [outage.name for outage in SCRIPT if not outage.spares_one] == ["all"]


def test_steps_come_in_order() -> None:
    """By their minutes: the director plays them one after the other."""
    minutes = [step.minute for step in steps(SCRIPT)]
    assert minutes == sorted(minutes)


def test_the_configuration_is_one_that_fusebox_takes() -> None:
    """It parses without a problem, and its times are the scaled ones."""
    parsed = parse_config(config_text(4010, 4011, [5001, 5002, 5003], "/keys/one", 20.0))
    assert isinstance(parsed, Config)
    assert parsed.timeouts.head == pytest.approx(1.5)
    assert parsed.breaker.open_for == pytest.approx(0.25)
    assert [step.choices[0][0].provider for step in parsed.routes[0].to] == list(PROVIDERS)


def test_no_time_becomes_shorter_than_its_floor() -> None:
    """At a thousand times everything but a wait for a retry stands at its floor."""
    drill = {one.path: one.drill_s for one in settings(1000.0)}
    assert drill["timeouts.connect"] == 1.0
    assert drill["timeouts.head"] == drill["breaker.open_for"] == 0.2
    assert drill["retry.max_wait"] == 0.002
    assert duration(1.5) == "1500ms"


def test_a_stream_has_as_many_words_as_tokens_were_asked_for() -> None:
    """In a few events, ended by a reason and by [DONE], framed as chunks."""
    parts = events(Asked("model-a", 10, 100))
    text = b"".join(parts)
    assert text.count(b"word ") == 100
    assert len(parts) == 4
    assert parts[-1].endswith(b"data: [DONE]\n\n\r\n")
    assert b'"finish_reason": "stop"' in parts[-2]
    size, _, rest = parts[0].partition(b"\r\n")
    assert len(rest) == int(size, 16) + 2
    assert len(events(Asked("model-a", 10, 1))) == 3
    assert len(events(Asked("model-a", 10, 100_000))) == 14


def test_what_is_asked_for_stands_in_the_body() -> None:
    """The provider reads the number of tokens and the model."""
    body = b'{"model": "model-b", "max_completion_tokens": 7, "messages": []}'
    assert asked(body) == Asked("model-b", len(body) // 4, 7)


def test_an_error_is_framed_by_its_length() -> None:
    """Head, further lines, body."""
    assert error(b"429 Too Many Requests", b"{}", b"Retry-After: 2") == (
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: 2\r\nRetry-After: 2\r\n\r\n{}"
    )


async def _ask(port: int) -> bytes:
    """The first line of an answer; nothing when the connection is cut. Raises ConnectionRefusedError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"model": "m", "max_completion_tokens": 1, "messages": []}'
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    try:
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.close()


class Watched(Provider):
    """Tells when a request has come to the place where it may have to wait."""

    def __init__(self, port: int, compression: float, chance: random.Random) -> None:
        super().__init__(port, compression, chance)
        self.reached = asyncio.Event()

    async def _wait(self, trace_s: float, writer: asyncio.StreamWriter) -> None:
        self.reached.set()
        await super()._wait(trace_s, writer)


async def test_a_provider_does_as_it_is_told() -> None:
    """Well, refusing, well again on the same port, limiting, silent until it is started anew."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    provider = Watched(port, 1000.0, random.Random(1))
    await provider.start()
    assert await _ask(port) == b"HTTP/1.1 200 OK\r\n"
    assert await provider.turn_to(Mode.REFUSING) == 1
    with pytest.raises(ConnectionRefusedError):
        await _ask(port)
    await provider.turn_to(Mode.LIMITING)
    assert await _ask(port) == b"HTTP/1.1 429 Too Many Requests\r\n"
    await provider.turn_to(Mode.SILENT)
    waiting = asyncio.create_task(_ask(port))
    provider.reached.clear()
    async with asyncio.timeout(20):
        await provider.reached.wait()
    assert await provider.turn_to(Mode.WELL) == 1
    assert await waiting == b""
    assert await _ask(port) == b"HTTP/1.1 200 OK\r\n"
    await provider.turn_to(Mode.REFUSING)
