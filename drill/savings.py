"""``python -m drill.savings``: what tiers by complexity would have cost on an hour of real traffic, against one model.

The trace has sizes and no prompts, so the classes are an assumption: several mixes, each dealt out in two ways. Every row
of the table is a replay (``proxy/policy/replay``) of log lines made from the trace. Quality is not measured.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from bench.report import table
from drill.traffic import TRACE, Arrival, TraceError, read_trace, synthetic
from proxy.config.schema import Complexity, Config
from proxy.config.store import load
from proxy.exchange import Carrier, Endpoint, Format, Target
from proxy.policy.compiled import Policy, compile_policy
from proxy.policy.look import BodyLook
from proxy.policy.replay import Report, replay
from proxy.policy.replay_log import Tally, read_log
from proxy.policy.tokens import estimate

POLICY = Path(__file__).resolve().parent.parent / "examples" / "policy-tiers.yaml"

FRONTIER = Target("openai", "gpt-5.4")
"""What every request goes to today, in the comparison."""

CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON, inference=True)

CLASSES = ("simple", "standard", "creative", "complex")
"""From the one that is dealt to the shortest requests to the one for the longest, where it goes by size."""

MIXES: Mapping[str, tuple[float, float, float, float]] = {
    "mostly simple": (0.60, 0.25, 0.05, 0.10),
    "balanced": (0.40, 0.35, 0.05, 0.20),
    "mostly complex": (0.15, 0.30, 0.10, 0.45),
}
"""Shares of `CLASSES`. Assumptions, not measurements: what a support desk, a mixed service, a coding assistant might have."""

DEALS = ("by chance", "by size")
"""How classes meet sizes: independent of each other, or the longer a request the higher its class, which saves less."""

CLASSIFIED = "as classified"
"""A third way: prompts are drawn by the mix, and the classifier finds their classes, right or wrong."""

PROMPTS = Path(__file__).resolve().parent.parent / "tests" / "policy" / "prompts.yaml"
"""Prompts by the class that their authors meant (docs/complexity.md)."""

FILLER = "and so it went on, as it had before. "
"""What stands for the rest of a conversation, in front of the prompt, so that the whole is as long as in the trace."""

BEGAN_UNIX_S = datetime(2023, 11, 16, 18, 15, 46, tzinfo=UTC).timestamp()
"""When the trace begins."""


@dataclass(frozen=True, slots=True)
class Row:
    """One mix, dealt in one way. USD for the whole hour."""

    mix: str
    deal: str
    report: Report


def deal(arrivals: Sequence[Arrival], shares: Sequence[float], how: str, seed: int) -> list[str]:
    """A class for each arrival: exactly `shares` of them, to within one."""
    order = list(range(len(arrivals)))
    if how == "by size":
        order.sort(key=lambda at: (arrivals[at].context + arrivals[at].generated, at))
    else:
        random.Random(seed).shuffle(order)
    classes = [""] * len(arrivals)
    reached, begin = 0.0, 0
    for name, share in zip(CLASSES, shares, strict=True):
        reached += share
        end = round(reached * len(arrivals))
        for at in order[begin:end]:
            classes[at] = name
        begin = end
    return classes


def classified(arrivals: Sequence[Arrival], shares: Sequence[float], seed: int, settings: Complexity) -> list[str]:
    """The class that the classifier finds for each arrival: a prompt of a class drawn by `shares`, behind as much of a
    conversation as makes it as long as in the trace.
    """
    prompts: dict[str, list[str]] = yaml.safe_load(PROMPTS.read_text())
    dice = random.Random(seed)
    per_filler = estimate(FILLER.encode())
    found = []
    for arrival, meant in zip(arrivals, deal(arrivals, shares, "by chance", seed), strict=True):
        prompt = dice.choice(prompts[meant])
        fillers = max(0, round((arrival.context - estimate(prompt.encode())) / per_filler))
        messages = [{"role": "system", "content": FILLER * fillers}, {"role": "user", "content": prompt}]
        body = json.dumps({"model": "auto", "messages": messages}, ensure_ascii=False).encode()
        found.append(BodyLook(body, CHAT, settings).complexity)
    return found


def log_lines(arrivals: Sequence[Arrival], classes: Sequence[str]) -> Iterator[bytes]:
    """The log that Fusebox would have written, had all gone to one model: docs/logging.md's line of each request."""
    for number, (arrival, found) in enumerate(zip(arrivals, classes, strict=True)):
        at = datetime.fromtimestamp(BEGAN_UNIX_S + arrival.at_s, UTC)
        fields = {
            "event": "request",
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "request_id": f"trace-{number}",
            "method": "POST",
            "path": "/v1/chat/completions",
            "endpoint": "chat.completions",
            "format": "openai",
            "model": "auto",
            "route": "frontier-only",
            "target": str(FRONTIER),
            "attempts": 1,
            "status": 200,
            "stream": True,
            "bytes_in": arrival.context * 4,
            "complexity": found,
            "complexity_stated": True,
            "prompt": {"tokens": arrival.context, "turns": 1},
            "tokens": {"input": arrival.context, "output": arrival.generated},
        }
        yield json.dumps(fields).encode()


