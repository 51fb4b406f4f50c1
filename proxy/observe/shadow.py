"""What a candidate policy (`shadow` in the configuration) would have done, counted while the other one is in force."""

from __future__ import annotations

from collections import Counter

from proxy.exchange import Facts
from proxy.policy.compiled import Policy
from proxy.policy.decide import Decision, Latency
from proxy.policy.shadow import Difference, difference

PAIRS_MAX = 200
"""Pairs of routes and targets that are counted apart; of clients' models there may be any number, so the rest is one sum."""

OTHERS = ("others", "others")


class Shadow:
    """A candidate and its counts since it was loaded: `compared` requests, `differing` ones, and which instead of which."""

    def __init__(self, policy: Policy, source: str) -> None:
        self.policy = policy
        self.source = source
        self.compared = 0
        self.differing = 0
        self.pairs: Counter[tuple[str, str]] = Counter()

    def compare(
        self, facts: Facts, decision: Decision | None, *, roll: float, now_s: float, latency: Latency | None
    ) -> Difference | None:
        """Have the candidate decide as well, and count; what it would have done otherwise, if anything."""
        found = difference(self.policy, facts, decision, roll=roll, now_s=now_s, latency=latency)
        self.compared += 1
        if found is not None:
            self.differing += 1
            first = "no route" if decision is None else f"{decision.plan.route} -> {decision.plan.targets[0]}"
            other = found.error or f"{found.route} -> {found.target}"
            pair = (first, other)
            if pair not in self.pairs and len(self.pairs) >= PAIRS_MAX:
                pair = OTHERS
            self.pairs[pair] += 1
        return found
