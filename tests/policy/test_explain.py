"""Explanations: they tell what `decide` does, in words that somebody can act on, for any policy and any request."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.problems import BadValue
from proxy.config.schema import Config, Hedge, Match, Mirror, Moment, Route, Seconds, TokenRange
from proxy.errors import BadRequest, ClientFault, NoRoute
from proxy.exchange import Carrier, Endpoint, Facts, Format, Look, Prompt
from proxy.policy.compiled import compile_policy
from proxy.policy.decide import Decision, decide
from proxy.policy.explain import answer, explain
from proxy.policy.explain_asked import TOKENS_MAX, Asked, Question, question, saved
from proxy.policy.explain_reasons import printable
from proxy.policy.explain_story import Explanation
from proxy.policy.explain_text import as_text
from proxy.policy.explain_world import Hindrance, World, assumed, label
from tests.policy.policies import CHAT, CONFIGS, FACTS, PROVIDERS
from tests.policy.rules import FakeLook
from tests.policy.test_decide import step

ROLLS = st.floats(0, 1, exclude_max=True)
NOWS = st.sampled_from([50.0, 100.0, 150.0, 200.0])
LATENCIES = st.none() | st.dictionaries(st.sampled_from(["both/m", "both/m1", "openai/x"]), st.sampled_from([0.1, 2.0]))


def afresh(facts: Facts) -> Facts:
    """The same request, into which nobody has looked."""
    look = facts.look
    if not isinstance(look, FakeLook):
        return facts
    return msgspec.structs.replace(facts, look=FakeLook(look.size, look.told, look.told_class))


# It agrees with what is decided.


@given(CONFIGS, FACTS, ROLLS, NOWS, LATENCIES)
def test_it_tells_what_is_decided(
    config: Config, facts: Facts, roll: float, now_s: float, latencies: dict[str, float] | None
) -> None:
    """For any policy and request: the same route, targets in the same order, reasons, copy and error; never an exception."""
    policy = compile_policy(config)
    latency = None if latencies is None else latencies.get
    decision: Decision | ClientFault
    try:
        decision = decide(policy, afresh(facts), roll=roll, now_s=now_s, latency=latency)
    except (NoRoute, BadRequest) as refused:
        decision = refused
    told = explain(policy, Question(afresh(facts)), roll=roll, now_s=now_s, latency=latency)
    if isinstance(decision, ClientFault):
        assert told.error is not None and told.target is None
        assert (told.error.status, told.error.code, told.error.message) == (
            decision.status,
            decision.code,
            str(decision),
        )
        assert all(one.asked == "not" for one in told.targets)
    else:
        plan = decision.plan
        assert told.error is None and told.route == plan.route
        asked = [one.target for one in told.targets if one.asked != "not"]
        assert asked == [label(target, facts.model) for target in plan.targets]
        assert [one.asked for one in told.targets][: len(asked)] == ["first"] + ["next"] * (len(asked) - 1)
        assert told.target == asked[0]
        out = [(one.target, one.reason) for one in told.targets if one.asked == "not"]
        assert out == [(label(skip.target, facts.model), skip.reason) for skip in plan.skipped]
        route = decision.route
        assert route is not None and sorted(one.step for one in told.targets) == list(range(1, len(route.to) + 1))
        assert told.terms is not None and told.terms.timeouts == msgspec.structs.asdict(decision.timeouts)
        copied = None if told.mirror is None else told.mirror.copied_to
        wanted = decision.mirror if facts.endpoint.inference else None
        assert copied == (None if wanted is None else label(wanted, facts.model))


@given(CONFIGS, FACTS, NOWS)
def test_every_route_has_its_reason(config: Config, facts: Facts, now_s: float) -> None:
    """Those before the one that takes the request do not fit, each for a key that it has; those behind are not looked at."""
    policy = compile_policy(config)
    told = explain(policy, Question(afresh(facts)), roll=0.0, now_s=now_s)
    outcomes = [route.outcome for route in told.routes]
    taking = outcomes.index("takes") if "takes" in outcomes else len(outcomes)
    assert outcomes == (["does not fit"] * taking + ["takes"] + ["not reached"] * len(outcomes))[: len(outcomes)]
    assert (taking == len(outcomes)) == (told.route is None)
    for seen, compiled in zip(told.routes, policy.routes, strict=True):
        assert bool(seen.mismatches) == (seen.outcome == "does not fit")
        for one in seen.mismatches:
            stem = one.key.partition(".")[0]
            key = {"from": "from_"}.get(stem, stem)
            assert getattr(compiled.route if key in ("from_", "until") else compiled.route.match, key) is not None
            assert one.sentence.startswith(f"{one.key}: ")


@given(CONFIGS, FACTS, NOWS)
def test_the_body_is_told_of_where_a_route_asks(config: Config, facts: Facts, now_s: float) -> None:
    """A policy that never looks into bodies has nothing told of them; else what was looked at is told, and nothing more."""
    policy, asked = compile_policy(config), afresh(facts)
    told = explain(policy, Question(asked), roll=0.0, now_s=now_s)
    if isinstance(asked.look, FakeLook):
        assert policy.looks or asked.look.asked == []
        assert (told.prompt is not None) == ("prompt" in asked.look.asked)
        if asked.complexity is None:
            assert (told.complexity is not None) == ("complexity" in asked.look.asked)


@given(CONFIGS, FACTS, ROLLS, NOWS, st.sets(st.sampled_from([*PROVIDERS, "both/m1", "openai/x"])))
def test_it_can_be_written_and_read(config: Config, facts: Facts, roll: float, now_s: float, down: set[str]) -> None:
    """As JSON and back it is the same; as text it holds no character that could do something to a terminal."""
    world = assumed(PROVIDERS, down=sorted(down))
    told = explain(compile_policy(config), Question(afresh(facts)), roll=roll, now_s=now_s, world=world)
    again = msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(told))), Explanation)
    assert again == told
    text = as_text(told)
    assert text.endswith("\n") and all(line.isprintable() for line in text.splitlines())
    assert "None" not in text


@given(CONFIGS, FACTS, st.sets(st.sampled_from([*PROVIDERS, "both/m", "both/m1", "openai/x"])))
def test_what_is_assumed_to_be_out_is_not_asked(config: Config, facts: Facts, down: set[str]) -> None:
    """And nothing else is out for that."""
    policy = compile_policy(config)
    well = explain(policy, Question(afresh(facts)), roll=0.5, now_s=0.0)
    told = explain(policy, Question(afresh(facts)), roll=0.5, now_s=0.0, world=assumed(PROVIDERS, down=sorted(down)))
    assert [one.target for one in told.targets] == [one.target for one in well.targets]
    for one, before in zip(told.targets, well.targets, strict=True):
        out = one.target in down or one.target.partition("/")[0] in down
        assert (one.asked == "not") == (before.asked == "not" or out)
    if well.target is not None and told.target is None:
        assert told.error is not None and told.error.code == "all_targets_out"


# The words.


def request(**options: Any) -> Facts:
    """A chat request."""
    look: Look | None = options.pop("look", FakeLook(told=Prompt(tokens=1234), told_class="standard"))
    headers: dict[str, str] = options.pop("headers", {})
    values: dict[str, Any] = {"model": "auto", "stream": False, **options}
    return Facts(CHAT, "POST", "/v1/chat/completions", headers=headers, look=look, **values)


def told(*routes: Route, asked: Facts | None = None, alone: str | None = None, **options: Any) -> Explanation:
    """What is told of a request under these routes."""
    config = Config(providers=PROVIDERS, routes=routes, **options.pop("config", {}))
    values: dict[str, Any] = {"roll": 0.0, "now_s": 0.0, **options}
    return explain(compile_policy(config), Question(asked or request(), alone), **values)


def route(match: Match | None = None, *to: str, **options: Any) -> Route:
    """A route to single targets."""
    return Route(name="r", match=match or Match(), to=tuple(step(one) for one in to or ("both",)), **options)


@pytest.mark.parametrize(
    ("match", "asked", "sentence"),
    [
        (Match(model=("gpt-5*",)), {}, "model: wants gpt-5*, the request has auto"),
        (Match(model=("a", "b c")), {"model": None}, "model: wants a or 'b c', the request names none"),
        (Match(model=("a",)), {"model": "x\x1b[2J"}, "model: wants a, the request has 'x\\x1b[2J'"),
        (Match(model=("a",)), {"model": "m" * 99}, "model: wants a, the request has a value of 99 characters"),
        (Match(model=("a",)), {"model": "sk-abcdefghijk"}, "model: wants a, the request has a value (not shown)"),
        (Match(path=("/v1/messages",)), {}, "path: wants /v1/messages, the request has /v1/chat/completions"),
        (Match(header={"x-team": ("a",)}), {}, "header.x-team: wants a, the request has none"),
        (
            Match(header={"x-team": ("a", "b*")}),
            {"headers": {"x-team": "c"}},
            "header.x-team: wants a or b*, the request has c",
        ),
        (
            Match(header={"authorization": ("Bearer x*",)}),
            {"headers": {"authorization": "hunter2"}},
            "header.authorization: wants a value (not shown), the request has one (not shown)",
        ),
        (Match(format="anthropic"), {}, "format: wants anthropic, the request is openai"),
        (Match(stream=True), {}, "stream: wants a stream, the request asks for none"),
        (Match(stream=False), {"stream": True}, "stream: wants no stream, the request asks for one"),
        (Match(tools=True), {}, "tools: wants tools, the request has none"),
        (
            Match(images=False),
            {"look": FakeLook(told=Prompt(images=True))},
            "images: wants no images, the request has some",
        ),
        (Match(audio=True), {"look": None}, "audio: wants audio, the request has a body that is not looked into"),
        (Match(json=True), {}, "json: wants an answer in JSON, the request does not ask for it"),
        (
            Match(json=False),
            {"look": FakeLook(told=Prompt(json=True))},
            "json: wants no answer in JSON, the request asks for it",
        ),
        (
            Match(prompt_tokens=TokenRange(over=2000, up_to=9000)),
            {},
            "prompt_tokens: wants more than 2000 and at most 9000, the request has about 1234",
        ),
        (
            Match(complexity=("simple", "creative")),
            {},
            "complexity: wants simple or creative, the request is standard",
        ),
        (
            Match(complexity=("simple",)),
            {"complexity": "complex"},
            "complexity: wants simple, the request is stated to be complex",
        ),
    ],
)
def test_why_a_route_does_not_fit(match: Match, asked: dict[str, Any], sentence: str) -> None:
    """The key, what it wants and what the request has; no secret and no terminal's control character."""
    (seen,) = told(route(match), asked=request(**asked)).routes
    assert [one.sentence for one in seen.mismatches] == [sentence]


