"""deploy/prometheus: rules and alerts that name only what is there, that fire in scripted outages and in nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.metrics import STATES
from tests.deploy.monitored import DEPLOY, KEYS, RULE_FILES, Provider, exposition, traffic
from tests.deploy.promql import Matcher, Uses, uses
from tests.deploy.test_dashboard import expressions
from tests.harness import ROOT, Fusebox

OF_TARGETS = {"job", "instance", "namespace", "app", "pod"}
"""Labels that the scraping adds, in both examples."""

OF_PROMETHEUS = {"up"}
"""Metrics that Prometheus makes itself."""

RULES = [
    rule
    for name in RULE_FILES
    for group in yaml.safe_load((DEPLOY / name).read_text())["groups"]
    for rule in group["rules"]
]
RECORDS: dict[str, str] = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in RULES if "alert" in rule}


def test_reading_an_expression() -> None:
    """The names, matchers and labels; neither functions nor words, numbers and durations."""
    found = uses("""
        sum by (job, le) (rate(one_total{a="x y", b=~'c|d'}[5m] offset 1d)) / on (job) group_left (x) two > 3e5
        and histogram_quantile(0.9, level:three:p9) unless bool_ >= 0 or time() - sum(four{}) without (z)
    """)
    assert found == Uses(
        frozenset({"one_total", "two", "level:three:p9", "bool_", "four"}),
        (Matcher("one_total", "a", "=", "x y"), Matcher("one_total", "b", "=~", "c|d")),
        frozenset({"job", "le", "x", "z"}),
    )


def promtool(*arguments: str, stdin: str = "") -> str:
    """What promtool says; it must be content."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=DEPLOY, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# Files


@pytest.mark.usefixtures("programs")
def test_rules_are_well_formed() -> None:
    """promtool takes them, and the scraping that names them."""
    assert f"{len(RECORDS)} rules found" in promtool("check", "rules", RULE_FILES[0])
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULE_FILES[1])
    assert "2 rule files found" in promtool("check", "config", "prometheus.yaml")


@pytest.mark.usefixtures("programs")
def test_scripted_outages_and_calm() -> None:
    """Alerts fire and resolve, and nothing else fires, in the series of the unit tests."""
    promtool("test", "rules", "fusebox.tests.yaml", "fusebox.days.tests.yaml")


def test_every_alert_fires_in_the_unit_tests() -> None:
    """Each is expected somewhere: one that can never fire would pass every test of calm."""
    text = "".join((DEPLOY / name).read_text() for name in ("fusebox.tests.yaml", "fusebox.days.tests.yaml"))
    assert set(re.findall(r"- \{labels: '\{alertname=\"(\w+)\"", text)) == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    """Severity, a summary, a description, and a section of the README that its address leads to."""
    alert = ALERTS[name]
    assert alert["labels"] in ({"severity": "critical"}, {"severity": "warning"}, {"severity": "info"})
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (\w+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert [heading for heading in headings if heading.lower() == anchor] == [name]


def test_the_readme_has_no_other_alerts() -> None:
    """A section whose alert was taken away would lead nowhere."""
    text = (DEPLOY / "README.md").read_text()
    assert set(re.findall(r"\bFusebox[A-Z]\w+", text)) == set(ALERTS)


# Against what a real process shows


def labels_of(name: str, shown: dict[str, dict[str, set[str]]]) -> set[str]:
    """The labels that a metric, or a recorded one, can have. Raises AssertionError for a name that is not there."""
    if name in RECORDS:
        found = uses(RECORDS[name])
        return set(found.grouping) or {label for used in found.names for label in labels_of(used, shown)}
    assert name in shown or name in OF_PROMETHEUS, f"{name} is no metric of Fusebox's, and no rule records it"
    return set(shown.get(name, {})) | OF_TARGETS


def check(expression: str, shown: dict[str, dict[str, set[str]]], rare: dict[str, set[str]]) -> None:
    """Every name, label and value that `expression` asks for is there. `shown`: values by metric and label.

    `rare`: values by label that there are without having been seen.
    """
    found = uses(expression)
    known = {label for name in found.names for label in labels_of(name, shown)}
    assert found.names, expression
    assert found.grouping <= known, (expression, found.grouping - known)
    for matcher in found.matchers:
        assert matcher.label in labels_of(matcher.name, shown), (expression, matcher)
        if matcher.label in OF_TARGETS or matcher.operator.startswith("!") or "$" in matcher.value:
            continue
        values = shown[matcher.name][matcher.label] | rare.get(matcher.label, set())
        for wanted in matcher.value.split("|") if matcher.operator == "=~" else [re.escape(matcher.value)]:
            assert any(re.fullmatch(wanted, value) for value in values), (expression, matcher, values)


@pytest.mark.usefixtures("programs")
async def test_names_labels_and_values_are_those_of_a_real_process(tmp_path: Path) -> None:
    """What rules, alerts and dashboard ask for is in a live exposition, which promtool finds well made."""
    async with Provider() as provider, Fusebox(provider.policy(tmp_path), tmp_path, KEYS) as fusebox:
        await traffic(fusebox, provider)
        text = await exposition(fusebox)
    assert promtool("check", "metrics", stdin=text) == ""
    shown: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = shown.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    errors = (ROOT / "docs" / "errors.md").read_text()
    codes = set(re.findall(r"^\| \d+ \| `(\w+)` \|", errors, re.MULTILINE))
    rare = {"code": codes, "state": set(STATES)}
    for expression in [*(rule["expr"] for rule in RULES), *expressions()]:
        check(expression, shown, rare)
    wrong = ("sum(fusebox_request_total)", "sum by (rout) (fusebox_active_requests)", 'up{jop="fusebox"}')
    for unknown in (*wrong, 'fusebox_skipped_total{reason="no keys"}', 'fusebox_attempts_total{class=~"RATE|RAT"}'):
        with pytest.raises(AssertionError):
            check(unknown, shown, rare)
