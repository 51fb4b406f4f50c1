"""Context fit: targets whose window is too small for the prompt, and when a body is looked into at all."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import Config, Match, Model, Route, Step
from proxy.exchange import Facts, Look, Prompt, Skipped, Target
from proxy.policy.compiled import compile_policy
from proxy.policy.decide import decide
from tests.policy.policies import CHAT, PROVIDERS
from tests.policy.rules import FakeLook, Sealed

WINDOWS = {"both/small": 100, "both/middle": 200, "both/large": 300}


def plan(
    chain: str, look: Look | None, windows: Mapping[str, int] = WINDOWS, model: str = "m"
) -> tuple[str, tuple[Skipped, ...]]:
    """The models that will be asked, ``-`` for the client's own, and what was skipped."""
    route = Route(
        name="r",
        match=Match(),
        to=tuple(Step(((Target("both", None if name == "-" else name), 1.0),)) for name in chain.split()),
    )
    models = {name: Model(context=context) for name, context in windows.items()}
    policy = compile_policy(Config(providers=PROVIDERS, models=models, routes=(route,)))
    made = decide(policy, Facts(CHAT, "POST", "/v1/any", model, False, {}, None, look), roll=0.5).plan
    return " ".join(target.model or "-" for target in made.targets), made.skipped


def prompt(tokens: int, size: int = 10_000) -> FakeLook:
    """A body with so many tokens."""
    return FakeLook(size, Prompt(tokens=tokens))


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (0, "small middle large"),
        (100, "small middle large"),
        (101, "middle large"),
        (200, "middle large"),
        (201, "large"),
        (300, "large"),
        (301, "large"),
        (10**9, "large"),
    ],
)
def test_windows_that_are_too_small_are_skipped(tokens: int, expected: str) -> None:
    """A window holds its own number of tokens; when none holds the prompt the largest stays, for the provider to judge."""
    assert plan("small middle large", prompt(tokens))[0] == expected


def test_the_reason_names_both_numbers() -> None:
    """In the order of the chain."""
    assert plan("middle large small", prompt(250))[1] == (
        Skipped(Target("both", "middle"), "about 250 prompt tokens do not fit its context of 200"),
        Skipped(Target("both", "small"), "about 250 prompt tokens do not fit its context of 100"),
    )


@pytest.mark.parametrize(
    ("chain", "model", "tokens", "expected"),
    [
        ("small other", "m", 400, "other"),  # a window that nobody declared is taken to hold everything
        ("other another", "m", 400, "other another"),
        ("- large", "small", 150, "large"),  # the client's model has the window that is declared for it
        ("- small", "large", 150, "-"),
        ("small small", "m", 400, "small small"),
        ("small", "m", 400, "small"),
    ],
)
def test_what_has_no_window_or_one_by_the_client_s_model(chain: str, model: str, tokens: int, expected: str) -> None:
    """Only what is declared can be too small."""
    assert plan(chain, prompt(tokens), model=model)[0] == expected


@given(
    st.lists(st.sampled_from(["small", "middle", "large", "other"]), min_size=1, max_size=4),
    st.integers(0, 400),
)
def test_whatever_the_chain(chain: list[str], tokens: int) -> None:
    """Those that hold the prompt stay in order; when there are none, those with the largest window of the chain."""
    windows = [WINDOWS.get(f"both/{name}", 10**9) for name in chain]
    least = tokens if any(window >= tokens for window in windows) else max(windows)
    expected = [name for name, window in zip(chain, windows, strict=True) if window >= least]
    asked, skipped = plan(" ".join(chain), prompt(tokens))
    assert asked.split() == expected
    assert len(skipped) == len(chain) - len(expected)


@pytest.mark.parametrize(
    ("look", "windows"),
    [
        (Sealed(100), WINDOWS),
        (Sealed(0), WINDOWS),
        (Sealed(10**9), {}),
        (None, WINDOWS),
    ],
    ids=["no larger than the smallest window", "empty", "no window is declared", "not JSON"],
)
def test_a_body_that_fits_anyway_is_not_looked_into(look: Look | None, windows: Mapping[str, int]) -> None:
    """A token has at least a byte. What cannot be looked into fits everywhere."""
    assert plan("small large", look, windows) == ("small large", ())


@pytest.mark.parametrize(("size", "times"), [(100, 0), (101, 1)])
def test_the_first_size_that_is_looked_into(size: int, times: int) -> None:
    """A byte more than the smallest window of the policy."""
    look = prompt(5, size)
    assert plan("small large", look)[0] == "small large"
    assert len(look.asked) == times


def test_a_large_prompt_is_not_remembered_for_the_next() -> None:
    """A plan that does not vary with chance still varies with size; those before and after are as they would be alone."""
    route = Route(
        name="r", match=Match(), to=(Step(((Target("both", "small"), 1.0),)), Step(((Target("both", "large"), 1.0),)))
    )
    models = {name: Model(context=context) for name, context in WINDOWS.items()}
    policy = compile_policy(Config(providers=PROVIDERS, models=models, routes=(route,)))
    lengths = []
    for tokens, size in [(250, 10_000), (5, 50), (250, 10_000), (5, 10_000), (5, 50)]:
        asked = Facts(CHAT, "POST", "/v1/any", "m", False, {}, None, prompt(tokens, size))
        lengths.append(len(decide(policy, asked, roll=0.5).plan.targets))
    assert lengths == [1, 2, 1, 2, 2]
