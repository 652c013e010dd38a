"""Gather what a watcher of jobs has not been sent yet (docs/contract.rst, "Host").

A watcher may be slow. So it gets the last state of each job, and not each change: a change is noted as due, once, and
the info is made when the watcher takes it. What is due is therefore bounded by the jobs that exist and those that the
watcher knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pagent.jobs.model import Job


class JobWatcher:
    """What is due to one watcher. ``jobs``: those that exist, by uid."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        # For life.
        self._jobs: Final = jobs
        #: Set when something may be due.
        self.news: Final = asyncio.Event()
        # From one message to the next.
        self._known: set[str] = set()  # the jobs that the watcher was sent
        self._due: dict[str, None] = {}  # uids, the change that waits longest first
        self._host_due = False

    @property
    def due(self) -> int:
        """Return the number of jobs of which something is due."""
        return len(self._due)

    # --- changes ----------------------------------------------------------------------------------

    def job_changed(self, uid: str) -> None:
        """Note that the info of a job has changed."""
        self._due[uid] = None
        self.news.set()

    def job_removed(self, uid: str) -> None:
        """Note the removal of a job. One that the watcher was never sent is no news."""
        if uid in self._known:
            self.job_changed(uid)
        else:
            self._due.pop(uid, None)

    def host_changed(self) -> None:
        """Note that the figures of the host have changed."""
        self._host_due = True
        self.news.set()

    # --- messages ---------------------------------------------------------------------------------

    def page(self, jobs: Iterable[Job]) -> list[dict[str, Any]]:
        """Return the infos of those jobs that still exist; their changes so far are then no longer due."""
        return [self._info(job) for job in jobs if self._jobs.get(job.uid) is job]

    def take_host(self) -> bool:
        """Return whether the host's figures have changed since the last call."""
        due, self._host_due = self._host_due, False
        return due

    def next(self) -> dict[str, Any] | None:
        """Return the next message on a job, None if nothing is due; ``news`` is then clear."""
        if not self._due:
            if not self._host_due:
                self.news.clear()
            return None
        uid = next(iter(self._due))
        if (job := self._jobs.get(uid)) is not None:
            return {"job": self._info(job)}
        del self._due[uid]
        self._known.discard(uid)
        return {"removed": uid}

    def _info(self, job: Job) -> dict[str, Any]:
        self._due.pop(job.uid, None)
        self._known.add(job.uid)
        return job.info()
