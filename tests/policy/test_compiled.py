"""Which routes are looked at for a request, when its body is, what is remembered, and time boxes."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.schema import Config, Match, Moment, Route, Step, TokenRange
from proxy.errors import NoRoute
from proxy.exchange import Endpoint, Facts, Format, Look, Prompt, Target
from proxy.policy.compiled import REMEMBERED_CHARS_MAX, REMEMBERED_MAX, Policy, compile_policy
from proxy.policy.decide import choose
from tests.policy.policies import CHAT, CONFIGS, FACTS, NOWS, PROVIDERS
from tests.policy.rules import FakeLook, Sealed, in_force, takes

TO = (Step(((Target("both"), 1.0),)),)
ANTHROPIC = Endpoint("messages", Format.ANTHROPIC, CHAT.carrier)


def policy(*matches: Match) -> Policy:
    """A route for each match, named by its place."""
    routes = tuple(Route(name=f"r{at}", match=match, to=TO) for at, match in enumerate(matches))
    return compile_policy(Config(providers=PROVIDERS, routes=routes))


def facts(
    model: str | None = "m",
    path: str = "/v1/any",
    headers: dict[str, str] | None = None,
    look: Look | None = None,
    stated: str | None = None,
) -> Facts:
    """A request as the policy sees it."""
    return Facts(CHAT, "POST", path, model, False, headers or {}, stated, look)


def names(made: Policy, asked: Facts) -> list[str]:
    """Names of the candidates."""
    return [compiled.route.name for compiled in made.candidates(asked)]


@settings(max_examples=max(200, settings().max_examples))
@given(CONFIGS, st.lists(FACTS, min_size=1, max_size=4), NOWS)
def test_the_route_is_the_first_that_takes_the_request(config: Config, requests: list[Facts], now_s: float) -> None:
    """However routes are found and remembered: asked one by one in the order of the file, it is the same one."""
    made = compile_policy(config)
    for asked in [*requests, *requests]:
        first = next((one for one in config.routes if in_force(one, now_s) and takes(one.match, asked)), None)
        try:
            chosen: Route | None = choose(made, asked, now_s).route
        except NoRoute:
            chosen = None
        assert chosen is first


def test_candidates_end_with_the_first_that_asks_nothing_more() -> None:
    """What stands behind a route that takes the request in any case is never reached."""
    made = policy(Match(tools=True), Match(model=("x",)), Match(stream=False), Match(), Match(json=True), Match())
    assert names(made, facts()) == ["r0", "r2", "r3"]


@pytest.mark.parametrize(
    ("match", "look", "stated"),
    [
        (Match(), Sealed(), None),
        (Match(stream=False), Sealed(), None),
        (Match(complexity=("simple",)), Sealed(), "simple"),
        (Match(complexity=("simple",)), None, "simple"),
        (Match(stream=False, tools=False, prompt_tokens=TokenRange(up_to=1)), None, None),
    ],
)
def test_a_route_is_found_without_a_look(match: Match, look: Look | None, stated: str | None) -> None:
    """The line, the headers, the stream and a stated class are known; and a body that cannot be looked into holds nothing."""
    assert choose(policy(match), facts(look=look, stated=stated)).route.name == "r0"


@pytest.mark.parametrize(
    "first",
    [
        Match(model=("other",), tools=True),
        Match(path=("/other",), prompt_tokens=TokenRange(over=1)),
        Match(header={"x-team": ("a",)}, complexity=("simple",)),
        Match(format="anthropic", json=True),
        Match(stream=True, images=True),
    ],
)
def test_only_a_route_that_passed_its_fixed_tests_looks(first: Match) -> None:
    """A route for other requests asks nothing of this one's body."""
    assert choose(policy(first, Match()), facts(look=Sealed())).route.name == "r1"


@pytest.mark.parametrize(("from_", "until"), [(Moment(101), None), (None, Moment(100))])
def test_a_route_that_is_not_in_force_does_not_look(from_: Moment | None, until: Moment | None) -> None:
    """It could not take the request, whatever the body holds."""
    routes = (
        Route(name="timed", match=Match(tools=True), to=TO, from_=from_, until=until),
        Route(name="rest", match=Match(), to=TO),
    )
    made = compile_policy(Config(providers=PROVIDERS, routes=routes))
    assert choose(made, facts(look=Sealed()), 100.0).route.name == "rest"


def test_a_look_is_taken_when_it_is_asked_for() -> None:
    """The fakes above would show it: here the same routes do look."""
    look = FakeLook(told=Prompt(tools=True))
    assert choose(policy(Match(tools=False), Match(complexity=("standard",))), facts(look=look)).route.name == "r1"
    assert look.asked == ["prompt", "complexity"]


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [(99.999, "rest"), (100.0, "box"), (150.0, "box"), (199.999, "box"), (200.0, "rest"), (0.0, "rest")],
)
def test_a_time_box(now_s: float, expected: str) -> None:
    """From its first moment on, and no longer at its last; remembered routes or not."""
    routes = (
        Route(name="box", match=Match(), to=TO, from_=Moment(100), until=Moment(200)),
        Route(name="rest", match=Match(), to=TO),
    )
    made = compile_policy(Config(providers=PROVIDERS, routes=routes))
    assert choose(made, facts(), 150.0).route.name == "box"
    assert choose(made, facts(), now_s).route.name == expected


