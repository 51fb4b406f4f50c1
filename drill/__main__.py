"""``python -m drill``: plays the drill and writes its report. Exit codes: 0 all held, 1 something did not, 2 usage."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import platform
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import openai
import uvloop

from bench.processes import BenchError, Child, free_port
from drill import plot, report
from drill.client import Clients, Seen, drill_clock
from drill.figures import count, promises, row, split
from drill.log import read_log
from drill.outages import LAST_MINUTE, PROVIDERS, SCRIPT, Lived, Mode, Outage, Phase, Span, steps
from drill.policy import config_text, settings
from drill.traffic import TRACE, TraceError, Traffic, compress, read_trace, synthetic

OUT = Path(__file__).resolve().parent / "out"
REPORT_NAME, PLOT_NAME = "drill.md", "drill.png"
SETTLE_S = 1.0
"""Between everything's being ready and the first request."""


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """What a run leaves: what clients saw, the outages as they were, Fusebox's log, when it began (Unix time)."""

    seen: list[Seen]
    spans: list[Span]
    log: str
    began_unix_s: float
    took_s: float


class Director:
    """Tells the providers how to behave, each at its time."""

    def __init__(self, traffic: Traffic, clock: Callable[[], float], began_s: float, port: int) -> None:
        self._traffic = traffic
        self._clock = clock
        self._began_s = began_s
        self._port = port
        self._turned: dict[tuple[float, str, Mode], tuple[float, int]] = {}

    async def play(self, script: Sequence[Outage]) -> list[Span]:
        """The whole script; the outages as they were."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for step in steps(script):
            await asyncio.sleep(max(0.0, self._traffic.drill_s(step.minute) - self._clock()))
            writer.write(json.dumps({"provider": step.provider, "mode": step.mode}).encode() + b"\n")
            told = json.loads(await reader.readline())
            self._turned[step.minute, step.provider, step.mode] = told["at"] - self._began_s, told["seen"]
            print(f"{self._clock():6.1f} s  {step.provider}: {step.mode}", file=sys.stderr, flush=True)
        writer.close()
        return [Span(outage, tuple(self._lived(phase) for phase in outage.phases)) for outage in script]

    def _lived(self, phase: Phase) -> Lived:
        begins = [self._turned[phase.begin, name, phase.mode][0] for name in phase.sick]
        ends = [self._turned[phase.end, name, Mode.WELL] for name in phase.sick]
        return Lived(min(begins), max(at for at, _ in ends), phase.mode, phase.sick, sum(seen for _, seen in ends))


async def play(traffic: Traffic, script: Sequence[Outage], ports: tuple[int, int], sdk_every: int) -> Played:
    """Send the traffic while the script runs. `ports`: Fusebox's, and that of the providers' control."""
    began_s, began_unix_s = time.monotonic() + SETTLE_S, time.time() + SETTLE_S
    clock = drill_clock(began_s)
    async with Clients(ports[0], clock, sdk_every) as clients:
        director = asyncio.create_task(Director(traffic, clock, began_s, ports[1]).play(script))
        try:
            await clients.send_all(traffic.arrivals)
            spans = await director
        finally:
            director.cancel()
        return Played(clients.seen, spans, "", began_unix_s, clock())


def run(traffic: Traffic, seed: int, sdk_every: int) -> Played:
    """Start providers and Fusebox, play, and end them. Raises BenchError."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-")))
        control, data, admin, *ports = (free_port() for _ in range(3 + len(PROVIDERS)))
        (folder / "key").write_text("key-of-the-provider")
        config, log = folder / "fusebox.yaml", folder / "fusebox.log"
        config.write_text(config_text(data, admin, ports, str(folder / "key"), traffic.compression))
        told = ["--control", str(control), "--ports", ",".join(map(str, ports)), "--seed", str(seed)]
        told += ["--compression", str(traffic.compression)]
        command = [sys.executable, "-m", "drill.providers", *told]
        providers = stack.enter_context(Child("providers", command, folder / "providers.log"))
        providers.wait_ready(control)
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(config)]
        fusebox = stack.enter_context(Child("fusebox", command, log))
        fusebox.wait_ready(admin, "/readyz")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            played = runner.run(play(traffic, SCRIPT, (data, control), sdk_every))
        for child in (fusebox, providers):
            if child.popen.poll() is not None:
                raise child.failed(f"ended with code {child.popen.returncode} during the drill")
        fusebox.stop()  # its last lines are written as it ends
        OUT.mkdir(exist_ok=True)
        shutil.copy(log, OUT / "fusebox.log")
        return dataclasses.replace(played, log=log.read_text())


