"""The queries of the alert rules and the dashboard, and what they ask for."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import promql_parser
import yaml

from testing import ROOT

RULES: dict[str, Any] = yaml.safe_load((ROOT / "docs/monitoring/alerts.yaml").read_text())


DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "docs/monitoring/chromepool-dashboard.json").read_text()
)


def queries() -> list[str]:
    """All there are, in PromQL alone: Grafana puts in a duration for its variable."""
    rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    shown = [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]
    return [query.replace("$__rate_interval", "1m") for query in rules + shown]


def variables() -> list[tuple[str, str]]:
    """Metric and label that each of the dashboard's variables takes its values from."""
    asked = [v["query"]["query"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    return [re.fullmatch(r"label_values\((\w+), *(\w+)\)", one).groups() for one in asked]  # type: ignore[union-attr,misc]


@dataclasses.dataclass
class Asked:
    """Return the metrics that a query reads."""

    names: set[str] = dataclasses.field(default_factory=set)
    matched: list[tuple[str, promql_parser.Matcher]] = dataclasses.field(default_factory=list)
    """A metric, and what it is selected by."""
    grouped: set[str] = dataclasses.field(default_factory=set)
    """Labels of by, without, on, ignoring and group_left."""

    def visit(self, node: promql_parser.Expr) -> None:
        match node:
            case promql_parser.VectorSelector():
                assert node.name is not None
                self.names.add(node.name)
                self.matched += [(node.name, matcher) for matcher in node.matchers.matchers]
            case promql_parser.AggregateExpr() if node.modifier is not None:
                self.grouped |= {*node.modifier.labels}
            case promql_parser.BinaryExpr() if node.modifier is not None:
                matching = node.modifier.matching
                self.grouped |= {*(matching.labels if matching else ())}
                self.grouped |= {*(node.modifier.group_labels or ())}


def asked_by(query: str) -> Asked:
    """Fails where it is no PromQL."""
    asked = Asked()
    promql_parser.walk(promql_parser.parse(query), asked.visit)
    return asked
