"""Samples of a router for live plots: throughput, latency, and use of CPU and memory (docs/api.rst, "Live figures")."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any, Final

from pagent.relay.directory import AgentDirectory
from pagent.relay.live import LiveFigures, LiveRow
from pagent.runtime.histogram import BUCKETS_S, Histogram
from pagent.runtime.resident import resident_bytes

#: Rates of bytes are those of this many samples together: agents send their figures once a second, too.
_SMOOTHED: Final = 2


class _Point:
    """The counts at one time."""

    __slots__ = ("at", "counts", "cpu_s", "received", "sent")

    def __init__(self, at: float, counts: list[int], received: float, sent: float) -> None:
        self.at = at
        self.cpu_s = time.process_time()
        self.counts = counts
        self.received = received
        self.sent = sent


class Sampling:
    """Takes samples while clients listen. ``requests``: the histogram of the requests that are counted."""

    def __init__(self, directory: AgentDirectory, figures: LiveFigures, requests: Histogram) -> None:
        # For life.
        self._directory = directory
        self._requests = requests
        self._figures = figures
        # While there are listeners.
        self._points: list[_Point] = []

    def listening(self) -> AbstractContextManager[None]:
        """Return a block: the figures are kept current while it runs."""
        return self._figures.listening()

    @property
    def version(self) -> int:
        """The version of the latest change of a job's figures."""
        return self._figures.version

    @property
    def rows(self) -> dict[str, LiveRow]:
        """The figures of jobs by uid, each with the version of its last change."""
        return self._figures.rows

    def sample(self) -> dict[str, Any]:
        """Return the present sample; rates are those since the last one, None without one."""
        figures = self._figures
        figures.follow()
        now = _Point(time.monotonic(), [*self._requests.counts], figures.received, figures.sent)
        last = self._points[-1] if self._points and now.at - self._points[-1].at < _SMOOTHED * 2 else None
        oldest = self._points[0] if last is not None else None
        self._points = [*(self._points if last is not None else ()), now][-_SMOOTHED:]
        counts = None if last is None else [new - old for new, old in zip(now.counts, last.counts, strict=True)]
        return {
            "time": round(time.time(), 3),
            "agents": len({agent.uid for agent in self._directory.table}),
            "jobs": len(self._directory.jobs),
            "streams": figures.streams,
            "requests_per_s": None if counts is None or last is None else _rate(sum(counts), now.at - last.at),
            "received_per_s": None if oldest is None else _rate(now.received - oldest.received, now.at - oldest.at),
            "sent_per_s": None if oldest is None else _rate(now.sent - oldest.sent, now.at - oldest.at),
            "latency_p50_s": quantile(counts, 0.5),
            "latency_p99_s": quantile(counts, 0.99),
            "cpu": None if last is None else _rate(now.cpu_s - last.cpu_s, now.at - last.at),
            "memory": resident_bytes(),
        }


def _rate(amount: float, seconds: float) -> float:
    return round(max(0.0, amount) / max(seconds, 1e-3), 3)


def quantile(counts: list[int] | None, part: float) -> float | None:
    """Return the duration that this part of a histogram's observations is below, about; None without observations."""
    if not counts or not (total := sum(counts)):
        return None
    wanted, below = total * part, 0
    for index, count in enumerate(counts):
        if count and below + count >= wanted:
            low = BUCKETS_S[index - 1] if index else 0.0
            high = BUCKETS_S[min(index, len(BUCKETS_S) - 1)]
            return round(low + (high - low) * (wanted - below) / count, 6)
        below += count
    return BUCKETS_S[-1]