def facts_of(traffic: Traffic, played: Played, options: argparse.Namespace) -> dict[str, str]:
    """What the figures depend on."""
    sent = len(traffic.arrivals)
    rate = sent / traffic.seconds
    late = f"; {traffic.left_out:,} left out, for at most {options.max_rate:g} a second" if traffic.left_out else ""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "traffic": f"{traffic.source}: {sent:,} requests{late}",
        "compression": f"{traffic.compression:.1f} times: {traffic.seconds:.0f} s, {rate:.0f} requests a second on average",
        "by the OpenAI SDK": f"each {options.sdk_every}th request, openai {openai.__version__}",
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "duration": f"{played.took_s:.0f} s",
    }


def finish(traffic: Traffic, played: Played, options: argparse.Namespace) -> int:
    """Write everything down; the exit code."""
    log = read_log(played.log.splitlines(), played.began_unix_s)
    parts, quiet = split(played.seen, played.spans, log)
    rows = [row(span, parts[span.outage.name], played.seen, log) for span in played.spans]
    calm = count(quiet)
    found = promises(rows, calm, log)
    (OUT / PLOT_NAME).unlink(missing_ok=True)
    no_plot = plot.draw(played.seen, played.spans, log, played.took_s, OUT / PLOT_NAME)
    if no_plot:
        print(f"drill: {no_plot}", file=sys.stderr)
    facts = facts_of(traffic, played, options)
    picture = None if no_plot else PLOT_NAME
    text = report.markdown(rows, calm, found, settings(traffic.compression), facts, played.seen, plot=picture)
    (OUT / REPORT_NAME).write_text(text)
    (OUT / "requests.json").write_text(json.dumps([dataclasses.asdict(one) for one in played.seen]) + "\n")
    print(text)
    print(f"written: {OUT / REPORT_NAME}", file=sys.stderr)
    if options.write:
        options.write.mkdir(parents=True, exist_ok=True)
        for name in (REPORT_NAME, PLOT_NAME):
            if (OUT / name).exists():
                shutil.copy(OUT / name, options.write / name)
                print(f"written: {options.write / name}", file=sys.stderr)
    return 0 if all(one.held for one in found) else 1


def traffic_of(options: argparse.Namespace) -> Traffic:
    """What is to be sent. Raises TraceError."""
    if options.synthetic:
        arrivals, source = synthetic(options.seed), f"made up (Poisson arrivals, seed {options.seed})"
    else:
        path = options.trace or TRACE
        arrivals, source = read_trace(path), f"`{path.name}`"
    if arrivals[-1].at_s < LAST_MINUTE * 60:
        raise TraceError(f"the trace is {arrivals[-1].at_s / 60:.0f} minutes long; the script needs {LAST_MINUTE:g}")
    return compress(arrivals, options.seconds, options.max_rate, options.seed, source)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line as values."""
    parser = argparse.ArgumentParser(prog="python -m drill", description="Providers fail, and clients do not notice.")
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="arrivals and sizes (default: beside the repository)"
    )
    parser.add_argument("--synthetic", action="store_true", help="made-up arrivals instead of the trace")
    parser.add_argument(
        "--seconds", type=float, default=210.0, metavar="S", help="how long it takes (210; 120 to 3600)"
    )
    parser.add_argument("--max-rate", type=float, default=120.0, metavar="N", help="most requests a second (120)")
    parser.add_argument("--sdk-every", type=int, default=20, metavar="N", help="each N-th by the SDK (20; 0: none)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything that is left to chance (1)")
    parser.add_argument("--write", type=Path, metavar="DIR", help="copy report and plot there as well")
    options = parser.parse_args(arguments)
    if not 120 <= options.seconds <= 3600 or options.max_rate < 5 or options.sdk_every < 0:
        parser.error("--seconds is 120 to 3600, --max-rate 5 or more, --sdk-every not negative")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    # SIGTERM becomes an exception, so that everything started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        traffic = traffic_of(options)
    except TraceError as error:
        print(f"drill: {error}", file=sys.stderr)
        return 2
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # inherited by all that is started
    print(
        f"{len(traffic.arrivals):,} requests of {traffic.source} in {traffic.seconds:.0f} s"
        f" ({traffic.compression:.1f} times as fast), {traffic.left_out:,} left out",
        *(
            f"  {one.path}: {report.plain(one.real_s)} -> {report.plain(one.drill_s)}"
            for one in settings(traffic.compression)
        ),
        sep="\n",
        file=sys.stderr,
        flush=True,
    )
    try:
        played = run(traffic, options.seed, options.sdk_every)
    except BenchError as error:
        print(f"drill: {error}", file=sys.stderr)
        return 1
    return finish(traffic, played, options)


if __name__ == "__main__":
    sys.exit(main())
