"""Carry one request from its command to its agent, and to the end of both (docs/router.rst, "Pools").

Several routers may carry the same request: each step is one that can be repeated. What is not known, because an agent
is away, is never taken for an end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pagent.config.router import PoolSettings
from pagent.errors import CallError, LinkClosedError, RequestRefusedError
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.delivery import deliver
from pagent.relay.pools.engine import CleanupFailedError, Engine
from pagent.relay.pools.request import DELIVERED, PoolRequest
from pagent.relay.pools.states import RequestInput, RequestState
from pagent.rpc.pool_job import PoolJob
from pagent.runtime.tasks import TaskOwner

_log = logging.getLogger(__name__)

#: How long the output of a command that has ended may take to arrive.
_OUTPUT_S: Final = 2.0
#: How long an agent may be away after its command has ended: it dials again within seconds.
_AWAY_S: Final = 15.0
#: The grace of the jobs of an agent that is ended, and how long the agent may take then.
_GRACE_S: Final = 5.0
_END_S: Final = 15.0
#: The pauses before the end of a command is tried again, doubled each time. An engine may be down for minutes.
_PAUSE_S: Final = 2.0
_AGAIN_S: Final = 60.0
#: How long it is tried while the agent of the command is connected.
_CLEANUP_S: Final = 900.0


class RequestFailedError(Exception):
    """A request has ended without an agent; the text says why."""


class RequestDriver:
    """Carries a request.

    :param join_data: returns what the command gets on its standard input.
    :param may_start: whether it is the request's turn.
    :param taken: whether an idle agent has taken the job of the request, which is not needed any more then.
    """

    def __init__(
        self,
        request: PoolRequest,
        pool: PoolSettings,
        directory: AgentDirectory,
        *,
        join_data: Callable[[PoolRequest], bytes],
        may_start: Callable[[PoolRequest], bool],
        taken: Callable[[PoolRequest], bool],
    ) -> None:
        self._request = request
        self._pool = pool
        self._directory = directory
        self._engine = Engine(directory)
        self._join_data = join_data
        self._may_start = may_start
        self._taken = taken
        self._tasks = TaskOwner(f"request {request.data.rid}")
        self._following: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Carry the request to its end."""
        try:
            await self._carry()
        except RequestFailedError as error:
            self._request.error = str(error)
            _log.info("pool %r: request %s has ended: %s", self._request.data.pool, self._request.data.rid, error)
        finally:
            await self._tasks.close()
        await self._end()
        self._request.apply(RequestInput.END)

    async def _carry(self) -> None:
        request = self._request
        if request.state is RequestState.REQUESTED and await self._start() is False:
            return
        self._following = self._tasks.start(self._engine.follow(request), name="follow the output of a command")
        await self._until_connected()
        request.apply(RequestInput.CONNECT)
        if not request.is_delivered:
            await self._deliver(request.data.job)
            await self._note_delivered()
        await self._until_gone()
        await self._until_output_is_read()

    async def _start(self) -> bool:
        """Start the command when it is the request's turn. Return False if the job has gone to an idle agent."""
        request = self._request
        taken = False

        def due() -> bool:
            nonlocal taken
            taken = self._taken(request)
            return taken or self._engine.state(request) != "NEW" or self._may_start(request)

        await self._until(due)
        if taken:
            return False
        if self._engine.state(request) == "NEW":
            try:
                await self._engine.start(request, self._pool, self._join_data(request))
            except (CallError, LinkClosedError, RequestRefusedError) as error:
                raise RequestFailedError(f"the command cannot be started: {error}") from None
        request.apply(RequestInput.START)
        return True

    # --- the agent comes --------------------------------------------------------------------------

    async def _until_connected(self) -> None:
        request, pool = self._request, self._pool

        def is_joining() -> bool:
            return self._is_connected() or request.output.is_joining or self._engine.has_ended(request)

        def has_come() -> bool:
            return self._is_connected() or self._engine.has_ended(request)

        if not await self._until(is_joining, pool.queue_s - self._queued_s()):
            raise RequestFailedError(f"no agent within {pool.queue_s:.0f} s: {request.output.last_line}")
        if request.output.is_joining:
            request.apply(RequestInput.JOIN)
        if not await self._until(has_come, pool.start_s):
            raise RequestFailedError(f"the agent has not come within {pool.start_s:.0f} s of its start")
        if not self._is_connected():
            await self._until_output_is_read()
            raise RequestFailedError(f"the command has ended before its agent came: {request.output.text}")

    def _queued_s(self) -> float:
        """Return how long the command runs: also one that an earlier router has started."""
        record = self._directory.jobs.get(self._request.command)
        started_at = None if record is None else record.info().get("started_at")
        return max(0.0, time.time() - started_at) if isinstance(started_at, (int, float)) else 0.0

    async def _until_output_is_read(self) -> None:
        """Wait for the last output of a command that has ended."""
        if self._following is not None:
            await asyncio.wait((self._following,), timeout=_OUTPUT_S)

    def _agent(self) -> ConnectedAgent | None:
        return self._directory.table.agent(self._request.data.agent_uid)

    def _is_connected(self) -> bool:
        return self._agent() is not None

    async def _deliver(self, job: PoolJob) -> None:
        """Create and start a job at the agent. If that fails, the agent stays, for another job."""
        request = self._request
        while not request.is_delivered or job is not request.data.job:
            await self._until(lambda: self._is_connected() or self._engine.has_ended(request))
            if (agent := self._agent()) is None:
                await self._until_output_is_read()
                raise RequestFailedError(f"the command has ended before its job was created: {request.output.text}")
            try:
                await deliver(self._directory, agent, job)
                break
            except LinkClosedError:
                continue  # on its next link
            except (CallError, RequestRefusedError) as error:
                request.failures[job.uid] = f"the job cannot be started: {error}"
                self._directory.unplaced.abandon(job.uid)
                return
        self._directory.unplaced.discard(job.uid)

    async def _note_delivered(self) -> None:
        self._request.is_delivered = True
        self._request.changed.set()
        try:
            await self._engine.note(self._request, DELIVERED)
        except (CallError, LinkClosedError, RequestRefusedError) as error:
            _log.warning("request %s: its state is not kept: %s", self._request.data.rid, error)

    async def _until_gone(self) -> None:
        """Give further jobs to the agent, until its command has ended and it does not come back."""
        request = self._request

        def has_news() -> bool:
            return bool(request.further) or (not self._is_connected() and self._engine.has_ended(request))

        while True:
            await self._until(has_news)
            if request.further:
                await self._deliver(request.further[0])
                request.further.pop(0)
            elif request.has_left or not await self._until(self._is_connected, _AWAY_S):
                self._directory.agent_ended(request.data.agent_uid)
                return

    # --- the end ----------------------------------------------------------------------------------

    async def _end(self) -> None:
        """End the agent with its jobs, and then the command."""
        request = self._request
        request.is_unwanted, request.is_cancelled = request.is_cancelled, False  # it ends already
        has_run = request.state is not RequestState.REQUESTED or self._engine.state(request) not in (None, "NEW")
        for job in (request.data.job, *request.further):
            if request.error is None or request.is_unwanted:
                self._directory.unplaced.discard(job.uid)
            else:
                self._directory.unplaced.abandon(job.uid)
        if (agent := self._agent()) is not None:
            try:
                await agent.call("host_end", _GRACE_S, timeout=_END_S)
            except (CallError, LinkClosedError) as error:
                _log.info("agent %r is not ended by a call: %s", agent.uid, error)
            await self._until(lambda: not self._is_connected(), _END_S)
        await self._end_command(has_run)
        self._directory.agent_ended(request.data.agent_uid)

    async def _end_command(self, has_run: bool) -> None:
        """End the command and clean up, again and again while that is not possible."""
        request, table = self._request, self._directory.table
        give_up, pause_s = time.monotonic() + _CLEANUP_S, _PAUSE_S
        while (reason := await self._try_to_end(has_run)) is not None:
            key = self._directory.jobs.agent_of(request.command)
            if key is not None and table.newest(key) is None:
                with suppress(TimeoutError):
                    await table.next_link(key, _AGAIN_S)
            elif time.monotonic() > give_up:
                _log.warning("pool %r: request %s is not cleaned up: %s", request.data.pool, request.data.rid, reason)
                break
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _AGAIN_S)
        try:
            await self._engine.remove(request)
        except (CallError, LinkClosedError, RequestRefusedError) as error:
            _log.warning("request %s: its command is not removed: %s", request.data.rid, error)

    async def _try_to_end(self, has_run: bool) -> str | None:
        """End the command and clean up. Return None, or why that is not possible now."""
        try:
            await self._engine.end(self._request)
            if has_run and self._pool.cleanup:
                await self._engine.clean_up(self._request, self._pool)
        except (CallError, LinkClosedError, RequestRefusedError, CleanupFailedError) as error:
            _log.info("request %s does not end yet: %s", self._request.data.rid, error)
            return str(error)
        return None

    async def _until(self, condition: Callable[[], bool], most_s: float | None = None) -> bool:
        """Wait for a condition on what the request depends on. Return whether it holds, False after ``most_s``."""
        request = self._request
        try:
            async with asyncio.timeout(most_s):
                while not condition():
                    if request.is_cancelled:
                        raise RequestFailedError("it was cancelled")
                    request.changed.clear()
                    await request.changed.wait()
        except TimeoutError:
            return False
        return True
