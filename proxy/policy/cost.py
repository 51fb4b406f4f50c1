"""What an exchange costs, by the prices of ``models``. USD; a price is per million tokens, as providers publish it."""

from __future__ import annotations

import msgspec

from proxy.config.schema import Price

_MILLION = 1_000_000


class Usage(msgspec.Struct, frozen=True):
    """The tokens of one exchange. `cached_input` of the `input` came from the provider's prompt cache."""

    input: int
    output: int = 0
    cached_input: int = 0


def cost_usd(price: Price, usage: Usage, *, batch: bool = False) -> float:
    """What `usage` costs. Above `long_context.over` input tokens all of them cost the long-context price, not only those
    beyond it; cached ones then rise by the same factor as the others. Without a price for cached input it costs as any.
    """
    rate_in, rate_out = price.input, price.output
    rate_cached = price.input if price.cached_input is None else price.cached_input
    long = price.long_context
    if long is not None and usage.input > long.over:
        if price.input > 0:
            rate_cached *= long.input / price.input
        rate_in, rate_out = long.input, long.output
    cached = min(usage.cached_input, usage.input)
    total = (usage.input - cached) * rate_in + cached * rate_cached + usage.output * rate_out
    return total / _MILLION * (price.batch if batch else 1.0)


INPUT_SHARE = 0.75
"""Of the tokens that a target's price is compared by: three of a prompt to one of its answer, as is usual for chat."""


def blended(price: Price, prompt_tokens: int) -> float:
    """USD per million tokens at three parts prompt to one part answer, by which ``order: cost`` sorts a chain."""
    long = price.long_context
    rate_in, rate_out = price.input, price.output
    if long is not None and prompt_tokens > long.over:
        rate_in, rate_out = long.input, long.output
    return INPUT_SHARE * rate_in + (1 - INPUT_SHARE) * rate_out
