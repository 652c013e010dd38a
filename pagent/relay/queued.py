"""Calls of clients for jobs that wait for an agent of their pool, got none, or have ended with it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, Final

from pagent.access.scopes import OWNER
from pagent.errors import (
    JobInvalidStateError,
    JobNotFoundError,
    LinkClosedError,
    MethodError,
    RequestRefusedError,
    RouteError,
)
from pagent.job_states import CLOSED, QUEUED
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.relay.permission import CallPermission
from pagent.relay.pools.joins import is_joined
from pagent.relay.pools.pools import Pools
from pagent.relay.waiting import until_placed
from pagent.rpc.calls import IncomingCall
from pagent.rpc.pool_job import PoolJob
from pagent.runtime.silence import SilenceLimit

_BAD_REQUEST: Final = 400
#: Where job_logs has the argument ``follow``.
_FOLLOW_AT: Final = 3
#: Seconds that an agent may take to report the removal of a job, or to end its links if it ends.
_LEAVES_S: Final = 15.0


class QueuedCalls:
    """Answers calls that need no agent: info, wait and removal. Calls that follow the output wait for the agent."""

    def __init__(self, directory: AgentDirectory, permission: CallPermission, pools: Pools) -> None:
        self._directory = directory
        self._permission = permission
        self._pools = pools

    async def create(self, pool: str, parameters: Mapping[str, Any], job: PoolJob) -> dict[str, Any]:
        """Ask a pool for an agent for a job; return its info. ValueError, RouteError."""
        try:
            return (await self._pools.request(pool, parameters, job)).info()
        except RequestRefusedError as error:
            raise (ValueError if error.status == _BAD_REQUEST else RouteError)(str(error)) from None

    def has(self, job_uid: Any) -> bool:
        """Return whether a job is not at its agent yet, or got none, or is at one of a pool that is away."""
        record = self._directory.jobs.get(job_uid) if isinstance(job_uid, str) else None
        if record is None:
            return False
        is_awaited = record.is_queued or self._directory.jobs.is_awaited(record.uid)
        return is_awaited or self._pools.is_away(record.uid)

    def info(self, job_uid: Any, owner: str | None) -> dict[str, Any] | None:
        """Return a job without an agent; None for another job. JobInvalidStateError: it has another owner."""
        record = self._directory.jobs.get(job_uid) if self.has(job_uid) else None
        if record is None or not record.is_queued:
            return None
        if record.labels.get(OWNER) != owner:
            raise JobInvalidStateError(f"another job has the uid {job_uid!r}")
        return record.info()

    async def answer(self, call: IncomingCall, name: str, job_uid: str) -> dict[str, Any] | None:
        """Return the answer to a unary call; None if the agent of the job has to answer."""
        self._permission.check(call, job_uid)
        if name == "job_wait":
            await until_placed(self._directory, job_uid)
            await self._pools.until_explained(job_uid)
        record = self._directory.jobs.get(job_uid)
        if record is None:
            raise JobNotFoundError(job_uid)
        info = record.info()
        if name == "job_remove" and await self._pools.cancel(job_uid):
            return info
        return info if record.is_queued and name in ("job_info", "job_wait") else None

    async def waited(self, agent: ConnectedAgent, job_uid: str, answer: Awaitable[Any]) -> Any:
        """Return an agent's answer to job_wait; for a job that ends with its agent of a pool, the info with the reason.

        An agent that ends removes its jobs, and ends its links later.
        """
        if not is_joined(agent.connection.realm):
            return await answer
        try:
            info = await answer
        except (MethodError, LinkClosedError) as error:
            if isinstance(error, MethodError) and error.cause_type != "JobNotFoundError":
                raise
            if (lost := await self._lost(agent, job_uid)) is None:
                raise
            return lost
        if (
            isinstance(info, dict)
            and info.get("state") == CLOSED
            and (lost := await self._lost(agent, job_uid)) is not None
        ):
            return lost
        return info

    async def _lost(self, agent: ConnectedAgent, job_uid: str) -> dict[str, Any] | None:
        """Return the info of a job that has ended with its agent; None for another job."""
        jobs = self._directory.jobs
        with suppress(TimeoutError):
            async with SilenceLimit(_LEAVES_S):
                while jobs.agent_of(job_uid) == agent.key and self._directory.table.newest(agent.key):
                    await jobs.changed(job_uid)
        await self._pools.until_explained(job_uid)
        record = jobs.get(job_uid)
        return record.info() if record is not None and record.is_queued else None

    async def until_output(self, call: IncomingCall, args: list[Any], kwargs: Mapping[str, Any]) -> None:
        """Wait for the agent of a job whose output is to be followed."""
        if call.method == "job_logs" and (kwargs.get("follow") is True or args[_FOLLOW_AT : _FOLLOW_AT + 1] == [True]):
            self._permission.check(call, args[0])
            await until_placed(self._directory, args[0])

    async def remove(self, job_uid: str) -> bool:
        """Remove a job that has no agent. Return whether it is one."""
        record = self._directory.jobs.get(job_uid)
        return record is not None and record.state == QUEUED and await self._pools.cancel(job_uid)
