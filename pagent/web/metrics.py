"""The page /metrics in the OpenMetrics text format (docs/metrics.rst).

prometheus_client writes the format; its types are those of OpenMetrics 1.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from pagent.runtime.histogram import BUCKETS_S, Histogram
from pagent.runtime.metrics import Metric, Values

#: Returns the values of the metrics of one process, by metric and by the values of its labels.
Source = Callable[[], Mapping[Metric, Values]]

_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_FAMILIES: Final = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
}


class MetricsPage:
    """Makes the page from the values of ``source``, and from the figures of this process in /proc."""

    def __init__(self, source: Source) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collected(source))
        ProcessCollector(namespace="pagent", registry=self._registry)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer with the page."""
        body: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})


class _Collected(Collector):
    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterator[_Family]:
        for metric, values in self._source().items():
            family = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                if isinstance(value, Histogram):
                    family.add_metric(labels, _buckets(value), value.total)
                else:
                    family.add_metric(labels, value)
            yield family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the cumulative counts by upper bound."""
    found, count = list[tuple[str, float]](), 0
    for bound, more in zip([*map(str, BUCKETS_S), "+Inf"], histogram.counts, strict=True):
        count += more
        found.append((bound, float(count)))
    return found
