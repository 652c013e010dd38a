"""The watch of one agent: a call that notifies the router of the agent's jobs and of its host's load.

docs/contract.rst, "Host", has the messages of ``agent_watch``.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from pagent.errors import CallCancelledError, LinkClosedError, MethodNotFoundError
from pagent.relay.agent import ConnectedAgent
from pagent.relay.asking import is_info
from pagent.relay.host import parse_report
from pagent.relay.jobs import JobTable
from pagent.wire import messages

_log = logging.getLogger(__name__)

#: How often the agent sends the figures of its host, in seconds.
_INTERVAL_S: Final = 10.0


class WatchState(enum.Enum):
    """States of a watch."""

    LISTING = enum.auto()  # the agent lists its jobs
    CURRENT = enum.auto()  # each change is sent
    UNKNOWN_METHOD = enum.auto()  # the agent has no such method
    FAILED = enum.auto()  # the agent has ended the watch, or sent a message that is not valid
    STOPPED = enum.auto()  # it is not wanted any more, or its link is lost


#: Any other input is ignored, because an agent may have sent it before a change here.
_TRANSITIONS: Final[Mapping[WatchState, Mapping[str, WatchState]]] = MappingProxyType(
    {
        WatchState.LISTING: {
            "listed": WatchState.CURRENT,
            "unknown": WatchState.UNKNOWN_METHOD,
            "failed": WatchState.FAILED,
            "stopped": WatchState.STOPPED,
        },
        WatchState.CURRENT: {"failed": WatchState.FAILED, "stopped": WatchState.STOPPED},
        WatchState.UNKNOWN_METHOD: {"stopped": WatchState.STOPPED},
        WatchState.FAILED: {"stopped": WatchState.STOPPED},
        WatchState.STOPPED: {},
    }
)

_RUNNING: Final = (WatchState.LISTING, WatchState.CURRENT)


class AgentWatch:
    """The receiver of one call of ``agent_watch``. It keeps ``jobs`` and the agent's figures up to date.

    ``changed`` is called with the watch after each change of its state, but for its stop.
    """

    def __init__(self, agent: ConnectedAgent, jobs: JobTable, changed: Callable[[AgentWatch], None]) -> None:
        # For life.
        self.agent: Final = agent
        self._jobs = jobs
        self._changed = changed
        # While it runs.
        self.state = WatchState.LISTING
        self._unlisted = {record.uid for record in jobs.of(agent.key)}  # known jobs that the agent may have no more
        self._call = agent.start_call(messages.ISTREAM, "agent_watch", [], {"interval": _INTERVAL_S})
        agent.watching = self._call
        self._call.result.add_done_callback(self._ended)
        assert self._call.stream is not None
        self._call.stream.attach(self)

    @property
    def is_listing(self) -> bool:
        """Whether the agent has not listed all its jobs yet."""
        return self.state is WatchState.LISTING

    def stop(self) -> None:
        """Receive no more."""
        self._apply("stopped")
        self._call.cancel(CallCancelledError("the watch was given up"))

    def _apply(self, happening: str) -> None:
        """Set the state. This is the only setter."""
        following = _TRANSITIONS[self.state].get(happening)
        if following is None:
            return
        self.state = following
        if following is not WatchState.CURRENT and self.agent.watching is self._call:
            self.agent.watching = None
        self.agent.is_watched = following is WatchState.CURRENT
        if following is not WatchState.STOPPED:
            self._changed(self)

    def _ended(self, result: asyncio.Future[Any]) -> None:
        error = None if result.cancelled() else result.exception()
        if isinstance(error, MethodNotFoundError):
            self._apply("unknown")
        elif isinstance(error, LinkClosedError):
            self._apply("stopped")
        else:
            if self.state in _RUNNING:
                _log.warning("agent %r: its jobs are not watched: %s", self.agent.uid, error or "it ended the watch")
            self._apply("failed")

    # --- receiver of the stream -------------------------------------------------------------------

    def stream_message(self, value: Any) -> None:
        if self.state not in _RUNNING:
            return
        match value:
            case {"job": info} if is_info(info):
                self._take(info)
            case {"jobs": [*infos]}:
                for info in infos:
                    if is_info(info):
                        self._take(info)
            case {"removed": str(job_uid)}:
                self._removed(job_uid)
            case {"note": [str(job_uid), str(name), (bytes() | None) as note]}:
                self._jobs.note(self.agent.key, job_uid, name, note)
            case {"host": figures}:
                self.agent.take_report(parse_report(figures))
                self._count_others()
            case {"ready": True}:
                self._list_ended()
            case _:
                _log.warning("agent %r: a message of agent_watch is not understood, and is ignored", self.agent.uid)

    def _take(self, info: dict[str, Any]) -> None:
        if self._jobs.update(self.agent.key, info):
            self._unlisted.discard(info["uid"])

    def _removed(self, job_uid: str) -> None:
        if self._jobs.agent_of(job_uid) == self.agent.key:
            self._jobs.discard(job_uid)

    def _list_ended(self) -> None:
        """Forget the jobs of this agent that it has not listed."""
        for job_uid in self._unlisted:
            self._removed(job_uid)
        self._unlisted = set()
        self._apply("listed")
        self._count_others()

    def _count_others(self) -> None:
        """Note how many jobs the agent has beside those that it lists here. They are not known while it lists them."""
        if self.state is WatchState.CURRENT:
            self.agent.others = max(0, self.agent.host.jobs - self._jobs.count(self.agent.key))

    def stream_closed(self) -> None:
        """Do nothing: the result follows."""

    def stream_blocked(self) -> None:
        """Do nothing: nothing is sent."""

    def stream_writable(self) -> None:
        """Do nothing: nothing is sent."""

    def stream_lost(self, reason: str) -> None:
        """Do nothing: the result of the call says it."""
