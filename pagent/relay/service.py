"""Relay the methods of an agent: a client with a link to the router uses it as it uses an agent.

A method of a job goes to the agent that the job lives on; its arguments and its result pass unchanged.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any, Final

from pagent.access.audit import AuditEntry, audited, result_of
from pagent.access.operations import JOBS, READ
from pagent.access.scopes import OWN_LABELS, OWNER
from pagent.errors import (
    CallError,
    JobInvalidStateError,
    JobNotFoundError,
    LinkClosedError,
    RequestRefusedError,
    RouteError,
)
from pagent.limits import JOBS_LISTED, JOBS_LISTED_BYTES, LINGER_MAX_S
from pagent.relay.agent import ConnectedAgent
from pagent.relay.agent import is_connection_id as is_job_uid
from pagent.relay.clients import ClientJobs, JobClient
from pagent.relay.creation import may_create
from pagent.relay.directory import AgentDirectory
from pagent.relay.figures import FiguresRelay
from pagent.relay.hosts import HostRelay
from pagent.relay.joined import JoinedCall, agent_lost
from pagent.relay.listing import JobLister
from pagent.relay.live import LiveFigures
from pagent.relay.permission import CallPermission, at_the_end, audit_of, failure_audited, subject_of
from pagent.relay.placement import select
from pagent.relay.pools.pools import Pools
from pagent.relay.queued import QueuedCalls
from pagent.rpc.calls import IncomingCall
from pagent.rpc.connection import Connection
from pagent.rpc.directory import ANY_CONNECTION, Gate, JobAddress, Subject
from pagent.rpc.host import CallHost
from pagent.rpc.methods import Method, methods_of
from pagent.rpc.pool_job import PoolJob
from pagent.runtime.timeslice import current_slice
from pagent.wire import messages

#: The methods whose first argument is a job's uid, by their call type.
RELAYED: Final = {
    messages.UNARY: (
        "job_start",
        "job_wait",
        "job_info",
        "job_listening",
        "job_remove",
        "job_kill",
        "file_stat",
        "file_list",
        "file_remove",
    ),
    messages.ISTREAM: ("file_download", "archive_download", "job_logs"),
    messages.OSTREAM: ("file_upload", "archive_upload"),
    messages.BISTREAM: ("http_request", "ws_connect", "tcp_connect", "job_exec", "job_run"),
}

#: Methods that send files, with holes as such to a caller that knows them, and those that take files.
_SENDS_HOLES: Final = frozenset({"file_download", "archive_download"})
_TAKES_HOLES: Final = frozenset({"file_upload"})


class RelayService:
    """The methods that clients may call: docs/router.rst, "Calls of clients"."""

    def __init__(self, directory: AgentDirectory, gate: Gate, pools: Pools, figures: LiveFigures) -> None:
        self._directory = directory
        self._gate = gate
        self._pools = pools
        self._figures = figures
        self._permission = CallPermission(directory, gate)
        self._lister = JobLister(directory)
        self._slice = current_slice()
        self._queued = QueuedCalls(directory, self._permission, pools)
        self.clients = ClientJobs(directory, self._queued.remove)

    def methods(self) -> dict[str, Method]:
        """Return the table of methods."""
        table = {
            name: Method(name, call_type, self._relayed(call_type, name))
            for call_type, names in RELAYED.items()
            for name in names
        }
        for function in (self.job_create, self.job_adopt, self.job_list, self.job_count_current_connection):
            table[function.__name__] = Method(function.__name__, messages.UNARY, function)
        hosts = HostRelay(self._directory, self._gate)
        figures = FiguresRelay(self._directory, self._gate, self._figures)
        return {**table, **methods_of(hosts), **methods_of(figures)}

    # --- the client -------------------------------------------------------------------------------

    def client_joined(self, connection: Connection) -> None:
        """Take a client whose handshake is done."""
        self.clients.joined(self._client(connection), connection)

    @staticmethod
    def _client(connection: CallHost) -> JobClient:
        if connection.principal is None:
            connection.principal = JobClient.of(connection, subject_of(connection).name)
        client: JobClient = connection.principal
        return client

    # --- methods of the router --------------------------------------------------------------------

    async def job_create(
        self,
        call: IncomingCall,
        name: str | None = None,
        linger: float | None = None,
        uid: str | None = None,
        labels: Mapping[str, str] | None = None,
        idle_after: float | None = None,
        pool: Mapping[str, Any] | None = None,
    ) -> Any:
        """Create a job at the agent that is least busy, or return the job that has this uid already.

        ``pool``: the agent is one of a pool; its name as ``pool``, and its parameters.
        """
        client, subject, entry = self._client(call.connection), subject_of(call.connection), audit_of(call, uid)
        with audited(entry):
            self._gate.permit(subject, JOBS, None)
            if uid is not None and (waiting := self._queued.info(uid, client.owner)) is not None:
                return waiting
            more = client.labels(_checked_linger(linger))
            with self._gate.creation(subject, _checked_labels(labels)) as given:
                given.update(more)
                agent = None if uid is None else await self._agent_with(uid, client)
                if agent is None and pool is not None:
                    is_single = linger is None  # the job ends with its client, and its agent with the job
                    job = PoolJob(_checked_uid(uid), name, given, None, idle_after, is_single=is_single)
                    return await self._queue(pool, job, entry)
                if agent is None:
                    agent = await self._least_busy(subject, given, uid or "")
                if entry is not None:
                    entry.agent = agent.uid
                creation = self._directory.create(agent, name, uid=uid, labels=given, idle_after=idle_after)
                info = await _relayed_errors(call, creation, entry)
            if entry is not None and info is not None:
                entry.job = info["uid"]
            return info

    async def _queue(self, given: Any, job: PoolJob, entry: AuditEntry | None) -> dict[str, Any]:
        """Ask a pool for an agent for a job. ValueError, RouteError, or the errors of calls."""
        values = dict(given) if isinstance(given, dict) else {}
        if not isinstance(name := values.pop("pool", None), str):
            raise ValueError("pool must be a map with the name of the pool as pool")
        if entry is not None:
            entry.job = job.uid
        return await self._queued.create(name, values, job)

    async def _agent_with(self, uid: str, client: JobClient) -> ConnectedAgent | None:
        """Return the agent that has a job already; None if there is no such job. JobInvalidStateError: of another."""
        if not isinstance(uid, str):
            raise ValueError("uid must be 32 hexadecimal digits")
        try:
            agent = await self._directory.locate(JobAddress(ANY_CONNECTION, uid))
        except RequestRefusedError as error:
            if error.status == 404:
                return None
            raise RouteError(str(error)) from None
        facts = self._directory.facts(uid)
        if facts is not None and facts.labels.get(OWNER) != client.owner:
            raise JobInvalidStateError(f"another job has the uid {uid!r}")
        return agent

    async def _least_busy(self, subject: Subject, labels: Mapping[str, str], uid: str) -> ConnectedAgent:
        """Return the agent for a new job, of those that the subject may use."""
        uids = {agent.uid for agent in self._directory.table}
        uids = {each for each in uids if may_create(self._gate, subject, each, labels, uid)}
        try:
            return await select(self._directory, uids)
        except RequestRefusedError:
            raise RouteError("no agent is connected to the router") from None

    async def job_adopt(self, call: IncomingCall, job_uid: str) -> Any:
        """Let the client have the job: it ends with this client, and not with the one that has created it."""
        info = await self._call(call, "job_adopt", job_uid, (), {})
        if not call.ended:
            await self.clients.adopt(job_uid, self._client(call.connection))
        return info

    async def job_list(
        self, call: IncomingCall, after: str | None = None, limit: int = JOBS_LISTED, ended: bool = False
    ) -> Any:
        """List the jobs of all agents, in the order of their creation."""
        if type(ended) is not bool:
            raise TypeError(f"ended must be a bool, not {type(ended).__name__}")
        if type(limit) is not int or limit < 1:
            raise ValueError("limit must be a number of jobs, at least 1")
        subject = subject_of(call.connection)
        self._gate.permit(subject, READ, None)
        if after is not None and (facts := self._directory.facts(after)) and not self._gate.sees(subject, facts):
            raise JobNotFoundError(after)
        listed = self._lister.ended if ended else self._lister.jobs
        infos = await listed(after, min(limit, JOBS_LISTED), lambda facts: self._gate.sees(subject, facts))
        return await self._page(infos)

    async def _page(self, infos: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return as many infos as one answer takes."""
        page: list[dict[str, Any]] = []
        size = 0
        for info in infos:
            await self._slice.wait()
            page.append(info)
            size += len(messages.pack(info))
            if size > JOBS_LISTED_BYTES:
                break
        return page

    def job_count_current_connection(self, call: IncomingCall) -> int:
        """Count the jobs that this client has."""
        self._gate.permit(subject_of(call.connection), READ, None)
        return self.clients.count(self._client(call.connection))

    # --- methods of agents ------------------------------------------------------------------------

    def _relayed(self, call_type: int, name: str) -> Callable[..., Any]:
        if call_type == messages.UNARY:

            async def unary(call: IncomingCall, /, job_uid: Any, *args: Any, **kwargs: Any) -> Any:
                return await self._call(call, name, job_uid, args, kwargs)

            return unary

        def joined(call: IncomingCall, /, job_uid: Any, *args: Any, **kwargs: Any) -> None:
            entry = audit_of(call, job_uid)
            with failure_audited(entry):
                agent = self._permission.agent_at_once(call, job_uid)
                if agent is not None:
                    self._join(call, agent, call_type, [job_uid, *args], kwargs, entry)
                    return
            call.run(self._join_later(call, call_type, [job_uid, *args], kwargs, entry))

        return joined

    async def _call(self, call: IncomingCall, name: str, job_uid: Any, args: Any, kwargs: Any) -> Any:
        entry = audit_of(call, job_uid)
        with audited(entry):
            if self._queued.has(job_uid) and (answer := await self._queued.answer(call, name, job_uid)) is not None:
                return answer
            agent = self._permission.agent_at_once(call, job_uid) or await self._permission.agent_of(call, job_uid)
            if entry is not None:
                entry.agent = agent.uid
            starting = self._directory.starting(job_uid) if name == "job_start" else nullcontext()
            with starting:
                made: Awaitable[Any] = agent.result_of(name, [job_uid, *args], kwargs)
                if name == "job_wait":
                    made = self._queued.waited(agent, job_uid, made)
                result = await _relayed_errors(call, made, entry)
        if name == "job_remove" and not call.ended:
            self._directory.removed(job_uid)
        else:
            self._directory.noted(agent, result)
        return result

    async def _join_later(
        self, call: IncomingCall, call_type: int, args: list[Any], kwargs: dict[str, Any], entry: AuditEntry | None
    ) -> None:
        with failure_audited(entry):
            if self._queued.has(args[0]) and call_type == messages.ISTREAM:
                await self._queued.until_output(call, args, kwargs)
            agent = await self._permission.agent_of(call, args[0])
            self._join(call, agent, call_type, args, kwargs, entry)

    def _join(
        self,
        call: IncomingCall,
        agent: ConnectedAgent,
        call_type: int,
        args: list[Any],
        kwargs: dict[str, Any],
        entry: AuditEntry | None,
    ) -> None:
        """Make the call at the agent, and join the streams. Holes are for two sides that both know them."""
        name, holes = call.method, call.connection.holes
        if name in _SENDS_HOLES and agent.holes and not holes:
            kwargs = {**kwargs, "holes": False}
        fill = name in _TAKES_HOLES and holes and not agent.holes
        if entry is not None:
            entry.agent = agent.uid
        lease = self._permission.lease(call)
        try:
            outgoing = agent.start_call(call_type, name, args, kwargs)
        except LinkClosedError:
            if lease is not None:
                lease.release()
            raise
        if lease is not None or entry is not None:
            outgoing.result.add_done_callback(at_the_end(entry, lease))
        JoinedCall(call, outgoing, fill_holes=fill)


