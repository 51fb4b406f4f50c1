"""Puts a load on a port and reads, over the same window, what the processes behind it spent."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import payloads
from bench.measure import Memory, cpu_s, memory
from bench.processes import BenchError, Child

MARK = "BENCH "
PATIENCE_S = 90.0
"""Seconds beyond its window that a load may take, for opening its streams and for its last answers."""

WRK_SCRIPT = """\
wrk.method = "POST"
wrk.path = "%(path)s"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %(key)s"
local file = io.open("%(body)s", "rb")
wrk.body = file:read("*a")
file:close()
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('%(mark)s{"units": %%d, "window_us": %%d, "p50_us": %%f, "p99_us": %%f, "broken": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One window of load: how many units (requests, events, streams) came through, and what that cost.

    CPU is in seconds over the window; latencies are in microseconds: of a request for wrk, of an event from its making
    to its arrival for streams, of the first event from the request on for sequential streams. `used` is the subject's
    memory at the end of the window, streams still open. `problem` is empty when nothing went wrong.
    """

    units: int
    window_s: float
    p50_us: float
    p99_us: float
    subject_cpu_s: float
    upstream_cpu_s: float
    client_cpu_s: float
    used: Memory
    problem: str


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a load plays: the port, its authority when it speaks TLS, a folder, and the processes that are watched.

    `subject` is None when the port is the upstream's own.
    """

    port: int
    ca: Path | None
    folder: Path
    subject: Child | None
    upstream: Child

    def pids(self) -> tuple[list[int], list[int]]:
        """Subject's and upstream's processes now. Ask when load flows: workers are forked after the port is open."""
        return (self.subject.pids() if self.subject else []), self.upstream.pids()


def wrk_load(stage: Stage, connections: int, body: bytes, window_s: int) -> Load:
    """Requests as fast as `connections` connections get answers, for `window_s` seconds after one second of warm-up.

    Over TLS wrk verifies nothing. Raises BenchError when wrk is absent or fails.
    """
    if shutil.which("wrk") is None:
        raise BenchError("the wrk command is absent: install Debian's package wrk")
    script, body_file = stage.folder / "load.lua", stage.folder / "body.json"
    url = f"{'https' if stage.ca else 'http'}://127.0.0.1:{stage.port}"
    body_file.write_bytes(body)
    script.write_text(WRK_SCRIPT % {"path": payloads.PATH, "body": body_file, "mark": MARK, "key": payloads.CLIENT_KEY})

    def wrk(seconds: int) -> dict[str, float]:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        done = subprocess.run([*command, url], capture_output=True, text=True, timeout=seconds + PATIENCE_S)
        for line in done.stdout.splitlines():
            if line.startswith(MARK):
                figures: dict[str, float] = json.loads(line.removeprefix(MARK))
                return figures
        raise BenchError(f"wrk failed: {(done.stderr or done.stdout).strip()[-500:]}")

    wrk(1)
    subject, upstream = stage.pids()
    subject_s, upstream_s, client_s = cpu_s(subject), cpu_s(upstream), _children_cpu_s()
    figures = wrk(window_s)
    # Only wrk was waited for in between, so the CPU of ended children has grown by wrk's alone.
    client_s = _children_cpu_s() - client_s
    if not figures["units"]:
        raise BenchError(f"no request was answered ({figures['broken']:.0f} errors)")
    return Load(
        units=int(figures["units"]),
        window_s=figures["window_us"] / 1e6,
        p50_us=figures["p50_us"],
        p99_us=figures["p99_us"],
        subject_cpu_s=cpu_s(subject) - subject_s,
        upstream_cpu_s=cpu_s(upstream) - upstream_s,
        client_cpu_s=client_s,
        used=memory(subject),
        problem=f"{figures['broken']:.0f} requests failed" if figures["broken"] else "",
    )


def stream_load(stage: Stage, streams: int, sequential: bool, settle_s: float, window_s: float) -> Load:
    """Opens `streams` streams with ``bench/sse_client`` and measures a window of them once they have settled.

    Raises BenchError when they cannot all be opened or the client takes longer than it may.
    """
    command = [
        sys.executable, "-m", "bench.sse_client", "--port", str(stage.port), "--streams", str(streams),
        "--settle", str(settle_s), "--window", str(window_s), *(["--sequential"] if sequential else []),
        *(["--ca", str(stage.ca)] if stage.ca else []),
    ]  # fmt: skip
    with Child("stream client", command, stage.folder / "client.log", held=True) as client:
        says = _lines(client, settle_s + window_s + PATIENCE_S)
        _expect(says, "open", client)
        subject, upstream = stage.pids()
        _expect(says, "begin", client)
        pids = [client.popen.pid]
        begin = (cpu_s(subject), cpu_s(upstream), cpu_s(pids))
        _expect(says, "stop", client)
        stop = (cpu_s(subject), cpu_s(upstream), cpu_s(pids))
        figures = _expect(says, "end", client)
        used = memory(subject)  # the client keeps its streams open until its standard input closes
    broken = figures["broken"]
    return Load(
        units=int(str(figures["units"])),
        window_s=float(str(figures["window_s"])),
        p50_us=float(str(figures["p50_us"])),
        p99_us=float(str(figures["p99_us"])),
        subject_cpu_s=stop[0] - begin[0],
        upstream_cpu_s=stop[1] - begin[1],
        client_cpu_s=stop[2] - begin[2],
        used=used,
        problem=f"{broken} streams failed: {figures['problem']}" if broken else "",
    )


def _lines(child: Child, within_s: float) -> Iterator[dict[str, object]]:
    """The facts that `child` prints, as they come; raises BenchError when it ends or takes too long."""
    deadline_s = time.monotonic() + within_s
    with child.log.open() as output:
        partial = ""
        while True:
            ended = child.popen.poll() is not None
            partial += output.read()
            while "\n" in partial:
                line, _, partial = partial.partition("\n")
                if line.startswith("{"):
                    yield json.loads(line)
            if ended:
                raise child.failed("ended before its work was done")
            if time.monotonic() > deadline_s:
                raise child.failed(f"not done within {within_s:.0f} s")
            time.sleep(0.002)


def _expect(says: Iterator[dict[str, object]], phase: str, client: Child) -> dict[str, object]:
    facts = next(says)
    if facts["phase"] == "failed":
        raise BenchError(str(facts["problem"]))
    if facts["phase"] != phase:
        raise client.failed(f"said {facts['phase']!r} where {phase!r} was due")
    return facts
