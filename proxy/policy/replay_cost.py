"""What logged requests cost under two policies' prices. USD. What has no price is counted as such, never as nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.config.schema import Price
from proxy.exchange import Carrier, Facts
from proxy.policy.cost import Usage, cost_usd
from proxy.policy.replay_log import Logged, LoggedPrompt
from proxy.policy.replay_tally import count

BYTES_PER_TOKEN = 4
"""Of JSON with prose in it, about. Only used where neither tokens nor a prompt's estimate were logged."""

_SIZED_IN_TOKENS = ("text", "embedding", "rerank", None)


def answered(logged: Logged, facts: Facts) -> bool:
    """Whether a provider asks money for it: it asked a model for something, and got an answer, whole or not."""
    return facts.endpoint.inference and logged.attempts > 0 and (100 < logged.status < 400 or logged.status == 499)


def usage_of(logged: Logged, facts: Facts) -> tuple[Usage | None, bool]:
    """Its tokens, and whether they were metered; without, the prompt's are estimated and the answer's left out.

    None: it is not known, not even about (a recording, a picture).
    """
    if logged.tokens is not None:
        tokens = logged.tokens
        written = tokens.cache_write, tokens.cache_write_1h
        return Usage(tokens.input, tokens.output, tokens.cached_input, *written), True
    if facts.endpoint.carrier is not Carrier.JSON or facts.endpoint.modality not in _SIZED_IN_TOKENS:
        return None, False
    if isinstance(logged.prompt, LoggedPrompt):
        return Usage(logged.prompt.tokens), False
    return Usage(logged.bytes_in // BYTES_PER_TOKEN), False


@dataclass(slots=True)
class Money:
    """One side's sum: requests with a price, those without by target, and what the former cost."""

    priced: int = 0
    unpriced: int = 0
    usd: float = 0.0
    unpriced_targets: dict[str, int] = field(default_factory=dict)

    def add(self, target: str, price: Price | None, usage: Usage | None) -> float | None:
        """One request; its cost, None without a price."""
        if price is None or usage is None:
            self.unpriced += 1
            count(self.unpriced_targets, target)
            return None
        cost = cost_usd(price, usage)
        self.priced += 1
        self.usd += cost
        return cost


@dataclass(slots=True)
class Costs:
    """Both sides. `metered`, `estimated`, `unmetered`: answered requests by what is known of their tokens.

    `both`: requests with a price on both sides, the only ones to compare by; `ratio`: after to before among them, None
    when there is nothing to compare.
    """

    metered: int = 0
    estimated: int = 0
    unmetered: int = 0
    before: Money = field(default_factory=Money)
    after: Money = field(default_factory=Money)
    both: int = 0
    both_before_usd: float = 0.0
    both_after_usd: float = 0.0
    copies: Money = field(default_factory=Money)

    @property
    def ratio(self) -> float | None:
        """What the compared requests cost after, as a share of before."""
        return self.both_after_usd / self.both_before_usd if self.both_before_usd > 0 else None

    def compare(self, before: float | None, after: float | None) -> None:
        """One request's cost on both sides."""
        if before is not None and after is not None:
            self.both += 1
            self.both_before_usd += before
            self.both_after_usd += after
