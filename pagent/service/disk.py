"""Threads for the disk work of jobs, which `service.files` and `service.logs` share.

Each job has its share of one pool, so that a job whose file system hangs does not hold up the others.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from pagent.jobs.model import Job
from pagent.runtime.threads import Share, ThreadPool

#: Threads for the disk work of all jobs, at least, so that a job whose file system hangs does not hold up the others.
#: Few, because threads that compute take the interpreter from the event loop, each for 5 ms at a time.
DISK_THREADS: Final = 4


class DiskThreads:
    """``per_job``: threads that the work of one job uses at a time (``jobs.background_threads``)."""

    def __init__(self, per_job: int) -> None:
        self._per_job = per_job
        self._pool = ThreadPool("disk", max(DISK_THREADS, per_job))
        self._shares: WeakKeyDictionary[Job, Share] = WeakKeyDictionary()

    def of(self, job: Job) -> Share:
        """Return the threads for the work of ``job``."""
        share = self._shares.get(job)
        if share is None:
            share = self._shares[job] = self._pool.share(self._per_job)
        return share

    async def close(self, grace_s: float) -> None:
        """Take no more work, and wait at most ``grace_s`` seconds for the rest."""
        await self._pool.close(grace_s)
