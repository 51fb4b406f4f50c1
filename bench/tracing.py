"""``python -m bench.tracing``: what traces cost a request, with a receiver that takes them and with bad ones.

One Fusebox for each case stands before the same upstream: traces off (twice: what lies between these two is noise), sent to
a receiver that takes them, to one that is slow, to one that is silent, to one that answers 500, to a port where nobody is.
Requests come at a steady rate far below what the machine can do, to all cases at once, each a fraction of a millisecond
after the one before: what else the machine does meets all of them alike. Latencies are of all rounds of a case together;
beside them the median over the rounds of each round's difference to both offs of that round.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from timeit import Timer

from bench import payloads
from bench.measure import cpu_s
from bench.processes import Child, free_port
from bench.report import table
from proxy.observe.logs import configure
from proxy.observe.record import Record
from proxy.observe.traces import Tracer
from proxy.wire.traceparent import parse

LIMIT_MS = 1.0
"""What traces may add to the 99th percentile, whatever the receiver does."""

CONNECTIONS = 4
"""To each case, over which requests come in turn."""

SLOW_S = 1.5
"""How long a slow receiver takes to answer."""

CASES = ("off", "taken", "slow", "silent", "500", "nobody", "off again")

POLICY = """
listen: 127.0.0.1:{port}
admin: 127.0.0.1:{admin}
providers: {{up: {{base_url: "http://127.0.0.1:{upstream}/v1", keys: none}}}}
routes: [{{name: all, match: {{}}, to: [up]}}]
"""


class Receiver:
    """Takes, delays or ignores spans, in threads that only wait; `got` counts messages."""

    def __init__(self, behaviour: str) -> None:
        self.got = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                outer.got += 1
                if behaviour in ("slow", "silent"):
                    time.sleep(SLOW_S if behaviour == "slow" else 3600)
                self.send_response(500 if behaviour == "500" else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Whoever waited too long has gone."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


async def latencies_ms(ports: Sequence[int], rate: float, seconds: float) -> list[list[float]]:
    """By port, how long each request took, sent at a steady rate; one that is due while its connection is busy counts from
    when it was due.
    """
    body = payloads.request_body(stream=False)
    head = f"POST {payloads.PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    message = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    found: list[list[float]] = [[] for _ in ports]
    began = time.perf_counter() + 0.1

    async def ask(place: int, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[place])
        due = began + (number + place / len(ports)) / rate
        while due < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent = max(due, time.perf_counter() - 0.002)  # a late timer of this process's own is not the proxy's
            writer.write(message)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            found[place].append((time.perf_counter() - sent) * 1000)
            due += CONNECTIONS / rate
        writer.close()

    await asyncio.gather(*(ask(place, number) for place in range(len(ports)) for number in range(CONNECTIONS)))
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of all lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def start(running: ExitStack, folder: Path) -> tuple[dict[str, tuple[int, Child]], dict[str, Receiver]]:
    """The upstream, and one Fusebox for each case."""
    upstream = free_port()
    command = [sys.executable, "-m", "bench.upstream_server", "--port", str(upstream), "--mode", "answer"]
    running.enter_context(Child("upstream", command, folder / "upstream.log", held=True)).wait_ready(upstream)
    boxes, receivers = {}, {}
    for case in CASES:
        port, admin = free_port(), free_port()
        text = POLICY.format(port=port, admin=admin, upstream=upstream)
        if not case.startswith("off"):
            to = free_port()
            if case != "nobody":
                receivers[case] = Receiver(case)
                to = receivers[case].port
            text += f'traces: {{otlp: "http://127.0.0.1:{to}"}}\n'
        policy = folder / f"{case}.yaml"
        policy.write_text(text)
        command = [sys.executable, "-m", "proxy", "serve", "--config", str(policy)]
        child = running.enter_context(Child(case, command, folder / f"{case}.log"))
        child.wait_ready(admin, "/readyz")
        boxes[case] = port, child
    return boxes, receivers


class _Nowhere:
    def send(self, records: object, pause: object) -> None:
        """Gone."""

    def close(self) -> None:
        """Nothing is open."""


async def on_the_way_us() -> float:
    """What a request does for its trace on its way and at its end, in microseconds: the fastest of several tries."""
    tracer = Tracer(_Nowhere(), 1.0, configure(lambda line: None, "error"), 0.001)
    record = Record("POST", "/v1/chat/completions")
    held = [payloads.answer_body()]
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    def request() -> None:
        trace = record.trace = tracer.begin(parse(given))
        assert trace is not None
        trace.attempt("http://127.0.0.1:80")
        trace.answered(held)
        tracer.ended(record, 0.0)

    fastest = min(Timer(request).repeat(20, 500)) / 500 * 1e6
    await tracer.stop()
    return fastest


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when traces add more than they may."""
    parser = argparse.ArgumentParser(prog="python -m bench.tracing", description=__doc__)
    parser.add_argument("--rate", type=float, default=60, help="requests a second to each case")
    parser.add_argument("--seconds", type=float, default=6, help="of each round")
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args(arguments)
    found: dict[str, list[list[float]]] = {case: [] for case in CASES}
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        boxes, receivers = start(running, folder)
        asyncio.run(latencies_ms([port for port, _ in boxes.values()], chosen.rate, 2))  # warm
        before = {case: cpu_s(child.pids()) for case, (_, child) in boxes.items()}
        for number in range(chosen.rounds):
            order = CASES[number % len(CASES) :] + CASES[: number % len(CASES)]
            turn = asyncio.run(latencies_ms([boxes[case][0] for case in order], chosen.rate, chosen.seconds))
            for case, values in zip(order, turn, strict=True):
                found[case].append(values)
        cpu = {case: cpu_s(child.pids()) - before[case] for case, (_, child) in boxes.items()}
        messages = {case: receiver.got for case, receiver in receivers.items()}
    rows, worst = [], 0.0
    for case in CASES:
        values = [one for several in found[case] for one in several]
        added = []
        for number in range(chosen.rounds):
            offs = [percentile(found[off][number], 0.99) for off in ("off", "off again")]
            added.append(percentile(found[case][number], 0.99) - statistics.fmean(offs))
        middle = statistics.median(added)
        worst = max(worst, middle) if not case.startswith("off") else worst
        rows.append(
            [
                case,
                str(messages.get(case, "")),
                *(f"{percentile(values, share):.2f}" for share in (0.5, 0.9, 0.99)),
                f"{max(values):.1f}",
                f"{middle:+.2f} ({min(added):+.2f} to {max(added):+.2f})",
                f"{cpu[case] / len(values) * 1e6:.0f}",
            ]
        )
    heads = ["traces", "messages", "p50 ms", "p90 ms", "p99 ms", "longest ms", "p99 added ms (range)", "CPU µs/request"]
    print(table(heads, rows))
    print(f"\non a request's way: {asyncio.run(on_the_way_us()):.1f} µs; the least added that counts: {LIMIT_MS} ms")
    return int(worst >= LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
