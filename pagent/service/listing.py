"""``job_list``: pages of infos, by age."""

from __future__ import annotations

from typing import Any

from pagent.errors import JobNotFoundError, StuckError
from pagent.jobs.ended import EndedJob, ended_info, stderr_of
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job, State
from pagent.limits import JOBS_LISTED, JOBS_LISTED_BYTES
from pagent.runtime.timeslice import current_slice
from pagent.service.disk import DiskThreads
from pagent.wire import messages

#: Seconds for the look at the output of one job. Without an answer its listing has none.
_OUTPUT_S = 1.0


class JobListing:
    """Lists the jobs of a realm: the existing ones, or the ended ones."""

    def __init__(self, manager: JobManager, threads: DiskThreads) -> None:
        self._manager = manager
        self._threads = threads
        self._slice = current_slice()

    async def page(self, realm: object, after: object, limit: object, *, ended: bool) -> list[dict[str, Any]]:
        """Return a page of infos. ValueError or TypeError for a wrong argument, JobNotFoundError for ``after``."""
        if type(limit) is not int or limit < 1:
            raise ValueError("limit must be a number of jobs, at least 1")
        if after is not None and not isinstance(after, str):
            raise TypeError(f"after must be a str or nil, not {type(after).__name__}")
        registered = self._manager.registry.of_realm(realm)
        jobs: list[Job | EndedJob] = [*registered]
        if ended:
            jobs = [job for job in registered if job.state is State.FINISHED]
            jobs = sorted([*jobs, *self._manager.ended.of_realm(realm)], key=lambda job: job.age)
        infos: list[dict[str, Any]] = []
        size = 0
        for job in _following(jobs, after)[: min(limit, JOBS_LISTED)]:
            await self._slice.wait()
            infos.append(await self._info(job, ended))
            size += len(messages.pack(infos[-1]))
            if size > JOBS_LISTED_BYTES:
                break
        return infos

    async def _info(self, job: Job | EndedJob, ended: bool) -> dict[str, Any]:
        if isinstance(job, EndedJob):
            return job.info
        return await self._finished(job) if ended else job.info()

    async def _finished(self, job: Job) -> dict[str, Any]:
        """Return the info of a job that has ended and was not removed."""
        try:
            stderr = await self._threads.of(job).run(stderr_of, job.sandbox, limit_s=_OUTPUT_S)
        except StuckError:
            stderr = b""
        return ended_info(job, stderr)


def _following(jobs: list[Job | EndedJob], after: str | None) -> list[Job | EndedJob]:
    """Return the jobs after the one of this uid."""
    if after is None:
        return jobs
    for index, job in enumerate(jobs):
        if job.age[1] == after:
            return jobs[index + 1 :]
    raise JobNotFoundError(after)
