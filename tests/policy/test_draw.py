"""Weights and sticky keys: shares within statistical bounds, draws that do not lean on each other, keys that stay."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Config, Match, Mirror, Route, Step
from proxy.exchange import Facts, Prompt, Target
from proxy.policy.compiled import compile_policy
from proxy.policy.decide import Decision, decide
from proxy.policy.draw import another, by_chance, by_key
from tests.policy.policies import CHAT, PROVIDERS
from tests.policy.rules import FakeLook

DRAWS = 10_000
KEYS = [f"user-{number}" for number in range(DRAWS)]


def step(**weights: float) -> Step:
    """A weighted step of one provider's models."""
    return Step(tuple((Target("both", model), weight) for model, weight in weights.items()))


def route(*steps: Step, name: str = "r", sticky: str | None = None, mirror: Mirror | None = None) -> Route:
    """A route that takes everything."""
    return Route(name=name, match=Match(), to=steps, sticky=sticky, mirror=mirror)


def facts(user: str | None = None, look: FakeLook | None = None) -> Facts:
    """A request, with the header that routes here stick by."""
    return Facts(CHAT, "POST", "/v1/any", "m", False, {} if user is None else {"x-user": user}, None, look)


def decisions(one: Route, asked: Sequence[Facts] = (facts(),) * DRAWS, seed: int = 7) -> list[Decision]:
    """A decision for each request, with rolls of a fixed seed."""
    made, dice = compile_policy(Config(providers=PROVIDERS, routes=(one,))), random.Random(seed)
    return [decide(made, each, roll=dice.random()) for each in asked]


def models(made: list[Decision], at: int = 0) -> list[str | None]:
    """The model of each plan's target at a place of the chain."""
    return [one.plan.targets[at].model for one in made]


def holds(hits: int, of: int, share: float) -> bool:
    """Whether a count is within four standard deviations of its share; by chance one of 16,000 is not."""
    return abs(hits - of * share) < 4 * math.sqrt(of * share * (1 - share))


WEIGHTS = {"a": 95.0, "b": 4.0, "c": 1.0, "d": 100.0}


@pytest.mark.parametrize("behind", [0, 1, 2, 3, 4, 5, 7])
def test_weights_hold_at_any_place_of_a_chain(behind: int) -> None:
    """A share is its weight of the sum, behind any number of other weighted steps."""
    made = decisions(route(*[step(x=1, y=1)] * behind, step(**WEIGHTS)))
    drawn = Counter(models(made, behind))
    for model, weight in WEIGHTS.items():
        assert holds(drawn[model], DRAWS, weight / 200)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 2), (1, 2), (0, 4), (3, 4)])
def test_weighted_steps_draw_for_themselves(first: int, second: int) -> None:
    """Among the requests that one step gave a rare choice, another step's shares hold too."""
    made = decisions(route(*[step(a=5, b=95)] * 5))
    pairs = Counter(zip(models(made, first), models(made, second), strict=True))
    for pair in [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]:
        assert holds(pairs[pair], DRAWS, (0.05 if pair[0] == "a" else 0.95) * (0.05 if pair[1] == "a" else 0.95))


@pytest.mark.parametrize("percent", [0.5, 10.0, 50.0])
def test_copies_are_a_share_of_each_choice_s_requests(percent: float) -> None:
    """A canary's requests are copied as often as all others, and a weighted mirror's shares hold among the copies."""
    mirror = Mirror(to=step(x=20, y=80), percent=percent)
    made = decisions(route(step(canary=5, stable=95), step(a=1, b=1), mirror=mirror))
    copied = [one for one in made if one.mirror is not None]
    assert holds(len(copied), DRAWS, percent / 100)
    for at, model, share in [(0, "canary", 0.05), (0, "stable", 0.95), (1, "a", 0.5)]:
        assert holds(models(copied, at).count(model), DRAWS, share * percent / 100)
    to = Counter(one.mirror.model for one in copied if one.mirror is not None)
    assert set(to) <= {"x", "y"} and holds(to["x"], DRAWS, 0.2 * percent / 100)


def test_every_request_is_copied_at_a_hundred_percent() -> None:
    """The whole is the whole, whatever the roll."""
    made = decisions(route(step(a=1), mirror=Mirror(to=step(x=1))))
    assert {one.mirror for one in made} == {Target("both", "x")}


@pytest.mark.parametrize(
    ("roll", "model"), [(0.0, "a"), (0.2499999, "a"), (0.25, "b"), (0.4999999, "b"), (0.5, "c"), (1 - 2**-53, "c")]
)
def test_where_a_draw_falls(roll: float, model: str) -> None:
    """The weights are laid end to end; a boundary belongs to the next."""
    assert by_chance(step(a=1, b=1, c=2), roll) == Target("both", model)


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=5), st.floats(0, 1, exclude_max=True))
def test_a_draw_always_falls_on_a_choice(weights: list[float], roll: float) -> None:
    """However the sum of the weights is rounded."""
    one = Step(tuple((Target("both", str(at)), weight) for at, weight in enumerate(weights)))
    assert by_chance(one, roll) in [target for target, _ in one.choices]


