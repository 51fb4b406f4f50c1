"""deploy/prometheus/fusebox-dashboard.json: what Grafana needs of it, without Grafana."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any, Literal, overload

import pytest

from tests.deploy.monitored import DEPLOY

BOARD: dict[str, Any] = json.loads((DEPLOY / "fusebox-dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
UNITS = {"short", "reqps", "percentunit", "s", "bytes", "Bps", "currencyUSD"}
BUILT_IN = {"__rate_interval", "__range", "datasource"}


@overload
def expressions(*, titles: Literal[True]) -> list[tuple[str, str]]: ...
@overload
def expressions(*, titles: Literal[False] = False) -> list[str]: ...
def expressions(*, titles: bool = False) -> list[tuple[str, str]] | list[str]:
    """Every query of the panels, the annotations and the variables; with `titles`, those of the panels with theirs."""
    panels = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
    if titles:
        return panels
    variables = [
        found[1]
        for one in BOARD["templating"]["list"]
        if one["type"] == "query" and (found := re.fullmatch(r"label_values\((.+), \w+\)", one["query"]["query"]))
    ]
    notes = [note["expr"] for note in BOARD["annotations"]["list"] if "expr" in note]
    return [*(query for _, query in panels), *variables, *notes]


def test_it_can_be_imported_without_edits() -> None:
    """No id of another Grafana, no data source but the one that is chosen on top, no library panels."""
    assert BOARD["id"] is None and BOARD["uid"] == "fusebox" and BOARD["title"] == "Fusebox"
    assert "__inputs" not in BOARD and BOARD["schemaVersion"] >= 36
    first = BOARD["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    queried = [one for one in BOARD["templating"]["list"] if one["type"] == "query"]
    assert [one["name"] for one in queried] == ["job", "namespace", "app", "instance", "route", "provider"]
    for one in queried:
        # Labels that a scrape does not set match .* as well.
        assert (one["datasource"], one["includeAll"], one["allValue"]) == (SOURCE, True, ".*")
        assert one["definition"] == one["query"]["query"]
        label = re.fullmatch(r"label_values\(.+, (\w+)\)", one["definition"])
        assert label and label[1] == one["name"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_is_whole(panel: dict[str, Any]) -> None:
    """A title, a sentence, a unit, the chosen data source, and queries that each have a letter of their own."""
    assert panel["title"] and panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == SOURCE and panel["targets"]
    assert all(target["datasource"] == SOURCE and target["expr"] for target in panel["targets"])
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters)
    names = {one["name"] for one in BOARD["templating"]["list"]} | BUILT_IN
    for target in panel["targets"]:
        assert set(re.findall(r"\$(\w+)", target["expr"])) <= names
        assert '$job"' in target["expr"], "it would not follow the choice of the job"
        assert target["instant"] is not target["range"]


def test_no_two_are_in_one_place() -> None:
    """Ids and titles are unique; panels overlap neither each other nor the right edge."""
    every = BOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every) == len({panel["title"] for panel in every})
    places = [panel["gridPos"] for panel in every]
    for place in places:
        assert place["x"] >= 0 and place["w"] > 0 and place["h"] > 0 and place["x"] + place["w"] <= COLUMNS
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_the_rows_are_those_of_an_sre() -> None:
    """From what must be seen at once down to what is looked up."""
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["In ten seconds", "Latency", "Attempts", "Tokens and cost", "Fusebox itself", "Policy"]
    height = max(panel["gridPos"]["y"] for panel in PANELS if panel["gridPos"]["y"] < 14)
    assert height < 14, "the first row fits on a screen"