async def _relayed_errors(call: IncomingCall, result: Awaitable[Any], entry: AuditEntry | None) -> Any:
    """Return the result of a call that is made for ``call``. If it fails, end ``call`` in the same way."""
    try:
        return await result
    except LinkClosedError as lost:
        call.fail(agent_lost(lost))
        failure: Exception = lost
    except CallError as error:
        call.relay_failure(error)
        failure = error
    if entry is not None:
        entry.result = result_of(failure)
    return None


def _checked_labels(labels: Any) -> dict[str, str]:
    """Return the labels that a client has chosen; the agent checks the rest of the rules. ValueError."""
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        raise ValueError("labels must be a map")
    for name in labels:
        if isinstance(name, str) and name.startswith(OWN_LABELS):
            raise ValueError(f"labels: names that begin with {OWN_LABELS} are set by the router")
    return labels


def _checked_linger(linger: Any) -> float | None:
    """Return the linger that a client has chosen. ValueError."""
    if linger is None:
        return None
    if not isinstance(linger, (int, float)) or isinstance(linger, bool) or not 0 <= linger <= LINGER_MAX_S:
        raise ValueError(f"linger must be a number of seconds from 0 to {LINGER_MAX_S:.0f}")
    return float(linger)


def _checked_uid(uid: str | None) -> str:
    """Return the uid for a new job. ValueError."""
    if uid is None:
        return secrets.token_hex(16)
    if not is_job_uid(uid):
        raise ValueError("uid must be 32 hexadecimal digits")
    return uid
