"""One scrape being written."""

from __future__ import annotations

import math
from collections.abc import Iterable

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from chromepool.gateway.histogram import Histogram
from chromepool.gateway.monitor.metric_table import BY_NAME, FAMILIES, Family

_KINDS: dict[str, type[Metric]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}
_OWN = "chromepool_"


def _metric(family: Family) -> Metric:
    return _KINDS[family.kind](family.name, family.text, labels=family.labels)  # type: ignore[call-arg]


class MetricsPage:
    """Samples of one scrape, under the names of the metric table only."""

    def __init__(self) -> None:
        self._metrics = {f.name: _metric(f) for f in FAMILIES if f.name.startswith(_OWN)}

    def put(self, name: str, value: float | None, *labels: str) -> None:
        """A sample; None is none, since nothing on this machine can tell."""
        if value is None:
            return
        metric = self._metrics[_OWN + name]
        pairs = dict(zip(BY_NAME[_OWN + name].labels, labels, strict=True))
        metric.add_sample(_OWN + name, pairs, float(value))

    def put_durations(self, name: str, durations: Histogram, *labels: str) -> None:
        """The samples of a histogram."""
        metric = self._metrics[_OWN + name]
        assert isinstance(metric, HistogramMetricFamily)
        counts = durations.cumulative()
        buckets = [("+Inf" if math.isinf(le) else str(le), float(count)) for le, count in counts]
        metric.add_metric(labels, buckets, durations.total_s)

    def metrics(self) -> Iterable[Metric]:
        """All of them, also those of which there is nothing to tell here."""
        return self._metrics.values()