@pytest.mark.parametrize(
    ("now_s", "sentence"),
    [
        (99.0, "from: begins at 1970-01-01T00:01:40Z, and it is 1970-01-01T00:01:39Z"),
        (200.0, "until: ended at 1970-01-01T00:03:20Z, and it is 1970-01-01T00:03:20Z"),
        (1e18, "until: ended at 1970-01-01T00:03:20Z, and it is 1000000000000000000 seconds since 1970"),
    ],
)
def test_a_route_out_of_its_time(now_s: float, sentence: str) -> None:
    """When it begins or ended; the body is not asked for it."""
    timed = route(Match(tools=True), from_=Moment(100), until=Moment(200))
    asked = request()
    (seen,) = told(timed, asked=asked, now_s=now_s).routes
    assert [one.sentence for one in seen.mismatches] == [sentence]
    assert isinstance(asked.look, FakeLook) and asked.look.asked == []


def test_several_reasons_of_one_route() -> None:
    """All of the line and the headers; of the body only once these fit."""
    match = Match(model=("x",), header={"x-team": ("a",)}, tools=True, json=True)
    (seen,) = told(route(match)).routes
    assert [one.key for one in seen.mismatches] == ["model", "header.x-team"]
    (seen,) = told(route(match), asked=request(model="x", headers={"x-team": "a"})).routes
    assert [one.key for one in seen.mismatches] == ["tools", "json"]


