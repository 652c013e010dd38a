"""Relay the methods of an agent: a client with a link to the router uses it as it uses an agent.

A method of a job goes to the agent that the job lives on; its arguments and its result pass unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final

from pagent.errors import CallError, JobNotFoundError, LinkClosedError, RequestRefusedError, RouteError
from pagent.limits import JOBS_LISTED
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import ANY_CONNECTION, AgentDirectory
from pagent.relay.joined import JoinedCall
from pagent.relay.placement import select
from pagent.rpc.calls import IncomingCall
from pagent.rpc.connection import Connection
from pagent.rpc.directory import JobAddress
from pagent.rpc.methods import Method
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
        "job_adopt",
        "file_stat",
        "file_list",
        "file_remove",
    ),
    messages.ISTREAM: ("file_download", "archive_download", "job_logs"),
    messages.OSTREAM: ("file_upload", "archive_upload"),
    messages.BISTREAM: ("http_request", "ws_connect", "tcp_connect", "job_exec"),
}

#: The least time that a job outlives the last link of the client that created it.
LINGER_LEAST_S: Final = 60.0


class RelayService:
    """The methods that clients may call."""

    def __init__(self, directory: AgentDirectory) -> None:
        # For life.
        self._directory = directory
        self._loop = asyncio.get_running_loop()
        # While running: the jobs of clients, each with its linger.
        self._jobs_of: dict[str, dict[str, float]] = {}  # by connection

    def methods(self) -> dict[str, Method]:
        """Return the table of methods."""
        table = {
            name: Method(call_type, self._relayed(call_type, name))
            for call_type, names in RELAYED.items()
            for name in names
        }
        table["job_create"] = Method(messages.UNARY, self.job_create)
        table["job_list"] = Method(messages.UNARY, self.job_list)
        table["job_count_current_connection"] = Method(messages.UNARY, self.job_count_current_connection)
        return table

    # --- methods ----------------------------------------------------------------------------------

    async def job_create(self, call: IncomingCall, name: str | None = None, linger: float | None = None) -> Any:
        """Create a job at the agent that is least busy."""
        uids = {agent.uid for agent in self._directory.table}
        info = await self._directory.create(await select(self._directory, uids), name)
        client = call.connection
        assert isinstance(client, Connection)
        if client.uid not in self._jobs_of:
            self._jobs_of[client.uid] = {}
            client.on_lost.append(lambda error: self._client_left(client.uid))
        self._jobs_of[client.uid][info["uid"]] = max(linger or 0.0, LINGER_LEAST_S)
        return info

    async def job_list(self, call: IncomingCall, after: str | None = None, limit: int = JOBS_LISTED) -> Any:
        """List the jobs of all agents of ours, in the order of their creation."""
        if type(limit) is not int or limit < 1:
            raise ValueError("limit must be a number of jobs, at least 1")
        infos = sorted(await self._directory.list_jobs(), key=lambda info: (info.get("created_at") or 0, info["uid"]))
        if after is not None:
            at = next((index for index, info in enumerate(infos) if info["uid"] == after), None)
            if at is None:
                raise JobNotFoundError(after)
            infos = infos[at + 1 :]
        return infos[: min(limit, JOBS_LISTED)]

    def job_count_current_connection(self, call: IncomingCall) -> int:
        """Count the jobs that this client has created."""
        return len(self._jobs_of.get(call.connection.uid, ()))

    def _relayed(self, call_type: int, name: str) -> Callable[..., Any]:
        if call_type == messages.UNARY:

            async def unary(call: IncomingCall, job_uid: Any, *args: Any, **kwargs: Any) -> Any:
                return await self._call(call, name, job_uid, args, kwargs)

            return unary

        def joined(call: IncomingCall, job_uid: Any, *args: Any, **kwargs: Any) -> None:
            call.run(self._join(call, call_type, name, job_uid, args, kwargs))

        return joined

    async def _call(self, call: IncomingCall, name: str, job_uid: Any, args: Any, kwargs: Any) -> Any:
        agent = await self._agent_of(job_uid)
        starting = self._directory.starting(job_uid) if name == "job_start" else nullcontext()
        try:
            with starting:
                result = await agent.connection.call(name, job_uid, *args, timeout=None, **kwargs)
        except (CallError, LinkClosedError) as error:
            call.relay_failure(error)
            return None
        if name == "job_remove":
            self._removed(job_uid)
        return result

    async def _join(self, call: IncomingCall, call_type: int, name: str, job_uid: Any, args: Any, kwargs: Any) -> None:
        agent = await self._agent_of(job_uid)
        JoinedCall(call, agent.start_call(call_type, name, [job_uid, *args], kwargs))

    async def _agent_of(self, job_uid: Any) -> ConnectedAgent:
        if not isinstance(job_uid, str):
            raise JobNotFoundError(job_uid)
        try:
            return await self._directory.locate(JobAddress(ANY_CONNECTION, job_uid))
        except RequestRefusedError as error:
            raise (JobNotFoundError(job_uid) if error.status == 404 else RouteError(str(error))) from None

    # --- clients come and go ----------------------------------------------------------------------

    def _removed(self, job_uid: str) -> None:
        self._directory.removed(job_uid)
        for jobs in self._jobs_of.values():
            jobs.pop(job_uid, None)

    def _client_left(self, connection_id: str) -> None:
        """Remove the jobs of a client that is gone, each after its linger."""
        for job_uid, linger in self._jobs_of.pop(connection_id, {}).items():
            self._directory.remove_after(job_uid, linger)
