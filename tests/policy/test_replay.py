"""Replay: logged requests are decided again, counted and priced; what the log does not hold is said, never guessed."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import (
    Config,
    LongContext,
    Match,
    Mirror,
    Model,
    Moment,
    Price,
    Provider,
    Route,
    Step,
    TokenRange,
)
from proxy.errors import BadRequest, NoRoute
from proxy.exchange import Facts, Format, Prompt, Target
from proxy.observe import record as record_module
from proxy.observe.record import Record
from proxy.policy import replay_facts
from proxy.policy.compiled import Policy, compile_policy
from proxy.policy.decide import decide
from proxy.policy.replay import REASONS_MAX, Report, redecide, replay, roll_of
from proxy.policy.replay_facts import AskedHeaders, facts_of
from proxy.policy.replay_log import Logged, Tally, read_log
from proxy.policy.replay_tally import NAMES_MAX, OTHERS
from proxy.policy.replay_text import as_text
from proxy.wire.endpoints import classify

PROVIDERS = {
    "a": Provider(base_url="http://a.test/v1", anthropic_url="http://a.test"),
    "b": Provider(base_url="http://b.test/v1"),
}
MODELS = {
    "a/big": Model(
        price=Price(
            input=2.0, cached_input=0.5, output=10.0, long_context=LongContext(over=1000, input=4.0, output=20.0)
        )
    ),
    "b/small": Model(price=Price(input=1.0, output=2.0)),
}


def step(*targets: str, weights: tuple[float, ...] = ()) -> Step:
    """A step of `provider/model` or `provider` texts."""
    parsed = [Target(provider, model or None) for provider, _, model in (text.partition("/") for text in targets)]
    return Step(tuple(zip(parsed, weights or (1.0,) * len(parsed), strict=True)))


def route(name: str, *to: str, match: Match | None = None, **more: Any) -> Route:
    """A route to one target after the other."""
    return Route(name=name, match=match or Match(), to=tuple(step(one) for one in to), **more)


def policy(*routes: Route, models: dict[str, Model] | None = None) -> Policy:
    """A compiled policy."""
    return compile_policy(Config(providers=PROVIDERS, routes=routes, models=MODELS if models is None else models))


def line(number: int = 0, **fields: Any) -> dict[str, Any]:
    """A logged request that a/big answered."""
    made = {
        "event": "request",
        "level": "info",
        "time": "2026-11-20T12:00:10.000Z",
        "request_id": f"r{number}",
        "method": "POST",
        "path": "/v1/chat/completions",
        "endpoint": "chat.completions",
        "format": "openai",
        "model": "m",
        "route": "all",
        "target": "a/big",
        "attempts": 1,
        "status": 200,
        "stream": False,
        "total_ms": 1000.0,
        "bytes_in": 400,
        "bytes_out": 10,
    }
    made.update(fields)
    return {name: value for name, value in made.items() if value is not ...}


def requests(*lines: dict[str, Any]) -> Iterator[Logged]:
    """As they are read from the log."""
    return read_log((("log:1", orjson.dumps(one)) for one in lines), Tally())


def run(made: Policy, *lines: dict[str, Any], **more: Any) -> Report:
    """The report on a few lines."""
    return replay(requests(*lines), made, **more)


def test_requests_are_counted_before_and_after() -> None:
    """Routes, targets, what moves, and a route that nothing takes."""
    made = policy(
        route("small", "b/small", match=Match(model=("cheap",))),
        route("never", "b/small", match=Match(model=("unknown",))),
        route("all", "a/big"),
    )
    report = run(made, line(1, model="cheap"), line(2, model="cheap"), line(3))
    assert report.before.routes == {"all": 3} and report.before.targets == {"a/big": 3}
    assert report.after.routes == {"small": 2, "never": 0, "all": 1}
    assert report.after.targets == {"b/small": 2, "a/big": 1}
    assert (report.route_moved, report.target_moved, report.moves) == (2, 2, {"a/big → b/small": 2})
    assert report.never_hit == ["never"] and report.replayed == 3 and report.untold == 0


def test_a_provider_alone_keeps_the_client_s_model() -> None:
    """The target's name is made as in the log."""
    assert run(policy(route("all", "b")), line(model="x/y")).after.targets == {"b/x/y": 1}
    assert run(policy(route("all", "b")), line(model=None)).after.targets == {"b": 1}


