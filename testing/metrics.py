"""Reading of the metrics page, for tests."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from chromepool.gateway.http import problems
from chromepool.gateway.monitor.metric_table import (
    BY_NAME,
    FAMILIES,
    LABELS,
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(page: bytes) -> Samples:
    """Every sample by its name and labels; each is there once."""
    found: Samples = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def at(samples: Samples, name: str, **labels: str) -> float:
    return samples["chromepool_" + name, frozenset(labels.items())]


def kinds(page: bytes) -> dict[str, str]:
    """Name → kind of every family on a page."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", page.decode(), re.MULTILINE))


def assert_bounded(page: bytes, places: int) -> None:
    """Label sets are those declared: none grows with what sessions or callers do."""
    codes = {kind.code for kind in problems.STATUSES} | set(problems.HTTP_CODES.values())
    allowed: dict[str, set[str]] = {name: set(values) for name, values in LABELS.items()}
    allowed |= {"slot": {str(n) for n in range(places)}, "code": codes | {"internal", "http_error"}}
    for name, labels in read(page):
        family = BY_NAME[re.sub(r"(?<!_total)_(bucket|sum|count)$", "", name)]
        given = dict(labels)
        given.pop("le", None)
        assert set(given) == set(family.labels), name
        for label, value in given.items():
            assert value in allowed.get(label, {value}), (name, label, value)
    unbounded = {label for family in FAMILIES for label in family.labels} - set(allowed)
    assert unbounded == {"version", "cgroup"}


def base(name: str) -> str:
    return re.sub(r"(?<!_total)_(bucket|sum|count)$", "", name)
