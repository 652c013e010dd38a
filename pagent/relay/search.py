"""Look for a job by asking the agents that do not say which jobs they have."""

from __future__ import annotations

import asyncio
from typing import Final

from pagent.relay.agent import ConnectedAgent
from pagent.relay.asking import info_of
from pagent.relay.jobs import JobTable
from pagent.relay.table import AgentTable
from pagent.router_limits import LOOKUPS_AT_ONCE
from pagent.runtime.tasks import TaskOwner

#: Agents that are asked at once for a job: more would hold up the loop.
_ASKED_AT_ONCE: Final = 50


class JobSearch:
    """Asks the agents of ours that are not watched. Requests for one job at one time share the answer."""

    def __init__(self, table: AgentTable, jobs: JobTable, tasks: TaskOwner) -> None:
        # For life.
        self._table = table
        self._jobs = jobs
        self._tasks = tasks
        self._turns = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        # While running.
        self._lookups: dict[str, asyncio.Task[ConnectedAgent | None]] = {}

    def unwatched(self) -> list[ConnectedAgent]:
        """Return the agents of ours that have to be asked for their jobs."""
        return [agent for agent in self._table if agent.is_ours and not agent.retiring and not agent.is_watched]

    async def agent_of(self, job_uid: str) -> ConnectedAgent | None:
        """Return the agent that says that it has a job; None if none does."""
        lookup = self._lookups.get(job_uid)
        if lookup is None:
            if not (agents := self.unwatched()):
                return None
            lookup = self._tasks.start(self._ask(job_uid, agents), name="look for a job")
            self._lookups[job_uid] = lookup
            lookup.add_done_callback(lambda _: self._lookups.pop(job_uid, None))
        return await asyncio.shield(lookup)

    async def _ask(self, job_uid: str, agents: list[ConnectedAgent]) -> ConnectedAgent | None:
        async with self._turns:
            for first in range(0, len(agents), _ASKED_AT_ONCE):
                some = agents[first : first + _ASKED_AT_ONCE]
                infos = await asyncio.gather(*(info_of(agent, job_uid) for agent in some))
                for agent, info in zip(some, infos, strict=True):
                    if info is not None and agent.is_open and self._jobs.update(agent.key, info):
                        return agent
        return None
