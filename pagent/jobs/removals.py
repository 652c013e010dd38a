"""Remove jobs: end the tree of a job, then delete its sandbox."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Final

from pagent import limits
from pagent.jobs.ended import EndedJobs, stderr_of
from pagent.jobs.launch import Host
from pagent.jobs.model import Job
from pagent.jobs.run import Run
from pagent.runtime.rounds import Rounds

_log = logging.getLogger(__name__)


class Removals:
    """The removals under way.

    ``runs``: those of jobs that were started, by uid; that of a removed job is taken out. ``forget`` is called with the
    uid of each job whose tree has ended, and ``ended`` remembers the job.
    """

    def __init__(
        self, runs: dict[str, Run], host: Host, rounds: Rounds, forget: Callable[[str], None], ended: EndedJobs
    ) -> None:
        # For life.
        self._runs: Final = runs
        self._host: Final = host
        self._rounds: Final = rounds
        self._forget: Final = forget
        self._ended: Final = ended
        # While there are any.
        self._tasks: dict[str, asyncio.Task[OSError | None]] = {}

    def begin(self, job: Job) -> None:
        """Begin the removal of a closed job. Most jobs have ended and leave next to nothing: these are removed now."""
        run = self._runs.get(job.uid)
        if run is not None:
            run.refuse()
        over = run is None or run.is_over()
        stderr = stderr_of(job.sandbox) if over else b""
        if over and job.sandbox.remove_if_small():
            self._close(job, stderr)
        else:
            self._tasks[job.uid] = self._host.tasks.start(self._remove(job, run), name=f"removal of job {job.uid}")

    def of(self, uid: str) -> asyncio.Task[OSError | None] | None:
        """Return the task that removes the closed job of this uid; None if the job has been removed."""
        return self._tasks.get(uid)

    def all(self) -> list[asyncio.Task[OSError | None]]:
        """Return the tasks of all removals under way."""
        return [*self._tasks.values()]

    async def _remove(self, job: Job, run: Run | None) -> OSError | None:
        try:
            if run is not None:
                await run.end(signal.SIGTERM, limits.TERM_GRACE_S)
            self._close(job, await self._host.threads.removals.run(stderr_of, job.sandbox))
            if run is not None:
                await run.launch.remove_group()
            await self._rounds.next()
            if not job.sandbox.remove_if_small():
                await self._host.threads.removals.run(job.sandbox.remove)
        except OSError as error:
            _log.warning("job %s: its sandbox cannot be deleted: %s", job.uid, error)
            return error
        finally:
            self._tasks.pop(job.uid, None)
        return None

    def _close(self, job: Job, stderr: bytes) -> None:
        job.end_output()
        if (run := self._runs.pop(job.uid, None)) is not None:
            run.launch.close()
        self._forget(job.uid)
        self._ended.add(job, stderr)
