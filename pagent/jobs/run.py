"""One run of a job: from its start, through readiness, to the end of its tree."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from pagent import limits
from pagent.errors import JobInvalidStateError, ProcessExitedError, ProcessStartTimeoutError
from pagent.jobs.command import Command
from pagent.jobs.ending import TreeEnd
from pagent.jobs.idle import IdleStop
from pagent.jobs.launch import Host, JoinedStdio, Launch
from pagent.jobs.model import Input, Job, State
from pagent.jobs.readiness import Readiness
from pagent.jobs.signames import signal_name
from pagent.jobs.supervisor import Child
from pagent.jobs.tail import Tail
from pagent.jobs.tree import KILL, Key

_log = logging.getLogger(__name__)

#: Processes of a tree that are read on the event loop, 40 us each; and how old such figures may be.
_LOOKED_AT_ON_LOOP: Final = 16
_USAGE_AGE_S: Final = 0.02

#: Seconds that the system may always take to execute a program; and that the end of a job waits for its start.
_EXECUTED_IN_S: Final = 2.0
_START_PATIENCE_S: Final = 1.0

_NO_PORTS: Final[Mapping[str, int]] = MappingProxyType({})


class Run:
    """The process of one job. It is made when all arguments are checked, for a job that may be started."""

    def __init__(
        self,
        job: Job,
        command: Command,
        port: int | None,
        host: Host,
        more_ports: Mapping[str, int] = _NO_PORTS,
        joined: JoinedStdio | None = None,
    ) -> None:
        # For life.
        self.job = job
        #: Identifies the job in its port reports: nothing outside of the job can know it.
        self.secret: Final = secrets.token_hex(16)
        #: The port that the agent gave to the job.
        self.port = port
        self._more_ports = more_ports
        self._command = command
        self._joined = joined
        self._host = host
        self._tasks = host.tasks
        self._tree = host.trees.new(job.uid, job.sandbox.path)
        #: Starts its processes.
        self.launch: Final = Launch(job, self._tree, host)

        # Of the start.
        #: Whether the job is ready.
        self.readiness: Final = Readiness(job, command, self.ports, host, self._became_ready)
        self._spawning: asyncio.Task[None] | None = None
        self._main: Key | None = None

        # While it runs.
        self._usage: tuple[float, int] = (0.0, 0)
        self._usage_at = -_USAGE_AGE_S
        self._usage_task: asyncio.Task[None] | None = None

        # Of the end.
        self._tree.when_ended(self._tree_ended)
        self._tail = Tail(job.sandbox.output_size, self.end_rest)
        self._end = TreeEnd(self._tree, host.tasks, host.threads.processes)
        self._limit_timer: asyncio.TimerHandle | None = None
        self._idle_stop: IdleStop | None = None
        self._forced = False
        self._abandoned = False

    @property
    def ports(self) -> list[int]:
        """The ports that the agent gave to the job."""
        return [] if self.port is None else [self.port, *self._more_ports.values()]

    def environment(self, properties: Mapping[str, str], endpoint: str, own: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the job's processes; as of ``Command.environment``."""
        return self._command.environment(
            properties, endpoint, self.job.uid, self.secret, self.port, own, self._more_ports
        )

    # --- the start --------------------------------------------------------------------------------

    async def start(self, environment: dict[str, str]) -> None:
        """Start the process and wait until it is ready.

        OSError if there is no such folder or program, or nothing to start it with; ProcessStartTimeoutError,
        ProcessExitedError; JobInvalidStateError if the job is removed meanwhile. The tree has ended, or is being
        ended, after each of them and after cancellation.
        """
        self.launch.environment = environment
        self.readiness.limit(max(self._command.ready_timeout_s, _EXECUTED_IN_S))
        self._spawning = self._tasks.start(self._spawn(), name=f"start of job {self.job.uid}")
        try:
            await self.readiness.wait()
        except asyncio.CancelledError:
            self.abandon("the start was cancelled")
            raise
        except ProcessStartTimeoutError:
            self._spawning.cancel()
            await self.end(KILL, 0)
            raise

    async def _spawn(self) -> None:
        """Start the process; :meth:`start` raises its error."""
        args = self._command.command_line(self.port, self._more_ports)
        child = Child(self._ended, forked=self._forked, started=self._started)
        try:
            await self.launch.start(self._command, args, self.port, child, self._joined)
        except asyncio.CancelledError:
            self._start_failed("the start was ended")
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller of the start gets it
            self._start_failed(str(error) or type(error).__name__)
            self.readiness.settle(error)

    def _start_failed(self, why: str) -> None:
        """Note that no program runs, and end the process that may exist."""
        job = self.job
        if not self.launch.begun:
            self.launch.cancel()
        if job.state is State.NEW:
            return
        if not job.process_ended.is_set() and job.pid is None:
            # Cut: it may quote arguments of the peer, and every info of the job has it.
            job.error = job.error or why[: limits.ERROR_TEXT_MAX]
            job.apply(Input.FAIL)
            _log.info("job %s: its program could not be started", job.uid)
        self.end_rest(KILL)

    def _forked(self, child: Child) -> None:
        self._main = child.key
        self.launch.record(child.key)

    def _started(self, child: Child) -> None:
        job = self.job
        if job.process_ended.is_set():
            return  # the start was ended before; the tree is being ended
        job.runs_as(child.pid)
        _log.info("job %s: started: pid %d", job.uid, child.pid)
        if job.state is not State.PENDING or self._abandoned:
            self._begin_end(KILL, 0)
            return
        if self._command.timeout_s is not None:
            self._limit_timer = asyncio.get_running_loop().call_later(self._command.timeout_s, self._out_of_time)
        self.readiness.begin()

    def _became_ready(self) -> None:
        if (idle_after_s := self.job.terms.idle_after_s) is not None:
            self._idle_stop = IdleStop(self.job.activity, idle_after_s, self._is_idle)

    # --- the end ----------------------------------------------------------------------------------

    def _ended(self, returncode: int) -> None:
        job = self.job
        self._tree.news.set()
        how = self._note_exit(returncode)
        _log.info("job %s: ended: its process %s", job.uid, how)
        self._stop_timers()
        awaited = self.readiness.awaited
        if job.state is State.PENDING and job.error is None:
            job.error = f"process {how} before {awaited}"
        self.readiness.settle(ProcessExitedError(f"process {how} before {awaited}"))
        if not job.process_ended.is_set():
            job.apply(Input.EXIT)
        self._leave_rest()
        if self._joined is not None:
            self._joined.ended(returncode)

    def _note_exit(self, returncode: int) -> str:
        """Note how the process ended, and return that as text."""
        job = self.job
        if returncode >= 0:
            job.exit_code = returncode
            return f"exited with code {returncode}"
        job.signal = signal_name(-returncode)
        return f"was ended by {job.signal}"

    def _leave_rest(self) -> None:
        """Let the processes that outlive the main process write their output, and then end them."""
        if self._forced or self._tree.over:
            self.end_rest()
        elif not self._end.under_way:
            self._tail.begin()

    def _tree_ended(self) -> None:
        self._tail.cancel()
        if self.job.process_ended.is_set():
            self.job.end_output()

    def end_rest(self, number: int = signal.SIGTERM) -> None:
        """End the processes that outlive the main process. Do nothing while the main process runs."""
        if not self.job.process_ended.is_set():
            return
        if self._tree.over:
            self.job.end_output()
            return
        if self._end.under_way:
            return
        with suppress(RuntimeError):  # the agent is past its end; it has seen to the tree
            self._begin_end(number, 0 if self._forced or number == KILL else limits.TERM_GRACE_S)

    def is_over(self) -> bool:
        """Return whether the process and its tree have ended, with nothing left to wait for."""
        return (
            self.job.pid is not None
            and self.job.process_ended.is_set()
            and self.launch.group is None
            and not self._end.under_way
            and self._tree.over
        )

    def usage(self) -> tuple[float, int]:
        """Return CPU seconds and resident bytes of the tree, at most 20 ms old. OSError without a descriptor."""
        now = time.monotonic()
        if now - self._usage_at > _USAGE_AGE_S and (self._usage_task is None or self._usage_task.done()):
            self._usage_at = now
            found = self._tree.usage(_LOOKED_AT_ON_LOOP)
            if found is not None:
                self._usage = found
            else:
                self._usage_task = self._tasks.start(self._look(), name=f"looking at the tree of job {self.job.uid}")
        return self._usage

    async def _look(self) -> None:
        with suppress(OSError):
            found = await self._host.threads.processes.run(self._tree.usage)
            assert found is not None, "no number was too many"
            self._usage = found

    def _out_of_time(self) -> None:
        self.job.error = f"the process was ended after its time limit of {self._command.timeout_s:g} s"
        self._begin_end(signal.SIGTERM, limits.TERM_GRACE_S)

    def _is_idle(self) -> None:
        self.job.error = "idle"
        self._begin_end(signal.SIGTERM, limits.TERM_GRACE_S)

    def _stop_timers(self) -> None:
        if self._limit_timer is not None:
            self._limit_timer.cancel()
        if self._idle_stop is not None:
            self._idle_stop.cancel()

    def abandon(self, why: str) -> None:
        """Cancel a start whose caller has cancelled the call, and end its processes."""
        if self.job.error is None:
            self.job.error = why
        self._abandoned = True
        self.readiness.settle(JobInvalidStateError(why))
        self._stop_starting()
        if not self.job.process_ended.is_set() and self.job.pid is not None:
            self._begin_end(KILL, 0)

    def _stop_starting(self) -> None:
        if self._spawning is not None:
            self._spawning.cancel()

    def refuse(self) -> None:
        """End a start under way, because the job is removed."""
        self._abandoned = True
        self.readiness.settle(JobInvalidStateError("the job was removed before it was ready"))
        self._stop_starting()
        self._stop_timers()

    def send_main(self, number: int) -> None:
        """Signal the main process only. Do nothing if it has just ended."""
        if self._main is not None:
            self._tree.send(self._main, number)

    def _begin_end(self, number: int, grace_s: float) -> None:
        self.job.is_ending = True
        self._end.begin(number, grace_s)

    def begin_end(self) -> None:
        """End the whole tree: TERM, then KILL after the grace period. Return at once."""
        self._tail.cancel()
        self._begin_end(signal.SIGTERM, 0 if self._forced else limits.TERM_GRACE_S)

    def force(self) -> None:
        """End without a grace period from now on."""
        self._forced = True
        if self._tail.waits:
            self._tail.cancel()
            self.end_rest()
        if self._end.under_way:
            self._begin_end(KILL, 0)

    async def end(self, number: int, grace_s: float) -> None:
        """Signal the whole tree, KILL it after the grace; return when it and the main process have ended."""
        if self._spawning is not None and not self._spawning.done():
            # Most starts take some milliseconds; one that hangs is given up.
            await asyncio.wait((self._spawning,), timeout=_START_PATIENCE_S)
            self._spawning.cancel()
            await asyncio.wait((self._spawning,))
        if self.job.process_ended.is_set() and not self._end.under_way and self._tree.over:
            return
        self._tail.cancel()
        self._begin_end(number, 0 if self._forced else grace_s)
        if await self._end.wait():
            await self.job.process_ended.wait()
