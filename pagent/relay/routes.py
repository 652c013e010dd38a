"""The interface of the router for its HTTP API (:class:`pagent.web.routes.Routes`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from pagent.access.operations import ADMIN
from pagent.access.tickets import Tickets
from pagent.errors import RequestRefusedError, ServerError
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.net.dial import parse_address
from pagent.relay.agent import ConnectedAgent
from pagent.relay.asking import is_info
from pagent.relay.changes import Change
from pagent.relay.creation import CreatedJob, JobCreations, may_create
from pagent.relay.dialling import AgentDialler
from pagent.relay.directory import AgentDirectory
from pagent.relay.host import parse_report
from pagent.relay.listing import JobLister
from pagent.relay.placement import not_connected, select
from pagent.relay.pools.pools import Pools
from pagent.relay.record import JobRecord
from pagent.relay.sampling import Sampling
from pagent.relay.waiting import until_ended
from pagent.rpc.directory import Gate, JobAddress, Subject
from pagent.rpc.new_job import NewJob
from pagent.runtime.metrics import Metric, Values


class RelayRoutes:
    """Joins the directory, the dialler, and the operations on the router itself.

    :param uid: of the router.
    :param resolve: returns the addresses of a host that callers may have dialled.
    """

    def __init__(
        self,
        directory: AgentDirectory,
        dialler: AgentDialler,
        gate: Gate,
        tickets: Tickets,
        pools: Pools,
        live: Sampling,
        *,
        uid: str,
        resolve: Callable[[str, int], Awaitable[list[str]]],
        info: Callable[[], Mapping[str, Any]],
        metrics: Callable[[], Mapping[Metric, Values]],
        end: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._dialler = dialler
        self._gate = gate
        self._creations = JobCreations(directory, gate, pools, uid)
        #: The tickets of jobs.
        self.tickets = tickets
        #: Agents on demand.
        self.pools = pools
        #: Figures that change all the time.
        self.live = live
        self._resolve = resolve
        self._info = info
        #: Returns the values of all metrics.
        self.metrics = metrics
        self._end = end

    def agents(self) -> Iterable[ConnectedAgent]:
        """Return all links."""
        return iter(self._directory.table)

    async def create(
        self, choice: Mapping[str, Any], name: str, subject: Subject
    ) -> tuple[ConnectedAgent, dict[str, Any]]:
        """Create a job; return its agent and its info. ``choice`` is the ``agent`` of jobs/create, checked already.

        RequestRefusedError: the agent is not connected; ConfigError: no address; DialError: it cannot be reached.
        """
        if choice["type"] == "address":
            self._gate.permit(subject, ADMIN, None)
        with self._gate.creation(subject, None) as labels:
            agent = await self._place(choice, lambda agent: may_create(self._gate, subject, agent.uid, labels))
            return agent, await self._directory.create(agent, name, labels=labels)

    async def _place(self, choice: Mapping[str, Any], allowed: Callable[[ConnectedAgent], bool]) -> ConnectedAgent:
        """Return the agent for a new job, of those that the subject may use: another one is not there for it."""
        match choice["type"]:
            case "uid":
                uid: str = choice["uid"]
                agent = self._directory.table.agent(uid)
                if agent is None or not allowed(agent):
                    raise not_connected([uid])
                return agent
            case "select":
                table = self._directory.table
                named = [uid for uid in choice["uids"] if (found := table.agent(uid)) is not None and allowed(found)]
                if not named:
                    raise not_connected(choice["uids"])
                return await select(self._directory, named)
        address = parse_address(choice["address"])
        resolved = await self._resolve(address.host, address.port)
        agent = await self._dialler.for_job(address, choice["token"], resolved)
        if not allowed(agent):
            raise not_connected([agent.uid])
        return agent

    def new_job(self, wanted: NewJob, subject: Subject) -> AbstractAsyncContextManager[CreatedJob]:
        """Return a block that gets a new job, or the one that was created with the key of ``wanted``."""
        return self._creations.create(wanted, subject)

    async def locate(self, job: JobAddress) -> ConnectedAgent:
        """Return the agent of a job."""
        return await self._directory.locate(job)

    def jobs(self, after: tuple[float, str] | None) -> Iterator[JobRecord]:
        """Iterate over the jobs in the order of their creation."""
        return self._directory.jobs.from_age(after)

    async def ended_jobs(self) -> list[JobRecord]:
        """Return the jobs that have ended, as their agents remember them, in the order of their creation."""
        return await JobLister(self._directory).ended_records()

    def job(self, job_uid: str) -> JobRecord | None:
        """Return a job; None if it is not known."""
        return self._directory.jobs.get(job_uid)

    def is_away(self, job_uid: str) -> bool:
        """Return whether the agent of a job has no link now."""
        record = self._directory.jobs.get(job_uid)
        return record is None or self._directory.is_away(record)

    def job_count(self, agent_uid: str) -> int:
        """Return how many jobs of an agent are known."""
        keys = {link.key for link in self._directory.table if link.uid == agent_uid}
        return sum([self._directory.jobs.count(key) for key in keys])

    async def cordon(self, agent_uid: str, on: bool) -> bool:
        """Have an agent refuse new jobs, or take them again; return whether all routers know it."""
        agent = self._directory.table.agent(agent_uid)
        if agent is None:
            raise not_connected([agent_uid])
        if agent.is_ours:
            agent.take_report(parse_report(await agent.call("host_cordon", on, timeout=DEFAULT_CALL_TIMEOUT_S)))
            return True
        agent.take_report(agent.host._replace(cordoned=on))
        return False

    def subscribe(self, subscriber: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``subscriber`` with each change from now on, until the function that is returned is called."""
        return self._directory.changes.subscribe(subscriber)

    def starting(self, job_uid: str) -> AbstractContextManager[None]:
        """While the block runs, traffic to the job waits."""
        return self._directory.starting(job_uid)

    def noted(self, connection_id: str, info: Mapping[str, Any]) -> None:
        """Update a job from its agent's answer, if the agent does not push changes."""
        if (agent := self._directory.table.get(connection_id)) is not None:
            self._directory.noted(agent, info)

    def answered(self, connection_id: str, info: Any) -> JobRecord:
        """Update a job from its agent's answer, and return the job. ServerError."""
        if not is_info(info):
            raise ServerError("the agent's answer is not the info of a job")
        if (agent := self._directory.table.get(connection_id)) is not None:
            self._directory.noted(agent, info)
        known = self._directory.jobs.get(info["uid"])
        if known is None:
            raise RequestRefusedError(404, f"job {info['uid']!r} is not found")
        job = JobRecord(known.uid, known.agent)
        job.labels, job.created_at = known.labels, known.created_at
        job.take(info)
        return job

    async def until_ended(self, job_uid: str) -> None:
        """Return when a known job has no process, or is not known any more. CallError."""
        await until_ended(self._directory, job_uid)
        await self.pools.until_explained(job_uid)

    def removed(self, job_uid: str) -> None:
        """Forget a job that was removed."""
        self._directory.removed(job_uid)

    async def may_dial(self, host: str, port: int) -> list[str]:
        """Resolve an address that a caller wants the router to dial; return the IP addresses."""
        return await self._resolve(host, port)

    @property
    def is_ready(self) -> bool:
        """Whether agents have had their time to come back after a restart."""
        return self._directory.is_settled

    def info(self) -> Mapping[str, Any]:
        """Return the router's handshake data, without secrets."""
        return self._info()

    def end(self) -> None:
        """Begin a graceful end."""
        self._end()
