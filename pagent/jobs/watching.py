"""Gather the changes that a watcher of jobs has not been sent yet (docs/contract.rst, "Host").

A watcher may be slow. So it gets the last state of each job and note, and not each change: a change is noted as due,
once, and the message is made when the watcher takes it. The due messages are therefore bounded by the jobs and notes
that exist or that the watcher knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from pagent.jobs.model import Job

#: Stands for the info of a job among the names of its notes.
_INFO: Final = None


class _Known(NamedTuple):
    """A job that the watcher was sent, and the names of its notes that it was sent."""

    job: Job
    notes: set[str]


class JobWatcher:
    """The changes that are due to one watcher. ``jobs``: the jobs that exist, by uid."""

    def __init__(self, jobs: Mapping[str, Job]) -> None:
        # For life.
        self._jobs: Final = jobs
        #: Set when something may be due.
        self.news: Final = asyncio.Event()
        # From one message to the next.
        self._known: dict[str, _Known] = {}
        self._due: dict[str, dict[str | None, None]] = {}  # by uid, the change that waits longest first
        self._host_due = False

    @property
    def due(self) -> int:
        """Return the number of infos and notes that are due."""
        return sum(map(len, self._due.values()))

    # --- changes ----------------------------------------------------------------------------------

    def job_changed(self, uid: str) -> None:
        """Note that the info of a job has changed."""
        self._due.setdefault(uid, {})[_INFO] = None
        self.news.set()

    def job_removed(self, uid: str, *, is_news: bool = True) -> None:
        """Note the removal of a job. One that the watcher was never sent is no news.

        ``is_news``: whether the watcher gets it; not at the end of the agent, which the end of its link reports.
        """
        self._due.pop(uid, None)
        if is_news and uid in self._known:
            self.job_changed(uid)

    def note_changed(self, job: Job, name: str) -> None:
        """Note that a note was set or deleted. One that the watcher was never sent, and is deleted, is no news."""
        known = self._known.get(job.uid)
        if job.notes.get(name) is not None or (known is not None and known.job is job and name in known.notes):
            self._due.setdefault(job.uid, {})[name] = None
            self.news.set()
        else:
            self._done(job.uid, name)

    def host_changed(self) -> None:
        """Note that the figures of the host have changed."""
        self._host_due = True
        self.news.set()

    # --- messages ---------------------------------------------------------------------------------

    def page(self, jobs: Iterable[Job]) -> list[dict[str, Any]]:
        """Return the infos of those jobs that still exist; their changes so far are then no longer due."""
        return [self._info(job) for job in jobs if self._jobs.get(job.uid) is job]

    def notes(self, job: Job) -> Iterator[dict[str, Any]]:
        """Yield the notes of a job; their changes so far are then no longer due."""
        for name in job.notes:
            if job.notes.get(name) is not None:  # still
                yield self._note(job, name)

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
        job, known = self._jobs.get(uid), self._known.get(uid)
        if known is not None and known.job is not job:  # its uid may be that of another job by now
            del self._known[uid]
            if job is None:
                del self._due[uid]
            return {"removed": uid}
        assert job is not None, "the removal of a job that is not known is not due"
        if _INFO in self._due[uid]:  # before its notes
            return {"job": self._info(job)}
        name = next(iter(self._due[uid]))
        assert name is not None
        return self._note(job, name)

    def _info(self, job: Job) -> dict[str, Any]:
        self._done(job.uid, _INFO)
        self._known.setdefault(job.uid, _Known(job, set()))
        return job.info()

    def _note(self, job: Job, name: str) -> dict[str, Any]:
        self._done(job.uid, name)
        value = job.notes.get(name)
        if value is None:
            self._known[job.uid].notes.discard(name)
        else:
            self._known[job.uid].notes.add(name)
        return {"note": [job.uid, name, value]}

    def _done(self, uid: str, note: str | None) -> None:
        """Note that a note, or with _INFO the info, is not due any more. Other changes of the job go to the end."""
        if (due := self._due.pop(uid, None)) is None:
            return
        due.pop(note, None)
        if due:
            self._due[uid] = due
