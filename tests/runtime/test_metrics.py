"""The declarations of metrics, and the counts of a process."""

from __future__ import annotations

import re

import pytest

from pagent.runtime.histogram import BUCKETS_S, Histogram
from pagent.runtime.metrics import LINKS_MADE, METRICS, START_FAILURES, Metric, Statistics


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_are_those_of_openmetrics(metric: Metric) -> None:
    assert re.fullmatch(r"pagent_[a-z_]+", metric.name)
    assert not metric.name.endswith(("_total", "_bucket", "_count", "_sum"))
    assert (metric.kind == "histogram") is metric.name.endswith("_seconds")
    assert metric.help.endswith(".")


def test_no_name_is_used_twice() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_a_duration_is_counted_in_the_bucket_that_ends_with_it() -> None:
    histogram = Histogram()
    for seconds in (0.0, BUCKETS_S[0], BUCKETS_S[0] + 1e-9, BUCKETS_S[-1], BUCKETS_S[-1] + 1):
        histogram.observe(seconds)
    assert histogram.counts[0] == 2
    assert histogram.counts[1] == 1
    assert histogram.counts[-2] == 1
    assert histogram.counts[-1] == 1
    assert sum(histogram.counts) == 5
    assert histogram.total == pytest.approx(2 * BUCKETS_S[0] + 2 * BUCKETS_S[-1] + 1)


def test_a_counter_without_labels_is_0_before_its_first_event() -> None:
    statistics = Statistics()
    assert statistics.counted(LINKS_MADE) == {(): 0}
    assert statistics.counted(START_FAILURES) == {}
    statistics.count(LINKS_MADE)
    statistics.count(START_FAILURES, "timeout")
    statistics.count(START_FAILURES, "timeout")
    assert statistics.counted(LINKS_MADE) == {(): 1}
    assert statistics.counted(START_FAILURES) == {("timeout",): 2}
