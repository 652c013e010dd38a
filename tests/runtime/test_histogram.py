from __future__ import annotations

from pagent.runtime.histogram import BUCKETS_S, Histogram


def test_each_duration_is_in_the_bucket_of_the_next_bound() -> None:
    for index, bound in enumerate(BUCKETS_S):
        histogram = Histogram()
        for seconds in (bound, bound * 1.000_001):
            histogram.observe(seconds)
        assert [histogram.counts[index], histogram.counts[index + 1]] == [1, 1]
