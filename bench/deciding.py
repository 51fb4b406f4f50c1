"""``python -m bench.deciding``: what it costs to decide, by the number of routes, as a Markdown table.

A request's facts are there already, so what is measured is `decide` alone: match, draw and plan, with some 0.1 µs of the
loop around it. The time is this process's CPU time, which others on the machine disturb least. Each round measures every
number of routes, so that figures that are compared come from the same seconds; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from timeit import Timer

import msgspec

from bench.report import number, table
from proxy.config.schema import Complexity, Config, Match, Mirror, Model, Price, Provider, Route, Step, TokenRange
from proxy.exchange import Carrier, Endpoint, Facts, Format, Prompt, Target
from proxy.policy.compiled import REMEMBERED_MAX, Policy, compile_policy
from proxy.policy.decide import decide
from proxy.policy.look import BodyLook

SIZES = (1, 10, 100, 300)
"""Routes in a policy."""

LIMIT_US, LIMIT_ROUTES = 10.0, 100
"""What an ordinary request may cost, and with how many routes."""

LOOK_LIMIT_US = 50
"""What a look into an ordinary prompt may cost, its class with it."""

NEVER_SEEN = 4 * REMEMBERED_MAX
"""Different requests that are asked in turn: far more than are remembered, so each is as good as never seen."""

CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON, modality="text", inference=True)
HEADERS = {"host": "127.0.0.1:4010", "content-type": "application/json", "user-agent": "OpenAI/Python"}
FIRST, SECOND = Target("local", "model"), Target("local", "other")
PLAIN = Route(name="any", match=Match(), to=(Step(((FIRST, 1.0),)), Step(((SECOND, 1.0),))))
EVERYTHING = Route(
    name="any",
    match=Match(),
    to=(Step(((FIRST, 95.0), (SECOND, 5.0))), Step(((SECOND, 1.0),))),
    sticky="user",
    order="cost",
    mirror=Mirror(to=Step(((SECOND, 1.0),)), percent=10),
)


class Body(msgspec.Struct, frozen=True):
    """A look that has been taken: what looking costs is another matter."""

    size: int = 2000
    prompt: Prompt = Prompt(tokens=500, turns=1, user="someone", prefix="0123456789abcdef")
    complexity: str = "standard"

    @property
    def seen(self) -> Prompt | None:
        """See ``exchange.Look``."""
        return self.prompt

    @property
    def classed(self) -> str | None:
        """See ``exchange.Look``."""
        return self.complexity


@dataclass(frozen=True, slots=True)
class Case:
    """A policy of any number of routes, and what is asked of it.

    `match`: of a route. `request`: model and further headers of a request. Both by the number of routes and a number of
    their own, from 0. `requests`: how many are asked in turn. `route`: all routes, but for name and match. `ordinary`:
    whether the limit is meant for it.
    """

    title: str
    match: Callable[[int, int], Match]
    request: Callable[[int, int], tuple[str, dict[str, str]]]
    requests: int = 1
    route: Route = PLAIN
    ordinary: bool = True

    def policy(self, routes: int) -> Policy:
        """The policy, newly compiled."""
        priced = Model(context=1000, price=Price(input=1, output=2))
        return compile_policy(
            Config(
                providers={"local": Provider(base_url="http://local.test/v1")},
                models={} if self.route is PLAIN else {str(FIRST): priced, str(SECOND): priced},
                routes=tuple(
                    msgspec.structs.replace(self.route, name=f"route-{at}", match=self.match(routes, at))
                    for at in range(routes)
                ),
            )
        )

    def asked(self, routes: int) -> list[Facts]:
        """The requests."""
        made = [self.request(routes, at) for at in range(self.requests)]
        path = "/v1/chat/completions"
        return [Facts(CHAT, "POST", path, model, False, HEADERS | headers, None, Body()) for model, headers in made]


def _model(routes: int, at: int) -> Match:
    return Match(model=(f"model-{at}",))


def _family(routes: int, at: int) -> Match:
    return Match(model=(f"family-{at}-*",))


def _team(routes: int, at: int) -> Match:
    return Match(header={"x-team": (f"team-{at}",)})


def _body(routes: int, at: int) -> Match:
    # The prompt has 500 tokens: too few for all routes but the last.
    return Match(tools=False, prompt_tokens=TokenRange(over=0 if at == routes - 1 else 1000 + at))


def _last_model(routes: int, at: int) -> tuple[str, dict[str, str]]:
    return f"model-{routes - 1}", {}


CASES = (
    Case("the first route takes it, by its model", _model, lambda routes, at: ("model-0", {})),
    Case("the last one takes it, by its model", _model, _last_model),
    Case("the last one, with sticky weights, order by cost, windows and a mirror", _model, _last_model, 1, EVERYTHING),
    Case("the last one, by a header", _team, lambda routes, at: ("gpt-5", {"x-team": f"team-{routes - 1}"})),
    Case(
        "the last one, by a glob; a model never seen", _family, lambda n, at: (f"family-{n - 1}-{at}", {}), NEVER_SEEN
    ),
    Case(
        "the last one, by a header; a model never seen",
        _team,
        lambda routes, at: (f"model-{at}", {"x-team": f"team-{routes - 1}"}),
        NEVER_SEEN,
    ),
    Case("the last one, where each asks for tools and prompt tokens", _body, _last_model, ordinary=False),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One case's cost. `us`: CPU per decision in µs, by the number of routes. `growth`: from `LIMIT_ROUTES` to the most."""

    case: Case
    us: dict[int, float]
    growth: float

    @property
    def met(self) -> bool:
        """Whether the limit is kept."""
        return self.us[LIMIT_ROUTES] <= LIMIT_US


