"""What a policy would have done with the requests of a log: each is decided again, and counted beside what happened.

Decided, not sent: it is not known how another provider would have answered, so `after` counts the first target of each
plan, as if every breaker were closed and every provider well. `before` counts the target that was asked last.
Chance is replaced by a hash of the request's id, so that a replay repeats itself and weights are still kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from proxy.errors import BadRequest, NoRoute
from proxy.exchange import Facts, Target
from proxy.policy.compiled import Policy
from proxy.policy.decide import Decision, decide
from proxy.policy.replay_cost import Costs, answered, usage_of
from proxy.policy.replay_facts import AskedHeaders, Lacking, facts_of, told
from proxy.policy.replay_log import Logged
from proxy.policy.replay_tally import OTHERS, count

EXAMPLES = 5
"""Request ids that are named for each reason why there would be no route."""

REASONS_MAX = 50
"""Different reasons that are told apart; they may hold the client's words."""

PASSED_THROUGH = "passthrough"
"""Endpoint of ``/p/PROVIDER/...``, which no route decides."""

NOBODY = "(nobody was asked)"
"""Stands for the target of a request that no provider was asked for."""


@dataclass(slots=True)
class Side:
    """Requests by route and by target (``provider/model``)."""

    routes: dict[str, int] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    no_route: int = 0


@dataclass(slots=True)
class Refused:
    """Requests that would get an error for the same reason, and the ids of the first of them."""

    requests: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What a replay found; every number is of requests, but for `costs` (USD).

    `outside`: not in the time asked for. `undecided`: ended before a route was asked for, or went past the routes.
    `replayed`: the others, all of which stand in `before`; each is in one of `after.routes`, `after.no_route`, `untold`.
    `lacking`: the untold ones by the fact that the log lacks. `fell_back`: not answered by the target that was tried
    first. `drawn`: went to a weighted step by chance; `unstuck`: some of these would stick, by what the log does not hold.
    `differs`: the policy given as the one in force decides otherwise than was logged; None: none was given.
    """

    outside: int = 0
    undecided: int = 0
    replayed: int = 0
    untold: int = 0
    lacking: dict[str, int] = field(default_factory=dict)
    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    refusals: dict[str, Refused] = field(default_factory=dict)
    never_hit: list[str] = field(default_factory=list)
    route_moved: int = 0
    target_moved: int = 0
    moves: dict[str, int] = field(default_factory=dict)
    fell_back: int = 0
    drawn: int = 0
    unstuck: int = 0
    copies: dict[str, int] = field(default_factory=dict)
    by_latency: bool = False
    differs: int | None = None
    costs: Costs = field(default_factory=Costs)


def roll_of(request_id: str) -> float:
    """From 0 up to 1, the same for the same id."""
    digest = blake2b(request_id.encode(errors="surrogatepass"), digest_size=8, person=b"fusebox-replay").digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


class Replay:
    """One replay. `old`: the policy that was in force, whose prices then hold for what was.

    `same_classes`: whether `policy` would find the same complexity in a body as was found then.
    """

    def __init__(self, policy: Policy, old: Policy | None = None, *, same_classes: bool = True) -> None:
        self._policy = policy
        self._old = old
        self._same_classes = same_classes
        self.report = Report(
            after=Side(routes={compiled.route.name: 0 for compiled in policy.routes}),
            by_latency=any(compiled.route.order == "latency" for compiled in policy.routes),
            differs=None if old is None else 0,
        )

    def add(self, logged: Logged) -> None:
        """Count one request."""
        report = self.report
        # A format stands in the line of each request that was decided; lines of before there were formats have a route.
        if logged.endpoint == PASSED_THROUGH or (logged.format is None and logged.route is None):
            report.undecided += 1
            return
        report.replayed += 1
        before = self._before(logged)
        headers = AskedHeaders(logged.matched_headers)
        facts: Facts | None = None
        try:
            facts = facts_of(logged, headers, same_classes=self._same_classes)
            decision = redecide(self._policy, logged, facts, headers)
        except Lacking as lacking:
            report.untold += 1
            count(report.lacking, lacking.fact)
            self._cost(logged, facts, before, None)
        except (NoRoute, BadRequest) as error:
            self._refused(logged, str(error))
            self._cost(logged, facts, before, None)
        else:
            after = self._after(logged, facts, headers, decision)
            self._moved(logged, decision.plan.route, before, after)
            self._cost(logged, facts, before, after, decision.mirror)
        self._check(logged, headers)

    def done(self) -> Report:
        """The report, when all requests have been added."""
        self.report.never_hit = [name for name, requests in self.report.after.routes.items() if not requests]
        return self.report

    def _before(self, logged: Logged) -> str:
        """What was; the target's name."""
        side = self.report.before
        if logged.route is None:
            side.no_route += 1
        else:
            count(side.routes, logged.route)
        target = NOBODY if logged.target is None or not logged.attempts else logged.target
        count(side.targets, target)
        if logged.tried and logged.tried[0].target != target:
            self.report.fell_back += 1
        return target

    def _after(self, logged: Logged, facts: Facts, headers: AskedHeaders, decision: Decision) -> str:
        """What would have been; the target's name."""
        report, route = self.report, decision.route
        assert route is not None  # a policy's decision always has one
        target = _label(decision.plan.targets[0], facts.model)
        report.after.routes[route.name] += 1
        count(report.after.targets, target)
        if any(len(step.choices) > 1 for step in route.to):
            sticky = route.sticky or ""
            header = sticky.removeprefix("header:") if sticky.startswith("header:") else None
            if header is None or not facts.headers.get(header):
                report.drawn += 1
                report.unstuck += bool(sticky) and (header is None or not headers.knows(header))
        if decision.mirror is not None and facts.endpoint.inference:
            count(report.copies, _label(decision.mirror, facts.model))
        return target

    def _moved(self, logged: Logged, route: str, before: str, after: str) -> None:
        report = self.report
        report.route_moved += logged.route != route
        if before != after:
            report.target_moved += 1
            count(report.moves, f"{before} → {after}")

    def _refused(self, logged: Logged, reason: str) -> None:
        report = self.report
        report.after.no_route += 1
        if reason not in report.refusals and len(report.refusals) >= REASONS_MAX:
            reason = OTHERS
        refused = report.refusals.setdefault(reason, Refused())
        refused.requests += 1
        if len(refused.examples) < EXAMPLES:
            refused.examples.append(logged.request_id)

    def _cost(
        self, logged: Logged, facts: Facts | None, before: str, after: str | None, copy: Target | None = None
    ) -> None:
        """What it cost and would have cost; `after` None: it is not known, or nobody would be asked."""
        if facts is None or not answered(logged, facts):
            return
        costs, prices = self.report.costs, self._policy.prices
        usage, metered = usage_of(logged, facts)
        if usage is None:
            costs.unmetered += 1
        else:
            costs.metered += metered
            costs.estimated += not metered
        was = (prices if self._old is None else self._old.prices).get(before)
        paid = costs.before.add(before, was, usage)
        if after is not None:
            costs.compare(paid, costs.after.add(after, prices.get(after), usage))
        if copy is not None:
            name = _label(copy, facts.model)
            costs.copies.add(name, prices.get(name), usage)

    def _check(self, logged: Logged, headers: AskedHeaders) -> None:
        """Whether the policy that is said to have been in force takes the request where it was taken."""
        if self._old is None or self.report.differs is None:
            return
        try:
            route = redecide(self._old, logged, facts_of(logged, headers), headers).plan.route
        except Lacking:
            return
        except (NoRoute, BadRequest):
            route = None
        self.report.differs += route != logged.route


