"""The command of one request: a job on the agent that the pool's ``on`` selects."""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from pagent.config.router import PoolSettings
from pagent.errors import JOB_CALL_ERRORS, CallTimeoutError, MethodError, RequestRefusedError
from pagent.job_states import ENDED, NEW
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.net.dial import Backoff
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.command import RID, filled
from pagent.relay.pools.notes import (
    CLAIM_NOTE,
    CLEANUP_LABEL,
    HELD,
    POOL_LABEL,
    REQUEST_NOTE,
    RID_LABEL,
    RequestData,
    command_uid_of,
)
from pagent.relay.pools.request import PoolRequest
from pagent.relay.record import age_of
from pagent.rpc.directory import ANY_CONNECTION, JobAddress
from pagent.wire import messages

_log = logging.getLogger(__name__)

#: From TERM to KILL.
KILL_AFTER_S: Final = 30.0
#: Seconds that a cleanup command may run.
_CLEANUP_S: Final = 60.0
#: Seconds that a router may take to see whether an agent is idle.
CLAIM_HELD_S: Final = 60.0
#: Seconds to wait for the link of the command's agent before it is looked up again.
_LINK_S: Final = 60.0
#: The longest pause before the output of a command is followed again.
_FOLLOW_PAUSE_MAX_S: Final = 5.0


def host_of(directory: AgentDirectory, name: str, pool: PoolSettings, started: Collection[str]) -> ConnectedAgent:
    """Return the agent for a pool's commands. RequestRefusedError 503. ``started``: agents of pools, which are none."""
    hosts = [
        agent
        for agent in directory.table
        if agent.is_ours and not agent.retiring and agent.uid not in started and fits(pool, agent)
    ]
    if not hosts:
        raise RequestRefusedError(503, f"no agent for the commands of pool {name!r} is connected", retry_after_s=5)
    return min(hosts, key=lambda agent: (agent.host.cordoned, agent.uid, agent.dialled))


def fits(pool: PoolSettings, agent: ConnectedAgent) -> bool:
    """Return whether a pool may run its commands on an agent."""
    properties = agent.describe()["properties"]
    wanted = pool.on.properties.items()
    return pool.on.uid in (None, agent.uid) and all(
        fnmatch.fnmatchcase(str(properties.get(name, "")), pattern) for name, pattern in wanted
    )


class CleanupFailedError(Exception):
    """The cleanup command has failed: the engine may be out of reach, and has to be asked again."""


