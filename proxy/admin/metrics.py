"""``GET /metrics``: what the process knows of itself, in Prometheus' text format, put together when it is asked for.

Requests pay nothing for the format: the numbers are plain ones (``observe/meter``), the guards', the reloads' and the
mirror's own. Labels are names of the policy, never a client's text: where a policy keeps the client's model, that is a
label only if ``models`` names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from aiohttp import web

from proxy import __version__
from proxy.admin.metric_series import of_requests
from proxy.admin.sources import Sources
from proxy.attempt.breaker import Breaker
from proxy.observe.meter import Meter
from proxy.serve.mirror import Mirror
from proxy.serve.snapshot import Snapshot

if TYPE_CHECKING:
    from prometheus_client import Metric

STATES = ("closed", "open", "half-open")


def add_routes(app: web.Application, sources: Sources) -> None:
    """Add the path to the admin application."""

    async def metrics(request: web.Request) -> web.Response:
        # Imported when somebody asks: nobody else pays for it at the start.
        from prometheus_client import CollectorRegistry, ProcessCollector
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(lambda: families(sources)))
        ProcessCollector(registry=registry)
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    app.router.add_get("/metrics", metrics)


class _Collector:
    """What a registry asks for its metrics."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect


def families(sources: Sources) -> Iterator[Metric]:
    """Every metric of Fusebox's own, as it is now."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    health, snapshot = sources.health, sources.live.snapshot
    build = GaugeMetricFamily("fusebox_build_info", "The version that runs.", labels=["version"])
    build.add_metric([__version__], 1)
    yield build
    yield GaugeMetricFamily("fusebox_active_requests", "Requests under way.", value=health.active)
    yield GaugeMetricFamily(
        "fusebox_active_streams", "Of these, answers that have begun and go on.", value=health.streams
    )
    yield from of_requests(sources.meter)
    yield from _guards(snapshot, sources.meter)
    yield from _policy(sources)
    yield from _mirror(sources.mirror)
    if sources.tracer is not None:
        yield CounterMetricFamily(
            "fusebox_traces_dropped", "Requests whose spans were not sent.", value=sources.tracer.dropped
        )
    yield CounterMetricFamily(
        "fusebox_log_lines_dropped", "Log lines dropped because nobody read stdout.", value=sources.writer.dropped
    )


def _mirror(mirror: Mirror) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    yield CounterMetricFamily("fusebox_mirror_copies", "Copies sent aside.", value=mirror.sent)
    yield CounterMetricFamily(
        "fusebox_mirror_left_out", "Copies that were not sent: too many were under way.", value=mirror.left_out
    )
    tokens = CounterMetricFamily(
        "fusebox_mirror_tokens", "Tokens of copies, as the providers told.", labels=["provider", "model", "kind"]
    )
    for (provider, model, kind), count in mirror.tokens.items():
        if count:
            tokens.add_metric([provider, model, kind], count)
    yield tokens
    cost = CounterMetricFamily(
        "fusebox_mirror_cost_usd", "What copies cost, in US dollars.", labels=["provider", "model"]
    )
    for target, usd in mirror.cost_usd.items():
        cost.add_metric(list(target), usd)
    yield cost


def _policy(sources: Sources) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    reloads, shadow = sources.live.reloads, sources.live.snapshot.shadow
    info = GaugeMetricFamily("fusebox_policy_info", "The policy in force, by the digest of its files.", labels=["hash"])
    info.add_metric([reloads.digest], 1)
    yield info
    yield GaugeMetricFamily(
        "fusebox_policy_loaded_timestamp_seconds", "When the policy in force was taken.", value=reloads.loaded_at_s
    )
    yield CounterMetricFamily("fusebox_policy_reloads", "Policies taken since the start.", value=reloads.count)
    yield CounterMetricFamily(
        "fusebox_policy_reload_failures",
        "Policies that were not taken: the last good one stayed.",
        value=reloads.failures,
    )
    yield GaugeMetricFamily(
        "fusebox_policy_reload_failing", "1: the files hold a policy that was not taken.", value=int(reloads.failing)
    )
    if shadow is not None:
        yield CounterMetricFamily(
            "fusebox_shadow_compared", "Requests that the candidate policy decided as well.", value=shadow.compared
        )
        yield CounterMetricFamily(
            "fusebox_shadow_differing", "Those of them that it decided otherwise.", value=shadow.differing
        )


def _guards(snapshot: Snapshot, meter: Meter) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    states = GaugeMetricFamily(
        "fusebox_breaker_state", "1 for the state that the breaker is in.", labels=["provider", "model", "state"]
    )
    under_way = GaugeMetricFamily("fusebox_provider_active_requests", "Requests under way.", labels=["provider"])
    guards = snapshot.ground.guards
    for guard in guards:
        under_way.add_metric([guard.name], guard.places.taken)
        for model, breaker in _named(snapshot, guard.name, list(guard.breakers())):
            now = breaker.snapshot().state
            for state in STATES:
                states.add_metric([guard.name, model, state], int(state == now))
    yield states
    yield under_way
    changes = CounterMetricFamily(
        "fusebox_breaker_transitions",
        "Changes of a breaker, by the state entered.",
        labels=["provider", "model", "state"],
    )
    for (provider, model, state), count in _transitions(snapshot, meter).items():
        changes.add_metric([provider, model, state], count)
    yield changes
    cooling = GaugeMetricFamily("fusebox_cooldowns", "Keys and models that cool.", labels=["provider", "reason"])
    found = Counter((one.key.partition(":")[0], one.reason.value) for one in guards.cooldowns.snapshot())
    for (provider, reason), count in sorted(found.items()):
        cooling.add_metric([provider, reason], count)
    yield cooling
    yield GaugeMetricFamily(
        "fusebox_uplink_down", "1: this machine's own way out seems to be down.", value=int(guards.uplink.down)
    )


def _transitions(snapshot: Snapshot, meter: Meter) -> Counter[tuple[str, str, str]]:
    """Changes by provider, model and state; a model that the policy does not name counts as none."""
    found: Counter[tuple[str, str, str]] = Counter()
    for (name, state), count in meter.transitions.items():
        provider, _, model = name.partition("/")
        found[provider, model if model in _models(snapshot, provider) else "", state] += count
    return found


def _models(snapshot: Snapshot, provider: str) -> set[str | None]:
    """The models that the policy names at `provider`."""
    return {
        target.model
        for route in snapshot.config.routes
        for step in route.to
        for target, _ in step.choices
        if target.provider == provider
    }


def _named(snapshot: Snapshot, provider: str, breakers: list[Breaker]) -> Iterator[tuple[str, Breaker]]:
    """The breakers of one provider with the model they are of; empty for the provider's own."""
    models = _models(snapshot, provider)
    for breaker in breakers:
        model = breaker.label.partition("/")[2]
        if not model or model in models:
            yield model, breaker
