"""Remove jobs some time after their owner's last link was lost (docs/contract.rst, "Owner")."""

from __future__ import annotations

from collections.abc import Callable

from pagent.jobs.model import Job
from pagent.runtime.rounds import Rounds
from pagent.runtime.silence import SilenceTimer
from pagent.runtime.tasks import TaskOwner


class Lingering:
    """The jobs that linger. ``remove`` is called for each whose time is over."""

    def __init__(self, tasks: TaskOwner, rounds: Rounds, remove: Callable[[Job], object]) -> None:
        self._tasks = tasks
        self._rounds = rounds
        self._remove = remove
        self._timers: dict[str, SilenceTimer] = {}

    def __contains__(self, job: Job) -> bool:
        return job.uid in self._timers

    def begin(self, job: Job, seconds: float) -> None:
        """Remove the job after ``seconds``, unless it is stopped."""
        self._timers[job.uid] = SilenceTimer(seconds, self._is_over, job)

    def stop(self, job: Job) -> None:
        """End the linger time: the job stays. Do nothing if it does not linger."""
        if (timer := self._timers.pop(job.uid, None)) is not None:
            timer.cancel()

    def _is_over(self, job: Job) -> None:
        timer = self._timers[job.uid]
        self._tasks.start(self._end(job, timer), name=f"end of job {job.uid} after its linger time")

    async def _end(self, job: Job, timer: SilenceTimer) -> None:
        """Remove the job when it is its turn, unless it was stopped meanwhile; it may linger anew by then."""
        await self._rounds.next()
        if self._timers.get(job.uid) is timer:
            self._remove(job)
