"""The jobs of one agent by uid, the uids of jobs that were removed lately, and the watchers of changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pagent import limits
from pagent.errors import JobInvalidStateError, JobNotFoundError
from pagent.jobs.model import OPERATOR, Job, Owner, sees
from pagent.jobs.watching import JobWatcher


class JobRegistry:
    """The jobs that exist.

    A change costs one look-up for each watcher of the job's realm, however many jobs there are.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._removed = RemovedUids(time.monotonic)
        self._is_ending = False
        self._watchers: dict[object, set[JobWatcher]] = {}  # by realm
        #: Set while there are no jobs, and since when, by the monotonic clock.
        self.vacant: Final = asyncio.Event()
        self.vacant.set()
        self.vacant_since = time.monotonic()
        #: Set by the first job.
        self.used: Final = asyncio.Event()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def watchers(self) -> int:
        """Return the number of watchers."""
        return sum(len(watchers) for watchers in self._watchers.values())

    # --- look up ----------------------------------------------------------------------------------

    def get(self, uid: object, owner: Owner) -> Job:
        """Return the job of this uid. JobNotFoundError if the owner's realm has none, TypeError if it is no str."""
        if not isinstance(uid, str):
            raise TypeError(f"job_uid must be a str, not {type(uid).__name__}")
        job = self._jobs.get(uid)
        if job is None or not sees(owner.realm, job.owner.realm):
            raise JobNotFoundError(uid)
        return job

    def find(self, uid: str) -> Job | None:
        """Return the job of this uid, of any realm."""
        return self._jobs.get(uid)

    def all(self) -> list[Job]:
        """Return all jobs, of all owners, oldest first."""
        return [*self._jobs.values()]

    def of_realm(self, realm: object) -> list[Job]:
        """Return the jobs that a realm sees, by age."""
        return sorted([job for job in self._jobs.values() if sees(realm, job.owner.realm)], key=lambda job: job.age)

    def of_owner(self, owner: Owner) -> list[Job]:
        """Return the jobs of an owner."""
        return [job for job in self._jobs.values() if job.owner.key == owner.key]

    # --- change -----------------------------------------------------------------------------------

    def require_unused(self, uid: str) -> None:
        """Raise JobInvalidStateError if a job has this uid, or had it until some minutes ago."""
        if uid in self._jobs:
            raise JobInvalidStateError(f"the uid {uid!r} is in use")
        if uid in self._removed:
            raise JobInvalidStateError(f"job {uid!r} was removed")

    def add(self, job: Job) -> None:
        """Add a new job."""
        self._jobs[job.uid] = job
        self.vacant.clear()
        self.used.set()
        self.changed(job)

    def remove(self, job: Job) -> None:
        """Remove a job whose state is CLOSED."""
        del self._jobs[job.uid]
        self._removed.add(job.uid)
        for watcher in self._watchers_of(job):
            watcher.job_removed(job.uid, is_news=not self._is_ending)
        if not self._jobs:
            self.vacant_since = time.monotonic()
            self.vacant.set()

    def end(self) -> None:
        """Report no removals from now on: the agent ends, and no peer has asked for them."""
        self._is_ending = True

    # --- watch ------------------------------------------------------------------------------------

    def changed(self, job: Job) -> None:
        """Notify the watchers of the job's realm that its info has changed. Nothing for a job that was removed."""
        if not self._watchers or self._jobs.get(job.uid) is not job:
            return
        for watcher in self._watchers_of(job):
            watcher.job_changed(job.uid)

    def note_changed(self, job: Job, name: str) -> None:
        """Notify the watchers of the job's realm that a note was set or deleted."""
        for watcher in self._watchers_of(job):
            watcher.note_changed(job, name)

    def _watchers_of(self, job: Job) -> list[JobWatcher]:
        """Return the watchers of a job: those of its realm, and those of the operator."""
        return [*self._watchers.get(job.owner.realm, ()), *self._watchers.get(OPERATOR, ())]

    def host_changed(self) -> None:
        """Notify all watchers that the host's figures have changed."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.host_changed()

    @contextmanager
    def watching(self, realm: object) -> Iterator[JobWatcher]:
        """Yield a watcher, which gets the changes of the jobs that this realm sees within the block."""
        watcher = JobWatcher(self._jobs)
        self._watchers.setdefault(realm, set()).add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[realm].discard(watcher)
            if not self._watchers[realm]:
                del self._watchers[realm]


class RemovedUids:
    """The uids of jobs that were removed in the last ``REMOVED_UIDS_S``, at most ``REMOVED_UIDS`` of them.

    ``clock``: one that does not jump.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock: Final = clock
        self._times: dict[str, float] = {}  # the oldest first

    def __contains__(self, uid: str) -> bool:
        self._expire()
        return uid in self._times

    def add(self, uid: str) -> None:
        self._times.pop(uid, None)
        self._times[uid] = self._clock()
        self._expire()

    def _expire(self) -> None:
        oldest = self._clock() - limits.REMOVED_UIDS_S
        while self._times:
            uid = next(iter(self._times))
            if self._times[uid] > oldest and len(self._times) <= limits.REMOVED_UIDS:
                break
            del self._times[uid]
