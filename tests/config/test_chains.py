"""What a chain, and what goes with it, can hardly be meant to be: a warning or an error at its place, and no noise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.config.parse import parse_document
from proxy.config.problems import ConfigError, Problem

ROOT = Path(__file__).parents[2]

PROVIDERS = (
    "providers: {a: {base_url: 'http://a/v1', keys: none}, b: {base_url: 'http://b/v1', keys: none},"
    " c: {base_url: 'http://c/v1', keys: client}, d: {base_url: 'http://d/v1', keys: client},"
    " e: {base_url: 'http://c/v2', keys: client}}\n"
)
MODELS = "models: {a/x: {price: {input: 1, output: 1}}, b/y: {price: {input: 1, output: 1}}}\n"


def found(rest: str, match: str = "{model: x}", head: str = "") -> list[Problem]:
    """What is said of a file whose only route, in line 2, has ``to:`` and all else from `rest`."""
    text = f"{PROVIDERS}routes: [{{name: r, match: {match}, to: {rest}}}]\n{head}"
    try:
        return list(parse_document(text).warnings)
    except ConfigError as error:
        return list(error.problems)


QUIET = [
    "[a]",
    "[a, b]",
    "[a/x, a/y, b]",
    "[a/x, {b: 50, a/x: 50}]",
    "[{b: 50, a/x: 50}, a/x, c]",
    "[a, b, a/x, b/x]",
    "[{a/x: 95, b/y: 5}, a]",
    "[{a/x: 0.1, b/y: 0.2, a/z: 0.7}]",
    "[{a/x: 33.3, b/y: 33.3, a/z: 33.4}]",
    "[{a: 1}]",
    "[{a: 50, b: 50}], sticky: user",
    "[a, b], hedge: {after: 59.9s}",
    "[a, b], hedge: {after: 20s}, timeouts: {first_event: 21s}",
    "[a, b], order: latency",
    "[a], mirror: {to: b}",
    "[c], mirror: {to: e}",
    "[a], mirror: {to: d}",
    "[a, b], retry: {attempts: 0, max_wait: 0s, budget: 0}",
]


@pytest.mark.parametrize("rest", QUIET)
def test_what_is_fine_is_not_spoken_of(rest: str) -> None:
    """No noise."""
    assert found(rest) == []


ROWS: list[tuple[str, str, str, str]] = [
    (
        "[{a: 90, b: 5}]",
        "warning",
        "to[0]",
        "the weights add up to 95; they are relative, so the shares are a 94.7%, b 5.3%",
    ),
    ("[{a: 1, b: 1}]", "warning", "to[0]", "a 50.0%, b 50.0%"),
    ("[{a: 9, b: 9, a/x: 9, a/y: 9, a/z: 9}]", "warning", "to[0]", "a/y 20.0%, ..."),
    ("[{a/sk-abcdefgh1: 9, b: 9}]", "warning", "to[0]", "(not shown) 50.0%, b 50.0%"),
    ("[a, {b: 5}]", "warning", "to[1]", "a weight of 5, but no other target"),
    ("[a], mirror: {to: {b: 1, d: 1}}", "warning", "mirror.to", "the shares are b 50.0%, d 50.0%"),
    ("[a/x, a/y]", "warning", "to", "every step of this chain is at 'a'"),
    ("[{a/x: 50, a/y: 50}, a/z]", "warning", "to", "every step of this chain is at 'a'"),
    ("[a/x, b, a/y]", "warning", "to[2]", "this chain ends at 'a', where it began"),
    ("[a/x, b, a/x]", "warning", "to[2]", "a/x is in this chain already"),
    ("[a, b], sticky: user", "warning", "sticky", "this chain has none"),
    ("[a], order: cost", "warning", "order", "this one has a single step"),
    ("[a], order: latency", "warning", "order", "this one has a single step"),
    ("[a/x, b/z, c/z], order: cost", "error", "order", "no price is known for b/z, c/z"),
    ("[a/x, b], order: cost", "warning", "order", "what 'b' costs depends on the client's model"),
    ("[a], hedge: {after: 1s}", "warning", "hedge", "this one has a single step"),
    (
        "[a, b], hedge: {after: 60s}",
        "warning",
        "hedge.after",
        "no hedge is ever sent: an attempt is given up after 60s",
    ),
    ("[a, b], hedge: {after: 9s}, timeouts: {first_event: 8s}", "warning", "hedge.after", "given up after 8s"),
    ("[a, b/x], mirror: {to: b/x}", "warning", "mirror.to", "b/x is in the chain as well"),
    ("[a], mirror: {to: {b: 50, a: 50}}", "warning", "mirror.to.a", "a is in the chain as well"),
    ("[c], mirror: {to: d}", "error", "mirror.to", "c and d are on different hosts"),
    ("[a], mirror: {to: {c: 50, d: 50}}", "error", "mirror.to.d", "c and d are on different hosts"),
    ("[a], mirror: {to: z}", "error", "mirror.to", "provider 'z' is not declared"),
    ("[a], mirror: {to: b, percent: 0}", "error", "mirror.percent", "out of range"),
    ("[a], mirror: {percent: 5}", "error", "mirror.to", "`to` is missing"),
    ("[a], retry: {attempts: 6}", "error", "retry.attempts", "out of range"),
    ("[a], retry: {budget: -1}", "error", "retry.budget", "out of range"),
    ("[a], timeouts: {idle: 0s}", "error", "timeouts.idle", "above 0"),
]


@pytest.mark.parametrize(("rest", "severity", "path", "message"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_said_of_a_chain(rest: str, severity: str, path: str, message: str) -> None:
    """One problem, with what to do about it."""
    problems = found(rest, head=MODELS if "order" in rest else "")
    (one,) = (one for one in problems if not one.path.startswith("models"))
    assert (one.severity, one.path) == (severity, f"routes[0].{path}") and message in one.message and one.hint


def test_a_kept_model_with_a_price_for_each_that_can_come() -> None:
    """The route's own match bounds what the clients' models are."""
    assert found("[a, b], order: cost", match="{model: x}", head=MODELS.replace("b/y", "b/x")) == []
    (one,) = found("[a, b], order: cost", match="{model: x*}", head=MODELS.replace("b/y", "b/x"))
    assert "depends on the client's model" in one.message


@pytest.mark.parametrize(
    ("rest", "match", "hint"),
    [
        ("[a/y]", "{}", "take it out"),
        ("[a/model-xx]", "{}", "did you mean a/model-xx?"),
        ("[a]", "{model: y*}", "take it out"),
        ("[b]", "{}", "take it out"),
        ("[a/model-x]", "{}", None),
        ("[a]", "{}", None),
        ("[a]", "{model: model-*}", None),
        ("[b, a/model-x]", "{model: y}", None),
        ("[b], mirror: {to: a/model-x}", "{}", None),
        ("[b], mirror: {to: a}", "{}", None),
    ],
)
def test_a_model_that_no_route_leads_to(rest: str, match: str, hint: str | None) -> None:
    """It is spoken of unless a target names it, or keeps a client's model that may be it."""
    problems = found(rest, match, head="models: {a/model-x: {context: 5}}\n")
    assert [one.path for one in problems] == ([] if hint is None else ['models["a/model-x"]'])
    assert hint is None or hint in str(problems[0].hint)


