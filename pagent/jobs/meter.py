"""The figures of jobs that change all the time: CPU, memory, streams, bytes, idle time (docs/contract.rst, "Host")."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from pagent.jobs.model import Job, State
from pagent.runtime.timeslice import current_slice

#: CPU and memory are read once in this time, or less often if reading would take more than this part of a CPU.
_PERIOD_S: Final = 2.0
_CPU_PART: Final = 0.01

_RUNNING: Final = (State.PENDING, State.RUNNING)


class JobFigures(NamedTuple):
    """``cpu``: CPUs in use. Sizes in bytes. None for unknown figures, such as those of a job without a process."""

    cpu: float | None
    memory: int | None
    streams: int
    received: int
    sent: int


class _Reading(NamedTuple):
    cpu_s: float
    at: float
    cpu: float | None
    memory: int


class JobMeter:
    """Reads the figures. Its callers share the readings of CPU and memory, which cost the most.

    ``jobs`` returns all jobs.
    """

    def __init__(self, jobs: Callable[[], Iterable[Job]]) -> None:
        # For life.
        self._jobs = jobs
        self._now = asyncio.get_running_loop().time
        self._slice = current_slice()
        # While it is in use.
        self._users = 0
        self._has_read = False
        # Of the last reading.
        self._readings: dict[str, _Reading] = {}
        self._next_at = 0.0

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Read within the block. The first user gets no rate since the readings of an earlier one."""
        if not self._users:
            self._readings, self._next_at, self._has_read = {}, 0.0, False
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    async def read(self) -> None:
        """Read CPU and memory of all jobs, if it is time for that."""
        if self._now() < self._next_at:
            return
        self._next_at = self._now() + _PERIOD_S
        spent, found = 0.0, dict[str, _Reading]()
        for job in [*self._jobs()]:
            await self._slice.wait()
            if job.state not in _RUNNING:
                continue
            began = time.perf_counter()
            with suppress(OSError):  # no descriptor is left to read them
                found[job.uid] = self._reading(job, *job.usage())
            spent += time.perf_counter() - began
        self._readings = found
        if self._has_read:  # the second reading, which makes the use of CPU known, does not wait
            self._next_at = max(self._next_at, self._now() + spent / _CPU_PART)
        self._has_read = True

    def _reading(self, job: Job, cpu_s: float, memory: int) -> _Reading:
        now, last = self._now(), self._readings.get(job.uid)
        if last is None or now <= last.at:
            return _Reading(cpu_s, now, None, memory)
        return _Reading(cpu_s, now, round(max(0.0, cpu_s - last.cpu_s) / (now - last.at), 3), memory)

    def figures(self, job: Job) -> JobFigures:
        """Return the figures of a job; CPU and memory as of the last reading."""
        reading = self._readings.get(job.uid) if job.state in _RUNNING else None
        cpu, memory = (None, None) if reading is None else (reading.cpu, reading.memory)
        return JobFigures(cpu, memory, job.activity.open_streams, job.traffic.received, job.traffic.sent)

    def idle_s(self, job: Job) -> float:
        """Return the seconds for which a job has not been in use, at most since its start."""
        idle_s = min(self._now() - job.activity.idle_since(), time.time() - (job.started_at or job.created_at))
        return round(max(0.0, idle_s), 1)