class Engine:
    """Runs commands of pools. Errors are those of calls and links, and RequestRefusedError."""

    def __init__(self, directory: AgentDirectory) -> None:
        self._directory = directory

    async def prepare(self, agent: ConnectedAgent, data: RequestData) -> tuple[float, str]:
        """Create the command's job with the data that resumes the request; return its place in the queue.

        It may be repeated, also by another router.
        """
        uid, labels, note = command_uid_of(data.rid), {POOL_LABEL: data.pool, RID_LABEL: data.rid}, data.encode()
        info = await self._directory.create(agent, f"pool {data.pool}: {data.rid}", uid=uid, labels=labels)
        try:
            await self._directory.note(uid, REQUEST_NOTE, note)
        except BaseException:
            await self._directory.remove(uid)
            raise
        created_at, _ = age_of(info)
        return created_at, uid

    async def start(self, request: PoolRequest, pool: PoolSettings, join_data: bytes) -> None:
        """Start the command, unless another router has done it."""
        values = {**request.data.parameters, RID: request.data.rid}
        agent = await self._agent(request)
        try:
            await agent.call(
                "job_start",
                request.command,
                filled(pool.command, values),
                {},
                port_expected_count=0,
                stdin=join_data,
                timeout=DEFAULT_CALL_TIMEOUT_S,
            )
        except MethodError as error:
            if error.cause_type != "JobInvalidStateError":
                raise

    def state(self, request: PoolRequest) -> str | None:
        """Return the state of the command's job; None if there is none any more."""
        record = self._directory.jobs.get(request.command)
        return None if record is None else record.state

    def has_ended(self, request: PoolRequest) -> bool:
        """Whether the command is known to have ended; False while its agent has no link."""
        return self.state(request) in (None, *ENDED)

    async def follow(self, request: PoolRequest) -> None:
        """Read the output of the command up to its end."""
        await asyncio.gather(*(self._follow(request, stream) for stream in ("stdout", "stderr")))

    async def _follow(self, request: PoolRequest, stream: str) -> None:
        offset, ended = 0, False
        backoff = Backoff(_FOLLOW_PAUSE_MAX_S)
        while not ended:
            began = time.monotonic()
            try:
                agent = await self._agent(request)
                arguments = (request.command, stream, offset)
                async with agent.open_stream(messages.ISTREAM, "job_logs", *arguments, follow=True) as output:
                    while (data := await output.receive()) is not None:
                        offset += len(data)
                        request.add_output(stream, bytes(data))
                ended = True
            except MethodError:
                ended = True  # the job is gone
            except JOB_CALL_ERRORS:
                await asyncio.sleep(backoff.delay(time.monotonic() - began))  # the link may be open
                ended = not await self._next_link(request)

    async def _next_link(self, request: PoolRequest) -> bool:
        """Wait for a link of the command's agent; return whether the command is still known."""
        key = self._directory.jobs.agent_of(request.command)
        if key is not None:
            with suppress(TimeoutError):
                await self._directory.table.next_link(key, _LINK_S)
        return key is not None

    async def note(self, request: PoolRequest, name: str, value: bytes) -> None:
        """Keep a fact of a request with the command's job, if there is one."""
        if self.state(request) is None:
            return
        try:
            await self._directory.note(request.command, name, value)
        except MethodError as error:
            if error.cause_type != "JobNotFoundError":  # the job was removed meanwhile, so no router resumes it
                raise
        except RequestRefusedError:
            if self.state(request) is not None:
                raise

    async def keep(self, request: PoolRequest, name: str, value: bytes) -> None:
        """Store a fact as :meth:`note` does. A failure is logged, and the request continues without the note."""
        try:
            await self.note(request, name, value)
        except JOB_CALL_ERRORS as error:
            _log.warning("request %s: %s is not kept: %s", request.data.rid, name, error)

    async def hold(self, request: PoolRequest, number: int) -> bool:
        """Hold the idle agent of a request for a job. False: another router has been faster."""
        agent = await self._agent(request)
        arguments = (request.command, f"{CLAIM_NOTE}{number}", HELD, CLAIM_HELD_S, True)
        return await agent.call("job_note", *arguments, timeout=DEFAULT_CALL_TIMEOUT_S) is True

    async def end(self, request: PoolRequest) -> None:
        """End the command: TERM, and KILL after 30 s."""
        if not self.has_ended(request) and self.state(request) != NEW:
            agent = await self._agent(request)
            try:
                await agent.call("job_kill", request.command, "TERM", KILL_AFTER_S, timeout=KILL_AFTER_S * 2)
            except MethodError as error:
                if error.cause_type not in ("JobInvalidStateError", "JobNotFoundError"):
                    raise

    async def clean_up(self, request: PoolRequest, pool: PoolSettings) -> None:
        """Run the cleanup command to its end, as a job. CleanupFailedError.

        It runs on the agent of the command, or on another that may run commands if that one has lost the command.
        """
        if self.state(request) is None:
            agent = host_of(self._directory, request.data.pool, pool, {request.data.agent_uid})
        else:
            agent = await self._agent(request)
        values = {**request.data.parameters, RID: request.data.rid}
        name = f"pool {request.data.pool}: cleanup of {request.data.rid}"
        labels = {POOL_LABEL: request.data.pool, CLEANUP_LABEL: request.data.rid}
        uid: str = (await self._directory.create(agent, name, labels=labels))["uid"]
        try:
            command = filled(pool.cleanup, values)
            await agent.call("job_start", uid, command, {}, port_expected_count=0, timeout=DEFAULT_CALL_TIMEOUT_S)
            info = await agent.call("job_wait", uid, timeout=_CLEANUP_S)
        except CallTimeoutError:
            raise CleanupFailedError(f"the cleanup command has not ended within {_CLEANUP_S:.0f} s") from None
        finally:
            await self._directory.remove(uid)
        if info["exit_code"] != 0:
            raise CleanupFailedError(f"the cleanup command has failed, with exit code {info['exit_code']}")

    async def remove(self, request: PoolRequest) -> None:
        """Remove the command's job, if there is one."""
        if self.state(request) is not None:
            await self._directory.remove(request.command)

    async def discard(self, request: PoolRequest) -> None:
        """Remove the command's job as :meth:`remove` does. A failure is logged."""
        try:
            await self.remove(request)
        except JOB_CALL_ERRORS as error:
            _log.warning("request %s: its command is not removed: %s", request.data.rid, error)

    async def _agent(self, request: PoolRequest) -> ConnectedAgent:
        return await self._directory.locate(JobAddress(ANY_CONNECTION, request.command))