def test_a_weighted_step() -> None:
    """The shares, what is drawn, and by what; without the key by chance, as the proxy does it."""
    weighted = Route(
        name="r", match=Match(), to=(step("both/a", "both/b", weights=(75, 25)),), sticky="header:x-user-id"
    )
    (draw,) = told(weighted, roll=0.8).draws
    assert [(one.target, one.share, one.drawn) for one in draw.choices] == [
        ("both/a", 0.75, False),
        ("both/b", 0.25, True),
    ]
    assert draw.by == "sticky by header x-user-id, which this request has not: by chance, here with a roll of 0.8"
    (draw,) = told(weighted, asked=request(headers={"x-user-id": "ann"})).draws
    assert draw.by == "sticky by header x-user-id (has ann): the same choice each time"
    kept = {told(weighted, asked=request(headers={"x-user-id": "ann"}), roll=roll).target for roll in (0.0, 0.5, 0.99)}
    assert len(kept) == 1
    (draw,) = told(msgspec.structs.replace(weighted, sticky=None), roll=0.0).draws
    assert draw.by == "by chance, here with a roll of 0" and draw.choices[0].drawn


def test_a_mirror() -> None:
    """Only of calls that ask a model for something, as in the proxy."""
    mirrored = route(mirror=Mirror(to=step("openai/new"), percent=100.0))
    assert told(mirrored).mirror is not None and told(mirrored).mirror.copied_to == "openai/new"  # type: ignore[union-attr]
    other = msgspec.structs.replace(request(), endpoint=Endpoint("files", Format.OPENAI, Carrier.NONE))
    assert told(mirrored, asked=other).mirror is None


