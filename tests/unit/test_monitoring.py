"""The alert rules and the dashboard in ``docs/monitoring`` ask for what there is."""

from __future__ import annotations

import re

import pytest

from testing import ROOT
from testing.promql import DASHBOARD, RULES, asked_by


def test_what_a_query_asks_for_is_found() -> None:
    asked = asked_by(
        'sum by (le) (rate(a_total{code=~"b|c"}[5m])) > on (x) group_left (y) d_e{f="g"} and h < 3'
    )
    assert asked.names == {"a_total", "d_e", "h"}
    assert [(name, m.name, m.value) for name, m in asked.matched] == [
        ("a_total", "code", "b|c"),
        ("d_e", "f", "g"),
    ]
    assert asked.grouped == {"le", "x", "y"}
    with pytest.raises(ValueError, match="parenthesis"):
        asked_by("sum(rate(a_total[5m])")


def test_no_rule_takes_a_reload_for_a_fault_and_those_of_deaths_are_cleared() -> None:
    rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    assert not [rule for rule in rules if "gateway_restarts_total" in rule]
    of_deaths = [rule for rule in rules if "gateway_deaths_total" in rule]
    assert of_deaths
    for rule in of_deaths:  # a total that only grows would hold for ever
        assert re.match(r"increase\(chromepool_gateway_deaths_total\[\d+m\]\) >", rule)


def test_the_rules_are_whole() -> None:
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    told = (ROOT / "docs/howto/monitoring.md").read_text()
    names = [rule["alert"] for rule in rules]
    assert len(set(names)) == len(names)
    assert sorted(re.findall(r"^\| `(Chromepool\w+)` \|", told, re.MULTILINE)) == sorted(names)
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_the_dashboard_is_whole() -> None:
    panels = DASHBOARD["panels"]
    assert len(panels) >= 12
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert DASHBOARD["uid"]
    assert {v["name"] for v in DASHBOARD["templating"]["list"]} == {"datasource", "instance"}
    for panel in panels:
        assert panel["title"]
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for target in panel["targets"]:
            assert 'instance=~"$instance"' in target["expr"]
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(squares)) == len(squares), "panels lie upon each other"