def test_a_fallback_is_told() -> None:
    """`before` counts the target that answered in the end."""
    report = run(
        policy(route("all", "a/big", "b/small")),
        line(target="b/small", attempts=2, tried=[{"target": "a/big", "outcome": "x"}, {"target": "b/small"}]),
    )
    assert report.fell_back == 1 and report.before.targets == {"b/small": 1} and report.after.targets == {"a/big": 1}


def test_a_retry_is_no_fallback() -> None:
    """The same target answered at the second try."""
    tries = [{"target": "a/big", "outcome": "x"}, {"target": "a/big", "outcome": "ok"}]
    assert run(policy(route("all", "a/big")), line(attempts=2, tried=tries)).fell_back == 0


def test_a_path_in_absolute_form() -> None:
    """It is logged as it came, and matched as it was (RFC 9112 section 3.2.2)."""
    made = policy(route("chat", "a", match=Match(path=("/v1/chat/*",))), route("all", "b"))
    report = run(made, line(path="http://127.0.0.1:4010/v1/chat/completions"))
    assert report.after.routes == {"chat": 1, "all": 0}


def test_who_was_never_asked_has_no_target() -> None:
    """All out: the log names the first target, but nobody was asked."""
    report = run(policy(route("all", "a/big")), line(attempts=0, status=503))
    assert report.before.targets == {"(nobody was asked)": 1} and report.costs.before.priced == 0


@pytest.mark.parametrize(
    ("fields", "undecided"),
    [
        ({"endpoint": "passthrough", "route": "passthrough"}, 1),
        ({"format": ..., "route": None, "error_code": "bad_request"}, 1),
        ({"format": "openai", "route": None, "error_code": "no_route"}, 0),
        ({"format": ..., "route": "all"}, 0),
    ],
)
def test_which_requests_are_decided_again(fields: dict[str, Any], undecided: int) -> None:
    """Those for which a route was asked; lines of before there were formats have a route."""
    report = run(policy(route("all", "a/big")), line(**fields))
    assert (report.undecided, report.replayed) == (undecided, 1 - undecided)


def test_requests_without_a_route_are_named() -> None:
    """Grouped by what the client would be told, with a few ids of each group."""
    made = policy(route("m", "a/big", match=Match(model=("m",))))
    report = run(made, line(0), *(line(number, model="x") for number in range(1, 9)), line(9, model=None))
    assert report.after.no_route == 9 and report.after.routes == {"m": 1}
    assert len(report.refusals) == 2
    (reason, refused), _ = report.refusals.items()
    assert "no route takes model 'x'" in reason
    assert refused.requests == 8 and refused.examples == ["r1", "r2", "r3", "r4", "r5"]


def test_a_request_without_a_model_to_replace() -> None:
    """BadRequest is an error like any other."""
    report = run(policy(route("all", "a/big")), line(model=None))
    assert report.after.no_route == 1 and "names no `model`" in next(iter(report.refusals))


# What it costs.


def test_metered_tokens_are_priced() -> None:
    """Cached ones apart, on both sides by the prices there are."""
    tokens = {"input": 1000, "cached_input": 400, "output": 50}
    costs = run(policy(route("all", "b/small")), line(tokens=tokens)).costs
    assert costs.before.usd == pytest.approx((600 * 2.0 + 400 * 0.5 + 50 * 10.0) / 1e6)
    assert costs.after.usd == pytest.approx((1000 * 1.0 + 50 * 2.0) / 1e6)
    assert (costs.metered, costs.estimated, costs.both) == (1, 0, 1)
    assert costs.ratio == pytest.approx(1100 / 1900)