def measured(case: Case, rounds: int, decisions: int, clock: Callable[[], float]) -> Figure:
    """The case's cost by `clock`, in seconds: the median of `rounds` of `decisions` decisions for each number of routes."""
    timers = {routes: _timer(case, routes, clock) for routes in SIZES}
    for timer in timers.values():
        timer.timeit(decisions)  # what is made once is made now
    found = [
        {routes: timer.timeit(decisions) / decisions * 1e6 for routes, timer in timers.items()} for _ in range(rounds)
    ]
    return Figure(
        case,
        {routes: median(one[routes] for one in found) for routes in SIZES},
        median(one[SIZES[-1]] / one[LIMIT_ROUTES] for one in found),
    )


def _timer(case: Case, routes: int, clock: Callable[[], float]) -> Timer:
    policy, requests = case.policy(routes), cycle(case.asked(routes))
    return Timer(lambda: decide(policy, next(requests), roll=0.02), timer=clock)


def markdown(figures: Sequence[Figure]) -> str:
    """The table, in µs per decision, and whether the limit is kept."""
    rows = [
        [
            figure.case.title,
            *(number(figure.us[routes]) for routes in SIZES),
            f"{number(figure.growth)} ×",
            ("yes" if figure.met else "**no**") if figure.case.ordinary else "–",
        ]
        for figure in figures
    ]
    heads = ["CPU µs per decision, by routes", *map(str, SIZES), f"{LIMIT_ROUTES} → {SIZES[-1]}", f"≤ {LIMIT_US:g} µs"]
    return table(heads, rows)


_QUESTION = "Write a Python function that merges two sorted lists, and explain its complexity step by step. "
BODIES = {
    "a question of 100 characters": json.dumps({"model": "auto", "messages": [{"role": "user", "content": _QUESTION}]}),
    "one of 800, with a system text and two tools": json.dumps(
        {
            "model": "auto",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": _QUESTION * 8}],
            "tools": [
                {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "ab"
            ],
        }
    ),
    "a conversation of seven messages, 5 KB": json.dumps(
        {
            "model": "auto",
            "messages": [{"role": "user" if at % 2 == 0 else "assistant", "content": _QUESTION * 8} for at in range(7)],
        }
    ),
}
"""Bodies that are looked into: ordinary prompts."""


def looked_us(body: str, rounds: int) -> tuple[float, float]:
    """CPU in µs of reading a body for its facts, and of that and its class; medians of `rounds`."""
    raw, settings = body.encode(), Complexity()
    endpoint = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON, inference=True)
    repeats = 500
    timers = (
        Timer(lambda: BodyLook(raw, endpoint, settings).prompt, timer=time.process_time),
        Timer(lambda: BodyLook(raw, endpoint, settings).complexity, timer=time.process_time),
    )
    facts, both = (median(timer.repeat(rounds, repeats)) / repeats * 1e6 for timer in timers)
    return facts, both


def looks_markdown(figures: Mapping[str, tuple[float, float]]) -> str:
    """A row for each body: its facts alone, and with its class (target: 50 µs)."""
    rows = [
        (name, f"{facts:.0f}", f"{both:.0f}", "yes" if both <= LOOK_LIMIT_US else "no")
        for name, (facts, both) in figures.items()
    ]
    return table(("CPU µs per look", "facts", "facts and class", f"≤ {LOOK_LIMIT_US} µs"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.deciding", description=__doc__)
    parser.add_argument("--rounds", type=int, choices=range(1, 100), default=15, metavar="1..99")
    rounds = parser.parse_args(arguments).rounds
    print(markdown([measured(case, rounds, NEVER_SEEN, time.process_time) for case in CASES]))
    print(looks_markdown({name: looked_us(body, rounds) for name, body in BODIES.items()}), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
