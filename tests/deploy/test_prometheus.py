"""A real Prometheus (Debian's) watches real processes: it finds them, has the right numbers, and its alerts fire and end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.deploy.monitored import (
    ASKED,
    DEPLOY,
    KEYS,
    REQUESTS,
    RULE_FILES,
    Prometheus,
    Provider,
    example,
    traffic,
)
from tests.deploy.test_dashboard import expressions
from tests.harness import HANG_S, Client, Exchange, Fusebox, Upstream, chat, ok

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.asyncio(loop_scope="module")]

QUICK = "500ms"
"""How often it scrapes and evaluates; a scrape may take as long, so a busy machine wants some room."""

OUTAGE = """
breaker: {{open_for: 200ms}}
retry: {{attempts: 0}}
providers:
  main: {{base_url: "http://127.0.0.1:{main}/v1", keys: none}}
  spare: {{base_url: "http://127.0.0.1:{spare}/v1", keys: none}}
routes: [{{name: all, match: {{}}, to: [main/a, spare/b]}}]
"""


async def healthy(exchange: Exchange) -> None:
    """A provider as it should be."""
    await exchange.answer(ok())


async def dead(exchange: Exchange) -> None:
    """A provider that drops its connections."""
    exchange.reset()


def pod(ip: str, port: str, container_port_name: str = "", **labels: str) -> dict[str, Any]:
    """A target as discovery in Kubernetes gives it: one for a declared port, or for a container that declares none."""
    meta = {
        "pod_name": "cart-6b5d8f7c9d-x2x4z",
        "pod_ip": ip,
        "namespace": "shop",
        "pod_phase": "Running",
        "pod_controller_name": "cart-6b5d8f7c9d",
        **({"pod_container_port_name": container_port_name} if container_port_name else {}),
        **labels,
    }
    address = f"{ip}:{port}" if port else ip
    return {"targets": [address], "labels": {f"__meta_kubernetes_{name}": value for name, value in meta.items()}}


SCRAPE = {"pod_annotation_llm_fusebox_dev_scrape": "true"}
PODS = [
    pod("127.0.0.1", "4011", "fusebox-admin"),
    pod("127.0.0.1", "8080", "http"),
    pod("127.0.0.2", "4011", "fusebox-admin", pod_label_app="old-style", **SCRAPE),
    pod("127.0.0.2", "8080", "http", **SCRAPE),
    pod("127.0.0.3", "", pod_label_app="x", pod_label_app_kubernetes_io_name="named", **SCRAPE),
    pod("127.0.0.3", "", pod_label_app="x", pod_label_app_kubernetes_io_name="named", **SCRAPE),
    pod("127.0.0.4", "", pod_annotation_llm_fusebox_dev_admin_port="5011", **SCRAPE),
    pod("127.0.0.5", ""),
    pod("127.0.0.6", "4011", "fusebox-admin", pod_phase="Succeeded"),
]
FOUND = [
    ("http://127.0.0.1:4011/metrics", "cart"),
    ("http://127.0.0.2:4011/metrics", "old-style"),
    ("http://127.0.0.3:4011/metrics", "named"),
    ("http://127.0.0.4:5011/metrics", "cart"),
]
"""What is to be scraped of them, with the service's name."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What runs. `calm` is one with `provider` behind it, `struck` one whose first provider, `main`, can die."""

    prometheus: Prometheus
    calm: Fusebox
    provider: Provider
    struck: Fusebox
    main: Upstream


