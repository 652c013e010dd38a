"""RPC methods on the agent itself: its figures, its cordon, and the watch of its jobs (docs/contract.rst, "Host")."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from pagent import __version__
from pagent.errors import JobInvalidStateError
from pagent.jobs.command import seconds
from pagent.jobs.figures import HostFigures
from pagent.jobs.manager import JobManager
from pagent.jobs.watching import JobWatcher
from pagent.limits import (
    GRACE_MAX_S,
    JOBS_WATCHED,
    JOIN_TOKEN_MAX,
    TERM_GRACE_S,
    WATCH_INTERVAL_MIN_S,
    WATCH_INTERVAL_S,
)
from pagent.rpc.aio import AsyncStream
from pagent.rpc.calls import IncomingCall
from pagent.rpc.intervals import checked_interval
from pagent.rpc.methods import istream, unary
from pagent.runtime.tasks import event_within
from pagent.runtime.timeslice import current_slice
from pagent.service.jobs import owner_of
from pagent.service.joining import JoinedLife

_log = logging.getLogger(__name__)


class HostService:
    """The figures of the host, the cordon, the watches, and the end. ``life``: of an agent that was started to join."""

    def __init__(self, manager: JobManager, figures: HostFigures, life: JoinedLife | None = None) -> None:
        self._manager: Final = manager
        self._figures: Final = figures
        self._life: Final = life
        self._started_at: Final = time.time()
        self._slice: Final = current_slice()

    @unary
    async def host_info(self, call: IncomingCall) -> Any:
        return await self._info()

    @unary
    async def host_cordon(self, call: IncomingCall, on: bool) -> Any:
        if type(on) is not bool:
            raise TypeError(f"on must be a bool, not {type(on).__name__}")
        if self._manager.admission.cordon(on):
            _log.info(
                "the agent is %s by %r", "cordoned" if on else "no longer cordoned", owner_of(call.connection).uid
            )
            self._manager.registry.host_changed()
        return await self._info()

    @unary
    def host_end(self, call: IncomingCall, grace: float = TERM_GRACE_S) -> None:
        grace_s = seconds("grace", grace, GRACE_MAX_S, zero=True)
        life = self._joined()
        _log.info("the agent is ended by %r", owner_of(call.connection).uid)
        life.end(grace_s)

    @unary
    def host_credential(self, call: IncomingCall, value: str) -> None:
        life = self._joined()
        if type(value) is not str:
            raise TypeError(f"value must be a str, not {type(value).__name__}")
        if not 0 < len(value) <= JOIN_TOKEN_MAX:
            raise ValueError(f"value must have 1 to {JOIN_TOKEN_MAX} characters")
        life.token = value

    def _joined(self) -> JoinedLife:
        if self._life is None:
            raise JobInvalidStateError("the agent was not started with --join")
        return self._life

    @istream
    async def agent_watch(self, call: IncomingCall, interval: float = WATCH_INTERVAL_S) -> None:
        interval_s = checked_interval(interval, WATCH_INTERVAL_MIN_S)
        assert call.stream is not None
        out = AsyncStream(call.stream)
        realm = owner_of(call.connection).realm
        with self._manager.registry.watching(realm) as watcher:
            await self._send_all(out, watcher, realm)
            await self._send_changes(out, watcher, interval_s)

    async def _info(self) -> dict[str, Any]:
        admission = self._manager.admission
        return {
            **(await self._figures.read())._asdict(),
            "jobs": len(self._manager.registry),
            "jobs_max": admission.most,
            "version": __version__,
            "started_at": self._started_at,
            "cordoned": admission.is_cordoned,
            "deadline": None if self._life is None else self._life.deadline,
        }

    async def _send_all(self, out: AsyncStream, watcher: JobWatcher, realm: object) -> None:
        watcher.take_host()
        await out.send({"host": await self._info()})
        jobs = self._manager.registry.of_realm(realm)
        for at in range(0, len(jobs), JOBS_WATCHED):
            infos = []
            for job in jobs[at : at + JOBS_WATCHED]:
                await self._slice.wait()
                infos += watcher.page([job])
            if infos:
                await out.send({"jobs": infos})
        for job in jobs:
            for note in watcher.notes(job):
                await self._slice.wait()
                await out.send(note)
        await out.send({"ready": True})

    async def _send_changes(self, out: AsyncStream, watcher: JobWatcher, interval_s: float) -> None:
        clock = asyncio.get_running_loop().time
        host_at = clock() + interval_s
        while True:
            if clock() >= host_at or watcher.take_host():
                host_at = clock() + interval_s
                await out.send({"host": await self._info()})
            await self._slice.wait()
            if (message := watcher.next()) is not None:
                await out.send(message)
            else:
                await event_within(watcher.news, host_at - clock())
