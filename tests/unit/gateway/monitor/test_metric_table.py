"""The table of metrics: names, kinds and labels, and the reference made of it."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable

from chromepool.gateway.http import problems
from chromepool.gateway.monitor.metric_table import (
    BY_NAME,
    FAMILIES,
    LABEL_TEXTS,
    LABELS,
    REFUSALS,
)
from chromepool.model import State
from testing import ROOT

GENERATOR = runpy.run_path(str(ROOT / "docs/generate_metrics.py"))


def test_the_reference_page_is_what_the_table_says() -> None:
    page: Callable[[], str] = GENERATOR["page"]
    written = (ROOT / "docs/reference/metrics.md").read_text()
    assert written == page(), "run: python docs/generate_metrics.py > docs/reference/metrics.md"


def test_the_table_is_in_order() -> None:
    assert len(BY_NAME) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"(chromepool|process)_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.text.endswith(".")
        assert set(family.labels) <= set(LABELS) | set(LABEL_TEXTS)
    assert set(LABELS["state"]) == set(State) - {State.CLOSED}
    assert set(REFUSALS) <= {kind.code for kind in problems.STATUSES}
