"""The life of an agent that was started with ``--join``, and its end by itself (docs/contract.rst, "Joining")."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pagent.config.joining import CORDON_S, WARN_S, JoinData
from pagent.errors import JobInvalidStateError, LinkClosedError
from pagent.jobs.manager import JobManager
from pagent.jobs.model import Job
from pagent.net.dial import Address
from pagent.rpc.connection import Connection
from pagent.runtime.silence import SilenceTimer, silence_for
from pagent.runtime.tasks import TaskOwner, event_within
from pagent.service.dialling import DialledLinks
from pagent.wire.closing import POLICY_VIOLATION

_log = logging.getLogger(__name__)

#: Seconds without a reachable router before the agent ends.
UNREACHABLE_S: Final = 600.0
#: Seconds from TERM to KILL of the jobs that run before the deadline.
WARN_GRACE_S: Final = 25.0
#: The clock of the machine may be set: the deadline is compared with it at least this often.
_CLOCK_S: Final = 60.0


class JoinedLinks(DialledLinks):
    """The links of a joined agent. They end when every router refuses it, or when none can be reached for long.

    :param ended: called with the reason.
    :param linked: called when there is a link after there was none, and the other way round.
    """

    def __init__(
        self,
        count: int,
        ended: Callable[[str], None],
        linked: Callable[[bool], None],
        unreachable_s: float = UNREACHABLE_S,
    ) -> None:
        super().__init__(count, ends=False)
        # For life.
        self._count = count
        self._report_end = ended
        self._report_link = linked
        self._unreachable_s = unreachable_s
        self._loop = asyncio.get_running_loop()
        # Since there was a link.
        self._refusing: set[Address] = set()
        self._timer: SilenceTimer | None = None
        self._wait_for_a_link()

    def opened(self, connection: Connection) -> None:
        if not self.has_link:
            self._report_link(True)
        super().opened(connection)
        self._refusing.clear()
        self.cancel()

    def closed(self, connection: Connection) -> None:
        super().closed(connection)
        if not self.has_link:
            self._report_link(False)

    def lost(self, address: Address, reason: Exception) -> bool:
        if isinstance(reason, LinkClosedError) and reason.code == POLICY_VIOLATION:
            self._refusing.add(address)
        else:
            self._refusing.discard(address)
        if not self.has_link:
            if len(self._refusing) == self._count:
                self._end(f"every router refuses it: {reason}")
            else:
                self._wait_for_a_link()
        return self.ended.is_set()

    def cancel(self) -> None:
        """Stop the timer of a link that is awaited."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for_a_link(self) -> None:
        if self._timer is None:
            text = f"no router could be reached for {self._unreachable_s:.0f} s"
            self._timer = SilenceTimer(self._unreachable_s, self._end, text)

    def _end(self, reason: str) -> None:
        if not self.ended.is_set():
            self.ended.set()
            self._report_end(reason)


class JoinedLife:
    """Ends a joined agent when it is idle for ``idle_s``, at its deadline, and when a router ends it.

    It is idle while it has a link and no jobs.

    :param end: ends the agent; called with the reason, and the level at which it is logged.
    :param clock: returns epoch seconds.
    """

    def __init__(
        self, join: JoinData, jobs: JobManager, end: Callable[[str, int], None], clock: Callable[[], float] = time.time
    ) -> None:
        # For life.
        self.deadline: Final = join.deadline
        self._idle_s = join.idle_s
        self._jobs = jobs
        self._end = end
        self._clock = clock
        self._tasks = TaskOwner("joined agent")
        # While it has a link.
        self._linked = asyncio.Event()
        self._linked_since = 0.0
        # From link to link.
        #: The secret for handshakes with routers: the join token, or the credential that a router has given for it.
        self.token = join.token

    def start(self) -> None:
        """Watch the jobs and the clock."""
        self._tasks.start(self._end_when_idle(), name="end an idle agent")
        if self.deadline is not None:
            self._tasks.start(self._end_at(self.deadline), name="end at the deadline")

    def link_changed(self, has_link: bool) -> None:
        """Note that the agent has a link to a router, or has none any more.

        Without a link it is not idle: a router that is being restarted may have a job for it.
        """
        if has_link:
            self._linked_since = time.monotonic()
            self._linked.set()
        else:
            self._linked.clear()

    async def close(self) -> None:
        """Stop watching."""
        await self._tasks.close()

    def end(self, grace_s: float) -> None:
        """Begin to end the agent: its jobs get TERM, and KILL after the grace period."""
        self._cordon()
        self._tasks.start(self._end_all(grace_s), name="end the agent for a router")

    async def _end_all(self, grace_s: float) -> None:
        await self._terminate(grace_s)
        self._end("a router has ended it", logging.INFO)

    async def _end_when_idle(self) -> None:
        registry = self._jobs.registry
        while True:
            await registry.vacant.wait()
            await self._linked.wait()
            since = self._idle_since()
            await silence_for(since + self._idle_s - time.monotonic())
            if registry.vacant.is_set() and self._linked.is_set() and self._idle_since() == since:
                self._end(f"it has had no jobs for {self._idle_s:.0f} s", logging.INFO)
                return

    def _idle_since(self) -> float:
        return max(self._jobs.registry.vacant_since, self._linked_since)

    async def _end_at(self, deadline: float) -> None:
        """Cordon the agent, end its jobs and then the agent itself, each in time.

        An agent that has less time than that from the start still takes the job that it was started for.
        """
        if deadline - self._clock() < CORDON_S:
            await event_within(self._jobs.registry.used, max(0.0, deadline - WARN_S - self._clock()))
        await self._until(deadline - CORDON_S)
        _log.info("the agent takes no new jobs: its time ends in %.0f s", deadline - self._clock())
        self._cordon()
        await self._until(deadline - WARN_S)
        await self._terminate(WARN_GRACE_S)
        await self._until(deadline)
        self._end("its time is over", logging.WARNING)

    async def _until(self, time_s: float) -> None:
        left_s = time_s - self._clock()
        while left_s > 0:
            await asyncio.sleep(min(left_s, _CLOCK_S))
            left_s = time_s - self._clock()

    def _cordon(self) -> None:
        if self._jobs.admission.cordon(True):
            self._jobs.registry.host_changed()

    async def _terminate(self, grace_s: float) -> None:
        """Send TERM to all jobs, and KILL to those left after the grace period."""
        await asyncio.gather(*(self._terminate_job(job, grace_s) for job in self._jobs.jobs()))

    async def _terminate_job(self, job: Job, grace_s: float) -> None:
        with suppress(JobInvalidStateError):  # it does not run
            await self._jobs.kill(job, "TERM", grace_s)