def test_only_the_first_target() -> None:
    """When another cannot answer, it is said why, and a first target that is out is the end."""
    alone = told(route(None, "both/a", "openai"), alone="it must not")
    assert [(one.target, one.asked, one.reason) for one in alone.targets] == [
        ("both/a", "first", None),
        ("openai/auto", "not", "it must not"),
    ]
    out = told(route(None, "both/a", "openai"), alone="it must not", world=assumed(PROVIDERS, down=["both"]))
    assert out.target is None and out.error is not None
    assert (
        out.error.message
        == "no target of route 'r' can be asked now: both/a: its circuit is open (assumed: --down both)"
    )


def test_the_checks_have_an_order() -> None:
    """Of several things that are the matter with a target the first that is looked at is the reason."""
    world = assumed(PROVIDERS, down=["both"], full=["both"], cooling=["both/a"])
    (one,) = told(route(None, "both/a"), world=world).targets
    assert [found.kind for found in one.hindrances] == ["cooling", "full", "open"]
    assert one.reason == "its key cools (assumed: --cooling both/a)"
    more = world.and_(World({"both": (Hindrance("no_key", "no key"),)}))
    assert told(route(None, "both/a"), world=more).targets[0].reason == "no key"


def test_a_client_that_waits_less() -> None:
    """Its own limit holds in place of the policy's; one that is none is refused, as by the proxy."""
    short = told(route(), asked=request(headers={"x-fusebox-timeout-ms": "1500"}))
    assert short.terms is not None and short.terms.timeouts["total"] == 1.5
    wrong = told(route(), asked=request(headers={"x-fusebox-timeout-ms": "soon"}))
    assert wrong.error is not None and (wrong.error.status, wrong.target) == (400, None)


TEXT = """\
POST /v1/chat/completions: chat.completions, openai format, model auto, not streamed
at 1970-01-01T00:00:00Z, with every provider well, but for what is assumed

=> openai/b, by route main

Routes, of which the first that fits takes the request:
   1. simple  complexity: wants simple, the request is standard
   2. team    model: wants gpt-5*, the request has auto
              header.x-team: wants a, the request has none
   3. main    takes the request
      not reached: rest

Prompt: about 1234 tokens, 2 turns of the user's, with tools, an answer of at most 50 tokens
Complexity: standard

Targets, the cheapest first:
   1. both/a       left out: its circuit is open (assumed: --down both)
   2. openai/b     asked first (price unknown, three parts prompt to one part answer)
   3. anthropic/c  left out: provider 'anthropic' offers no openai format

Step 2 is weighted, by chance, here with a roll of 0:
      openai/b   90.0%  drawn
      openai/d   10.0%

Mirror: 100 of 100 requests are copied; with this roll this one to both/x

Timeouts: connect 3 s, head 30 s, first_event 60 s, idle 120 s, total 600 s
Retries at the same target: 1, after a wait of 2 s at most, for 20% of requests
Hedge: without a first event after 2 s the next target is asked as well
Delivered: a stream is held back until it is complete; when a stream breaks: the connection is cut
"""


def test_the_text() -> None:
    """All of it, as somebody sees it on a terminal."""
    look = FakeLook(told=Prompt(tokens=1234, turns=2, tools=True, output=50), told_class="standard")
    routes = (
        Route(name="simple", match=Match(model=("auto",), complexity=("simple",)), to=(step("both"),)),
        Route(name="team", match=Match(model=("gpt-5*",), header={"x-team": ("a",)}), to=(step("both"),)),
        Route(
            name="main",
            match=Match(),
            to=(step("both/a"), step("openai/b", "openai/d", weights=(90, 10)), step("anthropic/c")),
            order="cost",
            mirror=Mirror(to=step("both/x")),
            hedge=Hedge(after=Seconds(2)),
            deliver="whole",
        ),
        Route(name="rest", match=Match(), to=(step("both"),)),
    )
    assert as_text(told(*routes, asked=request(look=look), world=assumed(PROVIDERS, down=["both"]))) == TEXT


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a", "a"), ("a b", "'a b'"), ("", "''"), ("\n", "'\\n'"), ("x" * 81, "a value of 81 characters")],
)
def test_values_for_a_terminal(text: str, shown: str) -> None:
    """One plain word is shown as it is."""
    assert printable(text) == shown


