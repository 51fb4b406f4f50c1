"""The cases, and how one of them is measured for one subject: fresh upstream, fresh subject, load, figures."""

from __future__ import annotations

import contextlib
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench import payloads
from bench.load import Load, Stage, stream_load, wrk_load
from bench.measure import memory
from bench.processes import BenchError
from bench.subjects import Running, Subject, start_subject
from bench.tls import Certificates
from bench.upstream import Kind, start_upstream

ENOUGH = 0.97
"""Share of the events that must arrive; with fewer the subject could not keep up and its cost per event misleads."""
FAILED = "failed:"
"""How the note of a measurement begins that gave no figures."""
IDLE_AFTER_S = 0.5
"""Seconds after readiness at which memory counts as idle: later imports and first garbage are in by then."""

ANSWERS = Kind("nginx")
LIGHT = Kind("stream", interval_ms=100, slots=10)
STEADY = Kind("stream", interval_ms=10, slots=10)
BURSTS = Kind("stream", interval_ms=200, burst=20, slots=20)
IDLE = Kind("stream", interval_ms=1000, slots=100)


@dataclass(frozen=True, slots=True)
class Case:
    """One load. `connections` are wrk's connections or the number of streams; `rounds` caps the rounds of a run."""

    name: str
    title: str
    load: Literal["wrk", "streams", "sequential", "none"]
    unit: Literal["request", "event", "stream", "start"]
    upstream: Kind
    connections: int = 0
    body_bytes: int = 500
    tls: bool = False
    rounds: int = 99
    settle_s: float = 1.0
    quick: bool = False

    @property
    def descriptors(self) -> int:
        """Descriptors that a proxy needs: two per connection, and some of its own."""
        return 2 * self.connections + 200


CASES = (
    Case("json-1", "JSON, 1 connection", "wrk", "request", ANSWERS, 1, quick=True),
    Case("json-32", "JSON, 32 connections", "wrk", "request", ANSWERS, 32, quick=True),
    Case("json-256", "JSON, 256 connections", "wrk", "request", ANSWERS, 256),
    Case("json-tls", "JSON, 32 connections, TLS to the upstream", "wrk", "request", ANSWERS, 32, tls=True),
    Case("body-1m", "1 MB request bodies, 4 connections", "wrk", "request", Kind("answer"), 4, 1_000_000, rounds=3),
    Case("body-10m", "10 MB request bodies, 2 connections", "wrk", "request", Kind("answer"), 2, 10_000_000, rounds=3),
    Case("sse", "SSE, 100 streams, an event every 10 ms", "streams", "event", STEADY, 100, quick=True),
    Case("sse-light", "SSE, 10 streams, an event every 100 ms", "streams", "event", LIGHT, 10),
    Case("sse-burst", "SSE, 100 streams, 20 events in one write every 200 ms", "streams", "event", BURSTS, 100),
    Case("sse-tls", "SSE as `sse`, TLS to the upstream", "streams", "event", STEADY, 100, tls=True, quick=True),
    Case("sse-first", "Time to the first event, one stream after another", "sequential", "stream", Kind("first"), 1),
    Case("idle-1000", "1,000 streams, an event every second", "streams", "event", IDLE, 1000, rounds=2, settle_s=2),
    Case("idle-8000", "8,000 streams, an event every second", "streams", "event", IDLE, 8000, rounds=2, settle_s=3),
    Case("start", "Start and idle", "none", "start", ANSWERS, quick=True),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one measurement gave; ``None`` where a figure does not apply.

    CPU is in microseconds per unit (`upstream` and `client` are the load's own), latencies in microseconds, memory in
    MiB, `ready_s` in seconds, `busy` the share of one core that the subject used. `note` tells what went wrong.
    """

    case: str
    subject: str
    round: int
    rate: float | None = None
    cpu_us: float | None = None
    busy: float | None = None
    p50_us: float | None = None
    p99_us: float | None = None
    upstream_cpu_us: float | None = None
    client_cpu_us: float | None = None
    rss_mib: float | None = None
    pss_mib: float | None = None
    peak_rss_mib: float | None = None
    ready_s: float | None = None
    note: str = ""


def measure(case: Case, subject: Subject, turn: int, window_s: int, certificates: Certificates | None) -> Figures:
    """One measurement. What cannot be measured comes back as figures with only a note."""
    try:
        return _measured(case, subject, turn, window_s, certificates if case.tls else None)
    except (BenchError, ProcessLookupError) as error:
        return Figures(case.name, subject.name, turn, note=f"{FAILED} {error}")


def _measured(case: Case, subject: Subject, turn: int, window_s: int, certificates: Certificates | None) -> Figures:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if case.descriptors > allowed:
        raise BenchError(f"{case.descriptors} descriptors are needed and {allowed} allowed: raise `ulimit -n`")
    with contextlib.ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        (folder / "upstream").mkdir()
        (folder / "subject").mkdir()
        upstream = start_upstream(case.upstream, certificates, folder / "upstream")
        cleanup.enter_context(upstream.child)
        running = start_subject(subject, upstream, folder / "subject")
        if running.child:
            cleanup.enter_context(running.child)
        if case.load == "none":
            return _idle(case, subject, turn, running)
        # only direct meets the upstream's TLS: the proxies listen without, as a sidecar does
        stage = Stage(running.port, None if running.child else upstream.ca, folder, running.child, upstream.child)
        load = _load(case, stage, window_s)
        return _figures(case, subject, turn, load, running)


def _load(case: Case, stage: Stage, window_s: int) -> Load:
    if case.load == "wrk":
        body = payloads.request_body(stream=False, size=case.body_bytes)
        return wrk_load(stage, case.connections, body, window_s)
    return stream_load(stage, case.connections, case.load == "sequential", case.settle_s, window_s)


def _idle(case: Case, subject: Subject, turn: int, running: Running) -> Figures:
    if running.child is None:
        return Figures(case.name, subject.name, turn)
    time.sleep(IDLE_AFTER_S)
    used = memory(running.child.pids())
    return Figures(
        case.name, subject.name, turn, rss_mib=used.rss_mib, pss_mib=used.pss_mib, peak_rss_mib=used.peak_rss_mib,
        ready_s=running.ready_s,
    )  # fmt: skip


def _figures(case: Case, subject: Subject, turn: int, load: Load, running: Running) -> Figures:
    """The load's figures per unit; direct has no process of its own, so no CPU and no memory."""
    used = load.used if running.child else None
    units = max(1, load.units)
    rate = load.units / load.window_s
    due = case.upstream.events_per_s * case.connections
    note = load.problem
    if rate < ENOUGH * due:
        note = "; ".join(filter(None, (note, f"only {rate:.0f} of {due:.0f} events a second arrived")))
    return Figures(
        case=case.name,
        subject=subject.name,
        round=turn,
        rate=rate,
        cpu_us=load.subject_cpu_s / units * 1e6 if used else None,
        busy=load.subject_cpu_s / load.window_s if used else None,
        p50_us=load.p50_us,
        p99_us=load.p99_us,
        upstream_cpu_us=load.upstream_cpu_s / units * 1e6,
        client_cpu_us=load.client_cpu_s / units * 1e6,
        rss_mib=used.rss_mib if used else None,
        pss_mib=used.pss_mib if used else None,
        peak_rss_mib=used.peak_rss_mib if used else None,
        ready_s=running.ready_s if used else None,
        note=note,
    )
