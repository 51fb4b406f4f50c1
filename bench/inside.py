"""``python -m bench.inside``: what a request costs inside the process, without sockets, its guards, and its usage.

Transports that only keep what is written stand for client and provider; everything else is the real thing, from the
client's bytes to the log line. Nothing of the system's is in these figures, so they tell two versions of the code apart
where the whole process varies too much: ``python -m bench.inside --tree ../other-checkout`` measures another checkout.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from timeit import repeat
from typing import Any

import uvloop

from bench.payloads import CLIENT_KEY, MODEL_ASKED, MODEL_SENT

BODY = b'{"model":"%b","messages":[{"role":"user","content":"%b"}],"temperature":0.7}' % (
    MODEL_ASKED.encode(),
    b"hello world " * 35,
)
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:4010\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer %b\r\nUser-Agent: OpenAI/Python\r\nx-stainless-lang: python\r\n"
    b"x-stainless-retry-count: 0\r\nContent-Length: %d\r\n\r\n%b" % (CLIENT_KEY.encode(), len(BODY), BODY)
)
ANSWER_BODY = (
    b'{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"%b"},'
    b'"finish_reason":"stop"}]}' % (b"x" * 640)
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 01 Nov 2026 00:00:00 GMT\r\nContent-Type: application/json\r\n"
    + (b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n%b" % (len(ANSWER_BODY), ANSWER_BODY))
)
REQUESTS = 3000
"""Requests in one round; the best round counts, as everything that disturbs only adds."""


class Wire(asyncio.Transport):
    """A transport that hands what is written to a function."""

    def __init__(self, wrote: Callable[[bytes], object]) -> None:
        super().__init__()
        self._wrote = wrote

    def write(self, data: Any) -> None:
        self._wrote(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open."""

    abort = pause_reading = resume_reading = close


async def requests_us(rounds: int) -> float:
    """CPU per request in µs: the best of `rounds`."""
    from proxy import app
    from proxy.attempt.guards import Guards
    from proxy.config.parse import parse
    from proxy.observe.health import Health
    from proxy.observe.logs import configure
    from proxy.serve.build import Pools, build_snapshot
    from proxy.serve.client import ClientServer
    from proxy.serve.handler import Handler
    from proxy.upstream.egress import Egress
    from proxy.upstream.reading import PlainConnection

    loop = asyncio.get_running_loop()
    config = parse(
        "providers: {local: {base_url: 'http://127.0.0.1:1/v1', keys: none}}\n"
        f"routes: [{{name: bench, match: {{}}, to: [local/{MODEL_SENT}]}}]\n"
    )
    logger = configure(lambda line: None, "info")
    guards = Guards(config, clock=time.monotonic, rng=random.random)
    snapshot = build_snapshot(config, {}, Pools(Egress({})).draft({}).get, lambda: guards, logger)
    pool = next(iter(snapshot.providers.values())).origin_root().pool
    provider = PlainConnection(loop, pool._give_back)
    provider.connection_made(Wire(lambda _: loop.call_soon(provider.data_received, ANSWER)))
    pool._give_back(provider)
    handler = Handler(lambda: snapshot, Health(), logger)
    client = ClientServer(handler, on_refused=print, access_log=None, auto_decompress=False)()
    left, done = 0, loop.create_future()

    def answered(data: bytes) -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(client.data_received, REQUEST)
        else:
            done.set_result(data)

    client.connection_made(Wire(answered))
    gc.collect()
    gc.freeze()
    gc.set_threshold(app.GC_EVERY)
    best = float("inf")
    for _ in range(rounds):
        left, done = REQUESTS, loop.create_future()
        before = time.process_time()
        client.data_received(REQUEST)
        answer = await done
        best = min(best, (time.process_time() - before) / REQUESTS * 1e6)
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(ANSWER_BODY), answer[:200]
    return best


def guards_us() -> dict[str, float]:
    """CPU in µs of what stands between a plan and its provider, each by itself and all together."""
    from proxy.attempt.guards import Guards
    from proxy.config.schema import Config, Provider

    guards = Guards(
        Config(providers={"a": Provider(max_concurrency=64)}, routes=()), clock=time.monotonic, rng=random.random
    )
    guard = guards["a"]

    def breaker() -> None:
        guard.breaker("m").acquire().success()

    def cooldown() -> bool:
        return bool(guards.cooldowns.entries)

    def places() -> None:
        if guard.places.take():
            guard.places.leave()

    def budget() -> None:
        guard.retries("m", 0.2).pay_in()

    def together() -> None:
        guard.places.take()
        permit = guards["a"].breaker("m").acquire()
        if guards.cooldowns.entries:
            guards.cooldowns.until("key", "m")
        guard.retries("m", 0.2).pay_in()
        permit.success()
        guard.places.leave()

    names = {"breaker": breaker, "cool-down": cooldown, "places": places, "budget": budget, "together": together}
    return {name: min(repeat(one, number=20_000, repeat=9)) / 20_000 * 1e6 for name, one in names.items()}


USAGE = (
    b'"usage":{"prompt_tokens":120,"completion_tokens":50,"total_tokens":170,"prompt_tokens_details":{"cached_tokens":64,'
    b'"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":0}}}'
)
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    b'{"content":"hello"},"finish_reason":null}]}\n\n'
)


def usage_us() -> dict[str, float]:
    """CPU in µs of watching for usage: per event of a stream, for what a stream costs once, and per body."""
    from proxy.wire import usage
    from proxy.wire.endpoints import inference

    chat = inference("/v1/chat/completions")
    assert chat is not None
    null = EVENT.replace(b"}\n\n", b',"usage":null}\n\n')
    last = EVENT.replace(b"}\n\n", b"," + USAGE + b"\n\n")
    json, half = b"application/json", len(EVENT) // 2
    feed = usage.EventWatch(chat).feed

    def halves() -> None:
        feed(EVENT[:half])
        feed(EVENT[half:])

    def once() -> None:
        watch = usage.watch(chat, b"text/event-stream")
        assert watch is not None
        watch.feed(last)
        watch.usage()

    bodies = {size: ANSWER_BODY[:-1].replace(b"x" * 640, b"x" * size) + b"," + USAGE for size in (640, 20_000, 240_000)}
    names: dict[str, Callable[[], object]] = {
        "an event without": lambda: feed(EVENT),
        'an event with "usage":null': lambda: feed(null),
        "an event in two halves": halves,
        "an event with a usage": lambda: feed(last),
        "a stream, once": once,
        "a body without": lambda: usage.of_body(chat, json, b"", ANSWER_BODY),
    }
    for size, body in bodies.items():
        names[f"a body of {size:,} bytes"] = partial(usage.of_body, chat, json, b"", body)
    return {name: min(repeat(one, number=5_000, repeat=9)) / 5_000 * 1e6 for name, one in names.items()}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.inside", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tree", type=Path, help="another checkout to measure, in turns with this one")
    parser.add_argument("--only-requests", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_requests:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(f"{runner.run(requests_us(arguments.rounds)):.2f}")
        return 0
    here = Path(__file__).resolve().parent.parent
    for tree in [here, arguments.tree.resolve(), here, arguments.tree.resolve()] if arguments.tree else [here]:
        command = [sys.executable, "-m", "bench.inside", "--only-requests", "--rounds", str(arguments.rounds)]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        found = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
        print(f"a request without sockets ({tree.name}): {found.stdout.strip()} µs")
    for name, cost in guards_us().items():
        print(f"guards, {name}: {cost:.2f} µs")
    for name, cost in usage_us().items():
        print(f"usage, {name}: {cost:.2f} µs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
