"""Create jobs for callers of ``/v1``, and decide at which agents a subject may create a job."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from pagent.access.operations import JOBS
from pagent.access.scopes import OWN_LABELS, OWNER
from pagent.errors import JOB_CALL_ERRORS, MethodError, RequestRefusedError, ServerError
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.relay.keyed import REQUEST, KeyLocks, by_rank, check_same, keyed_uid
from pagent.relay.placement import choose
from pagent.relay.pools.pools import Pools
from pagent.relay.record import JobRecord
from pagent.rpc.directory import ANY_CONNECTION, Gate, JobAddress, JobFacts, Subject
from pagent.rpc.new_job import NewJob
from pagent.rpc.pool_job import PoolJob

_log = logging.getLogger(__name__)


def may_create(gate: Gate, subject: Subject, agent_uid: str, labels: Mapping[str, str], uid: str = "") -> bool:
    """Return whether a subject may create a job with these labels at an agent. ``uid``: of the job, if it is chosen."""
    try:
        gate.permit(subject, JOBS, JobFacts(uid, agent_uid, labels))
    except RequestRefusedError:
        return False
    return True


class CreatedJob(NamedTuple):
    """A job that a request has created, or found. ``agent``: None if it is away."""

    job: JobRecord
    agent: ConnectedAgent | None
    is_new: bool


class JobCreations:
    """Creates jobs.

    :param router_uid: a part of the input from which the uids of jobs with a key are computed.
    """

    def __init__(self, directory: AgentDirectory, gate: Gate, pools: Pools, router_uid: str) -> None:
        self._directory = directory
        self._gate = gate
        self._pools = pools
        self._router_uid = router_uid
        self._locks = KeyLocks()

    @asynccontextmanager
    async def create(self, wanted: NewJob, subject: Subject) -> AsyncIterator[CreatedJob]:
        """Yield a new job, or the one that was created with the key of ``wanted``.

        If the block fails, a job without a key is removed; one with a key stays, so that the request can be repeated.
        RequestRefusedError, CallError, LinkClosedError.
        """
        if wanted.key is not None:
            uid = keyed_uid(self._router_uid, subject, wanted.key)
            async with self._locks.of(uid):
                yield await self._found(uid, wanted) or await self._created(wanted, subject, uid)
            return
        created = await self._created(wanted, subject, None)
        try:
            yield created
        except BaseException:
            await self._discard(created.job.uid)
            raise

    async def _discard(self, uid: str) -> None:
        try:
            if not await self._pools.cancel(uid):
                await self._directory.remove(uid)
        except JOB_CALL_ERRORS as error:
            _log.warning("job %s, whose creation has failed, is not removed: %s", uid, error)

    async def _found(self, uid: str, wanted: NewJob) -> CreatedJob | None:
        """Return the job with this uid; None if there is none. RequestRefusedError 409, or 503: not known yet."""
        agent: ConnectedAgent | None = None
        try:
            agent = await self._directory.locate(JobAddress(ANY_CONNECTION, uid))
        except RequestRefusedError as error:
            if self._directory.jobs.get(uid) is None and error.status != 404:
                raise
        job = self._directory.jobs.get(uid)
        if job is None:
            return None
        check_same(job, wanted.digest)
        return CreatedJob(job, agent, is_new=False)

    async def _created(self, wanted: NewJob, subject: Subject, uid: str | None) -> CreatedJob:
        with self._gate.creation(subject, wanted.labels) as labels:
            if uid is not None:
                labels = {**labels, REQUEST: wanted.digest}
            if wanted.agent.pool is not None:
                return await self._queued(wanted, subject, labels, uid)
            agent = await self._agent(wanted, subject, labels, uid)
            info = await self._call(agent, wanted, labels, uid)
        return self._known(info["uid"], wanted, agent, is_keyed=uid is not None)

    async def _queued(self, wanted: NewJob, subject: Subject, labels: Mapping[str, str], uid: str | None) -> CreatedJob:
        """Ask the pool for an agent for a job."""
        name, given = wanted.agent.pool, wanted.agent.parameters
        assert name is not None
        job = PoolJob(
            uid or secrets.token_hex(16),
            wanted.name,
            labels,
            wanted.linger,
            wanted.idle_after,
            wanted.files,
            wanted.start,
        )
        self._gate.permit(subject, JOBS, JobFacts(job.uid, "", labels))
        try:
            record = await self._pools.request(name, given, job, is_keyed=uid is not None)
        except MethodError as error:
            if error.cause_type == "JobInvalidStateError":  # a job with this key was removed a short time ago
                raise RequestRefusedError(409, f"pool {name!r}: {error.cause_message}") from None
            raise
        return CreatedJob(record, None, is_new=True)

    async def _call(
        self, agent: ConnectedAgent, wanted: NewJob, labels: Mapping[str, str], uid: str | None
    ) -> dict[str, Any]:
        try:
            info = await self._directory.create(
                agent, wanted.name, uid=uid, labels=labels, linger=wanted.linger, idle_after=wanted.idle_after
            )
        except MethodError as error:
            if error.cause_type == "JobInvalidStateError":
                raise RequestRefusedError(409, f"agent {agent.uid!r}: {error.cause_message}") from None
            raise
        if uid is not None and info["uid"] != uid:
            await self._discard(info["uid"])
            raise ServerError(f"agent {agent.uid!r} is too old for jobs with a key")
        return info

    async def _agent(
        self, wanted: NewJob, subject: Subject, labels: Mapping[str, str], uid: str | None
    ) -> ConnectedAgent:
        def allowed(agent: ConnectedAgent) -> bool:
            return may_create(self._gate, subject, agent.uid, labels, uid or "") and (
                agent.is_ours or not wanted.needs_terms
            )

        def like(others: Mapping[str, str]) -> bool:
            return others.get(OWNER) == labels.get(OWNER) and _own(others) == wanted.labels

        agents = await choose(self._directory, wanted.agent, allowed, like=like)
        return agents[0] if uid is None else by_rank(uid, agents)[0]

    def _known(self, uid: str, wanted: NewJob, agent: ConnectedAgent, *, is_keyed: bool) -> CreatedJob:
        """Return the job that an agent has created: with a key, it may be one that another router has created."""
        job = self._directory.jobs.get(uid)
        if job is None:
            raise RequestRefusedError(409, f"job {uid} was removed, or its agent is gone")
        if is_keyed:
            check_same(job, wanted.digest)
        newest = self._directory.table.newest(job.agent)
        return CreatedJob(job, newest, is_new=job.agent == agent.key)


def _own(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that a caller has chosen."""
    return {name: value for name, value in labels.items() if not name.startswith(OWN_LABELS)}