# What is asked.


def looked(body: bytes, endpoint: Endpoint) -> FakeLook:
    """A look that knows the body's size alone."""
    return FakeLook(size=len(body), told=Prompt(tokens=len(body) // 4))


def facts_of(**asked: Any) -> Facts:
    """The facts that a question leads to."""
    return question(Asked(**asked), looked).facts


def test_from_options_alone() -> None:
    """An ordinary chat request, in the client's format."""
    facts = facts_of(model="auto", stream=True, prompt="hello")
    assert (facts.endpoint.name, facts.method, facts.model, facts.stream) == ("chat.completions", "POST", "auto", True)
    assert facts_of(format="anthropic").endpoint.name == "messages"
    assert facts_of(path="/v1/models", format="anthropic").endpoint.format is Format.ANTHROPIC
    assert facts_of(path="/v1/models").method == "GET"
    assert facts_of(path="/v1/realtime?model=gpt-realtime").model == "gpt-realtime"
    assert facts_of(path="/v1/models/a/b").model == "a/b"
    assert facts_of().model is None


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings", "/v1/messages"]
)
def test_what_is_stated_stands_above_the_look(path: str) -> None:
    """Each fact of the prompt as it was stated, whatever the body that stands for it looks like."""
    facts = facts_of(path=path, tokens=5000, tools=True, images=True, audio=True, json=True, user="ann", prompt="x")
    look = facts.look
    assert look is not None and look.size >= 5000
    assert look.prompt == Prompt(tokens=5000, tools=True, images=True, audio=True, json=True, user="ann")
    assert look.seen is not None and look.complexity == "standard" == look.classed


def test_a_look_that_nobody_takes() -> None:
    """Stating something does not make it looked at."""
    look = facts_of(tokens=5).look
    assert look is not None and look.seen is None and look.classed is None


@pytest.mark.parametrize("tokens", [0, 1, TOKENS_MAX])
def test_numbers_of_tokens(tokens: int) -> None:
    """A body is as large as its tokens need at the least, and not much larger."""
    look = facts_of(tokens=tokens).look
    assert look is not None and tokens <= look.size <= 5 * tokens + 200


def test_a_saved_body() -> None:
    """As it is, to the byte; options stand above it."""
    body = b'{"model": "gpt-5",  "messages": [], "stream": true}'
    kept = saved(body)
    assert bytes(kept.body) == body
    facts = facts_of(body=kept.body)
    assert (facts.model, facts.stream, facts.look and facts.look.size) == ("gpt-5", True, len(body))
    facts = facts_of(body=kept.body, model="other", stream=False)
    assert (facts.model, facts.stream) == ("other", False)


def test_a_saved_request() -> None:
    """Method, path, headers and body; a body that is text is that text."""
    kept = saved(b'{"method": "GET", "path": "/v1/files/x", "headers": {"X-Team": "a"}}')
    facts = facts_of(method=kept.method, path=kept.path, headers=kept.headers)
    assert (facts.method, facts.endpoint.stored, facts.headers) == ("GET", True, {"x-team": "a"})
    form = '--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    text = json.dumps(
        {
            "path": "/v1/audio/transcriptions",
            "headers": {"content-type": "multipart/form-data; boundary=b"},
            "body": form,
        }
    )
    kept = saved(text.encode())
    facts = facts_of(path=kept.path, headers=kept.headers, body=kept.body)
    assert (facts.model, facts.look) == ("whisper-1", None)


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"nonsense", b'{"body": {}, "pth": 1}', b'{"path": 5}'])
def test_a_saved_request_that_is_none(text: bytes) -> None:
    """What it should be is said."""
    with pytest.raises(BadValue, match="the saved request") as caught:
        saved(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"path": "/v1/files/x"}, "lives at one provider"),
        ({"headers": {"X-Fusebox-No-Fallback": "1"}}, "x-fusebox-no-fallback"),
        ({"headers": {"X-Fusebox-No-Fallback": "no"}}, None),
        ({"path": "/v1/responses", "body": msgspec.Raw(b'{"previous_response_id": "r"}')}, "lives at one provider"),
        ({}, None),
    ],
)
def test_who_may_not_fall_back(asked: dict[str, Any], why: str | None) -> None:
    """As the proxy finds it."""
    alone = question(Asked(**asked), looked).alone
    assert alone is None if why is None else alone is not None and why in alone


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"path": "/chat/completions"}, 404),
        ({"path": "http://elsewhere.test/v1/models"}, 421),
        ({"path": "/v1/../x"}, 400),
        ({"body": msgspec.Raw(b'{"model": 5}')}, 400),
        ({"headers": {"x-fusebox-complexity": "huge"}}, 400),
        ({"path": "/p/nobody/x"}, 404),
    ],
)
def test_what_the_proxy_would_refuse(asked: dict[str, Any], status: int) -> None:
    """It is explained as refused, and nobody would be asked."""
    config = Config(providers=PROVIDERS, routes=(route(),))
    refused = answer(Asked(**asked), config, compile_policy(config), looked, now_s=0.0)
    assert refused.error is not None and (refused.error.status, refused.target) == (status, None)
    assert f": {status} " in as_text(refused)


