"""``GET /metrics``: what the process knows of itself, in Prometheus' text format, put together when it is asked for.

Requests pay nothing for it: the numbers are the guards', the reloads' and the mirror's own. Labels are names of the
policy, never a client's text: of breakers per target only those of models that the policy names are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.attempt.breaker import Breaker
from proxy.observe.health import Health
from proxy.serve.live import Live
from proxy.serve.mirror import Mirror
from proxy.serve.snapshot import Snapshot

if TYPE_CHECKING:
    from prometheus_client import Metric

STATES = ("closed", "open", "half-open")


def add_routes(app: web.Application, health: Health, live: Live, mirror: Mirror) -> None:
    """Add the path to the admin application."""

    async def metrics(request: web.Request) -> web.Response:
        # Imported when somebody asks: nobody else pays for it at the start.
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(lambda: families(health, live, mirror)))
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    app.router.add_get("/metrics", metrics)


class _Collector:
    """What a registry asks for its metrics."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self.collect = collect


def families(health: Health, live: Live, mirror: Mirror) -> Iterator[Metric]:
    """Every metric, as it is now."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    snapshot, reloads = live.snapshot, live.reloads
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
    yield GaugeMetricFamily("fusebox_active_requests", "Requests under way.", value=health.active)
    yield from _guards(snapshot)
    yield CounterMetricFamily("fusebox_mirror_copies", "Copies sent aside.", value=mirror.sent)
    yield CounterMetricFamily(
        "fusebox_mirror_left_out", "Copies that were not sent: too many were under way.", value=mirror.left_out
    )
    shadow = snapshot.shadow
    if shadow is not None:
        yield CounterMetricFamily(
            "fusebox_shadow_compared", "Requests that the candidate policy decided as well.", value=shadow.compared
        )
        yield CounterMetricFamily(
            "fusebox_shadow_differing", "Those of them that it decided otherwise.", value=shadow.differing
        )


def _guards(snapshot: Snapshot) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

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
    yield GaugeMetricFamily("fusebox_cooldowns", "Keys and models that cool.", value=len(guards.cooldowns.snapshot()))


def _named(snapshot: Snapshot, provider: str, breakers: list[Breaker]) -> Iterator[tuple[str, Breaker]]:
    """The breakers of one provider with the model they are of; empty for the provider's own."""
    models = {
        target.model
        for route in snapshot.config.routes
        for step in route.to
        for target, _ in step.choices
        if target.provider == provider
    }
    for breaker in breakers:
        model = breaker.label.partition("/")[2]
        if not model or model in models:
            yield model, breaker
