"""The watches of all agents of ours: one for each agent, on the link that takes new calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from pagent.errors import LinkClosedError
from pagent.relay.agent import AgentKey, ConnectedAgent
from pagent.relay.asking import jobs_of
from pagent.relay.jobs import JobTable
from pagent.relay.watch import AgentWatch, WatchState
from pagent.runtime.tasks import TaskOwner

#: Seconds until a watch that has failed is tried again.
_AGAIN_S: Final = 5.0


class AgentWatches:
    """Watches agents, and lists the jobs of those of an older release, which have no watch, once for each link.

    :param listed: called with each agent once its jobs are known.
    """

    def __init__(self, jobs: JobTable, tasks: TaskOwner, listed: Callable[[ConnectedAgent], None]) -> None:
        # For life.
        self._loop = asyncio.get_running_loop()
        self._jobs = jobs
        self._tasks = tasks
        self._listed = listed
        # While running.
        self._watches: dict[AgentKey, AgentWatch] = {}
        self._listing: dict[AgentKey, asyncio.Future[None]] = {}

    def follow(self, agent: ConnectedAgent) -> None:
        """Watch an agent on this link, and on no other."""
        watch = self._watches.get(agent.key)
        if watch is not None and watch.agent is agent and watch.state is not WatchState.FAILED:
            return
        self._begin(agent)

    def restart(self, key: AgentKey) -> None:
        """Have an agent list its jobs again, if it is watched."""
        if (watch := self._watches.get(key)) is not None:
            self._begin(watch.agent)

    def stop(self, key: AgentKey) -> None:
        """Do not watch this agent any more."""
        if (watch := self._watches.pop(key, None)) is not None:
            watch.stop()
        self._end_listing(key)

    def close(self) -> None:
        """Watch no agent any more."""
        for key in [*self._watches]:
            self.stop(key)

    async def until_listed(self, keys: Iterable[AgentKey], timeout: float) -> bool:
        """Wait until all jobs of these agents are known; return whether they are."""
        listing = [self._listing[key] for key in keys if key in self._listing]
        if not listing:
            return True
        _, pending = await asyncio.wait(listing, timeout=timeout)
        return not pending

    @property
    def listing(self) -> list[AgentKey]:
        """Return the agents whose jobs are not all known yet."""
        return [*self._listing]

    def _begin(self, agent: ConnectedAgent) -> None:
        key = agent.key
        if (former := self._watches.pop(key, None)) is not None:
            former.stop()
        if key not in self._listing:
            self._listing[key] = self._loop.create_future()
        try:
            self._watches[key] = AgentWatch(agent, self._jobs, self._changed)
        except LinkClosedError:
            self._end_listing(key)

    def _changed(self, watch: AgentWatch) -> None:
        agent = watch.agent
        if watch.state is WatchState.UNKNOWN_METHOD:
            self._tasks.start(self._list(agent), name="list the jobs of an agent")
            return
        self._end_listing(agent.key)
        if watch.state is WatchState.CURRENT:
            self._listed(agent)
        elif watch.state is WatchState.FAILED:
            self._loop.call_later(_AGAIN_S, self._again, watch)

    def _again(self, watch: AgentWatch) -> None:
        if self._watches.get(watch.agent.key) is watch and watch.agent.is_open:
            self._begin(watch.agent)

    async def _list(self, agent: ConnectedAgent) -> None:
        """List the jobs of an agent that has no watch."""
        for info in await jobs_of(agent):
            self._jobs.update(agent.key, info)
        self._end_listing(agent.key)
        self._listed(agent)

    def _end_listing(self, key: AgentKey) -> None:
        if (future := self._listing.pop(key, None)) is not None:
            future.set_result(None)
