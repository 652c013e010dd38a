"""``job_figures`` of a router: the figures of the jobs of all agents, as the dashboard has them.

docs/router.rst, "Calls of clients".
"""

from __future__ import annotations

import asyncio
from typing import Any

from pagent.access.operations import READ
from pagent.limits import FIGURES_INTERVAL_MIN_S, FIGURES_INTERVAL_S, JOBS_WATCHED
from pagent.relay.directory import AgentDirectory
from pagent.relay.live import LiveFigures
from pagent.relay.permission import subject_of
from pagent.rpc.aio import AsyncStream
from pagent.rpc.calls import IncomingCall
from pagent.rpc.directory import Gate, Subject
from pagent.rpc.intervals import checked_interval
from pagent.rpc.methods import istream
from pagent.runtime.timeslice import current_slice


class FiguresRelay:
    """Sends the figures to clients that call for them. Without such a call, agents are not asked for figures."""

    def __init__(self, directory: AgentDirectory, gate: Gate, figures: LiveFigures) -> None:
        self._directory = directory
        self._gate = gate
        self._figures = figures
        self._slice = current_slice()

    @istream
    async def job_figures(self, call: IncomingCall, interval: float = FIGURES_INTERVAL_S) -> None:
        interval_s = checked_interval(interval, FIGURES_INTERVAL_MIN_S)
        subject = subject_of(call.connection)
        self._gate.permit(subject, READ, None)
        assert call.stream is not None
        out, version = AsyncStream(call.stream), 0
        with self._figures.listening():
            while True:
                self._figures.follow()
                version = await self._send(out, subject, version)
                await asyncio.sleep(interval_s)

    async def _send(self, out: AsyncStream, subject: Subject, version: int) -> int:
        """Send the figures that have changed after a version; return the version that is sent."""
        present = self._figures.version
        changed: dict[str, Any] = {}
        for uid, row in [*self._figures.rows.items()]:
            await self._slice.wait()
            if not version < row.version <= present or (facts := self._directory.facts(uid)) is None:
                continue
            if self._gate.sees(subject, facts):
                changed[uid] = row.values
            if len(changed) >= JOBS_WATCHED:
                await out.send(changed)
                changed = {}
        if changed:
            await out.send(changed)
        return present
