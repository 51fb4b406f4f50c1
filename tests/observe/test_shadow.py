"""A candidate policy beside the one in force: what counts as a difference, and how they are counted."""

from __future__ import annotations

import msgspec
import pytest

from proxy.config.parse import parse
from proxy.errors import NoRoute
from proxy.exchange import Carrier, Endpoint, Facts, Format
from proxy.observe import shadow
from proxy.observe.shadow import Shadow
from proxy.policy.compiled import Policy, compile_policy
from proxy.policy.decide import Decision, decide

PROVIDERS = "providers: {a: {base_url: http://a.test/v1, keys: none}, b: {base_url: http://b.test/v1, keys: none}}\n"
CHAT = Endpoint("chat.completions", Format.OPENAI, Carrier.JSON)


def policy(routes: str) -> Policy:
    """The policy of these routes."""
    return compile_policy(parse(PROVIDERS + f"routes: {routes}\n"))


def facts(model: str | None = "m") -> Facts:
    """A chat request."""
    return Facts(CHAT, "POST", "/v1/chat/completions", model, False, {})


def compare(candidate: Shadow, active: Policy, asked: Facts, roll: float = 0.5) -> object:
    """What the candidate would have done otherwise, as the log says it."""
    decision: Decision | None = None
    try:
        decision = decide(active, asked, roll=roll)
    except NoRoute:
        pass
    found = candidate.compare(asked, decision, roll=roll, now_s=0.0, latency=None)
    return msgspec.to_builtins(found)


ACTIVE = policy("[{name: r, match: {model: m*}, to: [a/one]}]")


@pytest.mark.parametrize(
    ("routes", "model", "expected"),
    [
        ("[{name: r, match: {}, to: [a/one, b]}]", "m", None),
        ("[{name: r, match: {}, to: [b/one]}]", "m", {"route": "r", "target": "b/one"}),
        ("[{name: s, match: {}, to: [a/one]}]", "m", {"route": "s", "target": "a/one"}),
        ("[{name: s, match: {model: x}, to: [a/one]}]", "m", {"error": "no_route"}),
        ("[{name: s, match: {model: x}, to: [a/one]}]", "x", {"route": "s", "target": "a/one"}),
        ("[{name: s, match: {model: y}, to: [a/one]}]", "x", None),
    ],
    ids=["same first", "other target", "other route", "no route any more", "a route now", "no route either way"],
)
def test_what_is_a_difference(routes: str, model: str, expected: object) -> None:
    """The route, the first target, or whether there is one at all."""
    candidate = Shadow(policy(routes), "new.yaml")
    assert compare(candidate, ACTIVE, facts(model)) == expected
    assert (candidate.compared, candidate.differing) == (1, 0 if expected is None else 1)


def test_chance_is_no_difference() -> None:
    """The same weights draw the same target of the same roll."""
    routes = "[{name: r, match: {}, to: [{a/one: 50, b/two: 50}]}]"
    candidate, active = Shadow(policy(routes), "new.yaml"), policy(routes)
    for number in range(1000):
        assert compare(candidate, active, facts(), roll=number / 1000) is None
    assert (candidate.compared, candidate.differing) == (1000, 0)


def test_which_instead_of_which() -> None:
    """Each pair with its number, so that one sees where the traffic would move."""
    candidate = Shadow(policy("[{name: s, match: {model: m1}, to: [b]}]"), "new.yaml")
    for model in ("m1", "m1", "m2"):
        compare(candidate, ACTIVE, facts(model))
    assert candidate.pairs == {("r -> a/one", "s -> b"): 2, ("r -> a/one", "no_route"): 1}


def test_pairs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes above the bound is one sum; nothing is lost from the counts."""
    monkeypatch.setattr(shadow, "PAIRS_MAX", 2)
    routes = ", ".join(f"{{name: s{number}, match: {{model: m{number}}}, to: [b]}}" for number in range(5))
    candidate = Shadow(policy(f"[{routes}]"), "new.yaml")
    for number in (0, 1, 2, 3, 0):
        compare(candidate, ACTIVE, facts(f"m{number}"))
    assert candidate.pairs == {("r -> a/one", "s0 -> b"): 2, ("r -> a/one", "s1 -> b"): 1, shadow.OTHERS: 2}
    assert candidate.differing == 5
