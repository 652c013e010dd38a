"""Wait for the end of a job's process, on whatever agent the job is."""

from __future__ import annotations

from typing import Final

from pagent.errors import LinkClosedError
from pagent.job_states import PENDING, RUNNING
from pagent.relay.directory import AgentDirectory
from pagent.relay.record import JobRecord

#: The states of a job with a process.
_ACTIVE: Final = (PENDING, RUNNING)


async def until_ended(directory: AgentDirectory, job_uid: str) -> None:
    """Return when a known job has no process, or is not known any more. CallError.

    While its agent is away, a job counts as it was last.
    """
    jobs = directory.jobs
    while (record := jobs.get(job_uid)) is not None and (record.state in _ACTIVE or jobs.is_awaited(job_uid)):
        agent = directory.table.newest(record.agent)
        if agent is None or agent.is_watched or jobs.is_awaited(job_uid):
            await jobs.changed(job_uid)
            continue
        try:
            directory.noted(agent, await agent.call("job_wait", job_uid))
        except LinkClosedError:
            continue
        return


async def until_placed(directory: AgentDirectory, job_uid: str) -> JobRecord | None:
    """Wait until a job of a pool is at its agent, and is started if it was to be. None: it was removed."""
    jobs = directory.jobs
    while jobs.is_awaited(job_uid):
        await jobs.changed(job_uid)
    return jobs.get(job_uid)
