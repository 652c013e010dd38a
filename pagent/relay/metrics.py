"""The metrics of a router (docs/metrics.rst)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from pagent import __version__
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.measures import PoolMeasures
from pagent.rpc.connection import Connection
from pagent.rpc.metrics import link_metrics
from pagent.runtime import metrics
from pagent.runtime.metrics import STATISTICS, Metric, Values

#: The states that are on the page even if no job has them. Other states that agents send count as "other".
_STATES: Final = ("queued", "new", "pending", "running", "finished", "other")


def router_metrics(
    directory: AgentDirectory, clients: Iterable[Connection], users: int, pools: PoolMeasures
) -> dict[Metric, Values]:
    """Return the values of all metrics of a router. ``clients``: links of clients; ``users``: their connections."""
    states = Counter(dict.fromkeys(_STATES, 0))
    states.update(state.lower() if state.lower() in states else "other" for state in directory.jobs.states())
    links = [*(agent.connection for agent in directory.table), *clients]
    return {
        **link_metrics(__version__, "router", links),
        **pools.values(),
        metrics.JOBS: {(state,): float(count) for state, count in states.items()},
        metrics.AGENTS: {(): float(len({agent.uid for agent in directory.table}))},
        metrics.USERS: {(): float(users)},
        metrics.REQUESTS: {(): STATISTICS.routed},
        metrics.RESPONSES: {(f"{digit}xx",): float(STATISTICS.responses[digit]) for digit in range(1, 6)},
    }