def test_what_was_written_to_a_cache_has_its_price() -> None:
    """As the request itself was priced."""
    tokens = {"input": 1000, "cache_write": 300, "cache_write_1h": 100, "output": 0}
    models = {"a/big": Model(price=Price(input=2.0, cache_write=3.0, cache_write_1h=4.0, output=1.0))}
    costs = run(policy(route("all", "a/big"), models=models), line(tokens=tokens)).costs
    assert costs.after.usd == pytest.approx((700 * 2.0 + 200 * 3.0 + 100 * 4.0) / 1e6)


@pytest.mark.parametrize(("size", "rate"), [(1000, 2.0), (1001, 4.0)])
def test_long_contexts_have_their_price(size: int, rate: float) -> None:
    """From one token above the bound on, all tokens cost it."""
    costs = run(policy(route("all", "a/big")), line(tokens={"input": size})).costs
    assert costs.after.usd == costs.before.usd == pytest.approx(size * rate / 1e6)


def test_tokens_that_were_not_metered_are_estimated() -> None:
    """By the prompt that was looked at, else by its bytes; never an answer."""
    looked = run(policy(route("all", "a/big")), line(prompt={"tokens": 70}))
    assert looked.costs.estimated == 1 and looked.costs.after.usd == pytest.approx(70 * 2.0 / 1e6)
    sized = run(policy(route("all", "a/big")), line(bytes_in=403))
    assert sized.costs.estimated == 1 and sized.costs.after.usd == pytest.approx(100 * 2.0 / 1e6)


def test_what_has_no_price_is_counted_as_such() -> None:
    """Never as nothing, and never in the comparison."""
    costs = run(policy(route("all", "b/other")), line(), line()).costs
    assert (costs.before.priced, costs.after.priced, costs.after.unpriced) == (2, 0, 2)
    assert costs.after.unpriced_targets == {"b/other": 2} and costs.both == 0 and costs.ratio is None


@pytest.mark.parametrize("endpoint", ["audio.transcriptions", "images.generations", "audio.speech"])
def test_what_is_not_sized_in_tokens(endpoint: str) -> None:
    """A form with a sound in it says nothing about tokens, nor does the request for a picture."""
    sound = line(path=f"/v1/{endpoint.replace('.', '/')}", endpoint=endpoint, bytes_in=9_000_000)
    costs = run(policy(route("all", "a/big")), sound).costs
    assert (costs.unmetered, costs.before.unpriced, costs.before.usd) == (1, 1, 0.0)


@pytest.mark.parametrize(
    ("fields", "priced"),
    [
        ({"status": 200}, 1),
        ({"status": 499}, 1),
        ({"status": 400}, 0),
        ({"status": 502}, 0),
        ({"status": 200, "attempts": 0}, 0),
        ({"method": "GET", "path": "/v1/files", "endpoint": "files"}, 0),
    ],
)
def test_only_answers_of_models_cost(fields: dict[str, Any], priced: int) -> None:
    """Not refusals, failures, or calls on stored objects. Whoever hangs up pays."""
    assert run(policy(route("all", "a")), line(**fields)).costs.before.priced == priced


def test_the_old_policy_prices_what_was() -> None:
    """With it given, each side has its own prices, and it is told if it was not in force."""
    old = policy(route("all", "a/big"), models={"a/big": Model(price=Price(input=100.0, output=0.0))})
    report = run(policy(route("all", "a/big")), line(tokens={"input": 10}), line(route="else"), old=old)
    assert report.costs.before.usd == pytest.approx((10 * 100.0 + 100 * 100.0) / 1e6)
    assert report.costs.after.usd == pytest.approx((10 * 2.0 + 100 * 2.0) / 1e6)
    assert report.differs == 1


def test_copies_are_counted_and_priced() -> None:
    """A mirror's copies cost on top."""
    made = policy(route("all", "a/big", mirror=Mirror(to=step("b/small"), percent=50.0)))
    report = run(made, *(line(number, tokens={"input": 10}) for number in range(400)))
    copies = report.copies["b/small"]
    assert 150 < copies < 250
    assert report.costs.copies.usd == pytest.approx(copies * 10 / 1e6)


# What the log does not hold.


