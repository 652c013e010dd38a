"""Look up the agent of a job, and the jobs of agents, for the HTTP API and for relayed calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pagent.errors import MethodError, NotYetError, RequestRefusedError, ServerError
from pagent.limits import LOOKUPS_AT_ONCE, ROUTE_LINK_WAIT_S, ROUTE_PENDING_WAIT_S
from pagent.relay.agent import AgentKey, ConnectedAgent, is_connection_id
from pagent.relay.asking import is_info, jobs_of, state_of
from pagent.relay.jobs import JobIndex, labels_of
from pagent.relay.table import AgentTable
from pagent.rpc.directory import JobAddress, JobFacts
from pagent.rpc.spool import SpoolOpener
from pagent.runtime.tasks import TaskOwner

_log = logging.getLogger(__name__)

#: In the place of a connection id: the job is found by its uid.
ANY_CONNECTION: Final = "-"

#: How long an agent may take to create a job.
_CREATE_S: Final = 60.0
#: Agents that are asked at once for a job: more would hold up the loop.
_ASKED_AT_ONCE: Final = 50
#: How often an agent is asked whether a job is ready that was started by another router.
_READY_POLL_S: Final = 0.25


class AgentDirectory:
    """The connected agents and the jobs that they have.

    :param spool: keeps what agents without flow control send faster than it is taken.
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
        self.table = AgentTable(self.tasks, spool, linger, self._joined, self._left)
        self.jobs = JobIndex()
        self._asking = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        # While running.
        self._expected: set[Hashable] = set()
        self._starting: dict[str, asyncio.Future[None]] = {}  # by job
        self._forgetting: dict[AgentKey, asyncio.TimerHandle] = {}
        self._lookups: dict[str, asyncio.Task[ConnectedAgent | None]] = {}
        self._tokens: dict[str, str] = {}  # by the uid of the agent that presented it

    # --- finding ----------------------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether the agents are back after a restart of the router, or have had their time."""
        return self._loop.time() >= self._ready_at or (self._dialled_only and not self._expected)

    def facts(self, job_uid: str) -> JobFacts | None:
        """Return the facts of a job, at once; None for a job that is not known."""
        return self.jobs.facts(job_uid)

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
        if job.job_uid in self._starting:
            raise NotYetError(503, "the job is being started", retry_after_s=2)
        return agent

    async def locate(self, job: JobAddress) -> ConnectedAgent:
        """Return the agent of a job, whatever the job's state; agents are asked, and waited for.

        RequestRefusedError, as :meth:`find`.
        """
        agent = self.table.get(job.connection_id)
        if agent is not None:
            return agent
        try:
            return self._known(job)
        except NotYetError as error:
            key = self.jobs.agent_of(job.job_uid)
            if key is None:
                return await self._search(job)
            try:
                return await self.table.next_link(key, ROUTE_LINK_WAIT_S)
            except TimeoutError:
                raise error from None

    async def wait_for(self, job: JobAddress) -> ConnectedAgent:
        """Return the agent of a job as soon as it has a link and the job is not PENDING any more."""
        agent = await self.locate(job)
        try:
            async with asyncio.timeout(ROUTE_PENDING_WAIT_S):
                await self._ready(agent, job.job_uid)
        except TimeoutError:
            raise RequestRefusedError(503, "the job is not ready yet", retry_after_s=2) from None
        return agent

    async def _ready(self, agent: ConnectedAgent, job_uid: str) -> None:
        if (starting := self._starting.get(job_uid)) is not None:
            await asyncio.shield(starting)
            return
        # Another router has started it: no event of this process tells when it is ready.
        while await state_of(agent, job_uid) == "PENDING":  # noqa: ASYNC110
            await asyncio.sleep(_READY_POLL_S)

    def _known(self, job: JobAddress) -> ConnectedAgent:
        if job.connection_id != ANY_CONNECTION and not is_connection_id(job.connection_id):
            raise RequestRefusedError(404, f"connection {job.connection_id!r} is not found")
        key = self.jobs.agent_of(job.job_uid)
        if key is None:
            raise NotYetError(503, "the agent of this job is not known yet", retry_after_s=2)
        agent = self.table.newest(key)
        if agent is None:
            raise NotYetError(503, "the agent of this job is not connected now", retry_after_s=2)
        return agent

    async def _search(self, job: JobAddress) -> ConnectedAgent:
        """Ask all agents of ours. Requests for one job at one time share the answer."""
        lookup = self._lookups.get(job.job_uid)
        if lookup is None:
            lookup = self.tasks.start(self._ask_all(job.job_uid), name="look for a job")
            self._lookups[job.job_uid] = lookup
            lookup.add_done_callback(lambda _: self._lookups.pop(job.job_uid, None))
        agent: ConnectedAgent | None = await asyncio.shield(lookup)
        if agent is not None:
            return agent
        if not self.is_settled:
            raise RequestRefusedError(503, "the agents are not back yet", retry_after_s=2)
        if job.connection_id == ANY_CONNECTION:
            raise RequestRefusedError(404, f"job {job.job_uid!r} is not found")
        raise RequestRefusedError(404, f"connection {job.connection_id!r} is not found")

    async def _ask_all(self, job_uid: str) -> ConnectedAgent | None:
        async with self._asking:
            agents = [agent for agent in self.table if agent.is_ours and not agent.retiring]
            for first in range(0, len(agents), _ASKED_AT_ONCE):
                some = agents[first : first + _ASKED_AT_ONCE]
                states = await asyncio.gather(*(state_of(agent, job_uid) for agent in some))
                for agent, state in zip(some, states, strict=True):
                    if state is not None and agent.is_open:
                        self.jobs.add(job_uid, agent.key)
                        return agent
        return None

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
        """
        lingering = {"linger": agent.linger if linger is None else linger} if agent.is_ours else {}
        more = {"uid": uid, "labels": labels and dict(labels), "idle_after": idle_after}
        given = {key: value for key, value in more.items() if value is not None} if agent.is_ours else {}
        with agent.creation():
            try:
                info: Any = await agent.call("job_create", name, timeout=_CREATE_S, **lingering, **given)
            except MethodError as error:
                if not given or not _is_unknown_argument(error):
                    raise
                info = await agent.call("job_create", name, timeout=_CREATE_S, **lingering)
        if not is_info(info):
            raise ServerError("the agent's answer is not the info of a job")
        known = labels_of(info)
        self._note(info["uid"], agent, labels if known is None else known)
        return dict(info)

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

    def removed(self, job_uid: str) -> None:
        """Forget a job that was removed."""
        self.jobs.discard(job_uid)

    async def list_jobs(self) -> list[dict[str, Any]]:
        """Return the infos of the jobs of all agents of ours."""
        agents = [agent for agent in self.table if agent.is_ours and not agent.retiring]
        return [info for infos in await asyncio.gather(*map(jobs_of, agents)) for info in infos]

    def busy(self, agent: ConnectedAgent) -> int:
        """Return how many jobs an agent has as far as is known, with those that are being created."""
        return max(agent.counted, self.jobs.count(agent.key)) + agent.creating

    def _note(self, job_uid: str, agent: ConnectedAgent, labels: Mapping[str, str] | None) -> None:
        """Note a job that an agent names as its own, unless another agent has it that is connected."""
        before = self.jobs.agent_of(job_uid)
        if before is not None and before.uid != agent.uid and self.table.has(before.uid):
            _log.warning("agent %r names the job %r as its own, which %r has", agent.uid, job_uid, before.uid)
            return
        self.jobs.add(job_uid, agent.key, labels)

    # --- agents come and go -----------------------------------------------------------------------

    def may_be(self, uid: str, token: str) -> bool:
        """Return whether an agent with this uid may come with this token.

        A uid belongs to the token that it came with as long as the agent has a link or a job that may be adopted.
        """
        return self._tokens.get(uid, token) == token

    def keep_tokens(self, accepted: Collection[str]) -> None:
        """Forget to which tokens uids belong that are not accepted any more."""
        self._tokens = {uid: token for uid, token in self._tokens.items() if token in accepted}

    def _joined(self, agent: ConnectedAgent) -> None:
        if (timer := self._forgetting.pop(agent.key, None)) is not None:
            timer.cancel()
        if not agent.dialled and isinstance(agent.connection.realm, str):
            self._tokens[agent.uid] = agent.connection.realm
        if agent.is_ours:
            self.tasks.start(self._list_jobs(agent), name="list the jobs of an agent")
        else:
            self._expected.discard(agent.key.dialled)

    def _left(self, agent: ConnectedAgent) -> None:
        key = agent.key
        if self.table.newest(key) is not None:
            return
        if agent.linger and self.jobs.count(key):
            self._forgetting[key] = self._loop.call_later(agent.linger, self._forget, key)
        else:
            self._forget(key)

    def _forget(self, key: AgentKey) -> None:
        """Forget the jobs of an agent."""
        self._forgetting.pop(key, None)
        self.jobs.discard_agent(key)
        if key.dialled is None:
            self._tokens.pop(key.uid, None)

    async def _list_jobs(self, agent: ConnectedAgent) -> None:
        for info in await jobs_of(agent):
            self._note(info["uid"], agent, labels_of(info))
        self._expected.discard(agent.key.dialled)

    async def close(self) -> None:
        """End what runs for the agents."""
        for timer in self._forgetting.values():
            timer.cancel()
        await self.tasks.close()


def _is_unknown_argument(error: MethodError) -> bool:
    """Return whether an agent refused a call because it does not know an argument of it."""
    return error.cause_type == "TypeError" and "unexpected keyword argument" in (error.cause_message or "")
