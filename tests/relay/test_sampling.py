from __future__ import annotations

import pytest

from pagent.relay.sampling import quantile
from pagent.runtime.histogram import BUCKETS_S, Histogram


def counts(*seconds: float) -> list[int]:
    histogram = Histogram()
    for each in seconds:
        histogram.observe(each)
    return histogram.counts


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99, 1.0])
def test_a_quantile_is_within_the_bucket(part: float) -> None:
    found = quantile(counts(0.003, 0.003, 0.004), part)
    assert found is not None
    assert 0.0025 <= found <= 0.005


def test_without_observations_there_is_none() -> None:
    assert quantile(None, 0.5) is None
    assert quantile(counts(), 0.5) is None


def test_the_median_and_the_tail() -> None:
    found = counts(*[0.0001] * 98, 0.2, 700.0)
    assert (quantile(found, 0.5) or 1) <= 0.0005
    assert 0.1 <= (quantile(found, 0.99) or 0) <= 0.25
    assert quantile(found, 1.0) == BUCKETS_S[-1]
