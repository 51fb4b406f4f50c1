"""The one line of a request: which facts it has, and at which level it is written."""

from __future__ import annotations

import json
import re

import pytest

from proxy.config.schema import Config, Match, Provider, Route, Step, TokenRange
from proxy.exchange import Carrier, Endpoint, Facts, Format, Plan, Prompt, Skipped, Target, Tried, Usage
from proxy.observe.logs import configure
from proxy.observe.record import HEADER_MAX, Record, may_log
from proxy.observe.recorder import Recorder
from proxy.policy.compiled import Policy, compile_policy
from proxy.policy.shadow import Difference
from tests.harness import ROOT


def test_a_line_has_only_the_facts_there_are() -> None:
    """A request that never got as far as a provider."""
    record = Record("POST", "/v1/x")
    record.started_at, record.ended_at = 10.0, 10.5
    assert record.line() == {
        "request_id": "-",
        "method": "POST",
        "path": "/v1/x",
        "endpoint": "",
        "model": None,
        "route": None,
        "target": None,
        "attempts": 0,
        "status": 0,
        "stream": False,
        "total_ms": 500.0,
        "bytes_in": 0,
        "bytes_out": 0,
    }


def test_the_times_of_an_answer() -> None:
    """Own overhead is what passed outside of waiting for client and provider."""
    record = Record("POST", "/v1/x")
    record.started_at = 10.0
    record.waited_s = 0.2  # for the client's body
    record.answered(200, 10.5, 0.25)
    record.ready_at, record.written_at, record.ended_at = 12.0, 12.001, 13.0
    line = record.line()
    assert line["first_event_ms"] == 2000.0 and line["total_ms"] == 3000.0
    assert line["overhead_us"] == pytest.approx((0.5 - 0.2 - 0.25 + 0.001) * 1e6, abs=1)


@pytest.mark.parametrize(
    ("target", "model", "expected"),
    [
        (Target("openai", "gpt-5"), "asked", "openai/gpt-5"),
        (Target("openai"), "asked", "openai/asked"),
        (Target("openai"), None, "openai"),
    ],
)
def test_the_target(target: Target, model: str | None, expected: str) -> None:
    """With the model that it is really asked for; what was skipped with its reason."""
    record = Record("POST", "/v1/x")
    record.decided(Plan("r", (target, Target("b")), (Skipped(Target("c", "m"), "why"),)), model)
    line = record.line()
    assert (line["route"], line["target"], line["skipped"]) == ("r", expected, ["c/m: why"])


@pytest.mark.parametrize(("retry", "shown"), [(None, False), ("0", False), ("1", True)])
def test_a_client_s_retry_is_told(retry: str | None, shown: bool) -> None:
    """SDKs count their own; the first try is not worth a field."""
    record = Record("POST", "/v1/x")
    record.client_retry = retry
    assert ("client_retry" in record.line()) is shown


@pytest.mark.parametrize(("begun", "status"), [(0, 503), (200, 200)])
def test_a_client_that_was_cut(begun: int, status: int) -> None:
    """It was Fusebox that ended: the client is not to blame, and an answer that had begun keeps its status."""
    record = Record("POST", "/v1/x", status=begun)
    record.client_gone(cut=True)
    line = record.line()
    assert (line["status"], line["error_code"]) == (status, "drain_cut")


def test_a_client_that_left() -> None:
    """499, with its own code."""
    record = Record("POST", "/v1/x")
    record.client_gone()
    line = record.line()
    assert (line["status"], line["error_code"], line["error"]) == (
        499,
        "client_closed_request",
        "the client closed the connection",
    )


@pytest.mark.parametrize(
    ("level", "failed", "written"),
    [
        ("debug", False, "info"),
        ("info", False, "info"),
        ("warning", False, None),
        ("error", False, None),
        ("info", True, "warning"),
        ("warning", True, "warning"),
        ("error", True, None),
    ],
)
async def test_the_level_of_a_line(level: str, failed: bool, written: str | None) -> None:
    """A warning when it did not end well; below the log's level nothing is written."""
    lines: list[bytes] = []
    record = Record("POST", "/v1/x")
    if failed:
        record.error_code, record.error = "no_route", "none"
    recorder = Recorder(configure(lines.append, level))
    recorder.end(record, Config(providers={}, routes=()))
    recorder.settle()
    assert [json.loads(line)["level"] for line in lines] == ([written] if written else [])
    assert all(json.loads(line)["event"] == "request" for line in lines)


def test_what_a_client_sends_makes_no_long_line() -> None:
    """Path, retry count and the sentence of an error are cut."""
    record = Record("POST", "/v1/" + "x" * 60_000)
    record.client_retry = "9" * 60_000
    record.error_code, record.error = "bad_request", "y" * 60_000
    line = record.line()
    assert len(line["path"]) <= 1024 and len(line["client_retry"]) <= 16 and len(line["error"]) <= 4096


class Body:
    """A look into a body that has been asked for some of what it holds, and may not be asked for more."""

    size = 10

    def __init__(self, seen: Prompt | None = None, classed: str | None = None) -> None:
        self.seen = seen
        self.classed = classed

    @property
    def prompt(self) -> Prompt:
        """Looking costs time, and a log line is no reason to look."""
        raise AssertionError

    @property
    def complexity(self) -> str:
        """As above."""
        raise AssertionError