def test_steps_by_the_size_of_their_windows() -> None:
    """One provider for all of them is meant: the next is for prompts that do not fit."""
    assert found("[a/x, a/y]", head="models: {a/x: {context: 5}}\n") == []
    assert found("[a/x, b, a/y]", head="models: {a/x: {context: 5}}\n") != []


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ("{simple_below: 0.6}", "complexity.simple_below"),
        ("{complex_from: 0.1}", "complexity.complex_from"),
        ("{simple_below: 0.6, complex_from: 0.5}", "complexity.simple_below"),
        ("{simple_below: 0.5, complex_from: 0.5}", None),
    ],
)
def test_thresholds_that_contradict_each_other(settings: str, path: str | None) -> None:
    """At the one that is written; the defaults count."""
    assert [one.path for one in found("[a]", head=f"complexity: {settings}\n")] == ([] if path is None else [path])


def good_texts() -> dict[str, str]:
    """Every configuration that people may copy: files, and whole ones in the documents."""
    files = [ROOT / "config.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]
    texts = {file.name: file.read_text(encoding="utf-8") for file in files}
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        whole = [
            block for block in blocks if re.search(r"^providers:", block, re.M) and re.search(r"^routes:", block, re.M)
        ]
        texts |= {f"{page.name}-{number}": block for number, block in enumerate(whole)}
    return texts


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in good_texts().items()])
def test_what_people_copy_has_no_problems(text: str) -> None:
    """Neither errors nor warnings; that keys are not there is not looked at here."""
    assert parse_document(text).warnings == ()