@pytest.mark.parametrize(
    ("match", "fields", "fact"),
    [
        (Match(tools=True), {}, "prompt"),
        (Match(prompt_tokens=TokenRange(over=10)), {}, "prompt"),
        (Match(complexity=("simple",)), {}, "complexity"),
        (Match(header={"x-team": ("a",)}), {}, "header x-team"),
        (Match(header={"x-team": ("a*",)}), {"matched_headers": {"x-team": "a" * 200}}, "header x-team"),
        (Match(format="openai"), {"format": ..., "path": "/v1/other"}, "format"),
        (Match(), {"path": "/v1/" + "x" * 1020}, "path"),
    ],
)
def test_what_is_not_logged_is_said(match: Match, fields: dict[str, Any], fact: str) -> None:
    """The request is counted by the fact that lacks, and goes nowhere."""
    report = run(policy(route("first", "b/small", match=match), route("all", "a/big")), line(**fields))
    assert report.lacking == {fact: 1} and report.untold == 1
    assert report.after.routes == {"first": 0, "all": 0} and report.after.targets == {}


def test_a_fact_that_changes_nothing_may_lack() -> None:
    """An earlier route takes the request whatever the header was, or its other conditions fail."""
    asking = route("asking", "b/small", match=Match(model=("other",), header={"x-team": ("a",)}))
    report = run(policy(asking, route("all", "a/big")), line())
    assert report.untold == 0 and report.after.routes == {"asking": 0, "all": 1}
    report = run(policy(route("all", "a/big"), route("late", "a/big", match=Match(header={"x-team": ("a",)}))), line())
    assert report.untold == 0 and report.after.routes["all"] == 1


def test_a_route_that_the_body_excludes_hides_no_lack() -> None:
    """Its line and headers fit, its body does not: so the next route's header matters."""
    made = policy(
        route("tools", "b", match=Match(tools=True)),
        route("team", "b", match=Match(header={"x-team": ("a",)})),
        route("all", "a"),
    )
    assert run(made, line(prompt={"tools": False})).lacking == {"header x-team": 1}
    assert run(made, line(prompt={"tools": True})).after.routes["tools"] == 1


@pytest.mark.parametrize(("value", "taken"), [("search", "team"), ("other", "all"), (None, "all")])
def test_logged_headers_are_matched(value: str | None, taken: str) -> None:
    """One that the request did not have is logged as null, which is known."""
    made = policy(route("team", "b/small", match=Match(header={"x-team": ("search",)})), route("all", "a/big"))
    assert run(made, line(matched_headers={"x-team": value})).after.routes[taken] == 1


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({"prompt": {"tokens": 11}}, "long"),
        ({"prompt": {"tokens": 10}}, "all"),
        ({"prompt": None}, "all"),
        ({"path": "/v1/images/edits"}, "all"),
    ],
)
def test_logged_prompts_are_matched(fields: dict[str, Any], taken: str) -> None:
    """One that could not be looked into holds nothing, as when it was first decided."""
    made = policy(route("long", "b", match=Match(prompt_tokens=TokenRange(over=10))), route("all", "a"))
    assert run(made, line(**fields)).after.routes[taken] == 1


def test_classes_hold_for_the_settings_they_were_found_by() -> None:
    """A class that the client stated holds always."""
    made = policy(route("simple", "b/small", match=Match(complexity=("simple",))), route("all", "a/big"))
    found, stated = line(complexity="simple", prompt={}), line(complexity="simple", complexity_stated=True)
    assert run(made, found, stated).after.routes["simple"] == 2
    report = run(made, found, stated, same_classes=False)
    assert report.after.routes["simple"] == 1 and report.lacking == {"complexity": 1}


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({"time": "2026-11-20T12:00:10.000Z"}, "new"),
        ({"time": "2026-11-20T12:00:09.999Z"}, "all"),
        ({"time": "2026-11-20T12:01:08.999Z", "total_ms": 60_000.0}, "all"),
        ({"time": ...}, None),
        ({"time": "yesterday"}, None),
    ],
)
def test_routes_in_their_time(fields: dict[str, Any], taken: str | None) -> None:
    """By when the request came in: its line was written at the end."""
    made = policy(route("new", "b", from_=Moment.parse("2026-11-20T12:00:09Z")), route("all", "a"))
    report = run(made, line(**fields))
    if taken is None:
        assert report.lacking == {"time": 1}
    else:
        assert report.after.routes[taken] == 1