def policy(match: Match, sticky: str | None = None) -> Policy:
    """A policy of one route."""
    route = Route(name="r", match=match, to=(Step(((Target("p"), 1.0),)),), sticky=sticky)
    return compile_policy(Config(providers={"p": Provider(base_url="http://p.test/v1")}, routes=(route,)))


LOOKING = policy(Match(prompt_tokens=TokenRange(over=1)))


def facts(
    look: Body | None = None,
    *,
    headers: dict[str, str] | None = None,
    carrier: Carrier = Carrier.JSON,
    format_: Format = Format.OPENAI,
    stated: str | None = None,
) -> Facts:
    """A request as the policy sees it."""
    return Facts(Endpoint("any", format_, carrier), "POST", "/v1/any", "m", False, headers or {}, stated, look)


def looked(asked: Facts, made: Policy) -> dict[str, object]:
    """The fields that a replay needs, as they are logged."""
    record = Record("POST", "/v1/any")
    record.looked(asked, made)
    names = ("format", "matched_headers", "prompt", "complexity", "complexity_stated")
    line = record.line()
    return {name: line[name] for name in names if name in line}


@pytest.mark.parametrize("format_", list(Format))
def test_a_policy_that_asks_for_nothing(format_: Format) -> None:
    """Only the format is logged, whatever there is to look at."""
    asked = facts(Body(Prompt(), "simple"), headers={"x-team": "a"}, format_=format_)
    assert looked(asked, policy(Match())) == {"format": format_.value}


def test_what_was_looked_at_is_logged() -> None:
    """Its numbers; not who asked, nor the digest of what was asked."""
    prompt = Prompt(tokens=7, turns=2, tools=True, json=True, user="ann", prefix="abc", output=9)
    assert looked(facts(Body(prompt, "complex")), LOOKING) == {
        "format": "openai",
        "prompt": {
            "tokens": 7, "turns": 2, "tools": True, "images": False, "audio": False, "json": True, "output": 9,
        },
        "complexity": "complex",
    }  # fmt: skip


def test_nobody_looks_for_the_log_alone() -> None:
    """What no route has asked for is not computed: the body would have to be read again."""
    assert looked(facts(Body()), LOOKING) == {"format": "openai"}


@pytest.mark.parametrize(("carrier", "told"), [(Carrier.JSON, True), (Carrier.MULTIPART, False), (Carrier.NONE, False)])
def test_a_body_that_cannot_be_looked_into(carrier: Carrier, told: bool) -> None:
    """Null, where the path alone does not tell it: that is another thing than not having looked."""
    expected = {"format": "openai", "prompt": None} if told else {"format": "openai"}
    assert looked(facts(carrier=carrier), LOOKING) == expected


def test_a_class_that_the_client_stated() -> None:
    """It is told from one that was found, which holds for one policy's settings only."""
    assert looked(facts(Body(None, "complex"), stated="simple"), LOOKING) == {
        "format": "openai",
        "complexity": "simple",
        "complexity_stated": True,
    }


def test_headers_that_the_policy_asks_for() -> None:
    """By match or sticky; null for one that the request did not have, values cut, credentials and all others left out."""
    made = policy(Match(header={"x-team": ("*",), "x-tier": ("*",), "authorization": ("*",)}), "header:x-user")
    headers = {"x-team": "a" * 500, "x-user": "ann", "authorization": "Bearer secret", "x-other": "b"}
    assert looked(facts(headers=headers), made) == {
        "format": "openai",
        "matched_headers": {"x-team": "a" * HEADER_MAX, "x-user": "ann", "x-tier": None},
    }


@pytest.mark.parametrize(
    ("name", "logged"),
    [
        ("authorization", False),
        ("proxy-authorization", False),
        ("x-api-key", False),
        ("api-key", False),
        ("x-goog-api-key", False),
        ("cookie", False),
        ("x-auth-request-user", False),
        ("x-amz-security-token", False),
        ("x-client-secret", False),
        ("x-team", True),
        ("x-user-id", True),
        ("x-session-id", True),
    ],
)
def test_credentials_are_never_logged(name: str, logged: bool) -> None:
    """Whatever a policy asks of them."""
    assert may_log(name) is logged
    line = looked(facts(headers={name: "value-1"}), policy(Match(header={name: ("*",)})))
    assert ("value-1" in str(line)) is logged


def test_the_page_names_every_field() -> None:
    """docs/logging.md has each field that a request's line can have, and none that it cannot."""
    target = Target("a", "m")
    record = Record("POST", "/v1/x", format=Format.OPENAI, by=target, target="a/m", attempts=1, status=200)
    record.matched_headers, record.prompt, record.complexity, record.complexity_stated = (
        {"x-team": "a"},
        Prompt(),
        "simple",
        True,
    )
    record.skipped, record.panic, record.shadow = ["b: why"], True, Difference("here", "there")
    record.tried = [Tried(target, "a/m", "ok", "OK", "success", 0.0, 1.0, 200)]
    record.usage, record.cost_usd, record.trace_id, record.broke = Usage(1, 2), 0.5, "ab", "stalled"
    record.client_retry, record.error_code, record.error = "1", "x", "y"
    record.answered(200, 1.0, 0.5)
    fields = set(record.line()) | {"unmetered", "sample"}
    table = (ROOT / "docs/logging.md").read_text().partition("## The others")[0]
    named = {
        name for row in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named == fields
    record.usage, record.bills = None, True
    assert record.line()["unmetered"] is True
