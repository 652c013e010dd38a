"""Carry one request from its command to its agent, and to the end of both (docs/router.rst, "Pools").

Several routers may carry the same request: each step can be repeated. A request ends only if its end is known, and
never because an agent has no link.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from pagent.config.router import PoolSettings
from pagent.errors import CallError, CallTimeoutError, LinkClosedError, MethodError, RequestRefusedError
from pagent.job_states import NEW
from pagent.limits import DEFAULT_CALL_TIMEOUT_S
from pagent.relay.agent import ConnectedAgent
from pagent.relay.directory import AgentDirectory
from pagent.relay.pools.delivery import deliver
from pagent.relay.pools.ending import RequestEnd
from pagent.relay.pools.engine import Engine
from pagent.relay.pools.notes import CLAIM_NOTE, DELIVERED_NOTE, DONE, FAILURES_NOTE
from pagent.relay.pools.queue import JobQueue
from pagent.relay.pools.request import PoolRequest
from pagent.relay.pools.states import RequestedJobInput, RequestInput, RequestState
from pagent.rpc.pool_job import PoolJob
from pagent.runtime.silence import SilenceLimit
from pagent.runtime.tasks import TaskOwner

_log = logging.getLogger(__name__)

#: Seconds that the output of a command may take to arrive after the command's end.
_OUTPUT_S: Final = 2.0
#: Seconds that an agent may have no link after its command has ended: it dials again within seconds.
AWAY_S: Final = 15.0
#: Seconds that a command may run after its agent has ended: engines may not notice the end for minutes.
LEFT_S: Final = 20.0
#: Seconds until a job is created again on a link on which its creation has failed.
_RETRY_S: Final = 1.0


class RequestFailedError(Exception):
    """A request has ended without an agent; the text says why."""


class Turn(enum.Enum):
    """The next step of a request that has not started."""

    WAIT = enum.auto()
    START = enum.auto()
    LEAVE = enum.auto()  # the job is at an agent, or an idle one takes it


class RequestSite(Protocol):
    """The pools, as a driver sees them."""

    def join_data(self, request: PoolRequest) -> bytes:
        """Return the standard input of the command."""

    async def turn(self, request: PoolRequest) -> Turn:
        """Return the next step of a request that has not started."""

    async def again(self, request: PoolRequest, job: PoolJob) -> None:
        """Make another request for a job whose request has ended without fault of the job."""


class RequestDriver:
    """Carries a request. ``is_adopted``: another router, or an earlier process of this one, has made the request."""

    def __init__(
        self,
        request: PoolRequest,
        pool: PoolSettings,
        directory: AgentDirectory,
        queue: JobQueue,
        site: RequestSite,
        *,
        is_adopted: bool,
    ) -> None:
        # For life.
        self._request = request
        self._pool = pool
        self._directory = directory
        self._engine = Engine(directory)
        self._queue = queue
        self._site = site
        self._end = RequestEnd(request, pool, directory, self._engine)
        self._tasks = TaskOwner(f"request {request.data.rid}")
        # While running.
        self._is_adopted = is_adopted
        self._following: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Carry the request to its end."""
        request = self._request
        try:
            if not request.is_ending:
                await self._carry()
        except RequestFailedError as error:
            request.error = str(error)
            if not request.is_cancelled:
                request.fail(str(error), *request.pending.values())
            _log.info("pool %r: request %s has ended: %s", request.data.pool, request.data.rid, error)
        finally:
            await self._tasks.close()
        await self._leave_jobs()
        await self._end.run()
        self._directory.agent_ended(request.data.agent_uid)
        self._queue.fail(request)
        request.apply(RequestInput.END)

    async def _carry(self) -> None:
        request = self._request
        if request.state is RequestState.REQUESTED and not await self._start():
            return
        self._following = self._tasks.start(self._engine.follow(request), name="follow the output of a command")
        if request.state is not RequestState.CONNECTED:
            await self._until_connected()
            request.apply(RequestInput.CONNECT)
        await self._until_gone()
        await self._until_output_is_read()
        if self._is_adopted and request.is_kept:
            request.add_lost(request.data.job)  # its agent has ended while no router had a link to it
        request.add_lost(*request.lost.values())

    async def _leave_jobs(self) -> None:
        """Make other requests for valid jobs that the agent has not received."""
        request = self._request
        self._queue.fail(request)
        request.ending.set()
        if request.is_cancelled:
            self._queue.remove(request.data.job.uid)
        elif request.error is None:
            for job in request.pending.values():
                await self._site.again(request, job)
        self._queue.fail(request)

    # --- the start --------------------------------------------------------------------------------

    async def _start(self) -> bool:
        """Start the command when it is the request's turn. Return False if it need not be started."""
        request = self._request
        while True:
            request.changed.clear()
            if request.is_cancelled:
                raise RequestFailedError("it was cancelled")
            state = self._engine.state(request)
            if state != NEW:
                break
            turn = await self._site.turn(request)
            if turn is Turn.LEAVE:
                return False
            if turn is Turn.START and await self._start_command():
                self._is_adopted = False
                break
            await request.changed.wait()
        if state is None:
            return False  # the agent of its command has lost it before it ran
        request.apply(RequestInput.START)
        return True

    async def _start_command(self) -> bool:
        """Start the command. Return False if its agent is away: then it is not known whether it has started."""
        request = self._request
        try:
            await self._engine.start(request, self._pool, self._site.join_data(request))
        except (CallTimeoutError, LinkClosedError, RequestRefusedError) as error:
            _log.info("request %s does not start yet: %s", request.data.rid, error)
            return False
        except CallError as error:
            raise RequestFailedError(f"the command cannot be started: {error}") from None
        return True

    # --- the agent comes --------------------------------------------------------------------------

    async def _until_connected(self) -> None:
        request, pool = self._request, self._pool

        def is_joining() -> bool:
            return self._is_connected() or request.output.is_joining or self._engine.has_ended(request)

        def has_come() -> bool:
            return self._is_connected() or self._engine.has_ended(request)

        if not await self._until(is_joining, self._queue_left_s()):
            raise RequestFailedError(f"no agent within {pool.queue_s:.0f} s: {request.output.text}")
        if request.output.is_joining:
            request.apply(RequestInput.JOIN)
        if not await self._until(has_come, pool.start_s):
            raise RequestFailedError(f"the agent has not come within {pool.start_s:.0f} s of its start")
        if self._is_connected():
            return
        # An agent that was connected before this router started does not need its command.
        if self._is_adopted and await self._until(self._is_connected, AWAY_S):
            return
        await self._until_output_is_read()
        raise RequestFailedError(f"the command has ended before its agent came: {request.output.text}")

    async def _until_output_is_read(self) -> None:
        """Wait for the last output of a command that has ended."""
        if self._following is not None:
            await asyncio.wait((self._following,), timeout=_OUTPUT_S)

    def _queue_left_s(self) -> float:
        """Return the seconds that the command has left to start its agent, also if an earlier router has started it.

        The clocks of this host and of the command's may differ.
        """
        record = self._directory.jobs.get(self._request.command)
        started_at = None if record is None else record.info().get("started_at")
        if not self._is_adopted or not isinstance(started_at, (int, float)):
            return self._pool.queue_s
        left_s = self._pool.queue_s - max(0.0, time.time() - started_at)
        return max(left_s, min(AWAY_S, self._pool.queue_s))

    def _agent(self) -> ConnectedAgent | None:
        return self._directory.table.agent(self._request.data.agent_uid)

    def _is_connected(self) -> bool:
        return self._agent() is not None

    # --- its jobs ---------------------------------------------------------------------------------

    async def _until_gone(self) -> None:
        """Give jobs to the agent, until it says that it ends, or its command has ended and it does not come back."""
        request = self._request

        def has_news() -> bool:
            has_work = bool(request.pending or request.unwanted)
            return self._is_spent() or self._has_left() or self._has_gone() or (has_work and self._is_connected())

        while True:
            await self._until(has_news)
            if request.unwanted and (agent := self._agent()) is not None:
                await self._remove(agent, request.unwanted)
            elif request.pending and self._is_connected():
                number, job = next(iter(request.pending.items()))
                if await self._is_delivered(job):
                    await self._settle(number, job)
            elif self._is_spent():
                return
            elif await self._stays_away():
                self._directory.agent_ended(request.data.agent_uid)
                return

    async def _stays_away(self) -> bool:
        """Wait for an agent without a link, or for the end of the command of one that has said that it ends."""
        if self._has_left():
            await self._until(lambda: self._engine.has_ended(self._request) or self._is_connected(), LEFT_S)
            return not self._is_connected()
        return not await self._until(self._is_connected, AWAY_S)

    def _is_spent(self) -> bool:
        """Return whether the agent was for one job only, which is removed.

        An agent that has just come back has not listed its jobs yet.
        """
        request, job = self._request, self._request.data.job
        is_over = job.is_single and request.is_delivered and self._directory.jobs.get(job.uid) is None
        agent = self._agent()
        return is_over and agent is not None and agent.is_watched and not self._directory.busy(agent)

    def _has_left(self) -> bool:
        return self._request.has_left and not self._is_connected()

    def _has_gone(self) -> bool:
        return not self._is_connected() and self._engine.has_ended(self._request)

    async def _is_delivered(self, job: PoolJob) -> bool:
        """Create and start a job at the agent. If it cannot be started, the agent stays, for another job.

        Return False if that has to be tried again.
        """
        request = self._request
        if (agent := self._agent()) is None:
            return False
        try:
            await deliver(self._directory, agent, job)
        except (LinkClosedError, CallTimeoutError):
            await self._until(lambda: self._agent() is not agent, _RETRY_S)
            return False
        except (CallError, RequestRefusedError) as error:
            request.fail(f"the job cannot be started: {error}", job)
        return True

    async def _settle(self, number: int | None, job: PoolJob) -> None:
        """Note that the agent has got a job, or that the job cannot be started."""
        request = self._request
        if number is None:
            is_wanted = not request.is_cancelled
            request.apply_to_job(RequestedJobInput.DELIVER)
        else:
            is_wanted = number not in request.withdrawn
            request.claims[number] = None
        if not is_wanted:
            request.failures.pop(job.uid, None)
        if job.uid in request.failures:
            self._queue.fail(request)
            await self._engine.keep(request, FAILURES_NOTE, request.encoded_failures())
        self._queue.arrived(job.uid)
        request.changed.set()
        if number is None:
            await self._engine.keep(request, DELIVERED_NOTE, DONE)
        elif is_wanted:
            await self._engine.keep(request, f"{CLAIM_NOTE}{number}", DONE)
        else:
            request.unwanted.add(job.uid)

    async def _remove(self, agent: ConnectedAgent, unwanted: set[str]) -> None:
        """Remove jobs of the agent that were cancelled during their delivery."""
        for uid in [*unwanted]:
            try:
                await agent.call("job_remove", uid, timeout=DEFAULT_CALL_TIMEOUT_S)
            except MethodError as error:
                _log.info("job %s is not removed: %s", uid, error)
            except (LinkClosedError, CallTimeoutError):
                await self._until(lambda: self._agent() is not agent, _RETRY_S)
                return
            unwanted.discard(uid)

    async def _until(self, condition: Callable[[], bool], most_s: float | None = None) -> bool:
        """Wait until a condition on agents and jobs holds. Return False if it does not after ``most_s``.

        RequestFailedError: the request is cancelled.
        """
        request = self._request
        try:
            async with SilenceLimit(most_s):
                while not condition():
                    if request.is_cancelled:
                        raise RequestFailedError("it was cancelled")
                    request.changed.clear()
                    await request.changed.wait()
        except TimeoutError:
            return False
        return True