# Weights.


def test_weights_are_kept_and_a_replay_repeats_itself() -> None:
    """The request's id draws."""
    made = policy(Route(name="split", match=Match(), to=(step("a/big", "b/small", weights=(3.0, 1.0)),)))
    lines = [line(number) for number in range(2000)]
    report = run(made, *lines)
    assert report == run(made, *lines)
    assert abs(report.after.targets["b/small"] / 2000 - 0.25) < 0.04
    assert report.drawn == 2000 and report.unstuck == 0
    assert 0 <= roll_of("") < 1 and roll_of("\ud800") != roll_of("")


def test_who_sticks_to_a_logged_header_is_not_drawn() -> None:
    """The same user gets the same target as in the proxy; without the header, or with one unlogged, chance decides."""
    made = policy(
        Route(name="split", match=Match(), to=(step("a/big", "b/small"),), sticky="header:x-user"),
    )
    lines = [line(number, matched_headers={"x-user": "ann"}) for number in range(50)]
    report = run(made, *lines)
    assert len(report.after.targets) == 1 and report.drawn == 0
    report = run(made, line(1, matched_headers={"x-user": None}), line(2))
    assert (report.drawn, report.unstuck, report.untold) == (2, 1, 0)


@pytest.mark.parametrize("prompt", [..., {"tokens": 5}, None])
def test_sticking_to_what_is_never_logged_is_left_to_chance(prompt: Any) -> None:
    """A user's id stands in no log: shares hold all the same, and it is told."""
    made = policy(Route(name="split", match=Match(), to=(step("a/big", "b/small"),), sticky="user"))
    report = run(made, line(prompt=prompt))
    assert (report.untold, report.drawn, report.unstuck) == (0, 1, 1)


# The log itself.


def test_lines_that_are_no_requests_are_counted() -> None:
    """Other events, other programs' words, broken ones with their place and reason."""
    tally = Tally()
    lines = [
        b'{"event":"ready"}',
        b'{"event":"breaker","route":5,"tokens":"x"}',
        b"{}",
        b"\n",
        b"DeprecationWarning: x",
        b'{"event":"request","status":"x"}',
        b'{"event":"request"',
        b"[]",
        b"\xff",
        b'{"event":"request","route":"r"}\n',
    ]
    found = list(read_log(((f"f:{number}", one) for number, one in enumerate(lines, 1)), tally))
    assert [one.route for one in found] == ["r"]
    assert (tally.requests, tally.others, tally.broken) == (1, 3, 5)
    assert [example.partition(": ")[0] for example in tally.examples] == ["f:5", "f:6", "f:7", "f:8", "f:9"]
    assert "$.status" in tally.examples[1]


def test_only_the_time_asked_for() -> None:
    """From the one moment on, before the other; a line without a time is in no time."""
    made = policy(route("all", "a"))
    lines = [line(time=f"2026-11-20T12:00:1{second}.000Z") for second in range(4)] + [line(time=...)]
    since, until = (datetime(2026, 11, 20, 12, 0, second, tzinfo=UTC).timestamp() for second in (10, 12))
    report = run(made, *lines, since_s=since, until_s=until)
    assert (report.replayed, report.outside) == (2, 3)


def test_memory_does_not_grow_with_the_log() -> None:
    """Every request with a model, a route and a target of its own: no more names are kept than the bound."""

    def lines(begin: int, end: int) -> Iterator[tuple[str, bytes]]:
        for number in range(begin, end):
            yield (
                "log",
                orjson.dumps(line(number, model=f"m{number}", route=f"r{number}", target=f"a/m{number}", status=200)),
            )

    made = policy(route("some", "b", match=Match(model=("*5",))), models={})

    def peak(begin: int, end: int) -> tuple[int, Report]:
        tracemalloc.start()
        report = replay(read_log(lines(begin, end), Tally()), made)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used, report

    few, _ = peak(0, 8000)
    many, report = peak(8000, 24_000)
    assert many < few * 1.3
    for counts in (report.before.routes, report.before.targets, report.after.targets, report.moves):
        assert len(counts) == NAMES_MAX + 1 and counts[OTHERS] > 0
    assert len(report.refusals) == REASONS_MAX + 1
    assert sum(one.requests for one in report.refusals.values()) == report.after.no_route == 14_400