def test_a_migration_changes_over_without_a_gap() -> None:
    """One route's end is the other's beginning: at each moment there is exactly one."""
    routes = (
        Route(name="old", match=Match(), to=TO, until=Moment(100)),
        Route(name="new", match=Match(), to=TO, from_=Moment(100)),
    )
    made = compile_policy(Config(providers=PROVIDERS, routes=routes))
    found = [choose(made, facts(), now_s).route.name for now_s in (0.0, 99.999, 100.0, 100.001)]
    assert found == ["old", "old", "new", "new"]


def test_what_tells_requests_apart_in_memory() -> None:
    """Model, path, format, and each header that a route matches: a different one is a different request."""
    made = policy(
        Match(model=("m",), path=("/a",), header={"x-team": ("a",)}, format="openai"),
        Match(header={"x-tier": ("a",)}),
        Match(),
    )
    base = facts("m", "/a", {"x-team": "a"})
    assert names(made, base) == ["r0"]
    for other in (facts("n", "/a", {"x-team": "a"}), facts("m", "/b", {"x-team": "a"}), facts("m", "/a")):
        assert names(made, other) == ["r2"]
    anthropic = Facts(ANTHROPIC, "POST", "/a", "m", False, {"x-team": "a"})
    assert names(made, anthropic) == ["r2"]
    assert names(made, facts(None, "/a", {"x-tier": "a"})) == ["r1"]
    assert names(made, base) == ["r0"]


def test_headers_that_no_route_matches_are_not_remembered() -> None:
    """A request id would make every request a new one; neither does a header that is only stuck by."""
    routes = (Route(name="r", match=Match(header={"x-team": ("*",)}), to=TO, sticky="header:x-user"),)
    made = compile_policy(Config(providers=PROVIDERS, routes=routes))
    for number in range(10):
        made.candidates(facts(headers={"x-team": "a", "x-user": str(number), "x-request-id": str(number)}))
    assert len(made._remembered) == 1
    assert made.header_names == {"x-team", "x-user"}


@pytest.mark.parametrize("hostile", ["model", "path", "header"])
def test_memory_is_bounded_whatever_clients_send(hostile: str) -> None:
    """Thousands of different values, some of them long: few are kept, none of them long, and the routes are right."""
    made = policy(Match(header={"x-team": ("a*",)}, tools=True), Match(model=("m*",)), Match())
    for number in range(3 * REMEMBERED_MAX):
        text = f"{number}" * (1 if number % 3 else 1000)
        asked = {
            "model": facts("m" + text),
            "path": facts("m", "/" + text),
            "header": facts("m", headers={"x-team": "a" + text}),
        }[hostile]
        assert names(made, asked) == (["r0", "r1"] if hostile == "header" else ["r1"])
        assert len(made._remembered) <= REMEMBERED_MAX
    kept = [part for key in made._remembered for part in key if isinstance(part, str)]
    assert max(map(len, kept)) < 20
    assert sum(map(sys.getsizeof, kept)) < REMEMBERED_MAX * 3 * 100


@pytest.mark.parametrize(("length", "remembered"), [(REMEMBERED_CHARS_MAX - 7, 1), (REMEMBERED_CHARS_MAX - 6, 0)])
def test_the_longest_that_is_remembered(length: int, remembered: int) -> None:
    """All texts together, the path's seven characters too."""
    made = policy(Match())
    assert names(made, facts("m" * length)) == ["r0"]
    assert len(made._remembered) == remembered


def test_a_policy_says_whether_it_looks_and_keeps_time() -> None:
    """For those who need not prepare what nobody asks for."""
    plain = policy(Match(model=("m",), stream=True))
    assert (plain.looks, plain.timed, plain.least_context) == (False, False, 0)
    for match in (
        Match(tools=False),
        Match(json=True),
        Match(prompt_tokens=TokenRange(over=0)),
        Match(complexity=("simple",)),
    ):
        assert policy(match).looks
    for route, looks in [
        (Route(name="r", match=Match(), to=TO, sticky="user"), True),
        (Route(name="r", match=Match(), to=TO, sticky="prompt"), True),
        (Route(name="r", match=Match(), to=TO, sticky="header:x"), False),
        (Route(name="r", match=Match(), to=TO, order="cost"), True),
        (Route(name="r", match=Match(), to=TO, order="latency"), False),
        (Route(name="r", match=Match(), to=TO, until=Moment(1)), False),
    ]:
        made = compile_policy(Config(providers=PROVIDERS, routes=(route,)))
        assert (made.looks, made.timed) == (looks, route.until is not None)
