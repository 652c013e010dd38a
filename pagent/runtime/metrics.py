"""The metrics of this process: their declarations, and the counts that the code of the data path adds to.

A metric that can be read from objects during a scrape (jobs by state, open streams) is not counted here: its owner
returns it at that moment. docs/metrics.rst is generated from these declarations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pagent.runtime.histogram import Histogram

Kind = Literal["gauge", "counter", "histogram"]
Labels = tuple[str, ...]

Value = float | Histogram
Values = Mapping[Labels, Value]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``name`` is without the suffix of its kind; a counter's samples end with ``_total``.

    ``roles``: the processes that have it.
    """

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    roles: tuple[str, ...] = ("agent", "router")


_AGENT: Final = ("agent",)
_ROUTER: Final = ("router",)

UP: Final = Metric("pagent_build_info", "gauge", "Always 1; the labels name this release.", ("version", "role"))
JOBS: Final = Metric("pagent_jobs", "gauge", "Jobs by state.", ("state",))
STARTS: Final = Metric("pagent_job_starts", "counter", "Jobs that were started.", roles=_AGENT)
START_FAILURES: Final = Metric(
    "pagent_job_start_failures", "counter", "Starts of jobs that failed, by reason.", ("reason",), roles=_AGENT
)
STREAMS: Final = Metric("pagent_streams", "gauge", "Calls with a stream that are open, by method.", ("method",))
LINKS: Final = Metric("pagent_links", "gauge", "Open links, by the role of this process on them.", ("mode",))
LINKS_MADE: Final = Metric("pagent_links_made", "counter", "Links whose handshake was accepted since the start.")
RECEIVED: Final = Metric("pagent_link_received_bytes", "counter", "Bytes received on links.")
SENT: Final = Metric("pagent_link_sent_bytes", "counter", "Bytes sent on links.")
REQUESTS: Final = Metric(
    "pagent_request_seconds",
    "histogram",
    "Proxied HTTP requests: time from the request's head to the head of its response.",
)
CALLS: Final = Metric("pagent_call_seconds", "histogram", "Unary calls of peers: time to their result.")
RESPONSES: Final = Metric(
    "pagent_responses",
    "counter",
    "Responses to requests for jobs, by the class of their status.",
    ("class",),
    roles=_ROUTER,
)
AGENTS: Final = Metric("pagent_agents", "gauge", "Agents with a link.", roles=_ROUTER)
USERS: Final = Metric("pagent_user_connections", "gauge", "Connections of users, tunnels included.", roles=_ROUTER)
POOL_AGENTS: Final = Metric("pagent_pool_agents", "gauge", "Agents of a pool with a link.", ("pool",), roles=_ROUTER)
POOL_REQUESTS: Final = Metric(
    "pagent_pool_requests",
    "gauge",
    "Requests for agents of a pool that have not ended, by state.",
    ("pool", "state"),
    roles=_ROUTER,
)
POOL_WAITS: Final = Metric(
    "pagent_pool_wait_seconds", "histogram", "Time from a request to its agent's first link.", ("pool",), roles=_ROUTER
)
POOL_FAILURES: Final = Metric(
    "pagent_pool_failures", "counter", "Requests that ended without an agent.", ("pool",), roles=_ROUTER
)
LAG: Final = Metric(
    "pagent_event_loop_lag_seconds", "histogram", "How late a timer of the event loop is, measured once a second."
)
BUFFERED: Final = Metric(
    "pagent_buffered_bytes", "gauge", "Bytes in memory for receivers that do not take them; proxy.memory_max bounds it."
)
SPOOLED: Final = Metric("pagent_spooled_bytes", "gauge", "Bytes on disk for receivers that do not take them.")
LEFT_OUT: Final = Metric("pagent_log_lines_left_out", "counter", "Log lines that were left out: too many of one kind.")

METRICS: Final = (
    UP,
    JOBS,
    STARTS,
    START_FAILURES,
    STREAMS,
    LINKS,
    LINKS_MADE,
    RECEIVED,
    SENT,
    REQUESTS,
    CALLS,
    RESPONSES,
    AGENTS,
    USERS,
    POOL_AGENTS,
    POOL_REQUESTS,
    POOL_WAITS,
    POOL_FAILURES,
    LAG,
    BUFFERED,
    SPOOLED,
    LEFT_OUT,
)


class Statistics:
    """The counts of this process; :data:`STATISTICS` is the only one.

    ``proxied``: requests that an agent passes to jobs. ``routed``: requests that a router passes to agents.
    ``responses``: those of a router to requests for jobs, by the first digit of their status. ``events``: counters of
    rare events, by metric and labels.
    """

    __slots__ = ("calls", "events", "lag", "proxied", "received", "responses", "routed", "sent", "spooled")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0
        self.spooled = 0
        self.proxied = Histogram()
        self.routed = Histogram()
        self.responses = [0] * 6
        self.calls = Histogram()
        self.lag = Histogram()
        self.events: Counter[tuple[str, Labels]] = Counter()

    def count(self, metric: Metric, *labels: str) -> None:
        """Count one event of a metric whose kind is counter."""
        self.events[metric.name, labels] += 1

    def counted(self, metric: Metric) -> dict[Labels, Value]:
        """Return the events of a metric; 0 for one without labels that has none."""
        found: dict[Labels, Value] = {} if metric.labels else {(): 0}
        found.update({labels: count for (name, labels), count in self.events.items() if name == metric.name})
        return found


STATISTICS: Final = Statistics()
