"""``job_figures``: the figures of jobs that change all the time (docs/contract.rst, "Host")."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from pagent.jobs.manager import JobManager
from pagent.jobs.meter import JobFigures, JobMeter
from pagent.limits import FIGURES_INTERVAL_MIN_S, FIGURES_INTERVAL_S, JOBS_WATCHED
from pagent.rpc.aio import AsyncStream
from pagent.rpc.calls import IncomingCall
from pagent.rpc.intervals import checked_interval
from pagent.rpc.methods import istream
from pagent.runtime.timeslice import current_slice
from pagent.service.jobs import owner_of


class FiguresService:
    """Sends the figures to callers of ``job_figures``; without a call nothing is read."""

    def __init__(self, manager: JobManager) -> None:
        self._manager: Final = manager
        self._meter: Final = JobMeter(manager.jobs)
        self._slice: Final = current_slice()

    @istream
    async def job_figures(self, call: IncomingCall, interval: float = FIGURES_INTERVAL_S) -> None:
        interval_s = checked_interval(interval, FIGURES_INTERVAL_MIN_S)
        assert call.stream is not None
        out = AsyncStream(call.stream)
        realm = owner_of(call.connection).realm
        sent: dict[str, JobFigures] = {}
        with self._meter.in_use():
            while True:
                await self._meter.read()
                sent = await self._send(out, realm, sent)
                await asyncio.sleep(interval_s)

    async def _send(self, out: AsyncStream, realm: object, sent: dict[str, JobFigures]) -> dict[str, JobFigures]:
        """Send the figures that have changed since ``sent``; return those of all jobs."""
        found: dict[str, JobFigures] = {}
        changed: dict[str, list[Any]] = {}
        for job in self._manager.registry.of_realm(realm):
            await self._slice.wait()
            found[job.uid] = figures = self._meter.figures(job)
            if sent.get(job.uid) != figures:
                changed[job.uid] = [*figures, self._meter.idle_s(job)]
            if len(changed) >= JOBS_WATCHED:
                await out.send(changed)
                changed = {}
        if changed:
            await out.send(changed)
        return found
