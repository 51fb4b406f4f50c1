"""An explanation as text for a terminal, for somebody who has just been woken up."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.exchange import Prompt
from proxy.policy.explain_reasons import printable
from proxy.policy.explain_story import Asking, Choice, Classed, Explanation, Terms

ROUTES_NAMED = 8
"""Routes behind the one that takes the request that are named; they were not looked at."""


def as_text(told: Explanation) -> str:
    """All of it; ends with a line break."""
    parts = [
        *_head(told),
        *_routes(told),
        *_body(told),
        *_plan(told),
        *_terms(told),
        *(f"\nNote: {note}." for note in told.notes),
    ]
    return "\n".join(parts) + "\n"


def _head(told: Explanation) -> Iterator[str]:
    request = told.request
    model = "without a model" if request.model is None else f"model {printable(request.model)}"
    stream = "streamed" if request.stream else "not streamed"
    yield f"{printable(request.method)} {printable(request.path)}: {request.endpoint}, {request.format} format, {model}, {stream}"
    state = "the state of the running process" if told.live else "every provider well, but for what is assumed"
    yield f"at {told.at}, with {state}"
    yield ""
    if told.target is not None:
        yield f"=> {told.target}, by {_by(told)}"
        if told.resort is not None:
            yield f"  {told.resort}"
    elif told.error is not None:
        by = "" if told.route is None else f", by {_by(told)}"
        yield f"=> nobody is asked{by}: {told.error.status} {told.error.code}"
        yield f"  {told.error.message}"


def _by(told: Explanation) -> str:
    return f"route {told.route}" if told.routes else "no route: /p/ goes past them"


def _routes(told: Explanation) -> Iterator[str]:
    if not told.routes:
        return
    yield "\nRoutes, of which the first that fits takes the request:"
    looked_at = [route for route in told.routes if route.outcome != "not reached"]
    width = max(len(route.name) for route in looked_at)
    for number, route in enumerate(looked_at, 1):
        reasons = [one.sentence for one in route.mismatches] or ["takes the request"]
        yield f"{number:>4}. {route.name:{width}}  {reasons[0]}"
        yield from (f"{'':{width + 6}}  {reason}" for reason in reasons[1:])
    behind = [route.name for route in told.routes[len(looked_at) :]]
    if behind:
        more = f" and {len(behind) - ROUTES_NAMED} more" if len(behind) > ROUTES_NAMED else ""
        yield f"      not reached: {', '.join(behind[:ROUTES_NAMED])}{more}"


def _body(told: Explanation) -> Iterator[str]:
    if told.prompt is None and told.complexity is None:
        return
    yield ""
    if told.prompt is not None:
        yield f"Prompt: {_prompt(told.prompt)}"
    if told.complexity is not None:
        yield from _complexity(told.complexity)


def _prompt(prompt: Prompt) -> str:
    holds = [name for name in ("tools", "images", "audio") if getattr(prompt, name)]
    parts = [f"about {prompt.tokens} tokens", f"{prompt.turns} turn{'' if prompt.turns == 1 else 's'} of the user's"]
    parts += [f"with {', '.join(holds)}" if holds else "no tools, images or audio"]
    parts += ["an answer in JSON"] if prompt.json else []
    parts += [f"an answer of at most {prompt.output} tokens"] if prompt.output is not None else []
    return ", ".join(parts)


def _complexity(classed: Classed) -> Iterator[str]:
    if classed.stated:
        yield f"Complexity: {classed.name}, as stated (x-fusebox-complexity, or --complexity)"
        return
    yield f"Complexity: {classed.why or classed.name}"
    counted = [name for name, value in classed.features.items() if value > 0]
    for name in counted:
        value, part = classed.features[name], classed.parts[name]
        yield f"      {name:12}  {_number(value):>5}, adds {_number(part)} to the score"
    if classed.features and len(counted) < len(classed.features):
        yield f"      0: {', '.join(name for name in classed.features if name not in counted)}"


def _number(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _plan(told: Explanation) -> Iterator[str]:
    if not told.targets:
        return
    yield f"\nTargets{_order(told)}:"
    width = max(len(one.target) for one in told.targets)
    for number, one in enumerate(told.targets, 1):
        yield f"{number:>4}. {one.target:{width}}  {_asking(told, one)}"
    for draw in told.draws:
        yield f"\nStep {draw.step} is weighted, {draw.by}:"
        yield from _choices(draw.choices)
    mirror = told.mirror
    if mirror is not None:
        copied = "not this one" if mirror.copied_to is None else f"this one to {mirror.copied_to}"
        yield f"\nMirror: {mirror.percent:g} of 100 requests are copied; with this roll {copied}"
        if len(mirror.choices) > 1 or mirror.copied_to is None:
            yield from _choices(mirror.choices)


def _order(told: Explanation) -> str:
    order = "as_written" if told.terms is None else told.terms.order
    return {"cost": ", the cheapest first", "latency": ", the quickest of late first"}.get(order, "")


def _asking(told: Explanation, one: Asking) -> str:
    if one.asked == "not":
        return f"left out: {one.reason}"
    words = "asked first" if one.asked == "first" else "next, if that fails"
    if one.asked == "first" and one.reason is not None:
        words = f"asked all the same: {one.reason}"
    order = "" if told.terms is None else told.terms.order
    if order == "cost":
        price = "price unknown" if one.order_value is None else f"${one.order_value:.4g} per million tokens"
        return f"{words} ({price}, three parts prompt to one part answer)"
    if order == "latency" and told.live:
        time = "time unknown" if one.order_value is None else f"first events after {one.order_value:.2f} s"
        return f"{words} ({time})"
    return words


def _choices(choices: tuple[Choice, ...]) -> Iterator[str]:
    width = max(len(one.target) for one in choices)
    for one in choices:
        yield f"      {one.target:{width}}  {one.share:6.1%}{'  drawn' if one.drawn else ''}"


def _terms(told: Explanation) -> Iterator[str]:
    terms = told.terms
    if terms is None:
        return
    yield ""
    times = ", ".join(f"{name} {seconds:g} s" for name, seconds in terms.timeouts.items())
    yield f"Timeouts: {times}"
    retry = terms.retry
    yield (
        f"Retries at the same target: {retry['attempts']:g}, after a wait of {retry['max_wait']:g} s at most, for"
        f" {retry['budget']:.0%} of requests"
    )
    yield from _settings(terms)
    if told.alone is not None:
        yield f"Only the first target may be asked: {told.alone}"


def _settings(terms: Terms) -> Iterator[str]:
    if terms.hedge_after_s is not None:
        yield f"Hedge: without a first event after {terms.hedge_after_s:g} s the next target is asked as well"
    deliver = "a stream is held back until it is complete" if terms.deliver == "whole" else "as it comes"
    broken = "the connection is cut" if terms.on_broken_stream == "abort" else "an error event, then a cut"
    yield f"Delivered: {deliver}; when a stream breaks: {broken}"
    if terms.on_content_filter == "fallback":
        yield "A content filter's refusal goes on to the next target"
    if terms.begins is not None or terms.ends is not None:
        span = [f"from {terms.begins}"] if terms.begins is not None else []
        span += [f"until {terms.ends}"] if terms.ends is not None else []
        yield f"In force: {' '.join(span)}"
