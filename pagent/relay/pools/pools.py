"""The pools of a router: requests for agents, the agents that come, and their ends (docs/router.rst, "Pools").

What must survive the router is kept with the commands' jobs. A router that finds such a job goes on with its request.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pagent.access.scopes import OWNER
from pagent.access.signed import SigningKeys
from pagent.config.joining import JoinData
from pagent.config.router import PoolSettings
from pagent.errors import CallError, LinkClosedError, ProtocolError, RequestRefusedError
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.relay.agent import ConnectedAgent
from pagent.relay.changes import Change, ChangeKind
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.cleanup import with_cleanup
from pagent.relay.pools.command import RID, check_parameters, check_pool_name, filled, parameters_of
from pagent.relay.pools.driver import RequestDriver
from pagent.relay.pools.engine import Engine, host_of
from pagent.relay.pools.request import (
    CANCELLED,
    DELIVERED,
    POOL_LABEL,
    REQUEST_NOTE,
    RID_LABEL,
    STATE_NOTE,
    PoolRequest,
    RequestData,
    decode_request,
)
from pagent.relay.pools.states import RequestState
from pagent.relay.pools.tokens import Joined, JoinTokens
from pagent.relay.record import JobRecord
from pagent.router_limits import POOL_ENDED_KEPT, POOL_REQUESTS_MAX
from pagent.rpc.directory import JobFacts
from pagent.rpc.pool_job import PoolJob, PoolRequestView, PoolView
from pagent.runtime.tasks import TaskOwner
from pagent.wire import identity
from pagent.wire.closing import POLICY_VIOLATION

_log = logging.getLogger(__name__)

#: What the realm of an agent that has joined begins with; no configured token has a NUL.
_REALM: Final = "joined\0"
#: How often credentials are renewed.
_RENEWAL_S: Final = 3600.0
#: How long an agent may take to list its jobs and their notes before a request of it is carried on.
_LISTING_S: Final = 30.0
#: How long a command's job without a request is left alone: its router may still write it.
_UNWRITTEN_S: Final = 60.0


class Pools:
    """All pools of a router.

    :param keys: sign what agents present; None for a random key.
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
        self._tokens = JoinTokens(keys or SigningKeys.random())
        self._has_keys = keys is not None
        self._addresses = addresses
        self._engine = Engine(directory)
        self._tasks = TaskOwner("pools")
        # While running.
        self._requests: dict[str, PoolRequest] = {}  # by rid, those that have ended lately included
        self._preparing: set[str] = set()
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Find the requests of earlier routers, and renew credentials."""
        if self._pools:
            if not self._has_keys:
                _log.warning(
                    "access.keys_file is null: agents of pools do not come back after a restart of this router"
                )
            self._unsubscribe = self._directory.changes.subscribe(self._changed)
            self._tasks.start(self._renew_credentials(), name="renew credentials")

    def renew(self, keys: SigningKeys | None) -> None:
        """Use other keys, if there are some."""
        if keys is not None:
            self._tokens.keys = keys

    async def close(self) -> None:
        """Carry no request any more; commands and agents go on."""
        self._unsubscribe()
        await self._tasks.close()

    # --- agents -----------------------------------------------------------------------------------

    def admit(self, peer: identity.Peer) -> str | None:
        """Return the realm of an agent that a pool has started; None for another agent. ProtocolError: refused."""
        joined = self._tokens.joined(peer)
        if joined is None:
            return None
        request = self._requests.get(joined.rid)
        if request is not None:
            if request.state is RequestState.ENDED:
                raise ProtocolError("handshake refused: the request for this agent has ended", POLICY_VIOLATION)
            if request.instance not in (None, peer.instance):
                raise ProtocolError("handshake refused: another process has joined before", POLICY_VIOLATION)
            request.instance = peer.instance
        return _REALM + joined.uid

    def welcome(self, peer: identity.Peer) -> Mapping[str, Any]:
        """Return what the handshake gives to an agent that joins."""
        joined = self._tokens.joined(peer)
        return {} if joined is None else {identity.CREDENTIAL: self._credential(joined, peer.instance)}

    @staticmethod
    def is_joined(realm: object) -> bool:
        """Whether a realm is that of an agent that a pool has started."""
        return isinstance(realm, str) and realm.startswith(_REALM)

    def _credential(self, joined: Joined, instance: str | None) -> str:
        return self._tokens.credential(joined, instance or "")

    async def _renew_credentials(self) -> None:
        while True:
            await asyncio.sleep(_RENEWAL_S)
            for request in self._known(None):
                agent = self._agent(request)
                if agent is not None and agent.instance is not None:
                    data = request.data
                    joined = Joined(data.pool, data.rid, data.agent_uid, None, 0.0)
                    value = self._credential(joined, agent.instance)
                    try:
                        await agent.call("host_credential", value, timeout=DEFAULT_CALL_TIMEOUT_S)
                    except (CallError, LinkClosedError) as error:
                        _log.warning("agent %r: its credential is not renewed: %s", agent.uid, error)

    # --- requests ---------------------------------------------------------------------------------

    async def request(self, name: str, given: Mapping[str, Any], job: PoolJob) -> PoolRequestView:
        """Ask for an agent for a job, or give the job to an idle one of the same pool, owner and parameters.

        RequestRefusedError, CallError, LinkClosedError.
        """
        pool = self._pools.get(name)
        if pool is None:
            raise RequestRefusedError(404, f"pool {name!r} is not found")
        values = check_parameters(parameters_of(pool.command, pool.cleanup), given)
        rid = secrets.token_hex(8)
        data = RequestData(name, rid, secrets.token_hex(16), values, job.labels.get(OWNER, ""), time.time(), job)
        if (idle := self._idle(data)) is not None:
            return self._give(idle, job)
        if sum(1 for _ in self._known(name)) >= POOL_REQUESTS_MAX:
            raise RequestRefusedError(503, f"pool {name!r} has too many requests", retry_after_s=30)
        try:
            for command in (pool.command, pool.cleanup):
                filled(command, {**values, RID: rid})
            return await self._prepared(data, pool)
        except ValueError as error:
            raise RequestRefusedError(400, str(error)) from None

    async def _prepared(self, data: RequestData, pool: PoolSettings) -> PoolRequestView:
        started = {request.data.agent_uid for request in self._requests.values()}
        self._preparing.add(data.rid)
        try:
            command = await self._engine.prepare(host_of(self._directory, data.pool, pool, started), data)
        finally:
            self._preparing.discard(data.rid)
        request = PoolRequest(data, command, RequestState.REQUESTED)
        self._carry(request, pool)
        return request.view()

    def _give(self, idle: PoolRequest, job: PoolJob) -> PoolRequestView:
        idle.further.append(job)
        self._await_job(idle, job)
        idle.changed.set()
        return idle.view(job)

    def _carry(self, request: PoolRequest, pool: PoolSettings) -> None:
        self._requests[request.data.rid] = request
        if not request.is_delivered:
            self._await_job(request, request.data.job)
        driver = RequestDriver(
            request,
            pool,
            self._directory,
            join_data=self._join_data,
            may_start=self._may_start,
            taken=self._taken,
        )
        task = self._tasks.start(driver.run(), name="carry a request for an agent")
        task.add_done_callback(lambda _: self._ended(request))

    def _await_job(self, request: PoolRequest, job: PoolJob) -> None:
        self._directory.unplaced.add(JobFacts(job.uid, request.data.agent_uid, job.labels))

    def _ended(self, request: PoolRequest) -> None:
        """Let the next request start, and forget the oldest of those that have ended."""
        ended = [each for each in self._requests.values() if each.state is RequestState.ENDED]
        for each in ended[: max(0, len(ended) - POOL_ENDED_KEPT)]:
            del self._requests[each.data.rid]
            for job in each.jobs:
                self._directory.unplaced.discard(job.uid)
        self._notify(request.data.pool)

    def _notify(self, pool: str) -> None:
        for request in self._known(pool):
            request.changed.set()

    def _known(self, pool: str | None) -> Iterator[PoolRequest]:
        """Iterate over the requests of a pool, or of all, that have not ended."""
        return (
            request
            for request in [*self._requests.values()]
            if request.state is not RequestState.ENDED and pool in (None, request.data.pool)
        )

    def _may_start(self, request: PoolRequest) -> bool:
        """Whether a request is among the oldest, as many as the pool may have agents: all routers decide the same."""
        name = request.data.pool
        return sum(1 for other in self._known(name) if other.age < request.age) < self._pools[name].max

    def _idle(self, data: RequestData) -> PoolRequest | None:
        """Return the request of an idle agent that fits."""
        for request in self._known(data.pool):
            has_what_fits = (request.data.owner, request.data.parameters) == (data.owner, data.parameters)
            if not has_what_fits or not request.is_delivered or request.further or request.is_cancelled:
                continue
            agent = self._agent(request)
            if agent is not None and not agent.host.cordoned and not self._directory.busy(agent):
                return request
        return None

    def _taken(self, request: PoolRequest) -> bool:
        """Give the job of a request that waits for its turn to an idle agent. Return whether there was one."""
        if (idle := self._idle(request.data)) is None:
            return False
        self._give(idle, request.data.job)
        return True

    def _agent(self, request: PoolRequest) -> ConnectedAgent | None:
        return self._directory.table.agent(request.data.agent_uid)

    def _join_data(self, request: PoolRequest) -> bytes:
        data = request.data
        pool = self._pools[data.pool]
        token = self._tokens.token(data.pool, data.rid, data.agent_uid, pool.queue_s + pool.start_s)
        return JoinData(
            addresses=pool.addresses or self._addresses(),
            token=token,
            uid=data.agent_uid,
            properties={"pool": data.pool, **{f"pool.{name}": value for name, value in data.parameters.items()}},
            idle_s=pool.idle_s,
        ).encode()

    # --- asked by callers -------------------------------------------------------------------------

    def of_job(self, job_uid: str) -> PoolRequestView | None:
        """Return the request of a job that is not at its agent; None if it is there, or is none of a pool."""
        if self._directory.jobs.get(job_uid) is not None:
            return None
        found = self._of_job(job_uid)
        return None if found is None else found[0].view(found[1])

    def _of_job(self, job_uid: str) -> tuple[PoolRequest, PoolJob] | None:
        for request in reversed(self._requests.values()):
            if request.is_cancelled or request.is_unwanted:
                continue
            for job in request.jobs:
                if job.uid == job_uid and (
                    self._directory.unplaced.is_awaiting(job_uid) or request.view(job).has_failed
                ):
                    return request, job
        return None

    async def cancel(self, job_uid: str) -> bool:
        """Cancel the request of a job that is not at its agent. Return whether there is one."""
        found = self._of_job(job_uid)
        if found is None or self._directory.jobs.get(job_uid) is not None:
            return False
        request, job = found
        if request.state is RequestState.ENDED and [job] == request.jobs:
            self._requests.pop(request.data.rid, None)
        elif job_uid in request.lost:
            del request.lost[job_uid]
        elif job in request.further:
            request.further.remove(job)
        else:
            try:
                await self._engine.note(request, CANCELLED)
            except (CallError, LinkClosedError) as error:
                _log.warning("request %s: that it is cancelled is not kept: %s", request.data.rid, error)
            request.is_cancelled = True
            request.changed.set()
        self._directory.unplaced.discard(job_uid)
        return True

    def view(self, name: str) -> PoolView | None:
        """Return a pool, with all its requests; None if there is none of this name."""
        pool = self._pools.get(name)
        if pool is None:
            return None
        requests = [request for request in self._requests.values() if request.data.pool == name]
        agents = [request.data.agent_uid for request in requests if self._agent(request) is not None]
        views = tuple(request.view(job) for request in requests for job in request.jobs[-1:])
        return PoolView(name, pool.max, parameters_of(pool.command, pool.cleanup), tuple(agents), views)

    def names(self) -> list[str]:
        """Return the names of all pools."""
        return sorted(self._pools)

    # --- requests of earlier and of other routers -------------------------------------------------

    def _changed(self, change: Change) -> None:
        job = change.job
        for request in self._known(None):
            if change.agent_uid == request.data.agent_uid and change.link is not None:
                request.has_left = change.link.has_ended
            if change.agent_uid == request.data.agent_uid or (job is not None and job.uid == request.command):
                self._notify(request.data.pool)
        if job is not None and change.kind is ChangeKind.JOB_REMOVED:
            self._keep_lost(job)
        if job is None or POOL_LABEL not in job.labels or RID_LABEL not in job.labels:
            return
        if change.kind is ChangeKind.JOB_NOTE:
            self._noted(job, change.note)
        elif change.kind is ChangeKind.JOB_CREATED and job.state == "NEW":
            loop = asyncio.get_running_loop()
            loop.call_later(_UNWRITTEN_S, self._discard_unwritten, job.uid)

    def _keep_lost(self, record: JobRecord) -> None:
        """Keep a job that has ended with its agent: its client is to learn why."""
        for request in self._requests.values():
            if request.data.agent_uid == record.agent_uid and self._agent(request) is None:
                info = record.info()
                request.lost[record.uid] = PoolJob(record.uid, info.get("name"), record.labels)
                self._directory.unplaced.add(JobFacts(record.uid, record.agent_uid, record.labels))
                self._directory.unplaced.abandon(record.uid)

    def _noted(self, job: JobRecord, note: str | None) -> None:
        rid = job.labels[RID_LABEL]
        request = self._requests.get(rid)
        if request is not None and note == STATE_NOTE:
            value = job.notes.get(STATE_NOTE)
            request.is_delivered = request.is_delivered or value == DELIVERED
            request.is_cancelled = request.is_cancelled or value == CANCELLED
            request.changed.set()
        elif request is None and note == REQUEST_NOTE and rid not in self._preparing:
            self._tasks.start(self._adopt(job), name="go on with a request for an agent")

    async def _adopt(self, job: JobRecord) -> None:
        """Go on with a request that another router has made."""
        self._preparing.add(job.labels[RID_LABEL])
        try:
            await self._directory.watches.until_listed([job.agent], _LISTING_S)
        finally:
            self._preparing.discard(job.labels[RID_LABEL])
        note = job.notes.get(REQUEST_NOTE)
        pool = self._pools.get(job.labels[POOL_LABEL])
        if note is None or pool is None:
            return
        try:
            data = decode_request(note)
        except ValueError as error:
            _log.warning("job %s: %s", job.uid, error)
            return
        state = RequestState.REQUESTED if job.state == "NEW" else RequestState.QUEUED
        request = PoolRequest(data, job.uid, state)
        value = job.notes.get(STATE_NOTE)
        request.is_delivered, request.is_cancelled = value == DELIVERED, value == CANCELLED
        self._carry(request, pool)

    def _discard_unwritten(self, job_uid: str) -> None:
        """Remove the job of a command whose router has ended before it wrote the request."""
        job = self._directory.jobs.get(job_uid)
        if job is not None and job.state == "NEW" and REQUEST_NOTE not in job.notes and not self._tasks.is_closed:
            self._tasks.start(self._discard(job_uid), name="remove the job of no request")

    async def _discard(self, job_uid: str) -> None:
        try:
            await self._directory.remove(job_uid)
        except (CallError, LinkClosedError, RequestRefusedError) as error:
            _log.warning("job %s of a pool is not removed: %s", job_uid, error)
