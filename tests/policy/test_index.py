"""The index of routes: all that may take a request are found, and few others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Match
from proxy.exchange import Facts
from proxy.policy.index import Index
from tests.policy.policies import CHAT, FACTS, matches
from tests.policy.rules import takes


def facts(model: str | None = "m", headers: dict[str, str] | None = None) -> Facts:
    """A request as the policy sees it."""
    return Facts(CHAT, "POST", "/v1/any", model, False, headers or {})


@given(st.lists(matches(), max_size=8), FACTS)
def test_every_route_that_takes_a_request_is_found(made: list[Match], asked: Facts) -> None:
    """In order, and each once."""
    found = Index(made).possible(asked)
    assert found == sorted(set(found))
    assert {at for at, match in enumerate(made) if takes(match, asked)} <= set(found)


@given(
    st.lists(st.lists(st.text("ab*?", max_size=4), min_size=1, max_size=2).map(tuple), min_size=1, max_size=6),
    st.text("ab", max_size=5),
)
def test_globs_of_any_shape(patterns: list[tuple[str, ...]], model: str) -> None:
    """Beginnings of any length, the empty text and patterns without a beginning among them."""
    made = [Match(model=one) for one in patterns]
    found = Index(made).possible(facts(model))
    assert {at for at, match in enumerate(made) if takes(match, facts(model))} <= set(found)


def test_other_models_families_and_teams_are_not_asked() -> None:
    """Of 300 routes the one that fits, and those that cannot be told apart beforehand."""
    made = [Match(model=(f"m-{at}",)) for at in range(100)]
    made += [Match(model=(f"f{at}-*",)) for at in range(100)]
    made += [Match(model=("m*",), header={"X-Team": (f"t{at}",)}) for at in range(100)]
    made += [Match(model=("*-mini",)), Match(tools=True)]
    index = Index(made)
    assert index.possible(facts("m-7")) == [7, 300, 301]
    assert index.possible(facts("f42-large")) == [142, 300, 301]
    assert index.possible(facts("m-x", {"x-team": "t5"})) == [205, 300, 301]
    assert index.possible(facts(None)) == [300, 301]


def test_a_route_is_kept_under_what_the_fewest_others_ask_for() -> None:
    """A model that all routes share tells nothing; the header does."""
    shared = Index([Match(model=("auto",), header={"x-team": (f"t{at}",)}) for at in range(50)])
    assert shared.possible(facts("auto", {"x-team": "t9"})) == [9]
    assert shared.possible(facts("auto")) == []
    own = Index([Match(model=(f"m{at}",), header={"x-team": ("t", "u")}) for at in range(50)])
    assert own.possible(facts("m9", {"x-team": "t"})) == [9]


def test_a_route_with_several_patterns_is_found_by_each() -> None:
    """Exact or not; one that fits twice comes once."""
    index = Index([Match(model=("gpt-5", "gpt-*", "o3")), Match(model=("x",))])
    assert [index.possible(facts(model)) for model in ("gpt-5", "gpt-6", "o3", "o4", "gpt")] == [[0], [0], [0], [], []]
