"""The pools of a router: requests for agents, the agents that come, and their ends (docs/router.rst, "Pools").

All state that must survive the router is stored with the commands' jobs. A router that finds such a job resumes its
request.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from pagent.access.scopes import OWNER
from pagent.access.signed import SigningKeys
from pagent.config.joining import JoinData
from pagent.config.router import PoolSettings
from pagent.errors import JOB_CALL_ERRORS, RequestRefusedError
from pagent.relay.changes import ChangeKind
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.adoption import Adoption, since_of, take_notes
from pagent.relay.pools.cleanup import with_cleanup
from pagent.relay.pools.command import RID, check_parameters, check_pool_name, filled, parameters_of
from pagent.relay.pools.driver import RequestDriver, Turn
from pagent.relay.pools.engine import Engine, host_of
from pagent.relay.pools.idle import IdleAgents
from pagent.relay.pools.joins import PoolJoins
from pagent.relay.pools.kept import KeptFailures
from pagent.relay.pools.measures import PoolMeasures
from pagent.relay.pools.notes import RequestData, agent_uid_of, command_uid_of, rid_after
from pagent.relay.pools.queue import JobQueue
from pagent.relay.pools.registry import RequestRegistry
from pagent.relay.pools.request import PoolRequest
from pagent.relay.pools.states import RequestedJobInput, RequestState
from pagent.relay.pools.turns import Turns
from pagent.relay.record import QUEUE, JobRecord
from pagent.router_limits import POOL_REQUESTS_MAX, ROUTE_LINK_WAIT_S
from pagent.rpc.pool_job import PoolJob, PoolView
from pagent.runtime.tasks import TaskOwner, event_within

_log = logging.getLogger(__name__)

_RID_BYTES: Final = 8
#: Seconds until another request for a job is tried again, unless an agent connects.
_RETRY_S: Final = 30.0
#: Seconds that an engine may take to print why an agent has ended.
_EXPLAINED_S: Final = 10.0
_NOT_KEPT: Final = "the agent that runs the commands of the pool is away: the end of the job is not certain yet"


class Pools:
    """All pools of a router.

    :param keys: sign the tokens and credentials of agents; None for a random key.
    :param addresses: returns the addresses of this router for agents.
    """

    def __init__(
        self,
        directory: AgentDirectory,
        pools: Mapping[str, PoolSettings],
        keys: SigningKeys | None,
        addresses: Callable[[], tuple[str, ...]],
    ) -> None:
        for name in pools:
            check_pool_name(name)
        # For life.
        self._directory = directory
        self._pools = {name: with_cleanup(pool) for name, pool in pools.items()}
        self._has_keys = keys is not None
        self._addresses = addresses
        self._engine = Engine(directory)
        self._queue = JobQueue(directory.jobs)
        self._tasks = TaskOwner("pools")
        # While running.
        self._requests = RequestRegistry()
        #: The agents that come.
        self.joins: Final = PoolJoins(directory, keys, self._requests.get, self._tasks)
        #: Figures for the metrics.
        self.measures: Final = PoolMeasures(self._requests, self._pools, self.agents)
        self._turns = Turns(directory, self._requests.of)
        self._idle = IdleAgents(directory, self._requests, self._engine)
        self._kept = KeptFailures(self._requests, self._queue, self._engine, self._tasks)
        self._adoption = Adoption(
            directory,
            self._requests,
            self._pools,
            self._tasks,
            self._queue,
            self._adopt,
            self._kept.drop,
            self._cancel_moved,
        )
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Find the requests of earlier routers. Without requests, a pool has no tasks and no timers."""
        if self._pools:
            if not self._has_keys:
                _log.warning(
                    "access.keys_file is null: agents of pools do not come back after a restart of this router"
                )
            self._unsubscribe = self._directory.changes.subscribe(self._adoption.changed)

    def renew(self, keys: SigningKeys | None) -> None:
        """Use other keys, if there are some."""
        if keys is not None:
            self.joins.tokens.keys = keys

    async def close(self) -> None:
        """Stop all work on requests; commands and agents keep running."""
        self._unsubscribe()
        self._kept.close()
        await self._tasks.close()

    # --- requests ---------------------------------------------------------------------------------

    async def request(self, name: str, given: Mapping[str, Any], job: PoolJob, *, is_keyed: bool = False) -> JobRecord:
        """Ask for an agent for a job, or give the job to an idle one of the same pool, owner and parameters.

        ``is_keyed``: the uid of the job follows from a key, so that other routers make the same request.
        RequestRefusedError, CallError, LinkClosedError.
        """
        pool = self._pools.get(name)
        if pool is None:
            raise RequestRefusedError(404, f"pool {name!r} is not found")
        values = check_parameters(parameters_of(pool.command, pool.cleanup), given)
        rid = rid_after(job.uid) if is_keyed else secrets.token_hex(_RID_BYTES)
        owner = job.labels.get(OWNER, "")
        data = RequestData(name, rid, agent_uid_of(rid), values, owner, time.time(), job)
        try:
            for command in (pool.command, pool.cleanup):
                filled(command, {**values, RID: rid})
            data.encode()
        except ValueError as error:
            raise RequestRefusedError(400, str(error)) from None
        if (idle := await self._idle.take(data, None)) is not None:
            self._queue.show(idle)
        else:
            if len(self._requests.active(name)) >= POOL_REQUESTS_MAX:
                raise RequestRefusedError(503, f"pool {name!r} has too many requests", retry_after_s=30)
            await self._make(data, pool)
        if (record := self._directory.jobs.get(job.uid)) is None:
            raise RequestRefusedError(409, f"job {job.uid} was removed")
        return record

    async def _make(self, data: RequestData, pool: PoolSettings) -> None:
        started = {request.data.agent_uid for request in self._requests}
        with self._adoption.preparing(data.rid):
            place = await self._engine.prepare(host_of(self._directory, data.pool, pool, started), data)
        if (known := self._requests.get(data.rid)) is None or known.has_ended:
            uid, state = command_uid_of(data.rid), RequestState.REQUESTED
            request = PoolRequest(data, uid, place, state, time.time(), self._reported)
            self._carry(request, pool, is_adopted=False)

    def _carry(self, request: PoolRequest, pool: PoolSettings, *, is_adopted: bool) -> None:
        self._requests.add(request)
        self._queue.show(request)
        self._queue.fail(request)
        self._reported(request, is_other_state=True)
        driver = RequestDriver(request, pool, self._directory, self._queue, self, is_adopted=is_adopted)
        task = self._tasks.start(driver.run(), name="carry a request for an agent")
        task.add_done_callback(lambda _: self._ended(request))

    def _adopt(self, data: RequestData, job: JobRecord, state: RequestState) -> None:
        """Resume a request of another router."""
        request = PoolRequest(data, job.uid, job.age, state, since_of(job, state), self._reported)
        take_notes(request, job)
        if state is RequestState.ENDED:
            self._requests.add(request)
            self._queue.fail(request)
            self._kept.add(request)
        else:
            self._carry(request, self._pools[data.pool], is_adopted=True)

    def _ended(self, request: PoolRequest) -> None:
        """Let the next request start."""
        if request.has_ended:
            self._kept.add(request)
            self._adoption.wake(request.data.pool)

    def _reported(self, request: PoolRequest, is_other_state: bool) -> None:
        """Let callers see a change of a request."""
        self._queue.show(request)
        if is_other_state:
            self.measures.note(request)
            view = request.view()
            record = JobRecord(view.job.uid, QUEUE)
            record.labels = view.job.labels
            self._directory.changes.publish(
                ChangeKind.POOL_REQUEST, request.data.agent_uid, record, data=view.json_object()
            )

    # --- asked by drivers -------------------------------------------------------------------------

    async def turn(self, request: PoolRequest) -> Turn:
        """Return the next step of a request that has not started."""
        record = self._directory.jobs.get(request.data.job.uid)
        if record is not None and not record.is_queued and record.agent.uid != request.data.agent_uid:
            request.apply_to_job(RequestedJobInput.MOVE)
            return Turn.LEAVE
        if (idle := await self._idle.take(request.data, request)) is not None:
            self._queue.show(idle)
            if request.is_cancelled:
                await self._cancel_moved(request)
            return Turn.LEAVE
        most = self._pools[request.data.pool].max
        return Turn.START if await self._turns.may_start(request, most) else Turn.WAIT

    def join_data(self, request: PoolRequest) -> bytes:
        """Return the standard input of the command."""
        data = request.data
        pool = self._pools[data.pool]
        token = self.joins.tokens.token(data.pool, data.rid, data.agent_uid, pool.queue_s + pool.start_s)
        return JoinData(
            addresses=pool.addresses or self._addresses(),
            token=token,
            uid=data.agent_uid,
            properties={"pool": data.pool, **{f"pool.{name}": value for name, value in data.parameters.items()}},
            idle_s=pool.idle_s,
        ).encode()

    async def again(self, request: PoolRequest, job: PoolJob) -> None:
        """Make another request for a job; all routers make the same one."""
        rid = rid_after(request.data.rid, job.uid)
        data = request.data._replace(rid=rid, agent_uid=agent_uid_of(rid), job=job)
        while not request.is_cancelled:
            request.changed.clear()
            try:
                await self._make(data, self._pools[data.pool])
                return
            except JOB_CALL_ERRORS as error:
                _log.info("job %s has no request yet: %s", job.uid, error)
            await event_within(request.changed, _RETRY_S)

    # --- asked by callers -------------------------------------------------------------------------

    async def cancel(self, job_uid: str) -> bool:
        """Cancel the request of a job that is not at its agent, or forget one that got none. Return whether it is.

        The request of a job whose agent is away, with no other job, is cancelled as well.

        RequestRefusedError 503: the agent of the command cannot keep that now. The request still ends here, but is to
        be cancelled again: another router, and this one when it starts again, would resume it.
        """
        request = self._requests.with_job(job_uid)
        has_agent = request is None
        if request is None and (request := await self._stays_away(job_uid)) is None:
            return False
        try:
            if job_uid in request.failures:
                await self._kept.forget(request, job_uid)
            else:
                request.cancel(job_uid)
                self._queue.remove(job_uid)
                await self._engine.note(request, *request.unkept[job_uid])
                request.unkept.pop(job_uid, None)
                if has_agent:
                    self._directory.removed(job_uid)
        except JOB_CALL_ERRORS as error:
            _log.warning("request %s: the end of job %s is not kept: %s", request.data.rid, job_uid, error)
            raise RequestRefusedError(503, _NOT_KEPT, retry_after_s=5) from None
        return True

    def is_away(self, job_uid: str) -> bool:
        """Return whether a job is at an agent of a pool that has no link now, and has no other job."""
        return self._away(job_uid) is not None

    def _away(self, job_uid: str) -> PoolRequest | None:
        record, table = self._directory.jobs.get(job_uid), self._directory.table
        if record is None or record.is_queued or table.newest(record.agent) is not None:
            return None
        request = self._requests.concerned(record.agent_uid)
        is_alone = self._directory.jobs.count(record.agent) == 1
        return request if is_alone and request is not None and not request.has_ended else None

    async def _stays_away(self, job_uid: str) -> PoolRequest | None:
        """Return the request of a job whose agent is away, and does not come back at once; None for another job."""
        record = self._directory.jobs.get(job_uid)
        if record is None or not self.is_away(job_uid):
            return None
        try:
            await self._directory.table.next_link(record.agent, ROUTE_LINK_WAIT_S)
        except TimeoutError:
            return self._requests.with_job(job_uid) or self._away(job_uid)
        return None

    async def _cancel_moved(self, request: PoolRequest) -> None:
        """Cancel a job that an idle agent takes, or has taken, after the job's own request was cancelled."""
        uid = request.data.job.uid
        try:
            if not await self.cancel(uid):
                await self._directory.remove(uid)
        except JOB_CALL_ERRORS as error:
            _log.info("job %s is not removed: %s", uid, error)

    async def until_explained(self, job_uid: str) -> None:
        """Wait until the engine has said why a job has ended with its agent, for as long as that takes normally."""
        request = next((each for each in self._requests.active() if job_uid in each.lost), None)
        if request is not None:
            await event_within(request.ending, _EXPLAINED_S)

    def view(self, name: str) -> PoolView | None:
        """Return a pool, with all its requests; None if there is none of this name."""
        pool = self._pools.get(name)
        if pool is None:
            return None
        requests = tuple(request.view() for request in self._requests.of(name))
        return PoolView(name, pool.max, parameters_of(pool.command, pool.cleanup), self.agents(name), requests)

    def agents(self, name: str) -> tuple[str, ...]:
        """Return the uids of the connected agents of a pool."""
        return self._turns.agents(name)

    @property
    def running(self) -> int:
        """Return how many tasks run for the pools."""
        return len(self._tasks)

    def names(self) -> list[str]:
        """Return the names of all pools."""
        return sorted(self._pools)