def test_the_text_says_it_all() -> None:
    """Each of a report's findings has its sentence."""
    made = policy(
        route("simple", "b/small", match=Match(complexity=("simple",))),
        route("never", "b/small", match=Match(model=("unknown",))),
        Route(name="split", match=Match(model=("split",)), to=(step("a/big", "b/none"),), sticky="user"),
        route("last", "a/big", match=Match(model=("m",)), order="latency", mirror=Mirror(to=step("b/small"))),
    )
    tally = Tally()
    lines = [
        line(1, complexity="simple"),
        line(2, prompt={"tokens": 5}),
        line(3, complexity="complex", model="split"),
        line(4, complexity="complex", target="b/small", tried=[{"target": "a/big"}]),
        line(5, complexity="complex", model="nobody"),
        line(6, endpoint="passthrough"),
    ]
    texts = [*(orjson.dumps(one) for one in lines), b"nonsense", b'{"event":"ready"}']
    report = replay(read_log((("log:7", one) for one in texts), tally), made)
    text = as_text(report, tally, old_given=False)
    for said in (
        "6 requests in the log; 5 decided again.",
        "1 ended before a route was asked for",
        "1 lines are about something else.",
        "1 lines cannot be read:\n  log:7: ",
        "simple                      0            1",
        "(cannot be told)            0            1",
        "Routes that no request took: never.",
        "1 requests would get an error:",
        "as r5",
        "of 5 estimated",
        "as --from was not given",
        "1 requests fell back",
        "1 requests cannot be told: the log lacks their complexity",
        "1 of these would stick",
        "Copies would be sent aside: 1 to b/small.",
        "order: latency",
    ):
        assert said in text, said
    assert text.count("\n") == len(text.splitlines()) and text.endswith("\n")


# What the proxy logs is what it needs to decide again.


class Body:
    """A look into a made-up body, which remembers what it was asked."""

    def __init__(self, size: int, prompt: Prompt, complexity: str) -> None:
        self.size = size
        self.seen: Prompt | None = None
        self.classed: str | None = None
        self._prompt, self._complexity = prompt, complexity

    @property
    def prompt(self) -> Prompt:
        """What the body holds."""
        self.seen = self._prompt
        return self._prompt

    @property
    def complexity(self) -> str:
        """Its class."""
        self.classed = self._complexity
        return self._complexity


MAYBE = st.sampled_from([None, True, False])
MATCHES = st.builds(
    Match,
    model=st.sampled_from([(), (), ("m",), ("x*",)]),
    path=st.sampled_from([(), (), ("/v1/messages",)]),
    header=st.dictionaries(
        st.sampled_from(["x-team", "x-tier", "authorization"]), st.sampled_from([("a",), ("*",)]), max_size=2
    ),
    format=st.sampled_from([None, None, "openai", "anthropic"]),
    stream=MAYBE,
    tools=MAYBE,
    images=MAYBE,
    json=MAYBE,
    prompt_tokens=st.none()
    | st.builds(TokenRange, over=st.sampled_from([None, 10]), up_to=st.sampled_from([None, 20])),
    complexity=st.sampled_from([(), (), ("simple",), ("complex", "creative")]),
)
TARGETS = st.sampled_from(["a", "b", "a/big", "b/small", "a/tiny"])
MOMENTS = st.none() | st.sampled_from([Moment(1_790_000_000), Moment(1_800_000_000)])
ROUTES = st.builds(
    Route,
    name=st.sampled_from(["one", "two", "three"]),
    match=MATCHES,
    to=st.lists(TARGETS.map(step), min_size=1, max_size=3).map(tuple),
    order=st.sampled_from(["as_written", "cost"]),
    sticky=st.sampled_from([None, "user", "prompt", "header:x-user"]),
    from_=MOMENTS,
    until=MOMENTS,
)
PROMPTS = st.builds(
    Prompt,
    tokens=st.sampled_from([0, 10, 11, 21, 50_000]),
    turns=st.integers(0, 3),
    tools=st.booleans(),
    images=st.booleans(),
    json=st.booleans(),
    user=st.sampled_from([None, "ann"]),
    prefix=st.sampled_from(["", "abc"]),
    output=st.none() | st.integers(0, 100),
)
BODIES = st.none() | st.builds(
    Body, st.sampled_from([0, 50, 200_000]), PROMPTS, st.sampled_from(["simple", "standard", "complex", "creative"])
)
CALLS = st.sampled_from(
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/v1/unheard/of"),
        ("GET", "/v1/models/m"),
    ]
)
LIMITS = st.sampled_from(
    [MODELS, {}, {"a/big": Model(context=100), "b/small": Model(context=100_000, price=Price(input=1, output=2))}]
)