@given(st.floats(0, 1, exclude_max=True), st.integers(-2, 100))
def test_another_roll_is_a_roll(roll: float, number: int) -> None:
    """From 0 up to 1, and the same again."""
    assert 0 <= another(roll, number) < 1
    assert another(roll, number) == another(roll, number)


def keyed(*steps: Step, name: str = "r", at: int = 0) -> list[str | None]:
    """The choice of every key at a step of a sticky route."""
    return models(decisions(route(*steps, name=name, sticky="header:x-user"), [facts(key) for key in KEYS]), at)


def test_keys_are_shared_out_by_weight() -> None:
    """As chance would do it; and a second time alike, whatever the rolls."""
    drawn = Counter(keyed(step(**WEIGHTS)))
    for model, weight in WEIGHTS.items():
        assert holds(drawn[model], DRAWS, weight / 200)
    asked = [facts(key) for key in KEYS[:100]]
    one = route(step(**WEIGHTS), sticky="header:x-user")
    assert models(decisions(one, asked, seed=1)) == models(decisions(one, asked, seed=2))


@pytest.mark.parametrize(
    ("after", "may", "share"),
    [
        (step(a=20, b=45, c=45), lambda was, now: now == "a", 20 / 110 - 0.1),  # a weight raised
        (step(a=5, b=45, c=45), lambda was, now: was == "a", 0.1 - 5 / 95),  # lowered
        (step(c=45, a=20, b=45), lambda was, now: now == "a", 20 / 110 - 0.1),  # the order is of no matter
        (step(a=10, b=45, c=45, d=25), lambda was, now: now == "d", 0.2),  # a choice added
        (step(b=45, c=45), lambda was, now: was == "a", 0.1),  # taken away
        (step(a=1, b=4.5, c=4.5), lambda was, now: False, 0.0),  # all by the same factor: rounding alone
    ],
)
def test_keys_keep_their_choice_when_another_weight_changes(
    after: Step, may: Callable[[str, str], bool], share: float
) -> None:
    """Only keys to or from the changed choice move, and no more of them than its share has changed."""
    pairs = zip(keyed(step(a=10, b=45, c=45)), keyed(after), strict=True)
    moved = [(was, now) for was, now in pairs if was is not None and now is not None and was != now]
    assert all(may(was, now) for was, now in moved)
    assert holds(len(moved), DRAWS, share) if share else not moved


def test_routes_and_steps_do_not_share_out_alike() -> None:
    """A key's choice in one route or step says nothing of its choice in another: each pair is a quarter."""
    halves = step(a=1, b=1)
    here, there = keyed(halves, halves, name="one"), keyed(halves, halves, name="two")
    behind = keyed(halves, halves, name="one", at=1)
    for other in (there, behind):
        pairs = Counter(zip(here, other, strict=True))
        assert len(pairs) == 4 and all(holds(count, DRAWS, 0.25) for count in pairs.values())


@pytest.mark.parametrize("sticky", ["header:x-user", "user", "prompt"])
@pytest.mark.parametrize("look", [None, FakeLook()], ids=["no body", "body"])
def test_without_a_key_chance_decides(sticky: str, look: FakeLook | None) -> None:
    """A request that lacks the header, the user or the prompt is drawn like any other; an empty key is none."""
    lacking = [facts(user, look) for user in (None, "")] * 1000
    drawn = models(decisions(route(step(a=1, b=1), sticky=sticky), lacking))
    assert drawn == models(decisions(route(step(a=1, b=1)), lacking))
    assert holds(drawn.count("a"), 2000, 0.5)


@pytest.mark.parametrize(
    ("sticky", "told"), [("user", Prompt(user="someone")), ("prompt", Prompt(prefix="0123456789abcdef"))]
)
def test_a_key_may_be_in_the_body(sticky: str, told: Prompt) -> None:
    """The same target for every roll, and not the same one for every user or prompt."""
    one = route(step(a=1, b=1), sticky=sticky)
    asked = [facts(look=FakeLook(told=told))] * 50
    assert len(set(models(decisions(one, asked)))) == 1
    kinds = {"user": "user", "prompt": "prefix"}
    others = [facts(look=FakeLook(told=msgspec.structs.replace(told, **{kinds[sticky]: f"{at}"}))) for at in range(50)]
    assert len(set(models(decisions(one, others)))) == 2


@given(st.text(st.characters(), min_size=1), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_key_is_of_any_characters(key: str, one_roll: float, other_roll: float) -> None:
    """Lone surrogates and zeros, too: it keeps its choice."""
    made = compile_policy(Config(providers=PROVIDERS, routes=(route(step(a=1, b=1, c=1), sticky="header:x-user"),)))
    first, second = (decide(made, facts(key), roll=roll).plan for roll in (one_roll, other_roll))
    assert first == second


def test_keys_keep_their_choice_from_one_version_to_the_next() -> None:
    """A change of the hash would move every client's key in one go."""
    three = step(a=1, b=1, c=1)
    found = "".join(by_key(three, f"r\x000\0user-{number}".encode()).model or "?" for number in range(24))
    assert found == "caaaababaacabcaababccbbb"
