"""The figures of pools (docs/metrics.rst)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from pagent.relay.pools.registry import RequestRegistry
from pagent.relay.pools.request import PoolRequest
from pagent.relay.pools.states import RequestState
from pagent.runtime import metrics
from pagent.runtime.histogram import Histogram
from pagent.runtime.metrics import Labels, Metric, Values

_STATES: Final = tuple(state for state in RequestState if state is not RequestState.ENDED)


class PoolMeasures:
    """Counts the outcomes of the requests of this router.

    :param agents: returns the uids of the connected agents of a pool.
    """

    def __init__(
        self, requests: RequestRegistry, pools: Iterable[str], agents: Callable[[str], tuple[str, ...]]
    ) -> None:
        # For life.
        self._requests = requests
        self._pools = tuple(pools)
        self._agents = agents
        # Since the start.
        self._waits: Final[dict[Labels, Histogram]] = {(pool,): Histogram() for pool in self._pools}
        self._failures: Final[Counter[Labels]] = Counter({(pool,): 0 for pool in self._pools})

    def note(self, request: PoolRequest) -> None:
        """Count a change of the state of a request."""
        labels = (request.data.pool,)
        if request.state is RequestState.CONNECTED and not request.is_delivered:
            self._waits[labels].observe(max(0.0, time.time() - request.data.created_at))
        elif request.state is RequestState.ENDED and request.error is not None and not request.is_cancelled:
            self._failures[labels] += 1

    def values(self) -> dict[Metric, Values]:
        """Return the values of the metrics of pools."""
        states: Counter[Labels] = Counter({(pool, state.value): 0 for pool in self._pools for state in _STATES})
        for request in self._requests.active():
            states[request.data.pool, request.state.value] += 1
        return {
            metrics.POOL_AGENTS: {(pool,): float(len(self._agents(pool))) for pool in self._pools},
            metrics.POOL_REQUESTS: {labels: float(count) for labels, count in states.items()},
            metrics.POOL_WAITS: dict(self._waits),
            metrics.POOL_FAILURES: {labels: float(count) for labels, count in self._failures.items()},
        }

    def active(self, pool: str) -> int:
        """Return how many requests of a pool have not ended."""
        return len(self._requests.active(pool))
