"""What an exchange costs, by the prices of ``models``. USD; a price is per million tokens, as providers publish it."""

from __future__ import annotations

from proxy.config.schema import Price
from proxy.exchange import Usage as Usage

_MILLION = 1_000_000


def cost_usd(price: Price, usage: Usage, *, batch: bool = False) -> float:
    """What the tokens of `usage` cost. Above `long_context.over` input tokens all of them cost the long-context price,
    not only those beyond it; cached and cache-written ones then rise by the same factor as the others. Without a price
    of their own they cost as any. A part that is larger than its whole is all of it.
    """
    rate_in, rate_out = price.input, price.output
    rate_cached = rate_in if price.cached_input is None else price.cached_input
    rate_write = rate_in if price.cache_write is None else price.cache_write
    rate_hour = rate_write if price.cache_write_1h is None else price.cache_write_1h
    long = price.long_context
    if long is not None and usage.input > long.over:
        if rate_in > 0:
            factor = long.input / rate_in
            rate_cached, rate_write, rate_hour = rate_cached * factor, rate_write * factor, rate_hour * factor
        rate_in, rate_out = long.input, long.output
    cached = min(usage.cached_input, usage.input)
    total = (usage.input - cached) * rate_in + cached * rate_cached + usage.output * rate_out
    if usage.cache_write:
        written = min(usage.cache_write, usage.input - cached)
        hour = min(usage.cache_write_1h, written)
        total += (written - hour) * (rate_write - rate_in) + hour * (rate_hour - rate_in)
    return total / _MILLION * (price.batch if batch else 1.0)


def charge_usd(price: Price | None, usage: Usage, *, batch: bool = False) -> float | None:
    """What an exchange costs: by the policy's price, else what the provider says it costs; None: nobody knows.

    Prices are per token, so what is counted in seconds or units only has no price, however many there were.
    """
    in_tokens = usage.input or usage.output or not (usage.seconds or usage.units)
    return cost_usd(price, usage, batch=batch) if price is not None and in_tokens else usage.reported_usd


INPUT_SHARE = 0.75
"""Of the tokens that a target's price is compared by: three of a prompt to one of its answer, as is usual for chat."""


def blended(price: Price, prompt_tokens: int) -> float:
    """USD per million tokens at three parts prompt to one part answer, by which ``order: cost`` sorts a chain."""
    long = price.long_context
    rate_in, rate_out = price.input, price.output
    if long is not None and prompt_tokens > long.over:
        rate_in, rate_out = long.input, long.output
    return INPUT_SHARE * rate_in + (1 - INPUT_SHARE) * rate_out
