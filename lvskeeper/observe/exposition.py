"""Metrics as text for Prometheus, by prometheus-client, on a registry of its own.

Only who serves or writes metrics imports this.
"""

from collections.abc import Collection, Iterator
from itertools import accumulate
from typing import Final, final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from lvskeeper.health.tally import BOUNDS
from lvskeeper.observe.metric import Facts, Histogram, Kind, Metric, Suite
from lvskeeper.observe.metrics import METRICS

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@final
class _FactsCollector(Collector):
    def __init__(self, facts: Facts, suites: Collection[Suite]) -> None:
        self._facts = facts
        self._suites = suites

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            if metric.suite in self._suites:
                yield _family(metric, self._facts)


def expose(facts: Facts, suites: Collection[Suite] = (Suite.OWN,)) -> bytes:
    """Return all metrics of *suites* as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FactsCollector(facts, suites))
    return generate_latest(registry)


def _family(metric: Metric, facts: Facts) -> Family:
    family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    match metric.kind:
        case Kind.COUNTER:
            family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        case Kind.GAUGE:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        case Kind.HISTOGRAM:
            family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in metric.read(facts):
        if isinstance(value, Histogram):
            assert isinstance(family, HistogramMetricFamily)
            bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
            buckets = list(zip(bounds, map(float, accumulate(value.counts)), strict=True))
            family.add_metric(labels, buckets, value.total)
        else:
            assert not isinstance(family, HistogramMetricFamily)
            family.add_metric(labels, value)
    return family
