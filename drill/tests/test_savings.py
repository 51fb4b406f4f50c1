"""Replay of an hour of traffic, and the savings: both against sums made here from the trace, without Fusebox's code."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from drill import savings
from drill.savings import CLASSES, MIXES, deal
from drill.traffic import TRACE, Arrival, synthetic
from proxy.cli import main as fusebox
from proxy.config.schema import Complexity

POLICY = """
providers:
  big: {base_url: "http://127.0.0.1:1/v1", keys: none}
  small: {base_url: "http://127.0.0.1:2/v1", keys: none}
models:
  big/one: {price: {input: 2.50, cached_input: 0.25, output: 15.00, long_context: {over: 4000, input: 5.00, output: 22.50}}}
  small/one: {price: {input: 0.28, cached_input: 0.028, output: 0.42}}
routes:
  - {name: long, match: {prompt_tokens: {over: 2000}}, to: [big/one]}
  - {name: simple, match: {complexity: simple}, to: [small/one]}
  - {name: team, match: {header: {x-team: "s*"}}, to: [small/one]}
  - {name: rest, match: {stream: true}, to: [big/one]}
"""


def sizes() -> list[tuple[int, int]]:
    """Tokens in and out of each request: of the trace, or made up like it where it is absent."""
    if not TRACE.exists():
        return [(one.context, one.generated) for one in synthetic(1)]
    with TRACE.open(newline="") as lines:
        return [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(lines)]


def of_big(tokens_in: int, cached: int, tokens_out: int) -> float:
    """USD by the prices above; a long prompt doubles those of input, cached or not."""
    if tokens_in > 4000:
        return ((tokens_in - cached) * 5.00 + cached * 0.50 + tokens_out * 22.50) / 1e6
    return ((tokens_in - cached) * 2.50 + cached * 0.25 + tokens_out * 15.00) / 1e6


def of_small(tokens_in: int, cached: int, tokens_out: int) -> float:
    """USD by the prices above."""
    return ((tokens_in - cached) * 0.28 + cached * 0.028 + tokens_out * 0.42) / 1e6


def test_replay_of_an_hour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts and costs of the command, by text and by JSON, are those of a plain loop over the trace."""
    before_usd = after_usd = 0.0
    before_targets: Counter[str] = Counter()
    routes: Counter[str] = Counter()
    targets: Counter[str] = Counter()
    unrouted: list[str] = []
    log = tmp_path / "hour.log.gz"
    with gzip.open(log, "wt", compresslevel=1) as file:
        for number, (tokens_in, tokens_out) in enumerate(sizes()):
            cached = tokens_in // 3 if number % 2 else 0
            found = ("simple", "standard", "complex")[number % 3]
            team = ("search", "ads", None)[number % 5 % 3]
            stream = number % 7 != 0
            was = "small/one" if number % 11 == 0 else "big/one"
            before_targets[was] += 1
            cost = (of_small if was == "small/one" else of_big)(tokens_in, cached, tokens_out)
            if tokens_in > 2000:
                route = "long"
            elif found == "simple":
                route = "simple"
            elif team == "search":
                route = "team"
            else:
                route = "rest" if stream else ""
            if route:
                routes[route] += 1
                target = "small/one" if route in ("simple", "team") else "big/one"
                targets[target] += 1
                before_usd += cost
                after_usd += (of_small if target == "small/one" else of_big)(tokens_in, cached, tokens_out)
            else:
                unrouted.append(f"r{number}")
            fields = {
                "event": "request", "time": "2026-11-20T12:00:00.000Z", "request_id": f"r{number}", "method": "POST",
                "path": "/v1/chat/completions", "endpoint": "chat.completions", "format": "openai", "model": "auto",
                "route": "all", "target": was, "attempts": 1, "status": 200, "stream": stream, "total_ms": 5.0,
                "bytes_in": tokens_in * 4, "bytes_out": 1, "prompt": {"tokens": tokens_in, "turns": 1},
                "complexity": found, "matched_headers": {"x-team": team},
                "tokens": {"input": tokens_in, "cached_input": cached, "output": tokens_out},
            }  # fmt: skip
            file.write(json.dumps(fields) + "\n")
    policy = tmp_path / "new.yaml"
    policy.write_text(POLICY)
    assert fusebox(["replay", str(log), "--policy", str(policy), "--output", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["replayed"] == number + 1 and report["untold"] == 0
    assert report["before"]["targets"] == before_targets
    assert report["after"] == {"routes": routes, "targets": targets, "no_route": len(unrouted)}
    (refused,) = report["refusals"].values()
    assert refused == {"requests": len(unrouted), "examples": unrouted[:5]}
    costs = report["costs"]
    assert costs["both"] == costs["after"]["priced"] == number + 1 - len(unrouted)
    assert costs["both_before_usd"] == pytest.approx(before_usd, rel=1e-9)
    assert costs["both_after_usd"] == costs["after"]["usd"] == pytest.approx(after_usd, rel=1e-9)
    assert costs["metered"] == number + 1 and costs["after"]["unpriced"] == 0
    assert fusebox(["replay", str(log), "--policy", str(policy)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in routes:
        assert f" {name} 0 {routes[name]:,}" in text
    for name in targets:
        assert f" {name} {before_targets[name]:,} {targets[name]:,}" in text
    ratio = f"{_usd(before_usd)} before, {_usd(after_usd)} after, {100 * after_usd / before_usd:.1f}% of before"
    assert ratio in text


def _usd(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 100 else f"${amount:.4f}"


@pytest.mark.parametrize("how", savings.DEALS)
@pytest.mark.parametrize("mix", sorted(MIXES))
def test_classes_are_dealt_as_the_mix_says(mix: str, how: str) -> None:
    """Shares to within one, the same for the same seed; by size, no request is above a longer one."""
    assert sum(MIXES[mix]) == pytest.approx(1.0)
    arrivals = [Arrival(float(at), at * 37 % 1009, 5) for at in range(1009)]
    dealt = deal(arrivals, MIXES[mix], how, 1)
    counts = Counter(dealt)
    for name, share in zip(CLASSES, MIXES[mix], strict=True):
        assert abs(counts[name] - share * 1009) <= 1
    assert dealt == deal(arrivals, MIXES[mix], how, 1)
    assert (dealt == deal(arrivals, MIXES[mix], how, 2)) is (how == "by size")
    if how == "by size":
        by_size = sorted(zip(arrivals, dealt, strict=True), key=lambda pair: pair[0].context)
        ranks = [CLASSES.index(name) for _, name in by_size]
        assert ranks == sorted(ranks)


def test_the_table_of_savings(capsys: pytest.CaptureFixture[str]) -> None:
    """Each row's cost and ratio by plain sums; the assumptions stand below it."""
    arguments = [] if TRACE.exists() else ["--synthetic"]
    assert savings.main(arguments) == 0
    shown = capsys.readouterr().out
    found = sizes()
    frontier = sum(tokens_in * 2.50 + tokens_out * 15.00 for tokens_in, tokens_out in found) / 1e6
    ranked = sorted(found, key=lambda size: size[0] + size[1])
    prices = ((0.28, 0.42), (0.75, 4.50), (2.50, 15.00))
    for mix, shares in MIXES.items():
        ends = [round(sum(shares[:count]) * len(found)) for count in (1, 2)] + [len(found)]
        tiers = 0.0
        begin = 0
        for end, (rate_in, rate_out) in zip(ends, prices, strict=True):
            tiers += sum(one[0] * rate_in + one[1] * rate_out for one in ranked[begin:end]) / 1e6
            begin = end
        row = next(line for line in shown.splitlines() if line.startswith(f"| {mix} | by size |"))
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert cells[2:5] == [f"{ends[0]:,}", f"{ends[1] - ends[0]:,}", f"{ends[2] - ends[1]:,}"]
        assert cells[5] == f"${frontier:.2f}"
        # Requests of one size stand in another order here, so the sum may differ in its last digits.
        assert float(cells[6][1:]) == pytest.approx(tiers, abs=0.02)
        assert float(cells[7]) == pytest.approx(tiers / frontier, abs=0.001)
        chance = next(line for line in shown.splitlines() if line.startswith(f"| {mix} | by chance |"))
        expected = sum(share * cost for share, cost in zip((shares[0], shares[1], 1 - shares[0] - shares[1]), [
            sum(one[0] * rate_in + one[1] * rate_out for one in found) / 1e6 / frontier for rate_in, rate_out in prices
        ], strict=True))  # fmt: skip
        assert float(chance.split("|")[8]) == pytest.approx(expected, abs=0.02)
    for said in ("Mixes (assumptions)", "quality (not measured)", "deepseek/deepseek-chat 0.28 in, 0.42 out"):
        assert said in shown


def test_without_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2, with the way to do without."""
    assert savings.main(["--trace", str(tmp_path / "none.csv")]) == 2
    assert "--synthetic" in capsys.readouterr().err


def test_the_classifier_finds_the_classes_of_drawn_prompts() -> None:
    """Prompts of the mix behind a conversation of any length: most are classed as meant, and all have a class."""
    arrivals = synthetic(3)[:400]
    shares = savings.MIXES["balanced"]
    found = savings.classified(arrivals, shares, 3, Complexity())
    meant = savings.deal(arrivals, shares, "by chance", 3)
    assert set(found) <= set(savings.CLASSES)
    assert sum(one == other for one, other in zip(found, meant, strict=True)) > 0.8 * len(arrivals)
    assert found == savings.classified(arrivals, shares, 3, Complexity())
