"""The metrics of an agent (docs/metrics.rst)."""

from __future__ import annotations

from collections import Counter

from pagent import __version__
from pagent.jobs.manager import JobManager
from pagent.jobs.model import State
from pagent.rpc.metrics import link_metrics
from pagent.runtime import metrics
from pagent.runtime.metrics import STATISTICS, Metric, Values
from pagent.service.links import AgentLinks


def agent_metrics(manager: JobManager, links: AgentLinks) -> dict[Metric, Values]:
    """Return the values of all metrics of an agent."""
    states = Counter(job.state for job in manager.jobs())
    return {
        **link_metrics(__version__, "agent", links.open),
        metrics.JOBS: {(state.name.lower(),): float(states[state]) for state in State},
        metrics.STARTS: STATISTICS.counted(metrics.STARTS),
        metrics.START_FAILURES: STATISTICS.counted(metrics.START_FAILURES),
        metrics.REQUESTS: {(): STATISTICS.proxied},
    }