def scraping(calm: Fusebox, struck: Fusebox, directory: Path) -> dict[str, Any]:
    """Both examples in one, quicker, with what discovery in Kubernetes would find; `for` of the alerts is shortened."""
    config, pods = example("prometheus.yaml"), example("prometheus-kubernetes.yaml")
    assert config["rule_files"] == pods["rule_files"] == list(RULE_FILES)
    quick = re.sub(r"\bfor: \d+[mh]$", "for: 400ms", (DEPLOY / RULE_FILES[1]).read_text(), flags=re.MULTILINE)
    (directory / RULE_FILES[1]).write_text(quick)
    config["rule_files"] = [str(DEPLOY / RULE_FILES[0]), str(directory / RULE_FILES[1])]
    config["global"] = {"scrape_interval": QUICK, "evaluation_interval": QUICK, "scrape_timeout": QUICK}
    (static,) = config["scrape_configs"][0]["static_configs"]
    assert static == {"targets": ["localhost:4011"], "labels": {"app": "laptop"}}
    config["scrape_configs"][0]["static_configs"] = [
        {"targets": [f"localhost:{calm.admin_port}"], "labels": {"app": "laptop"}},
        {"targets": [f"localhost:{struck.admin_port}"], "labels": {"app": "struck"}},
    ]
    (job,) = pods["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    config["scrape_configs"].append({**job, "static_configs": PODS, "scrape_interval": "1h", "scrape_timeout": "1s"})
    return config


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(programs: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """One Prometheus for all tests here: it takes five seconds until it has found its first target."""
    directory = tmp_path_factory.mktemp("prometheus")
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(Provider())
        main, spare = [await stack.enter_async_context(Upstream()) for _ in range(2)]
        main.script = spare.script = healthy
        calm = await stack.enter_async_context(Fusebox(provider.policy(directory), directory, KEYS))
        text = OUTAGE.format(main=main.port, spare=spare.port)
        struck = await stack.enter_async_context(Fusebox(text, directory))
        prometheus = await stack.enter_async_context(Prometheus(scraping(calm, struck, directory), directory))
        await prometheus.until('count(fusebox_build_info{job="fusebox"}) == 2')
        yield Watched(prometheus, calm, provider, struck, main)


async def test_it_scrapes_and_answers(watched: Watched) -> None:
    """The target is up, the numbers are right, every rule is evaluated without an error, each panel shows something."""
    prometheus = watched.prometheus
    await traffic(watched.calm, watched.provider)
    await prometheus.until(f'sum(fusebox_requests_total{{app="laptop"}}) == {REQUESTS}')
    (plain,) = await prometheus.query('fusebox_requests_total{app="laptop", route="rest", status="200"}')
    # The stream that broke off had begun with a 200.
    assert (plain["value"][1], plain["metric"]["job"]) == (str(ASKED["plain"] + 1), "fusebox")
    targets = (await prometheus.get("/api/v1/targets?state=active"))["activeTargets"]
    (target,) = [one for one in targets if one["labels"]["app"] == "laptop"]
    assert target["scrapeUrl"] == f"http://localhost:{watched.calm.admin_port}/metrics"
    await prometheus.until('up{job="fusebox", app="laptop"} == 1')
    # Rates want two scrapes.
    await prometheus.until('count_over_time(fusebox_cost_usd_total{app="laptop"}[1m]) >= 2')
    for group in (await prometheus.get("/api/v1/rules"))["groups"]:
        for rule in group["rules"]:
            assert rule.get("lastError", "") == "", rule
    (cost,) = await prometheus.query('sum(fusebox_cost_usd_total{app="laptop"})')
    kinds = await prometheus.query('sum by (kind) (fusebox_tokens_total{app="laptop"})')
    tokens = {one["metric"]["kind"]: float(one["value"][1]) for one in kinds}
    assert float(cost["value"][1]) == pytest.approx((1000 * tokens["input"] + 2000 * tokens["output"]) / 1e6)
    assert tokens["input"] == 2 * tokens["output"] > 0
    for title, queries in panels().items():
        answers = [await prometheus.query(query) for query in queries]
        assert any(answers), f"nothing to be seen in {title!r}: {queries}"


def panels() -> dict[str, list[str]]:
    """The queries of the dashboard as Grafana would send them with every variable at All, by their panel's title."""
    found: dict[str, list[str]] = {}
    for title, expression in expressions(titles=True):
        sent = expression.replace("$__rate_interval", "1m").replace("$__range", "1h")
        found.setdefault(title, []).append(re.sub(r"\$\w+", ".*", sent))
    return found


async def test_an_outage_fires_the_alert_and_its_end_resolves_it(watched: Watched) -> None:
    """A provider dies behind a real Fusebox: FuseboxBreakerOpen fires, nobody is woken, and it ends when all is well."""
    prometheus, struck, main = watched.prometheus, watched.struck, watched.main
    firing = 'ALERTS{app="struck", alertname="FuseboxBreakerOpen", alertstate="firing"}'
    closed = 'provider:fusebox_breaker_not_closed:ratio{app="struck"} == 0'
    await prometheus.until(f"count({closed}) == 2")
    async with Client(struck.port) as client, asyncio.timeout(HANG_S):
        main.script = dead
        # A counter that appears has no increase: requests come until it has been seen to grow.
        while not await prometheus.query(firing):
            assert (await client.exchange(chat())).status == 200
        (fired,) = await prometheus.query(firing)
        labels = {name: fired["metric"][name] for name in ("provider", "job", "severity")}
        assert labels == {"provider": "main", "job": "fusebox", "severity": "warning"}
        alerts = (await prometheus.get("/api/v1/alerts"))["alerts"]
        ours = {one["labels"]["alertname"]: one for one in alerts if one["labels"].get("app") == "struck"}
        summary = ours["FuseboxBreakerOpen"]["annotations"]["summary"]
        assert summary == "main is out: its circuit is not closed in 100% of the processes of struck"
        assert not [one for one in ours.values() if one["labels"]["severity"] == "critical"]
        main.script = healthy
        while not any(line.get("now") == "closed" for line in struck.lines):
            assert (await client.exchange(chat())).status == 200
    await prometheus.until(f"count({closed}) == 2 unless on () {firing}")


async def test_pods_are_found(watched: Watched) -> None:
    """By the port's name, or by the annotation where no port is declared; each once, and no other pod."""
    targets = (await watched.prometheus.get("/api/v1/targets?state=active"))["activeTargets"]
    pods = [one for one in targets if one["scrapePool"] == "fusebox-pods"]
    assert sorted((one["scrapeUrl"], one["labels"]["app"]) for one in pods) == FOUND
    for one in pods:
        assert set(one["labels"]) == {"job", "namespace", "pod", "app", "instance"}
        labels = [one["labels"][name] for name in ("job", "namespace", "pod")]
        assert labels == ["fusebox", "shop", "cart-6b5d8f7c9d-x2x4z"]
