"""The figures of jobs that change all the time, while clients of the API listen to them.

Each agent of ours sends them in a call of ``job_figures`` (docs/contract.rst, "Host"). Without a listener there is no
such call, so nothing is measured.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from pagent.errors import CallCancelledError, LinkClosedError, MethodNotFoundError
from pagent.relay.agent import AgentKey, ConnectedAgent
from pagent.relay.changes import Change, ChangeKind
from pagent.relay.directory import AgentDirectory
from pagent.router_limits import FIGURES_UNLISTED_MAX
from pagent.wire import messages

_log = logging.getLogger(__name__)

#: Seconds between two messages of an agent with changed figures.
_INTERVAL_S: Final = 1.0
#: Characters of a job's uid.
_UID_MAX: Final = 64
#: Numbers of a job: CPU, memory, streams, received, sent, idle seconds.
_COLUMNS: Final = 6
_STREAMS, _RECEIVED, _SENT = 2, 3, 4


class LiveRow(NamedTuple):
    """The figures of one job, received at ``at``. ``version`` grows with each change of any job."""

    version: int
    received: list[float | None]
    agent: AgentKey
    at: float

    @property
    def values(self) -> list[float | None]:
        """The figures now: the time without use has grown since they were received."""
        *rest, idle_s = self.received
        grown = idle_s is not None and not self.received[_STREAMS]
        return [*rest, round(idle_s + time.monotonic() - self.at, 1) if grown and idle_s is not None else idle_s]


class LiveFigures:
    """The latest figures of the jobs of all agents, by uid."""

    def __init__(self, directory: AgentDirectory) -> None:
        # For life.
        self._directory = directory
        # While there are listeners.
        self._listeners = 0
        self._feeds: dict[AgentKey, _Feed] = {}
        self._end_changes: Callable[[], object] = tuple
        #: By uid of the job.
        self.rows: dict[str, LiveRow] = {}
        self.version = 0
        #: Bytes that jobs have received and sent since there are listeners.
        self.received = 0.0
        self.sent = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Keep the figures current while the block runs."""
        self._listeners += 1
        if self._listeners == 1:
            self._end_changes = self._directory.changes.subscribe(self._changed)
            self.follow()
        try:
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._end()

    def _end(self) -> None:
        self._end_changes()
        for feed in self._feeds.values():
            feed.stop()
        self._feeds.clear()
        self.rows.clear()

    def follow(self) -> None:
        """Call the agents that have come, on the link that takes new calls."""
        links = {agent.key: agent for agent in self._directory.table if agent.is_ours and not agent.retiring}
        for key, feed in [*self._feeds.items()]:
            if links.get(key) is not feed.agent:
                feed.stop()
                del self._feeds[key]
                self.rows = {uid: row for uid, row in self.rows.items() if row.agent != key}
        for key, agent in links.items():
            if key not in self._feeds and agent.is_open:
                try:
                    self._feeds[key] = _Feed(agent, self)
                except LinkClosedError:
                    continue

    @property
    def streams(self) -> int:
        """The number of streams of all jobs."""
        return sum(int(row.received[_STREAMS] or 0) for row in self.rows.values())

    def take(self, agent: ConnectedAgent, uid: str, values: list[float | None]) -> None:
        """Take over the figures of a job, if the agent has it; also if it has not listed the job yet."""
        owner = self._directory.jobs.agent_of(uid)
        if owner != agent.key and (
            owner is not None or len(self.rows) >= len(self._directory.jobs) + FIGURES_UNLISTED_MAX
        ):
            return
        if (former := self.rows.get(uid)) is not None:
            self.received += max(0.0, (values[_RECEIVED] or 0) - (former.received[_RECEIVED] or 0))
            self.sent += max(0.0, (values[_SENT] or 0) - (former.received[_SENT] or 0))
        self.version += 1
        self.rows[uid] = LiveRow(self.version, values, agent.key, time.monotonic())

    def _changed(self, change: Change) -> None:
        if change.job is None or (row := self.rows.get(change.job.uid)) is None:
            return
        if change.kind is ChangeKind.JOB_REMOVED:
            del self.rows[change.job.uid]
        elif change.kind is ChangeKind.JOB_CREATED:
            self.version += 1
            self.rows[change.job.uid] = row._replace(version=self.version)


class _Feed:
    """The receiver of one call of ``job_figures``."""

    def __init__(self, agent: ConnectedAgent, figures: LiveFigures) -> None:
        self.agent = agent
        self._figures = figures
        self._call = agent.start_call(messages.ISTREAM, "job_figures", [], {"interval": _INTERVAL_S})
        agent.measuring = self._call
        self._call.result.add_done_callback(self._ended)
        assert self._call.stream is not None
        self._call.stream.attach(self)

    def stop(self) -> None:
        """Receive no more."""
        if self.agent.measuring is self._call:
            self.agent.measuring = None
        self._call.cancel(CallCancelledError("no client listens to the figures"))

    def _ended(self, result: asyncio.Future[Any]) -> None:
        error = None if result.cancelled() else result.exception()
        if error is not None and not isinstance(error, (CallCancelledError, LinkClosedError, MethodNotFoundError)):
            _log.warning("agent %r: the figures of its jobs are not known: %s", self.agent.uid, error)

    # --- receiver of the stream -------------------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        if type(value) is not dict:
            return
        for uid, row in value.items():
            if (
                type(uid) is str
                and len(uid) <= _UID_MAX
                and type(row) is list
                and len(row) == _COLUMNS
                and all(map(_is_figure, row))
            ):
                self._figures.take(self.agent, uid, row)

    def stream_closed(self) -> None:
        """Do nothing: the result follows."""

    def stream_blocked(self) -> None:
        """Do nothing: nothing is sent."""

    def stream_writable(self) -> None:
        """Do nothing: nothing is sent."""

    def stream_lost(self, reason: str) -> None:
        """Do nothing: the result of the call says it."""


#: Beyond this a number is no figure: JSON readers lose its last digits.
_FIGURE_MAX: Final = 2**53


def _is_figure(value: object) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= _FIGURE_MAX)  # type: ignore[operator]
