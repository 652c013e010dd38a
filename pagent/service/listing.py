"""``job_list``: pages of infos, by age."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

from pagent.errors import JobNotFoundError, StuckError
from pagent.jobs.ended import ended_info, stderr_of
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job, State
from pagent.limits import JOBS_LISTED, JOBS_LISTED_BYTES
from pagent.runtime.timeslice import current_slice
from pagent.service.disk import DiskThreads
from pagent.wire import messages

#: Seconds for the look at the output of one job. Without an answer its listing has none.
_OUTPUT_S = 1.0


class _Entry(NamedTuple):
    """A job in a list, and what makes its info."""

    age: tuple[float, str]
    info: Callable[[], Awaitable[dict[str, Any]]]


class JobListing:
    """Lists the jobs of a realm: those that exist, or those that have ended."""

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
        entries = self._ended(realm) if ended else self._existing(realm)
        infos: list[dict[str, Any]] = []
        size = 0
        for entry in _following(entries, after)[: min(limit, JOBS_LISTED)]:
            await self._slice.wait()
            infos.append(await entry.info())
            size += len(messages.pack(infos[-1]))
            if size > JOBS_LISTED_BYTES:
                break
        return infos

    def _existing(self, realm: object) -> list[_Entry]:
        return [_Entry(job.age, partial(_info, job)) for job in self._manager.registry.of_realm(realm)]

    def _ended(self, realm: object) -> list[_Entry]:
        found = [
            _Entry(job.age, partial(self._finished, job))
            for job in self._manager.registry.of_realm(realm)
            if job.state is State.FINISHED
        ]
        found += [_Entry(job.age, partial(_known, job.info)) for job in self._manager.ended.of_realm(realm)]
        return sorted(found, key=lambda entry: entry.age)

    async def _finished(self, job: Job) -> dict[str, Any]:
        """Return the info of a job that has ended and was not removed."""
        try:
            stderr = await self._threads.of(job).run(stderr_of, job.sandbox, limit_s=_OUTPUT_S)
        except StuckError:
            stderr = b""
        return ended_info(job, stderr)


async def _info(job: Job) -> dict[str, Any]:
    return job.info()


async def _known(info: dict[str, Any]) -> dict[str, Any]:
    return info


def _following(entries: list[_Entry], after: str | None) -> list[_Entry]:
    """Return the entries after the job of this uid."""
    if after is None:
        return entries
    for index, entry in enumerate(entries):
        if entry.age[1] == after:
            return entries[index + 1 :]
    raise JobNotFoundError(after)