def rows(arrivals: Sequence[Arrival], policy: Policy, seed: int, settings: Complexity) -> list[Row]:
    """Each mix, dealt in each way."""
    made = []
    for mix, shares in MIXES.items():
        for how in (*DEALS, CLASSIFIED):
            by_look = how == CLASSIFIED
            classes = classified(arrivals, shares, seed, settings) if by_look else deal(arrivals, shares, how, seed)
            lines = log_lines(arrivals, classes)
            requests = read_log((("trace", line) for line in lines), Tally())
            made.append(Row(mix, how, replay(requests, policy)))
    return made


HEADS = (
    "mix",
    "classes dealt",
    "to the cheap tier",
    "to the middle tier",
    "frontier",
    "frontier only",
    "tiers",
    "ratio",
)


def markdown(found: Sequence[Row], arrivals: Sequence[Arrival], config: Config, source: str) -> str:
    """The table with what it rests on."""
    lines = []
    for row in found:
        routes, costs = row.report.after.routes, row.report.costs
        lines.append(
            (
                row.mix,
                row.deal,
                *(f"{routes[name]:,}" for name in ("simple", "standard", "frontier")),
                f"${costs.both_before_usd:.2f}",
                f"${costs.both_after_usd:.2f}",
                "–" if costs.ratio is None else f"{costs.ratio:.3f}",
            )
        )
    mixes = "; ".join(
        f"{name}: " + ", ".join(f"{one} {share:.0%}" for one, share in zip(CLASSES, shares, strict=True))
        for name, shares in MIXES.items()
    )
    prices = "; ".join(
        f"{name} {model.price.input:.2f} in, {model.price.output:.2f} out"
        for name, model in config.models.items()
        if model.price is not None
    )
    tokens_in, tokens_out = sum(one.context for one in arrivals), sum(one.generated for one in arrivals)
    return "\n".join(
        [
            table(HEADS, lines),
            f"- Traffic: {source}: {len(arrivals):,} requests in {arrivals[-1].at_s / 60:.0f} minutes, {tokens_in:,} tokens in,"
            f" {tokens_out:,} out.",
            f"- Mixes (assumptions): {mixes}.",
            f"- Prices, USD per million tokens: {prices}. Their sources and dates stand in examples/policy-tiers.yaml.",
            "- Not in these figures: quality (not measured), cached input, retries and fallbacks, other answers' lengths: each",
            "  model is assumed to write as many tokens as the trace has, and all to count tokens alike.",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 2 when there is no trace."""
    parser = argparse.ArgumentParser(prog="python -m drill.savings", description=__doc__.partition("\n")[0])
    parser.add_argument("--trace", type=Path, default=TRACE, metavar="FILE", help="default: beside the repository")
    parser.add_argument("--synthetic", action="store_true", help="made-up arrivals of the same shape")
    parser.add_argument(
        "--policy", type=Path, default=POLICY, metavar="FILE", help="with routes of the example's names"
    )
    parser.add_argument("--seed", type=int, default=1, help="by which classes are dealt by chance. Default: 1")
    chosen = parser.parse_args(arguments)
    try:
        arrivals = synthetic(chosen.seed) if chosen.synthetic else read_trace(chosen.trace)
    except TraceError as error:
        print(f"drill.savings: {error}", file=sys.stderr)
        return 2
    config = load(chosen.policy)
    found = rows(arrivals, compile_policy(config), chosen.seed, config.complexity)
    source = "made up, of the trace's shape" if chosen.synthetic else chosen.trace.name
    print(markdown(found, arrivals, config, source), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
