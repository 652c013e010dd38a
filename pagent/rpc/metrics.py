"""The metrics that every process with links has: its calls, its links and its buffers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pagent import log
from pagent.rpc.connection import Connection
from pagent.runtime import metrics
from pagent.runtime.memory import current_memory
from pagent.runtime.metrics import STATISTICS, Labels, Metric, Value, Values


def link_metrics(version: str, role: str, links: Iterable[Connection]) -> dict[Metric, Values]:
    """Return the metrics of a process with these open links. ``role``: agent or router."""
    open_links = [*links]
    modes: Counter[Labels] = Counter({("client",): 0, ("server",): 0})
    modes.update(("client" if link.link.dialled else "server",) for link in open_links)
    return {
        metrics.UP: {(version, role): 1.0},
        metrics.LINKS: _values(modes),
        metrics.LINKS_MADE: STATISTICS.counted(metrics.LINKS_MADE),
        metrics.RECEIVED: {(): float(STATISTICS.received)},
        metrics.SENT: {(): float(STATISTICS.sent)},
        metrics.STREAMS: _values(_streams(open_links)),
        metrics.CALLS: {(): STATISTICS.calls},
        metrics.LAG: {(): STATISTICS.lag},
        metrics.BUFFERED: {(): float(current_memory().used)},
        metrics.SPOOLED: {(): float(STATISTICS.spooled)},
        metrics.LEFT_OUT: {(): float(log.left_out())},
    }


def _streams(links: Iterable[Connection]) -> Counter[Labels]:
    """Count the open calls with a stream by method. An agent's are those of its peers, a router's are its own."""
    found: Counter[Labels] = Counter()
    for link in links:
        found.update((call.method,) for call in link.incoming.values() if call.stream is not None)
        found.update((call.method,) for call in link.outgoing.values() if call.stream is not None)
    return found


def _values(counts: dict[Labels, int]) -> dict[Labels, Value]:
    return {labels: float(count) for labels, count in counts.items()}