@st.composite
def asked_facts(draw: st.DrawFn) -> Facts:
    """A request as the proxy sees it: a body is looked into only where it is JSON."""
    method, path = draw(CALLS)
    endpoint = classify(method, path, anthropic_header=draw(st.booleans()))
    headers = draw(
        st.dictionaries(
            st.sampled_from(["x-team", "x-tier", "x-user", "authorization"]), st.sampled_from(["a", "b", "long" * 49])
        )
    )
    look = draw(BODIES) if endpoint.carrier.value == "json" else None
    stated = draw(st.sampled_from([None, None, "simple", "complex"]))
    return Facts(
        endpoint, method, path, draw(st.sampled_from([None, "m", "xx"])), draw(st.booleans()), headers, stated, look
    )


@given(st.lists(ROUTES, min_size=1, max_size=4), LIMITS, asked_facts(), st.floats(0, 1, exclude_max=True))
def test_a_replay_by_the_same_policy_decides_the_same(
    routes: list[Route], models: dict[str, Model], asked: Facts, roll: float
) -> None:
    """Through a log line and back: route, targets, reasons. Only a header that is never logged may leave it untold."""
    made = policy(*routes, models=models)
    now_s = 1_795_000_000.0
    wanted: Any
    try:
        wanted = decide(made, asked, roll=roll, now_s=now_s).plan
    except (NoRoute, BadRequest) as error:
        wanted = str(error)
    record = Record(asked.method, asked.path)
    record.endpoint, record.client_model, record.stream = asked.endpoint.name, asked.model, asked.stream
    record.body_in = 0 if asked.look is None else asked.look.size
    record.looked(asked, made)
    fields = record.line()
    fields["event"], fields["time"] = "request", datetime.fromtimestamp(now_s, UTC).isoformat()
    text = orjson.dumps(fields)
    assert b"ann" not in text and b"abc" not in text  # nobody's id, no digest
    (logged,) = read_log([("log", text)], Tally())
    headers = AskedHeaders(logged.matched_headers)
    try:
        found: Any = redecide(policy(*routes, models=models), logged, facts_of(logged, headers), headers).plan
    except (NoRoute, BadRequest) as error:
        found = str(error)
    except replay_facts.Lacking as lacking:
        assert lacking.fact == "header authorization"
        return
    assert found == wanted


def test_reader_and_writer_agree_on_their_bounds() -> None:
    """What is cut when it is written is known to be cut when it is read."""
    assert replay_facts.HEADER_LOGGED == record_module.HEADER_MAX
    assert replay_facts.PATH_LOGGED == record_module.PATH_MAX
    assert json.loads('"openai"') == Format.OPENAI.value


def test_a_route_that_is_over_asks_for_nothing() -> None:
    """What it would ask was not looked at when the request was decided, so the log need not have it."""
    over = route("over", "a", match=Match(json=True), until=Moment(1_000.0))
    team = route("team", "a", match=Match(header={"authorization": ("x",)}))
    made = policy(over, route("rest", "a"), team, models={})
    logged = next(iter(read_log([("log", orjson.dumps(line(1, model="m", matched_headers={})))], Tally())))
    headers = AskedHeaders(logged.matched_headers)
    assert redecide(made, logged, facts_of(logged, headers), headers).plan.route == "rest"
