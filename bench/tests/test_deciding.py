"""The bench of deciding: every case asks what its title says, and the table tells it. No time is asserted."""

from __future__ import annotations

from itertools import count

import pytest

from bench.deciding import CASES, LIMIT_ROUTES, NEVER_SEEN, SIZES, Case, Figure, main, markdown, measured
from proxy.policy.compiled import REMEMBERED_MAX
from proxy.policy.decide import decide

TITLES = [case.title for case in CASES]


@pytest.mark.parametrize("routes", SIZES)
@pytest.mark.parametrize("case", CASES, ids=TITLES)
def test_requests_are_taken_by_the_route_of_the_title(case: Case, routes: int) -> None:
    """The first or the last one, for every request; those never seen all differ."""
    policy, asked = case.policy(routes), case.asked(routes)
    assert len(policy.routes) == routes
    taken = {decide(policy, facts, roll=0.02).plan.route for facts in asked}
    assert taken == {"route-0" if case.title.startswith("the first") else f"route-{routes - 1}"}
    assert len({(facts.model, tuple(facts.headers.items())) for facts in asked}) == case.requests
    assert case.requests == (NEVER_SEEN if "never seen" in case.title else 1)


def test_never_seen_is_never_remembered() -> None:
    """Before a request comes again more others have come than are remembered."""
    case = next(case for case in CASES if case.requests > 1)
    policy, asked = case.policy(1), case.asked(1)
    for facts in asked:
        policy.candidates(facts)
    assert asked[0].model not in {key[0] for key in policy._remembered}
    assert len(asked) > 2 * REMEMBERED_MAX


def test_what_is_measured_is_the_time_of_a_decision() -> None:
    """With a clock of a second per reading, ten decisions take a second whatever the routes: 100,000 µs, no growth."""
    ticks = count()
    figure = measured(CASES[0], 3, 10, lambda: float(next(ticks)))
    assert figure.us == dict.fromkeys(SIZES, 1e5)
    assert (figure.growth, figure.met) == (1.0, False)


@pytest.mark.parametrize(
    ("us", "ordinary", "verdict"), [(10.0, True, "yes"), (10.1, True, "**no**"), (10.1, False, "–"), (1.0, False, "–")]
)
def test_the_table(us: float, ordinary: bool, verdict: str) -> None:
    """A row per case; the limit holds for ordinary requests alone."""
    case = Case("title", CASES[0].match, CASES[0].request, ordinary=ordinary)
    figure = Figure(case, dict.fromkeys(SIZES, 1.0) | {LIMIT_ROUTES: us}, 2.5)
    row = markdown([figure]).splitlines()[-1]
    assert row == f"| title | 1.00 | 1.00 | {'1.00' if us == 1 else f'{us:.1f}'} | 1.00 | 2.50 × | {verdict} |"


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--rounds", "100"], ["--rounds", "x"]])
def test_a_run_is_bounded(arguments: list[str]) -> None:
    """Rounds outside their bounds are refused as wrong usage."""
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
