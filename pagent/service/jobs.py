"""RPC methods on jobs (docs/contract.rst, "Methods", "Jobs")."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job, Owner
from pagent.limits import JOBS_LISTED, READY_TIMEOUT_S
from pagent.rpc.calls import IncomingCall
from pagent.rpc.host import CallHost
from pagent.rpc.methods import unary
from pagent.runtime.tasks import retrieve_error
from pagent.service.disk import DiskThreads
from pagent.service.listing import JobListing


def owner_of(connection: CallHost) -> Owner:
    """Return the owner of the jobs that a connection creates."""
    if connection.principal is None:
        connection.principal = _owner(connection)
    owner: Owner = connection.principal
    return owner


def _owner(connection: CallHost) -> Owner:
    peer = connection.peer
    assert peer is not None
    direction = "CLIENT" if connection.link.dialled else "SERVER"
    by_uid = peer.instance is not None
    return Owner(connection.uid, direction, peer.uid, peer.name, connection.realm, by_uid)


class JobService:
    """The methods that create, start, list and end jobs."""

    def __init__(self, manager: JobManager, threads: DiskThreads) -> None:
        self._manager = manager
        self._listing = JobListing(manager, threads)

    def _job(self, call: IncomingCall, job_uid: object) -> Job:
        return self._manager.get(job_uid, owner_of(call.connection))

    @unary
    def job_create(
        self,
        call: IncomingCall,
        name: str | None = None,
        linger: float | None = None,
        uid: str | None = None,
        labels: dict[str, str] | None = None,
        idle_after: float | None = None,
    ) -> Any:
        connection = call.connection
        job = self._manager.create(
            owner_of(connection),
            name,
            heeds_cordon=connection.flow,
            linger=linger,
            uid=uid,
            labels=labels,
            idle_after=idle_after,
        )
        return job.info()

    @unary
    async def job_start(
        self,
        call: IncomingCall,
        job_uid: str,
        args: list[str],
        env: dict[str, str] | None,
        cwd: str | None = None,
        port_expected_count: int = 1,
        forward_stdout: bool = False,
        port: str | int | None = None,
        ready: str = "report",
        ready_timeout: float = READY_TIMEOUT_S,
        timeout: float | None = None,
        prefer_port: int | None = None,
        more_ports: dict[str, int | str] | None = None,
        stdin: bytes | None = None,
    ) -> Any:
        job = self._job(call, job_uid)
        start = self._manager.start(
            job,
            args,
            env,
            cwd,
            port_expected_count,
            forward_stdout,
            port=port,
            ready=ready,
            ready_timeout=ready_timeout,
            timeout=timeout,
            prefer_port=prefer_port,
            more_ports=more_ports,
            stdin=stdin,
        )
        await _started(call, job, start)
        return job.info()

    @unary
    def job_wait(self, call: IncomingCall, job_uid: str) -> Any:
        job = self._job(call, job_uid)
        return job.info() if job.process_ended.is_set() else self._wait(job)

    async def _wait(self, job: Job) -> Any:
        await self._manager.wait(job)
        return job.info()

    @unary
    def job_info(self, call: IncomingCall, job_uid: str) -> Any:
        return self._job(call, job_uid).info()

    @unary
    async def job_listening(self, call: IncomingCall, job_uid: str) -> Any:
        return [[address, port] for address, port in await self._manager.listening(self._job(call, job_uid))]

    @unary
    def job_remove(self, call: IncomingCall, job_uid: str) -> Any:
        job = self._job(call, job_uid)
        info = job.info()
        by = owner_of(call.connection)
        return info if self._manager.begin_removal(job, by) else self._removed(job, info)

    async def _removed(self, job: Job, info: Any) -> Any:
        await self._manager.remove(job)
        return info

    @unary
    async def job_kill(self, call: IncomingCall, job_uid: str, signal: str | int = "TERM", grace: float = 5.0) -> Any:
        job = self._job(call, job_uid)
        await self._manager.kill(job, signal, grace, owner_of(call.connection))
        return job.info()

    @unary
    def job_adopt(self, call: IncomingCall, job_uid: str) -> Any:
        job = self._job(call, job_uid)
        self._manager.adopt(job, owner_of(call.connection))
        return job.info()

    @unary
    def job_note(
        self,
        call: IncomingCall,
        job_uid: str,
        name: str,
        value: bytes | None = None,
        ttl: float | None = None,
        if_absent: bool = False,
    ) -> bool:
        return self._job(call, job_uid).notes.set(name, value, ttl, if_absent)

    @unary
    async def job_list(
        self, call: IncomingCall, after: str | None = None, limit: int = JOBS_LISTED, ended: bool = False
    ) -> Any:
        if type(ended) is not bool:
            raise TypeError(f"ended must be a bool, not {type(ended).__name__}")
        return await self._listing.page(owner_of(call.connection).realm, after, limit, ended=ended)

    @unary
    def job_count_current_connection(self, call: IncomingCall) -> int:
        return len(self._manager.registry.of_owner(owner_of(call.connection)))


async def _started(call: IncomingCall, job: Job, start: Coroutine[Any, Any, None]) -> None:
    """Wait for the start of a job. It is cancelled with the call, but not if a job that lingers has lost its link."""
    starting = asyncio.ensure_future(start)
    starting.add_done_callback(retrieve_error)
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        if job.terms.linger_s is None or call.connection.link.is_open:
            starting.cancel()
            await asyncio.wait((starting,))
        raise
