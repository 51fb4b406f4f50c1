"""``/metrics`` of a real process: well formed, of the policy's names only, and right about reloads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import HANG_S, ROOT, Client, Exchange, Fusebox, Upstream, chat, ok, request

CONFIG = """
breaker: {{scope: target}}
providers:
  main: {{base_url: "http://127.0.0.1:{port}/v1", keys: [{{env: MAIN_KEY}}]}}
routes:
  - {{name: named, match: {{model: named}}, to: [main/model-one], mirror: {{to: main/model-two}}}}
  - {{name: all, match: {{}}, to: [main]}}
"""

KEY = "sk-of-the-provider"

RARE = {
    *("fusebox_skipped_total", "fusebox_errors_total", "fusebox_breaker_transitions_total", "fusebox_cooldowns"),
    *("fusebox_tokens_total", "fusebox_mirror_tokens_total", "fusebox_mirror_cost_usd_total"),
}
"""Families without a sample until something of their kind has happened; other tests see them."""


async def healthy(exchange: Exchange) -> None:
    """A provider as it should be."""
    await exchange.answer(ok())


@pytest_asyncio.fixture
async def fusebox(tmp_path: Path) -> AsyncIterator[Fusebox]:
    """Fusebox in front of a provider."""
    async with Upstream() as upstream:
        upstream.script = healthy
        async with Fusebox(CONFIG.format(port=upstream.port), tmp_path, {"MAIN_KEY": KEY}) as process:
            yield process


async def samples(fusebox: Fusebox) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its labels' values, in the order of the labels' names."""
    async with Client(fusebox.admin_port) as admin:
        answer = await admin.exchange(request("GET", "/metrics"))
    assert answer.status == 200
    text = answer.body.decode()
    assert KEY not in text
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_what_is_shown(fusebox: Fusebox) -> None:
    """A client's model is no label; what the policy names is."""
    async with Client(fusebox.port) as client:
        for model in ("named", "of-a-client"):
            assert (await client.exchange(chat(model))).status == 200
    await fusebox.line(event="mirror", status=200)
    shown = await samples(fusebox)
    assert shown["fusebox_breaker_state", "", "main", "closed"] == 1
    assert shown["fusebox_breaker_state", "model-one", "main", "closed"] == 1
    assert shown["fusebox_breaker_state", "model-one", "main", "open"] == 0
    assert not any("of-a-client" in key for key in shown)
    assert shown["fusebox_mirror_copies_total",] == 1
    assert shown["fusebox_active_requests",] == 0
    assert [key[1] for key in shown if key[0] == "fusebox_policy_info"] == [await digest(fusebox)]


async def test_the_page_names_them_all(fusebox: Fusebox) -> None:
    """docs/metrics.md has what is there, and nothing else but what needs a candidate policy."""
    table = (ROOT / "docs/metrics.md").read_text().partition("## Rules")[0]
    named = set(re.findall(r"`(fusebox_[a-z_]+)`", table))
    async with Client(fusebox.port) as client:
        assert (await client.exchange(chat("named"))).status == 200
    shown = {re.sub(r"(?<=_seconds)_(bucket|sum|count)$", "", key[0]) for key in await samples(fusebox)}
    own = {name for name in shown if not name.startswith("process_")}
    assert shown - own == {
        *("process_cpu_seconds_total", "process_start_time_seconds", "process_open_fds", "process_max_fds"),
        *("process_resident_memory_bytes", "process_virtual_memory_bytes"),
    }
    assert own <= named
    # What is counted only when it happens.
    assert named - own - RARE == {
        *("fusebox_shadow_compared_total", "fusebox_shadow_differing_total", "fusebox_traces_dropped_total")
    }


async def digest(fusebox: Fusebox) -> str:
    """The hash of the policy in force, by the status."""
    async with Client(fusebox.admin_port) as admin:
        return str((await admin.exchange(request("GET", "/api/status"))).json["policy"]["hash"])


async def test_a_policy_that_is_not_taken_is_counted(fusebox: Fusebox) -> None:
    """Failing until a good one comes; the counter stays."""
    good = fusebox.config.read_text()
    fusebox.config.write_text(good.replace("to: [main]", "to: [nobody]"))
    await fusebox.line(event="reload_failed")
    shown = await samples(fusebox)
    assert shown["fusebox_policy_reload_failures_total",] == 1
    assert (shown["fusebox_policy_reload_failing",], shown["fusebox_policy_reloads_total",]) == (1, 0)
    fusebox.config.write_text(good.replace("name: all", "name: rest"))
    await fusebox.line(event="reloaded")
    shown = await samples(fusebox)
    assert shown["fusebox_policy_reload_failures_total",] == 1
    assert (shown["fusebox_policy_reload_failing",], shown["fusebox_policy_reloads_total",]) == (0, 1)


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_formats(fusebox: Fusebox, accept: str) -> None:
    """Prometheus' text, and OpenMetrics for those who ask for it."""
    async with Client(fusebox.admin_port) as admin, asyncio.timeout(HANG_S):
        answer = await admin.exchange(request("GET", "/metrics", None, [("Accept", accept)] if accept else []))
    kind = answer.head.one("content-type") or b""
    assert kind.startswith(b"application/openmetrics-text" if accept else b"text/plain")
    assert answer.body.endswith(b"# EOF\n") is bool(accept)
