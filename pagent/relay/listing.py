"""List the jobs of all agents in pages, in the order of their creation (docs/router.rst, "Calls of clients")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

from pagent.errors import JobNotFoundError
from pagent.relay.agent import ConnectedAgent
from pagent.relay.asking import jobs_of
from pagent.relay.directory import AgentDirectory
from pagent.relay.record import JobRecord, age_of, labels_of
from pagent.rpc.directory import JobFacts
from pagent.runtime.timeslice import current_slice

#: Whether a job is listed.
_Visible = Callable[[JobFacts], bool]


class JobLister:
    """Lists jobs: a page begins after the job ``after`` and has at most ``limit`` infos.

    JobNotFoundError: there is no job ``after``.
    """

    def __init__(self, directory: AgentDirectory) -> None:
        self._directory = directory

    async def jobs(self, after: str | None, limit: int, visible: _Visible) -> list[dict[str, Any]]:
        """Return the infos of jobs that exist. ``cpu_seconds`` and the like are those of a job's last change."""
        jobs = self._directory.jobs
        if after is None:
            for agent, infos in await asyncio.gather(*map(_with_jobs, self._directory.search.unwatched())):
                for info in infos:
                    jobs.update(agent.key, info)
        found = (each for each in jobs.later_than(after) if visible(JobFacts(each.uid, each.agent.uid, each.labels)))
        return [self._directory.info(record) for record in islice(found, limit)]

    async def ended(self, after: str | None, limit: int, visible: _Visible) -> list[dict[str, Any]]:
        """Return the infos of jobs that have ended, as all agents that are connected remember them."""
        infos = [
            info
            for agent, infos in await self._all_ended()
            for info in infos
            if visible(JobFacts(info["uid"], agent.uid, labels_of(info) or {}))
        ]
        infos.sort(key=age_of)
        if after is not None:
            begin = next((index for index, info in enumerate(infos, 1) if info["uid"] == after), None)
            if begin is None:
                raise JobNotFoundError(after)
            infos = infos[begin:]
        return infos[:limit]

    async def ended_records(self) -> list[JobRecord]:
        """Return the jobs that have ended, as all agents that are connected remember them, by their age."""
        records, slices = list[JobRecord](), current_slice()
        for agent, infos in await self._all_ended():
            for info in infos:
                await slices.wait()
                records.append(JobRecord(info["uid"], agent.key))
                records[-1].take(info)
        return sorted(records, key=lambda record: record.age)

    async def _all_ended(self) -> list[tuple[ConnectedAgent, list[dict[str, Any]]]]:
        agents = [agent for agent in self._directory.table if agent.is_watched and not agent.retiring]
        return await asyncio.gather(*map(_with_ended, agents))


async def _with_jobs(agent: ConnectedAgent) -> tuple[ConnectedAgent, list[dict[str, Any]]]:
    return agent, await jobs_of(agent)


async def _with_ended(agent: ConnectedAgent) -> tuple[ConnectedAgent, list[dict[str, Any]]]:
    return agent, await jobs_of(agent, ended=True)
