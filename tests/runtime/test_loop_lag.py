"""The lag of the event loop."""

from __future__ import annotations

import asyncio
import time

from pagent.runtime.histogram import BUCKETS_S, Histogram
from pagent.runtime.loop_lag import LoopLag


class Watched:
    """A histogram that can be waited for."""

    def __init__(self) -> None:
        self.histogram = Histogram()
        self.changed = asyncio.Event()

    def observe(self, seconds: float) -> None:
        self.histogram.observe(seconds)
        self.changed.set()


async def test_a_callback_that_holds_up_the_loop_is_measured() -> None:
    watched = Watched()
    lag = LoopLag(watched.observe, period_s=0.01)
    try:
        time.sleep(0.2)  # noqa: ASYNC251 - the loop is held up
        await watched.changed.wait()
    finally:
        lag.close()
    assert sum(count for bound, count in zip(BUCKETS_S, watched.histogram.counts, strict=False) if bound >= 0.25) == 1
    assert watched.histogram.total >= 0.18


async def test_it_measures_again_after_each_period_and_no_more_once_closed() -> None:
    watched = Watched()
    lag = LoopLag(watched.observe, period_s=0.001)
    for _ in range(3):
        watched.changed.clear()
        await watched.changed.wait()
    lag.close()
    count = sum(watched.histogram.counts)
    await asyncio.sleep(0.01)
    assert sum(watched.histogram.counts) == count