def test_past_the_routes() -> None:
    """The provider alone, as things stand with it."""
    config = Config(providers=PROVIDERS, routes=(route(),))
    policy = compile_policy(config)
    past = answer(Asked(path="/p/openai/v2/x"), config, policy, looked, now_s=0.0)
    assert (past.route, past.target, past.routes) == ("passthrough", "openai", ())
    assert "=> openai, by no route" in as_text(past)
    out = answer(Asked(path="/p/openai/v2/x", down=("openai",)), config, policy, looked, now_s=0.0)
    assert out.target is None and out.error is not None and out.error.status == 503


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"down": ("opnai",)}, "--down: there is no provider 'opnai': did you mean openai?"),
        (
            {"cooling": ("zzz/m",)},
            "--cooling: there is no provider 'zzz': known here: both, openai, anthropic, nothing",
        ),
        ({"full": ("both/m",)}, "--full: 'both/m' is not what is wanted here: write PROVIDER: places are a provider's"),
        ({"down": ("both/",)}, "--down: 'both/' is not what is wanted here: write PROVIDER or PROVIDER/MODEL"),
        ({"at": "noon"}, "'noon' is not a moment (RFC 3339)"),
        ({"format": "openai", "path": "/v1/messages"}, "/v1/messages is a call of the anthropic format, not of openai"),
        ({"prompt": "x", "body": msgspec.Raw(b"{}")}, "a saved request and a prompt beside it: leave one of them out"),
    ],
)
def test_questions_that_are_none(asked: dict[str, Any], said: str) -> None:
    """What is wrong, and what to write instead."""
    config = Config(providers=PROVIDERS, routes=(route(),))
    with pytest.raises(BadValue) as caught:
        answer(Asked(**asked), config, compile_policy(config), looked, now_s=0.0)
    assert str(caught.value).startswith(said)


def test_the_moment_and_the_roll_are_the_asker_s() -> None:
    """Else it is now, and the roll is 0."""
    timed = route(from_=Moment.parse("2036-12-01T06:00:00Z"))
    config = Config(providers=PROVIDERS, routes=(timed,))
    policy = compile_policy(config)
    assert answer(Asked(), config, policy, looked, now_s=0.0).target is None
    later = answer(Asked(at="2036-12-01T07:00:00+01:00"), config, policy, looked, now_s=0.0)
    assert (later.target, later.at) == ("both", "2036-12-01T06:00:00Z")


@given(
    st.binary(max_size=60)
    | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)).map(
        lambda one: json.dumps(one).encode()
    ),
    st.sampled_from([None, "/v1/messages", "/v1/audio/speech", "/x", "/v1/%2e%2e"]),
)
def test_any_saved_text_is_explained_or_refused(text: bytes, path: str | None) -> None:
    """Never an exception but BadValue, whatever was saved."""
    config = Config(providers=PROVIDERS, routes=(route(),))
    try:
        kept = saved(text)
        done = answer(
            Asked(path=path or kept.path, headers=kept.headers, body=kept.body),
            config,
            compile_policy(config),
            looked,
            now_s=0.0,
        )
    except BadValue as error:
        assert str(error)
    else:
        assert (done.target is None) == (done.error is not None)