def replay(
    requests: Iterable[Logged],
    policy: Policy,
    old: Policy | None = None,
    *,
    same_classes: bool = True,
    since_s: float | None = None,
    until_s: float | None = None,
) -> Report:
    """Decide `requests` again by `policy`; see `Replay`. `since_s`, `until_s`: from the one on and before the other."""
    made = Replay(policy, old, same_classes=same_classes)
    for logged in requests:
        if since_s is not None or until_s is not None:
            at = logged.moment_s
            if at is None or (since_s is not None and at < since_s) or (until_s is not None and at >= until_s):
                made.report.outside += 1
                continue
        made.add(logged)
    return made.done()


def redecide(policy: Policy, logged: Logged, facts: Facts, headers: AskedHeaders) -> Decision:
    """The decision of `policy`. Raises as `decide`, and Lacking when the log does not hold what the decision rests on."""
    now_s = 0.0
    if policy.timed:
        moment = logged.moment_s
        if moment is None:
            raise Lacking("time")
        now_s = moment
    if not all(headers.knows(name) for name in policy.header_names):
        told(policy, facts, headers, now_s)
    return decide(policy, facts, roll=roll_of(logged.request_id), now_s=now_s)


def _label(target: Target, model: str | None) -> str:
    """As a log line has it."""
    asked = target.model or model
    return target.provider if asked is None else f"{target.provider}/{asked}"
