"""Wait until a started job is ready: its port accepts a connection, or it has reported its ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from pagent.errors import ProcessStartTimeoutError
from pagent.jobs.command import Command
from pagent.jobs.launch import Host
from pagent.jobs.model import Input, Job, State
from pagent.jobs.ports import CONNECT_RETRY_MAX_S, ReportError, until_listening
from pagent.runtime.silence import SilenceTimer
from pagent.runtime.tasks import retrieve_error


class Readiness:
    """The readiness of one job, from its start until :meth:`settle`.

    :param ports: the ports that the agent gave to the job, the main one first.
    :param ready: called when the job is ready, before the caller of the start is resumed.
    """

    def __init__(self, job: Job, command: Command, ports: Sequence[int], host: Host, ready: Callable[[], None]) -> None:
        # For life.
        self._job = job
        self._command = command
        self._ports = ports
        self._host = host
        self._on_ready = ready
        # Of the start.
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settled.add_done_callback(retrieve_error)  # the caller of the start may have gone
        self._timer: SilenceTimer | None = None
        self._probe: asyncio.Task[None] | None = None
        self._refused: str | None = None  # why the listener on the port is not the job's

    async def wait(self) -> None:
        """Wait until the job is ready; raise the error that it was settled with."""
        await self._settled

    def limit(self, most_s: float) -> None:
        """Settle with ProcessStartTimeoutError after a time, counted from now."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = SilenceTimer(most_s, self._not_in_time, most_s)

    def begin(self) -> None:
        """Begin to connect, or to take reports: the program runs."""
        connects = self._command.ready == "connect"
        if not connects and self._command.reports_awaited == 0:
            self._become_ready(*self._ports)
            return
        self.limit(self._command.ready_timeout_s)
        if connects:
            self._probe = self._host.tasks.start(self._connect(), name=f"connecting to job {self._job.uid}")

    @property
    def awaited(self) -> str:
        """The event that makes the job ready, for messages."""
        return "its port accepted a connection" if self._probe else "it reported its port"

    def settle(self, error: Exception | None) -> None:
        """End the wait for the start, with its result. A second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
        if self._probe is not None and self._probe is not asyncio.current_task():
            self._probe.cancel()
        if not self._settled.done():
            if error is None:
                self._settled.set_result(None)
            else:
                self._settled.set_exception(error)

    def _become_ready(self, *ports: int) -> None:
        self._job.add_ports(*ports)
        self._job.apply(Input.READY)
        self._on_ready()
        self.settle(None)

    def _not_in_time(self, most_s: float) -> None:
        if self._job.pid is None:
            awaited = "the system has not executed its program"
        else:
            awaited = "its port did not accept a connection" if self._probe else "its ports were not reported"
        text = f"the process did not start in time: {awaited} within {most_s:g} s"
        if self._refused is not None:
            text += f" ({self._refused})"
        if self._job.state is not State.NEW:
            self._job.error = text
        self.settle(ProcessStartTimeoutError(text))

    # --- a port that accepts ----------------------------------------------------------------------

    async def _connect(self) -> None:
        port, threads = self._ports[0], self._host.threads.ports
        await until_listening(port, threads)
        while not await self._may_have(port):
            await asyncio.sleep(CONNECT_RETRY_MAX_S)
            await until_listening(port, threads)
        if self._job.state is State.PENDING:
            self._become_ready(*self._ports)

    async def _may_have(self, port: int) -> bool:
        try:
            await self._host.ownership.check(self._job.uid, port)
        except ReportError as error:
            self._refused = str(error)
            return False
        return True

    # --- ports that are reported ------------------------------------------------------------------

    async def report(self, port: int) -> None:
        """Take a report that the job listens on this port. ReportError if it is refused."""
        awaited = self._command.ready == "connect" and self._job.state in (State.PENDING, State.RUNNING)
        if awaited and port in self._ports:
            return  # known already, or found out in a moment
        self._require_new(port)
        await self._host.ownership.check(self._job.uid, port)
        self._require_new(port)  # it may have been reported meanwhile
        if len(self._job.ports) + 1 == self._command.reports_awaited:
            self._become_ready(port)
        else:
            self._job.add_ports(port)

    def _require_new(self, port: int) -> None:
        job = self._job
        if job.state is not State.PENDING or len(job.ports) >= self._command.reports_awaited:
            raise ReportError("bad port: the job is not expected to report one more")
        if port in job.ports:
            raise ReportError("bad port: it was reported before")
