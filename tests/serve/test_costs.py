"""Tokens and cost of a thousand exchanges through a real process: each log line and the metrics' sums, to the token and cent.

The answers know what they used before they were written down (tests/wire/usage_answers.py); prices are added up there, part
by part and in decimals, by nothing of the proxy's.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

from tests.harness import Client, Exchange, Fusebox, Upstream, request
from tests.wire.usage_answers import FORMATS, Answer, answer

CONFIG = """
providers:
  main: {{base_url: "http://127.0.0.1:{port}/v1", anthropic_url: "http://127.0.0.1:{port}", keys: none}}
models:
  main/priced: {{price: {{input: 3.00, cached_input: 0.30, cache_write: 3.75, cache_write_1h: 6.00, output: 15.00}}}}
routes:
  - {{name: priced, match: {{model: priced}}, to: [main/priced]}}
  - {{name: kept, match: {{}}, to: [main]}}
"""

EXCHANGES = 1000
CLIENTS = 8

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\npriced\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--b--\r\n'
)


def asking(name: str, number: int) -> bytes:
    """A request of the format `name`, with the exchange's number as its id."""
    headers = [("x-fusebox-request-id", f"n-{number}")]
    path = FORMATS[name][0]
    if "transcriptions" in name:
        return request("POST", path, FORM, [*headers, ("Content-Type", "multipart/form-data; boundary=b")])
    body = {"model": "priced", "stream": name.endswith("streamed")}
    return request("POST", path, json.dumps(body).encode(), [*headers, ("Content-Type", "application/json")])


def head(one: Answer, length: int | None) -> bytes:
    """Of the answer; without a length it comes in chunks."""
    coding = b"Content-Encoding: %b\r\n" % one.encoding if one.encoding else b""
    framing = b"Transfer-Encoding: chunked\r\n" if length is None else b"Content-Length: %d\r\n" % length
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b%b\r\n" % (one.content_type, coding, framing)


async def test_a_thousand_mixed_exchanges(tmp_path: Path) -> None:
    """Every format, streamed and not, compressed and not, in one piece and in several; some break off, some are refused."""
    roll = random.Random(11)
    names = [roll.choice(list(FORMATS)) for _ in range(EXCHANGES)]
    answers = [answer(name, roll) for name in names]
    refused = set(roll.sample(range(EXCHANGES), 40))

    async def provider(exchange: Exchange) -> None:
        number = int((exchange.head.one("x-request-number") or b"0").decode())
        await exchange.body.rest()
        if number in refused:
            # An error that quotes a usage is not billed.
            body = json.dumps({"error": {"message": "no"}, "usage": {"prompt_tokens": 10**6}}).encode()
            await exchange.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        elif number % 3:
            await exchange.send(head(answers[number], len(answers[number].body)) + answers[number].body)
        else:
            body = answers[number].body
            await exchange.send(head(answers[number], None))
            cuts = sorted({0, len(body), *(random.Random(number).randrange(len(body)) for _ in range(3))})
            for start, end in itertools.pairwise(cuts):
                await exchange.send(b"%x\r\n%b\r\n" % (end - start, body[start:end]))
                await asyncio.sleep(0)
            await exchange.send(b"0\r\n\r\n")
        exchange.finish()

    async with Upstream() as upstream:
        upstream.script = provider
        async with Fusebox(CONFIG.format(port=upstream.port), tmp_path) as fusebox:
            waiting = iter(range(EXCHANGES))

            async def ask() -> None:
                async with Client(fusebox.port) as client:
                    for number in waiting:
                        asked = asking(names[number], number).replace(
                            b"x-fusebox-request-id", b"X-Request-Number: %d\r\nx-fusebox-request-id" % number
                        )
                        got = await client.exchange(asked)
                        assert got.status == (400 if number in refused else 200), got
                        assert number in refused or got.body == answers[number].body

            await asyncio.gather(*(ask() for _ in range(CLIENTS)))
            lines = {
                number: await fusebox.line(event="request", request_id=f"n-{number}") for number in range(EXCHANGES)
            }
            async with Client(fusebox.admin_port) as admin:
                metrics = (await admin.exchange(request("GET", "/metrics"))).body.decode()

    total, tokens = Decimal(0), Counter[str]()
    for number, one in enumerate(answers):
        line = lines[number]
        if number in refused:
            assert not {"tokens", "cost_usd", "unmetered"} & set(line)
            continue
        used = one.parts.usage
        assert line["tokens"]["input"] == used.input and line["tokens"]["output"] == used.output, names[number]
        assert line["tokens"].get("cached_input", 0) == used.cached_input
        assert line["tokens"].get("cache_write_1h", 0) == used.cache_write_1h
        assert abs(Decimal(str(line["cost_usd"])) - one.parts.usd()) < Decimal("1e-8"), names[number]
        total += one.parts.usd()
        for kind in ("input", "output", "cached_input", "cache_write", "reasoning"):
            tokens[kind] += getattr(used, kind)
    way = 'model="priced",provider="main",route="priced"'
    shown = dict(re.findall(r"^(fusebox_\w+\{[^}]*\}) (\S+)$", metrics, re.MULTILINE))
    labelled = {
        re.sub(r"\{(.*)\}", lambda found: "{" + ",".join(sorted(found[1].split(","))) + "}", key): float(value)
        for key, value in shown.items()
    }
    assert abs(Decimal(labelled[f"fusebox_cost_usd_total{{{way}}}"]) - total) < Decimal("1e-6")
    for kind, count in tokens.items():
        assert labelled[f'fusebox_tokens_total{{kind="{kind}",{way}}}'] == count
    assert labelled[f"fusebox_unmetered_total{{{way}}}"] == labelled[f"fusebox_unpriced_total{{{way}}}"] == 0


async def test_what_is_not_known_is_not_nothing(tmp_path: Path) -> None:
    """No usage: unmetered. A usage without a price: no cost. The provider's own word on the cost: that. A flex answer: half."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    said: dict[str, dict[str, object]] = {
        "none": {"choices": [{"message": {"content": "x"}}]},
        "unpriced": {"choices": [], "usage": usage},
        "told": {"choices": [], "usage": {**usage, "cost": 0.25}},
        "priced": {"choices": [], "usage": usage, "service_tier": "flex"},
        "long": {"choices": ["x" * 5000], "usage": usage, "service_tier": "batch"},
    }

    async def provider(exchange: Exchange) -> None:
        asked = json.loads(await exchange.body.rest())
        body = json.dumps(said[asked["user"]]).encode()
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        exchange.finish()

    config = CONFIG.replace("output: 15.00", "output: 15.00, batch: 0.5")
    seen = {}
    async with Upstream() as upstream:
        upstream.script = provider
        async with Fusebox(config.format(port=upstream.port), tmp_path) as fusebox, Client(fusebox.port) as client:
            for name in said:
                model = "priced" if name in ("priced", "long") else "of-a-client"
                body = json.dumps({"model": model, "user": name}).encode()
                got = await client.exchange(
                    request("POST", "/v1/chat/completions", body, [("Content-Type", "application/json")])
                )
                seen[name] = await fusebox.request_line(got.head)
    assert seen["none"]["unmetered"] is True and not {"tokens", "cost_usd"} & set(seen["none"])
    assert seen["unpriced"]["tokens"] == {"input": 1000, "output": 100} and "cost_usd" not in seen["unpriced"]
    assert seen["told"]["cost_usd"] == 0.25
    assert seen["priced"]["cost_usd"] == seen["long"]["cost_usd"] == (1000 * 3 + 100 * 15) / 1e6 / 2
