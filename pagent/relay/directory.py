"""Look up the agent of a job, and the jobs of agents, for the HTTP API and for relayed calls."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pagent.errors import LinkClosedError, MethodError, NotYetError, RequestRefusedError, ServerError
from pagent.job_states import ENDED, UNREACHABLE
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.relay.absence import AbsentAgents
from pagent.relay.agent import AgentKey, ConnectedAgent, is_connection_id
from pagent.relay.asking import create_at, info_of, is_info
from pagent.relay.changes import ChangeFeed
from pagent.relay.duplicates import Duplicates
from pagent.relay.jobs import JobTable
from pagent.relay.record import JobRecord, without_agent
from pagent.relay.search import JobSearch
from pagent.relay.table import AgentTable
from pagent.relay.watches import AgentWatches
from pagent.router_limits import ROUTE_LINK_WAIT_S, ROUTE_PENDING_WAIT_S
from pagent.rpc.directory import ANY_CONNECTION, JobAddress, JobFacts
from pagent.rpc.spool import SpoolOpener
from pagent.runtime.silence import SilenceLimit
from pagent.runtime.tasks import TaskOwner

_log = logging.getLogger(__name__)

#: Seconds that a request for an unknown job waits for agents that are listing their jobs.
_LISTING_S: Final = 5.0
#: Why a request for a job waits, or fails.
_AWAY: Final = "the agent of this job is not connected now"
#: How often an agent without a watch is asked whether a job is ready that was started by another router.
_READY_POLL_S: Final = 0.25


class AgentDirectory:
    """The connected agents and the jobs that they have.

    :param spool: keeps data that agents without flow control send faster than its receiver takes it.
    :param linger: seconds that jobs on agents of ours outlive the last link.
    :param ready_wait: seconds from now within which agents of an earlier run of this router are expected back.
    :param dialled_only: no agent dials in: those that were expected by :meth:`expect` are all that can come.
    """

    def __init__(self, *, spool: SpoolOpener, linger: float, ready_wait: float, dialled_only: bool = False) -> None:
        # For life.
        self._loop = asyncio.get_running_loop()
        self._ready_at = self._loop.time() + ready_wait
        self._dialled_only = dialled_only
        self.tasks = TaskOwner("agents")
        #: Changes of agents and their jobs.
        self.changes = ChangeFeed()
        self.table = AgentTable(
            self.tasks, spool, linger, self.changes, joined=self._joined, moved=self._moved, left=self._left
        )
        duplicates = Duplicates(self.table, self.tasks, lambda job_uid: self.jobs.discard(job_uid))
        self.jobs = JobTable(self.changes, reclaim=self._list_again, duplicate=duplicates.settle)
        self.watches = AgentWatches(self.jobs, self.tasks, self._jobs_listed)
        self.search: Final = JobSearch(self.table, self.jobs, self.tasks)
        self.absent: Final = AbsentAgents(self.jobs)
        # While running.
        self._expected: set[Hashable] = set()
        self._starting: dict[str, asyncio.Future[None]] = {}  # by job

    # --- finding ----------------------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether the agents are back after a restart of the router, or have had their time."""
        return self._loop.time() >= self._ready_at or (self._dialled_only and not self._expected)

    def facts(self, job_uid: str) -> JobFacts | None:
        """Return the facts of a job, at once; None for a job that is not known."""
        return self.jobs.facts(job_uid)

    def facts_at(self, job: JobAddress) -> JobFacts | None:
        """Return the facts of the job that a request to this address uses, at once; None if it is not known."""
        known = self.facts(job.job_uid)
        agent = self.table.get(job.connection_id)
        if agent is None or (known is not None and known.agent_uid == agent.uid):
            return known
        if known is None and agent.key in self.watches.listing:
            return None
        # It goes to an agent that is not known to have the job, so the labels of the known one say nothing.
        return JobFacts(job.job_uid, agent.uid, {})

    def state_of(self, job: JobAddress) -> str | None:
        """Return the state of a job as it was last known; ``UNREACHABLE``: its agent has no link now."""
        if (record := self.jobs.get(job.job_uid)) is None:
            return None
        return UNREACHABLE if self.is_away(record) else record.state

    def is_away(self, record: JobRecord) -> bool:
        """Return whether the agent of a job has no link now."""
        return not record.is_queued and self.table.newest(record.agent) is None

    def info(self, record: JobRecord) -> dict[str, Any]:
        """Return the latest info of a job, with the state ``UNREACHABLE`` if it may run and its agent has no link."""
        info = record.info()
        if record.state not in ENDED and self.is_away(record):
            info["state"] = UNREACHABLE
        return info

    def not_found(self, job: JobAddress) -> RequestRefusedError:
        """Return the error for a job that no agent has, at this address."""
        is_any = job.connection_id == ANY_CONNECTION
        if self.table.get(job.connection_id) is not None:
            return RequestRefusedError(404, f"job {job.job_uid!r} is not found")
        if not self.is_settled and (is_any or is_connection_id(job.connection_id)):
            return RequestRefusedError(503, "the agents are not back yet", retry_after_s=2)
        if is_any:
            return RequestRefusedError(404, f"job {job.job_uid!r} is not found")
        return RequestRefusedError(404, f"connection {job.connection_id!r} is not found")

    def owned(self, name: str) -> int:
        """Return how many jobs have this owner."""
        return self.jobs.owned(name)

    def expect(self, dialled: Hashable) -> None:
        """Count on an agent that is dialled, until it has a link: where, and with which token."""
        self._expected.add(dialled)

    def find(self, job: JobAddress) -> ConnectedAgent:
        """Return the agent of a job, at once.

        RequestRefusedError: no agent can have it. NotYetError: its agent has no link now, an agent has to be asked, or
        the job is being started.
        """
        agent = self.table.get(job.connection_id)
        if agent is None:
            agent = self._known(job)
        if job.job_uid in self._starting or self.jobs.is_pending(job.job_uid):
            raise NotYetError(503, "the job is being started", retry_after_s=2)
        return agent

    async def locate(self, job: JobAddress) -> ConnectedAgent:
        """Return the agent of a job, whatever the job's state; agents are asked, and waited for.

        RequestRefusedError, as :meth:`find`.
        """
        agent = self.table.get(job.connection_id)
        if agent is not None:
            if self.jobs.agent_of(job.job_uid) is None:
                await self.watches.until_listed([agent.key], _LISTING_S)
            return await self._open_link(agent.key)
        try:
            return self._known(job)
        except NotYetError:
            key = self.jobs.agent_of(job.job_uid)
            return await (self._search(job) if key is None else self._open_link(key))

    async def _open_link(self, key: AgentKey) -> ConnectedAgent:
        """Return the link of an agent that takes new calls; the next one, if the agent has none now. NotYetError."""
        try:
            return await self.table.next_link(key, ROUTE_LINK_WAIT_S)
        except TimeoutError:
            raise NotYetError(503, _AWAY, retry_after_s=2) from None

    async def wait_for(self, job: JobAddress) -> ConnectedAgent:
        """Return the agent of a job as soon as it has a link and the job is not PENDING any more."""
        try:
            async with SilenceLimit(ROUTE_PENDING_WAIT_S):
                agent = await self.locate(job)
                while not await self._is_ready(agent, job.job_uid):
                    agent = await self.locate(job)
        except TimeoutError:
            raise RequestRefusedError(503, "the job is not ready yet", retry_after_s=2) from None
        return agent

    async def _is_ready(self, agent: ConnectedAgent, job_uid: str) -> bool:
        """Wait until a job is not PENDING any more; False if the link of its agent is lost meanwhile."""
        if (starting := self._starting.get(job_uid)) is not None:
            await asyncio.shield(starting)
            return True
        if not agent.is_watched:
            await self._poll(agent, job_uid)
            return True
        while self.jobs.is_pending(job_uid) and agent.is_open:
            await self.jobs.changed(job_uid)
        return agent.is_open

    async def _poll(self, agent: ConnectedAgent, job_uid: str) -> None:
        """Ask an agent without a watch until a job is ready: another router may have started it."""
        while (info := await info_of(agent, job_uid)) is not None:
            self.jobs.update(agent.key, info)
            if not self.jobs.is_pending(job_uid):
                return
            await asyncio.sleep(_READY_POLL_S)

    def _known(self, job: JobAddress) -> ConnectedAgent:
        if job.connection_id != ANY_CONNECTION and not is_connection_id(job.connection_id):
            raise self.not_found(job)
        record = self.jobs.get(job.job_uid)
        if record is None:
            raise NotYetError(503, "the agent of this job is not known yet", retry_after_s=2)
        if record.is_queued:
            raise without_agent(record)
        agent = self.table.newest(record.agent)
        if agent is None:
            raise NotYetError(503, _AWAY, retry_after_s=2)
        return agent

    async def _search(self, job: JobAddress) -> ConnectedAgent:
        """Return the agent of a job that is not known, once all agents have listed their jobs."""
        listed = await self.watches.until_listed(self.watches.listing, _LISTING_S)
        key = self.jobs.agent_of(job.job_uid)
        if key is None and (agent := await self.search.agent_of(job.job_uid)) is not None:
            key = agent.key
        if key is not None:
            return await self._open_link(key)
        if not listed:
            raise RequestRefusedError(503, "the agents are not back yet", retry_after_s=2)
        raise self.not_found(job)

    # --- jobs come and go -------------------------------------------------------------------------

    async def create(
        self,
        agent: ConnectedAgent,
        name: str | None,
        *,
        uid: str | None = None,
        labels: Mapping[str, str] | None = None,
        linger: float | None = None,
        idle_after: float | None = None,
    ) -> dict[str, Any]:
        """Create a job at an agent; return its info. CallError, LinkClosedError.

        ``linger``: None is the linger of the configuration. An agent that knows no labels creates the job without
        them, without ``uid`` and without ``idle_after``; the labels are then kept here, as long as the job is known.
        If the link is lost, a watched agent is called again on its next link: the uid makes that safe.
        """
        uid = secrets.token_hex(16) if uid is None else uid
        more = {"uid": uid, "labels": dict(labels) if labels else None, "idle_after": idle_after}
        given = {key: value for key, value in more.items() if value is not None}
        may_repeat = agent.is_watched
        with agent.creation(uid):
            try:
                info = await create_at(agent, name, linger, given)
            except LinkClosedError as error:
                if not may_repeat:
                    raise
                info = await create_at(await self._next_link(agent, error), name, linger, given)
        if not is_info(info):
            raise ServerError("the agent's answer is not the info of a job")
        if linger is not None and agent.is_ours:
            info = {"linger": linger, **info}  # an agent of an older release does not say it
        self.jobs.update(agent.key, info, labels)
        return dict(info)

    async def _next_link(self, agent: ConnectedAgent, lost: LinkClosedError) -> ConnectedAgent:
        try:
            return await self.table.next_link(agent.key, ROUTE_LINK_WAIT_S)
        except TimeoutError:
            raise lost from None

    @contextmanager
    def starting(self, job_uid: str) -> Iterator[None]:
        """While the block runs, traffic to the job waits until it ends."""
        if job_uid in self._starting:
            yield
            return
        future = self._starting[job_uid] = self._loop.create_future()
        try:
            yield
        finally:
            del self._starting[job_uid]
            future.set_result(None)

    def noted(self, agent: ConnectedAgent, info: Any) -> None:
        """Take over what an agent has answered about its job.

        An agent that is watched pushes such news; but a job that was started must not count as new until they come.
        """
        known = self.jobs.get(info["uid"]) if is_info(info) else None
        if known is not None and known.agent == agent.key and (known.is_new or not agent.is_watched):
            self.jobs.update(agent.key, info)

    def removed(self, job_uid: str) -> None:
        """Forget a job that was removed."""
        self.jobs.removed(job_uid)

    async def remove(self, job_uid: str) -> None:
        """Have a job removed by its agent, if that has it. ``JOB_CALL_ERRORS``."""
        agent = await self.locate(JobAddress(ANY_CONNECTION, job_uid))
        try:
            await agent.call("job_remove", job_uid, timeout=DEFAULT_CALL_TIMEOUT_S)
        except MethodError as error:
            if error.cause_type != "JobNotFoundError":
                raise
        self.removed(job_uid)

    async def note(self, job_uid: str, name: str, value: bytes | None, *, ttl: float | None = None) -> None:
        """Have a note of a job kept by its agent; None deletes it. ``JOB_CALL_ERRORS``.

        MethodNotFoundError: the agent keeps no notes.
        """
        agent = await self.locate(JobAddress(ANY_CONNECTION, job_uid))
        await agent.call("job_note", job_uid, name, value, ttl, timeout=DEFAULT_CALL_TIMEOUT_S)

    def busy(self, agent: ConnectedAgent) -> int:
        """Return how many jobs an agent has for this router's realm, with those that are being created.

        Of an agent that is not watched, the number of its own answer counts.
        """
        known = self.jobs.count(agent.key)
        return (known if agent.is_watched else max(agent.counted, known)) + self.creating(agent)

    def creating(self, agent: ConnectedAgent) -> int:
        """Return how many jobs are being created at an agent."""
        return sum(1 for uid in agent.creating if self.jobs.get(uid) is None)

    # --- agents come and go -----------------------------------------------------------------------

    def _joined(self, agent: ConnectedAgent) -> None:
        self.absent.came(agent)
        if not agent.is_ours:
            self._expected.discard(agent.key.dialled)

    def _moved(self, agent: ConnectedAgent) -> None:
        if agent.is_ours:
            self.watches.follow(agent)

    def _jobs_listed(self, agent: ConnectedAgent) -> None:
        self._expected.discard(agent.key.dialled)

    def _list_again(self, key: AgentKey) -> None:
        """Have an agent list its jobs again, because the other agent's job with the uid of one of them is gone."""
        self._loop.call_soon(self.watches.restart, key)

    def _left(self, agent: ConnectedAgent) -> None:
        key = agent.key
        if self.table.newest(key) is not None:
            return
        self.watches.stop(key)
        self.jobs.wake(key)
        self.absent.left(agent)

    def agent_ended(self, uid: str) -> None:
        """Forget the jobs of an agent that has dialled in and is away: it does not come back."""
        if self.table.newest(key := AgentKey(uid, None)) is None:
            self.absent.forget(key)

    async def close(self) -> None:
        """End the tasks that run for the agents."""
        self.absent.close()
        self.watches.close()
        await self.tasks.close()
