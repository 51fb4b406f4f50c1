"""Log lines: whole, in order, filtered by level, and never a reason to wait."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest

from proxy.observe.logs import LineWriter, Logger, configure

SAFETY_S = 30.0


class Stalled(io.BytesIO):
    """A stream whose reader reads nothing until `gate` opens."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()

    def write(self, data: Any, /) -> int:
        """Wait for the reader, then take everything."""
        self.entered.set()
        assert self.gate.wait(SAFETY_S)
        return super().write(data)


class Broken(io.BytesIO):
    """A pipe whose reader is gone."""

    writes = 0

    def write(self, data: Any, /) -> int:
        """What the system says of such a pipe."""
        self.writes += 1
        raise BrokenPipeError


def lines_of(stream: io.BytesIO) -> list[bytes]:
    """What was written, which must end with a line end."""
    text = stream.getvalue()
    assert text == b"" or text.endswith(b"\n")
    return text.splitlines()


def test_a_stalled_reader_stalls_nobody() -> None:
    """`put` returns, memory stays bounded, the oldest go, and how many is told as soon as somebody reads."""
    stream = Stalled()
    writer = LineWriter(stream, block=1, blocks_max=10)
    writer.put(b"first")
    assert stream.entered.wait(SAFETY_S)
    for number in range(1000):
        writer.put(b"%d" % number)
    assert len(writer._full) == 10
    assert writer.dropped == 990
    writer.close(timeout_s=0)  # does not wait for the reader either
    stream.gate.set()
    writer.close(SAFETY_S)
    *lines, told = lines_of(stream)
    assert lines == [b"first", *(b"%d" % number for number in range(990, 1000))]
    assert json.loads(told) == {"event": "log_lines_dropped", "level": "warning", "count": 990}


def test_what_was_dropped_is_told_once() -> None:
    """The next batch tells only of what has been dropped since."""
    stream = io.BytesIO()
    writer = LineWriter(stream, block=1, blocks_max=2)
    writer.close(SAFETY_S)  # ends the thread: from here on the test says when lines are written
    for count in (3, 2, 5):
        for _ in range(count):
            writer.put(b"{}")
        writer.flush()
    writer.flush()
    told = [json.loads(line)["count"] for line in lines_of(stream) if b"dropped" in line]
    assert told == [1, 3]
    assert len(lines_of(stream)) == 2 + 2 + 2 + len(told)


def test_lines_come_whole_and_in_order() -> None:
    """From several threads: none torn, none lost, each thread's in its order."""
    stream = io.BytesIO()
    writer = LineWriter(stream)

    def write(name: int) -> None:
        for number in range(2000):
            writer.put(b"%d:%d:" % (name, number) + b"x" * 50)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SAFETY_S)
    writer.close(SAFETY_S)
    lines = lines_of(stream)
    for name in range(4):
        own = [line for line in lines if line.startswith(b"%d:" % name)]
        assert own == [b"%d:%d:" % (name, number) + b"x" * 50 for number in range(2000)]


def test_a_full_writer_survives_many_hands() -> None:
    """Dropping and flushing at once loses no thread."""
    stream = io.BytesIO()
    writer = LineWriter(stream, block=1, blocks_max=1)
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            writer.flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    for number in range(20_000):
        writer.put(b"%d" % number)
    done.set()
    flusher.join(SAFETY_S)
    writer.close(SAFETY_S)
    numbers = [int(line) for line in lines_of(stream) if line.isdigit()]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 19_999


def test_close_flushes() -> None:
    """Lines of the last tenth of a second are not lost; closing twice is fine."""
    stream = io.BytesIO()
    writer = LineWriter(stream)
    writer.put(b"last")
    writer.close(SAFETY_S)
    writer.close(SAFETY_S)
    assert lines_of(stream) == [b"last"]


@pytest.mark.parametrize("closed", [True, False])
def test_a_reader_that_is_gone(closed: bool) -> None:
    """There is nobody left to tell, and nothing to fail for."""
    stream = Broken()
    if closed:
        stream.close()
    writer = LineWriter(stream)
    writer.put(b"lost")
    writer.flush()
    writer.put(b"lost")
    writer.close(SAFETY_S)
    assert writer._lines == 0 and not writer._full
    assert closed or stream.writes >= 2


def logged(level: str = "info", clock: float = 0.0) -> tuple[Logger, list[bytes]]:
    """A logger and the list that takes its lines."""
    lines: list[bytes] = []
    return configure(lines.append, level, lambda: clock), lines


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error", "error"]),
        ("info", ["info", "warning", "error", "error"]),
        ("warning", ["warning", "error", "error"]),
        ("error", ["error", "error"]),
    ],
)
def test_levels(level: str, written: list[str]) -> None:
    """A level and what is above it."""
    logger, lines = logged(level)
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    logger.error("d")
    logger.exception("e")
    assert [json.loads(line)["level"] for line in lines] == written


def test_a_line() -> None:
    """JSON with event, level and time in UTC with milliseconds; fields of any kind."""
    logger, lines = logged(clock=1_700_000_000.9996)
    logger.info("hello", number=1, text="a\nb é", nested={"a": [1, None]}, other={1, 2} - {2})
    assert b"\n" not in lines[0]
    assert json.loads(lines[0]) == {
        "event": "hello",
        "level": "info",
        "time": "2023-11-14T22:13:20.999Z",
        "number": 1,
        "text": "a\nb é",
        "nested": {"a": [1, None]},
        "other": "{1}",
    }


def test_time_goes_on() -> None:
    """The part of the time that is remembered changes with the second."""
    times = iter([10.0, 10.5, 11.001, 10.25])
    lines: list[bytes] = []
    logger = configure(lines.append, "info", lambda: next(times))
    for _ in range(4):
        logger.info("tick")
    assert [json.loads(line)["time"][-7:] for line in lines] == ["10.000Z", "10.500Z", "11.001Z", "10.250Z"]


def test_an_exception_s_traceback() -> None:
    """One line, with where it came from."""
    logger, lines = logged()
    try:
        raise LookupError("why")
    except LookupError:
        logger.exception("failed", where="here")
    line = json.loads(lines[0])
    assert (line["event"], line["level"], line["where"]) == ("failed", "error", "here")
    assert "Traceback" in line["exception"] and line["exception"].endswith("LookupError: why")
    assert "exc_info" not in line


@pytest.mark.parametrize("value", ["/v1/\udcff", "\ud800", 2**70, {"deep": ["\udcff"]}], ids=repr)
def test_no_line_is_lost_for_an_odd_value(value: object) -> None:
    """Lone surrogates (a path of stray bytes) and integers beyond 64 bits still make a line of valid UTF-8 JSON."""
    logger, lines = logged()
    logger.info("odd", value=value)
    line = json.loads(lines[0].decode("utf-8"))
    assert line["event"] == "odd" and line["level"] == "info" and "time" in line
    assert not isinstance(value, int) or line["value"] == value
