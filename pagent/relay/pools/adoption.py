"""Find the requests of earlier and of other routers, and wake requests when an agent or a job of theirs changes."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pagent.config.router import PoolSettings
from pagent.errors import JOB_CALL_ERRORS
from pagent.job_states import FINISHED, NEW
from pagent.relay.agent import ConnectedAgent
from pagent.relay.changes import Change, ChangeKind
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.engine import Engine, fits
from pagent.relay.pools.notes import (
    CANCELLED_NOTE,
    CLAIM_NOTE,
    CLEANUP_LABEL,
    DELIVERED_NOTE,
    DONE,
    END_NOTE,
    FAILURES_NOTE,
    POOL_LABEL,
    REMOVED_NOTE,
    REQUEST_NOTE,
    RID_LABEL,
    WITHDRAWN,
    RequestData,
    agent_uid_of,
    decode_request,
)
from pagent.relay.pools.queue import JobQueue
from pagent.relay.pools.registry import RequestRegistry
from pagent.relay.pools.request import PoolRequest
from pagent.relay.pools.states import RequestedJobInput, RequestedJobState, RequestState
from pagent.relay.record import JobRecord
from pagent.rpc.pool_job import PoolJob
from pagent.runtime.silence import SilenceTimer
from pagent.runtime.tasks import TaskOwner

_log = logging.getLogger(__name__)

#: A claim has one of POOL_CLAIMS_MAX numbers.
_is_claim_number: Final = re.compile(r"[0-9]{1,6}").fullmatch
#: Seconds that an agent may take to list its jobs and their notes before a request of it is resumed.
_LISTING_S: Final = 30.0
#: Seconds until a command's job without a request is removed: its router may still write the request.
_UNWRITTEN_S: Final = 60.0
#: Seconds until a job of a cleanup that has ended is removed here: usually its own router removes it.
_CLEANED_S: Final = 5.0


#: Resumes a request, from the info of its command's job and the job's notes.
Adopt = Callable[[RequestData, JobRecord, RequestState], None]
#: Forgets a request that has ended.
Forget = Callable[[PoolRequest], None]
#: Cancels the job of a cancelled request that an idle agent takes.
CancelMoved = Callable[[PoolRequest], Coroutine[Any, Any, None]]


class Adoption:
    """Follows the changes of agents and jobs."""

    def __init__(
        self,
        directory: AgentDirectory,
        requests: RequestRegistry,
        pools: Mapping[str, PoolSettings],
        tasks: TaskOwner,
        queue: JobQueue,
        adopt: Adopt,
        forget: Forget,
        cancel_moved: CancelMoved,
    ) -> None:
        # For life.
        self._directory = directory
        self._requests = requests
        self._pools = pools
        self._tasks = tasks
        self._queue = queue
        self._adopt = adopt
        self._forget = forget
        self._cancel_moved = cancel_moved
        self._engine = Engine(directory)
        # While running.
        self._preparing: set[str] = set()

    @contextmanager
    def preparing(self, rid: str) -> Iterator[None]:
        """Leave a request alone that this router makes within the block."""
        self._preparing.add(rid)
        try:
            yield
        finally:
            self._preparing.discard(rid)

    def changed(self, change: Change) -> None:
        """Take a change of the feed."""
        job = change.job
        if change.kind is ChangeKind.POOL_REQUEST:
            return
        if (request := self._requests.concerned(change.agent_uid, None if job is None else job.uid)) is not None:
            if change.link is not None and change.agent_uid == request.data.agent_uid:
                request.has_left = change.link.has_ended
            if job is not None and change.kind is ChangeKind.JOB_REMOVED and job.uid != request.command:
                self._removed(request, job)
            if change.kind is ChangeKind.AGENT_UP and change.link is not None:
                self._tasks.start(self._until_listed(request, change.link), name="wait for the jobs of an agent")
            request.changed.set()
            self.wake(request.data.pool)
        elif change.kind is ChangeKind.AGENT_UP:
            for each in self._requests.active():
                each.changed.set()
        if job is not None and POOL_LABEL in job.labels and RID_LABEL in job.labels:
            self._command_changed(change, job)
        elif job is not None and CLEANUP_LABEL in job.labels and job.state == FINISHED:
            self._discard_later(job.uid, _CLEANED_S)

    def _removed(self, request: PoolRequest, job: JobRecord) -> None:
        """Keep a job that has ended with its agent, so that its client can read the reason."""
        if self._directory.table.agent(job.agent_uid) is not None:
            if job.uid == request.data.job.uid and not request.is_cancelled:
                self._tasks.start(self._note_removal(request), name="note that a job was removed")
        elif not request.is_cancelled:
            info = job.info()
            request.add_ended(job.uid, info.get("exit_code"), info.get("signal"))
            request.add_lost(PoolJob(job.uid, info.get("name"), job.labels))
            self._queue.fail(request)

    async def _note_removal(self, request: PoolRequest) -> None:
        """Let other routers know that the job has not ended with its agent."""
        request.apply_to_job(RequestedJobInput.REMOVE)
        await self._engine.keep(request, REMOVED_NOTE, DONE)

    async def _until_listed(self, request: PoolRequest, agent: ConnectedAgent) -> None:
        """Check whether the agent of a request, which is connected again, still has its job."""
        is_listed = await self._directory.watches.until_listed([agent.key], _LISTING_S)
        if is_listed and request.is_kept and self._directory.jobs.get(request.data.job.uid) is None:
            await self._note_removal(request)
        request.changed.set()

    def wake(self, pool: str) -> None:
        """Wake the requests of a pool that have not started, so that they check whether they may."""
        for request in self._requests.waiting(pool):
            request.changed.set()

    def _command_changed(self, change: Change, job: JobRecord) -> None:
        self.wake(job.labels[POOL_LABEL])
        rid = job.labels[RID_LABEL]
        request = self._requests.get(rid)
        if change.kind is ChangeKind.JOB_NOTE and change.note is not None:
            if request is not None:
                self._noted(request, change.note, job.notes.get(change.note))
            elif change.note == REQUEST_NOTE and rid not in self._preparing and self._may_request(job):
                self._tasks.start(self._resume(job), name="resume a request for an agent")
        elif change.kind is ChangeKind.JOB_REMOVED and request is not None and request.failures:
            if request.has_ended and self._directory.table.newest(job.agent) is not None:
                self._forget(request)  # another router has removed its record of the failure
        elif change.kind is ChangeKind.JOB_CREATED and job.state == NEW:
            SilenceTimer(_UNWRITTEN_S, self._discard_unwritten, job.uid)

    def _discard_later(self, job_uid: str, delay_s: float) -> None:
        """Remove a job of another router after a delay, unless that router removes it first."""

        def discard() -> None:
            if self._directory.jobs.get(job_uid) is not None and not self._tasks.is_closed:
                self._tasks.start(self._discard(job_uid), name="remove the job of a cleanup")

        SilenceTimer(delay_s, discard)

    def _noted(self, request: PoolRequest, name: str, value: bytes | None) -> None:
        """Take a note that a router has written, and list the jobs of the request as they are then."""
        pending, failures = _uids(request), set(request.failures)
        was_moved = request.job_state is RequestedJobState.MOVED
        _take_note(request, name, value)
        self._queue.show(request)
        for uid in pending - _uids(request):
            if name == DELIVERED_NOTE or value == DONE:
                self._queue.arrived(uid)
            elif value == WITHDRAWN:
                self._queue.remove(uid)
        for uid in failures - request.failures.keys():
            self._queue.remove(uid)
        if name == CANCELLED_NOTE and was_moved:
            self._tasks.start(self._cancel_moved(request), name="cancel a job that an idle agent takes")

    async def _resume(self, job: JobRecord) -> None:
        """Resume a request that another router has made."""
        rid = job.labels[RID_LABEL]
        with self.preparing(rid):
            await self._directory.watches.until_listed([job.agent], _LISTING_S)
        note = job.notes.get(REQUEST_NOTE)
        if note is None or self._requests.get(rid) is not None:
            return
        try:
            data = decode_request(note)
        except ValueError as error:
            _log.warning("job %s: %s", job.uid, error)
            return
        if (data.pool, data.rid, data.agent_uid) != (job.labels[POOL_LABEL], rid, agent_uid_of(rid)):
            _log.warning("job %s: its note is the request of another job", job.uid)
            return
        self._adopt(data, job, _state_of(job))
        request, agent = self._requests.get(rid), self._directory.table.agent(data.agent_uid)
        if request is not None and agent is not None:  # it has come before its request was known here
            await self._until_listed(request, agent)

    def _may_request(self, job: JobRecord) -> bool:
        """Return whether a request may come with a job: its agent has to be one that runs the commands of the pool.

        Any other agent could take jobs of the pool's users with a request that it has made up.
        """
        pool, agent = self._pools.get(job.labels[POOL_LABEL]), self._directory.table.newest(job.agent)
        if pool is None or agent is None:
            return False
        if not fits(pool, agent):
            _log.warning(
                "job %s: agent %r does not run commands of pool %r", job.uid, agent.uid, job.labels[POOL_LABEL]
            )
            return False
        return True

    def _discard_unwritten(self, job_uid: str) -> None:
        """Remove the job of a command whose router has ended before it wrote the request."""
        job = self._directory.jobs.get(job_uid)
        if job is not None and job.state == NEW and REQUEST_NOTE not in job.notes and not self._tasks.is_closed:
            self._tasks.start(self._discard(job_uid), name="remove the job of no request")

    async def _discard(self, job_uid: str) -> None:
        try:
            await self._directory.remove(job_uid)
        except JOB_CALL_ERRORS as error:
            _log.warning("job %s of a pool cannot be removed: %s", job_uid, error)


def take_notes(request: PoolRequest, job: JobRecord) -> None:
    """Take over all notes of the job of a command."""
    for name, value in job.notes.items():
        _take_note(request, name, value)


def _uids(request: PoolRequest) -> set[str]:
    """Return the jobs that wait for the agent of a request."""
    return {job.uid for job in request.pending.values()}


def _take_note(request: PoolRequest, name: str, value: bytes | None) -> None:
    if name == DELIVERED_NOTE:
        request.apply_to_job(RequestedJobInput.DELIVER)
    elif name == REMOVED_NOTE:
        request.apply_to_job(RequestedJobInput.REMOVE)
    elif name == CANCELLED_NOTE:
        request.apply_to_job(RequestedJobInput.CANCEL)
    elif name == FAILURES_NOTE:
        request.take_failures(value)
    elif name.startswith(CLAIM_NOTE) and _is_claim_number(number := name.removeprefix(CLAIM_NOTE)):
        request.take_claim(int(number), value)
    request.changed.set()


def since_of(job: JobRecord, state: RequestState) -> float:
    """Return since when a request of another router is in its state, as far as the job of its command says it."""
    now = time.time()
    if state is RequestState.REQUESTED:
        return min(job.created_at, now)
    started_at = job.info().get("started_at")
    return min(started_at, now) if state is RequestState.QUEUED and isinstance(started_at, (int, float)) else now


def _state_of(job: JobRecord) -> RequestState:
    if job.notes.get(END_NOTE) == DONE:
        return RequestState.ENDED
    if DELIVERED_NOTE in job.notes:
        return RequestState.CONNECTED
    return RequestState.REQUESTED if job.state == NEW else RequestState.QUEUED
