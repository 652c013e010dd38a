"""One run of a job: from its start, through readiness, to the end of its tree."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from types import MappingProxyType
from typing import Final, NamedTuple

from pagent import limits
from pagent.errors import JobInvalidStateError, ProcessExitedError, ProcessStartTimeoutError
from pagent.jobs.capped import CappedOutput, OutputCap
from pagent.jobs.command import Command
from pagent.jobs.ending import TreeEnd
from pagent.jobs.folders import AllowedFolders
from pagent.jobs.isolation import Confinement, Group
from pagent.jobs.model import Input, Job, State
from pagent.jobs.output import STDERR, STDOUT, Output, open_output
from pagent.jobs.ownership import PortOwnership
from pagent.jobs.ports import ReportError, until_listening
from pagent.jobs.process import spawn
from pagent.jobs.signames import signal_name
from pagent.jobs.system import Process
from pagent.jobs.tree import KILL, Forest
from pagent.net.tasks import TaskOwner, noticed
from pagent.runtime.threads import ThreadPool

_log = logging.getLogger(__name__)

_NO_PORTS: Final[Mapping[str, int]] = MappingProxyType({})


class Host(NamedTuple):
    """What all runs of one agent share. ``record`` notes a main process for the next agent, should this one be killed;
    ``output_cap``: most bytes of each output file.
    """

    forest: Forest
    tasks: TaskOwner
    ownership: PortOwnership
    threads: ThreadPool
    record: Callable[[str, Process], None]
    output_cap: int | None
    confinement: Confinement
    folders: AllowedFolders


class Run:
    """The process of one job. Made when all arguments are known to be good, for a job that may be started."""

    def __init__(
        self, job: Job, command: Command, port: int | None, host: Host, more_ports: Mapping[str, int] = _NO_PORTS
    ) -> None:
        # for ever
        self.job = job
        #: What the job's port reports name it by: nothing outside of the job can know it.
        self.secret: Final = secrets.token_hex(16)
        #: The port that the agent gave to the job.
        self.port = port
        self._more_ports = more_ports
        self._command = command
        self._host = host
        self._forest = host.forest
        self._tasks = host.tasks

        # of the start
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(noticed)  # whoever awaited the start may be gone
        self._ready_timer: asyncio.TimerHandle | None = None
        self._probe: asyncio.Task[None] | None = None
        self._refused: str | None = None  # why what listens on the port is not the job's
        self._spawned = asyncio.Event()
        self._group: Group | None = None

        # of its output
        self._capping: asyncio.Task[None] | None = None

        # of the end
        self._tree = TreeEnd(job.uid, host.forest, host.tasks)
        self._limit_timer: asyncio.TimerHandle | None = None
        self._hurry = False
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
        try:
            await self._spawn(environment)
            await self._ready
        except asyncio.CancelledError:
            self.abandon("the start was cancelled")
            raise
        except ProcessStartTimeoutError:
            await self.end(KILL, 0)
            raise

    async def _spawn(self, environment: dict[str, str]) -> None:
        job = self.job
        with ExitStack() as closing:
            closing.callback(self._spawned.set)
            # Opened before the state changes: a job that could not get its folder or files may be started again.
            cwd = self._open_cwd(closing)
            output = open_output(job.sandbox, self._command.forward_stdout, closing)
            self._cap_output(output)
            job.apply(Input.START)
            job.port = self.port
            try:
                with self._forest.spawning(job.uid):
                    await self._call_spawn(environment, cwd, output)
            except BaseException as error:
                if not job.process_ended.is_set() and job.pid is None:
                    # It may hold what the peer sent, and every info of the job has it.
                    job.error = (str(error) or type(error).__name__)[: limits.ERROR_TEXT_MAX]
                    job.apply(Input.FAIL)
                raise

    def _open_cwd(self, closing: ExitStack) -> str:
        """The working folder, as a path that cannot be made to lead elsewhere."""
        cwd = self._command.cwd
        try:
            if os.path.isabs(cwd):
                descriptor, path = self._host.folders.open(cwd)
            else:
                descriptor, path = self.job.sandbox.open_dir(cwd), str(self.job.sandbox.path / cwd)
        except ValueError as error:
            raise ValueError(f"cwd: {error}") from None
        closing.callback(os.close, descriptor)
        if _has_descriptor_paths():
            return f"/proc/self/fd/{descriptor}"
        return path

    def _cap_output(self, output: Output) -> None:
        cap = self._host.output_cap
        if cap is None:
            return
        for name, descriptor in zip((STDOUT, STDERR), output, strict=True):
            if descriptor is not None:  # not the agent's own
                self.job.outputs[name] = CappedOutput(descriptor, cap)
        capping = OutputCap(self.job.uid, list(self.job.outputs.values()), cap, self._host.threads)
        self._capping = self._tasks.start(capping.run(), name=f"capping the output of job {self.job.uid}")

    async def _call_spawn(self, environment: dict[str, str], cwd: str, output: Output) -> None:
        args = self._command.command_line(self.port, self._more_ports)
        try:
            await self._prepare(output)
            command = self.confined(args, environment, cwd)
            await spawn(command, environment, cwd, output, self._started, self._ended)
        except OSError as error:
            # What it names is never a path of ours; the class follows from the number.
            raise OSError(error.errno, error.strerror, args[0]) from None

    async def _prepare(self, output: Output) -> None:
        """Make ready what confines the job, if anything does."""
        if (user := self._host.confinement.user_id) is not None:
            for descriptor in output:
                if descriptor is not None:  # programs open /dev/stdout
                    os.fchown(descriptor, *user)
            await asyncio.get_running_loop().run_in_executor(None, self.job.sandbox.give_to, *user)
        self._group = self._host.confinement.make_group(self.job.uid)
        if self._group is not None:
            self._forest.grouped(self.job.uid, self._group.kill)

    def confined(self, args: list[str], environment: Mapping[str, str], cwd: str) -> list[str]:
        """The command line of a process of this job. OSError if there is no such program."""
        return self._host.confinement.command(args, environment, self._group, cwd)

    def _started(self, pid: int) -> None:
        job = self.job
        job.pid = pid
        job.started_at = time.time()
        try:
            process = self._forest.born(job.uid, pid)
            self._forest.sacrifice(pid)
            if process is not None:
                self._host.record(job.uid, process)
        except OSError as error:
            # No descriptor is left to look at it with. It runs, and is found by its mark.
            _log.warning("job %s: its process cannot be recorded: %s", job.uid, error)
        if job.state is not State.PENDING or self._abandoned:
            self._tree.begin(KILL, 0)
            return
        self._await_ready()

    def _await_ready(self) -> None:
        loop = asyncio.get_running_loop()
        command = self._command
        if command.timeout_s is not None:
            self._limit_timer = loop.call_later(command.timeout_s, self._out_of_time)
        if command.ready == "connect":
            self._probe = self._tasks.start(self._connect(), name=f"connecting to job {self.job.uid}")
        elif command.reports_awaited == 0:
            self.job.ports += self.ports
            self._become_ready()
            return
        self._ready_timer = loop.call_later(command.ready_timeout_s, self._not_ready_in_time)

    def _become_ready(self) -> None:
        self.job.apply(Input.READY)
        self._settle(None)

    def _not_ready_in_time(self) -> None:
        awaited = "its port did not accept a connection" if self._probe else "its ports were not reported"
        text = f"the process did not start in time: {awaited} within {self._command.ready_timeout_s:g} s"
        if self._refused is not None:
            text += f" ({self._refused})"
        self.job.error = text
        self._settle(ProcessStartTimeoutError(text))

    def _settle(self, error: Exception | None) -> None:
        """Whoever awaits the start hears how it went; nothing the second time."""
        if self._ready_timer is not None:
            self._ready_timer.cancel()
        if self._probe is not None and self._probe is not asyncio.current_task():
            self._probe.cancel()
        if not self._ready.done():
            if error is None:
                self._ready.set_result(None)
            else:
                self._ready.set_exception(error)

    # --- ports ------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        assert self.port is not None, "checked with the arguments"
        await until_listening(self.port, self._host.threads)
        while not await self._may_have(self.port):
            await asyncio.sleep(limits.CONNECT_RETRY_MAX_S)
            await until_listening(self.port, self._host.threads)
        if self.job.state is State.PENDING:
            self.job.ports += self.ports
            self._become_ready()

    async def _may_have(self, port: int) -> bool:
        try:
            await self._host.ownership.check(self.job.uid, port)
        except ReportError as error:
            self._refused = str(error)
            return False
        return True

    async def report(self, port: int) -> None:
        """The job says that it listens on this port. ReportError if that cannot be."""
        awaited = self._command.ready == "connect" and self.job.state in (State.PENDING, State.RUNNING)
        if awaited and port in self.ports:
            return  # told what we know or are about to find out
        self._require_new(port)
        await self._host.ownership.check(self.job.uid, port)
        self._require_new(port)  # it may have been reported meanwhile
        self.job.ports.append(port)
        if len(self.job.ports) == self._command.reports_awaited:
            self._become_ready()

    def _require_new(self, port: int) -> None:
        job = self.job
        if job.state is not State.PENDING or len(job.ports) >= self._command.reports_awaited:
            raise ReportError("bad port: the job is not expected to report one more")
        if port in job.ports:
            raise ReportError("bad port: it was reported before")

    # --- the end ----------------------------------------------------------------------------------

    def _ended(self, returncode: int) -> None:
        job = self.job
        assert job.pid is not None, "ended after started"
        self._forest.died(job.pid)
        how = self._note_exit(returncode)
        if self._limit_timer is not None:
            self._limit_timer.cancel()
        awaited = "its port accepted a connection" if self._probe else "it reported its port"
        if job.state is State.PENDING and job.error is None:
            job.error = f"process {how} before {awaited}"
        self._settle(ProcessExitedError(f"process {how} before {awaited}"))
        if not job.process_ended.is_set():
            job.apply(Input.EXIT)
        self.end_rest()

    def _note_exit(self, returncode: int) -> str:
        """Note how the process ended, and say it."""
        job = self.job
        if returncode >= 0:
            job.exit_code = returncode
            return f"exited with code {returncode}"
        job.signal = signal_name(-returncode)
        return f"was ended by {job.signal}"

    def end_rest(self) -> None:
        """What the main process leaves behind goes after it. Nothing while it runs."""
        if self._tree.under_way or not self.job.process_ended.is_set():
            return
        if not self._left():
            self._forest.ended(self.job.uid)
            return
        with suppress(RuntimeError):  # the agent is past its end; it has seen to the tree
            self._tree.begin(signal.SIGTERM, 0 if self._hurry else limits.TERM_GRACE_S)

    def _left(self) -> bool:
        """Is something of the tree there? Yes, if that cannot be known now."""
        try:
            members, complete = self._forest.look(self.job.uid)
        except OSError:
            return True
        return bool(members) or not complete

    def is_over(self) -> bool:
        """Have the process and all of its tree ended, with nothing that has to be waited for?"""
        return (
            self.job.pid is not None
            and self.job.process_ended.is_set()
            and self._group is None
            and not self._tree.under_way
            and not self._left()
        )

    def _out_of_time(self) -> None:
        self.job.error = f"the process was ended after its time limit of {self._command.timeout_s:g} s"
        self._tree.begin(signal.SIGTERM, limits.TERM_GRACE_S)

    def abandon(self, why: str) -> None:
        """Nobody waits for the start any more: end what of it there is."""
        if self.job.error is None:
            self.job.error = why
        self._abandoned = True
        self._settle(JobInvalidStateError(why))
        if not self.job.process_ended.is_set() and self.job.pid is not None:
            self._tree.begin(KILL, 0)

    def refuse(self) -> None:
        """The job is being removed: a start that is waiting hears of it."""
        self._abandoned = True
        self._settle(JobInvalidStateError("the job was removed before it was ready"))
        if self._limit_timer is not None:
            self._limit_timer.cancel()

    def close(self) -> None:
        """The run is over or never began: nothing of it is needed any more."""
        if self._capping is not None:
            self._capping.cancel()
        for output in self.job.outputs.values():
            output.close()
        self.job.outputs.clear()

    async def remove_group(self) -> None:
        """Once the tree has ended. OSError if something is left in its cgroup."""
        if self._group is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._group.remove)

    def send_main(self, number: int) -> None:
        """Signal the main process only; nothing if it has just ended."""
        for process in self._forest.members(self.job.uid):
            if process.pid == self.job.pid:
                self._forest.send(process, number)

    def hasten(self) -> None:
        """No grace any more."""
        self._hurry = True
        if self._tree.under_way:
            self._tree.begin(KILL, 0)

    async def end(self, number: int, grace_s: float) -> None:
        """Signal the whole tree, KILL it after the grace, return when it and the main process have ended."""
        await self._spawned.wait()
        if self.job.process_ended.is_set() and not self._tree.under_way and not self._left():
            return
        self._tree.begin(number, 0 if self._hurry else grace_s)
        if await self._tree.wait():
            await self.job.process_ended.wait()
            self._forest.ended(self.job.uid)


@functools.cache
def _has_descriptor_paths() -> bool:
    return os.path.exists("/proc/self/fd")
