"""Start the processes of one job through its supervisor."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import NamedTuple

from pagent import limits
from pagent.errors import ProcessStartTimeoutError
from pagent.jobs.capped import CappedOutput, OutputCap
from pagent.jobs.command import Command
from pagent.jobs.folders import AllowedFolders
from pagent.jobs.input import open_input
from pagent.jobs.isolation import Confinement, Group
from pagent.jobs.keeper_client import KeeperClient
from pagent.jobs.model import Input, Job
from pagent.jobs.output import STDERR, STDOUT, Output, open_output
from pagent.jobs.output_times import OutputClock
from pagent.jobs.ownership import PortOwnership
from pagent.jobs.supervisor import Child, StartError, StartRequest, SupervisorClient
from pagent.jobs.tree import KILL, JobTree, Key
from pagent.jobs.trees import Trees
from pagent.runtime.silence import SilenceLimit
from pagent.runtime.tasks import TaskOwner
from pagent.runtime.threads import ThreadPool
from pagent.runtime.timeslice import current_slice

_log = logging.getLogger(__name__)


class JobThreads(NamedTuple):
    """The thread pools of one agent's jobs: separate, so that a removal or a folder that hangs delays no kill."""

    processes: ThreadPool
    starts: ThreadPool
    removals: ThreadPool
    ports: ThreadPool

    @classmethod
    def create(cls) -> JobThreads:
        """Make the pools, and start the threads that end jobs: later the system may refuse new threads."""
        threads = cls(
            ThreadPool("processes of jobs", 1),
            ThreadPool("starts of jobs", 4),
            ThreadPool("removals of jobs", 2),
            ThreadPool("ports of jobs", 2),
        )
        for pool in (threads.processes, threads.removals):
            pool.submit(int)
        return threads


class Host(NamedTuple):
    """The parts of an agent that all its runs share.

    ``record`` notes a job's supervisor and the leader of its session for the next agent, should this one be killed;
    ``output_cap``: most bytes of each output file.
    """

    trees: Trees
    keeper: KeeperClient
    tasks: TaskOwner
    threads: JobThreads
    ownership: PortOwnership
    record: Callable[[str, Key, Key], None]
    output_cap: int | None
    confinement: Confinement
    folders: AllowedFolders
    clock: OutputClock


class JoinedStdio(NamedTuple):
    """The descriptors of a main process that is joined to a call; ``ended`` takes its exit code."""

    descriptors: tuple[int, int, int]
    terminal: bool
    ended: Callable[[int], None]


class Launch:
    """The supervisor of one job, and the settings that all processes of the job share."""

    def __init__(self, job: Job, tree: JobTree, host: Host) -> None:
        # For life.
        self._job = job
        self._tree = tree
        self._host = host
        #: Of all its processes; set once, before the first.
        self.environment: dict[str, str] = {}
        # Once they are made.
        self._supervisor: SupervisorClient | None = None
        #: The cgroup of the job.
        self.group: Group | None = None
        self._capping: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Return whether the start of a process was requested."""
        return self._supervisor is not None

    # --- the main process ---------------------------------------------------------------------------

    async def start(
        self, command: Command, args: list[str], port: int | None, child: Child, joined: JoinedStdio | None = None
    ) -> None:
        """Start the main process, with the descriptors of ``joined`` or with its output in files.

        The job is as it was if its folder or its output files cannot be had; it has the input START otherwise. OSError
        if there is no such program, or nothing to start it with.
        """
        with ExitStack() as closing:
            folder = await self._open_folder(command.cwd, closing)
            await current_slice().wait()
            async with self._host.keeper.turns:
                stdin = open_input(command.stdin)
                closing.callback(os.close, stdin)
                output = open_output(self._job.sandbox, command.forward_stdout, closing)
                self._cap_output(output)
                self._watch_output(output)
                self._job.apply(Input.START)
                self._job.port = port
                await self._prepare((stdin, *output))
                stdout, stderr = (own if given is None else given for own, given in zip((1, 2), output, strict=True))
                stdio = (stdin, stdout, stderr) if joined is None else joined.descriptors
                terminal = joined is not None and joined.terminal
                request = self._request(args, self.environment, (*stdio, folder), child, terminal=terminal)
                await self._supervise(request)
        await _until_running(child, args[0])

    async def _supervise(self, request: StartRequest) -> None:
        keeper = self._host.keeper
        for _ in range(2):
            self._supervisor = keeper.supervise(self._tree, request)
            try:
                if await keeper.answers(self._supervisor):
                    return
            except StartError as error:
                self._supervisor.abandon()
                self._supervisor = None
                raise _of_program(error, request.plan["args"][0]) from None
        self._supervisor = None
        raise OSError(errno.EIO, "no process can be started: the keeper ends at once")

    async def _open_folder(self, path: str, closing: ExitStack) -> int:
        """Return a descriptor of the working folder: unlike a path it cannot be made to lead elsewhere."""
        opening = _Opening(self._host.folders.open if os.path.isabs(path) else self._job.sandbox.open_dir, path)
        closing.callback(opening.close)
        try:
            # The sandbox is open already; the file system of another folder may hang.
            return await self._host.threads.starts.run(opening.run) if path else opening.run()
        except ValueError as error:
            raise ValueError(f"cwd: {error}") from None

    def _cap_output(self, output: Output) -> None:
        cap = self._host.output_cap
        if cap is None:
            return
        for name, descriptor in zip((STDOUT, STDERR), output, strict=True):
            if descriptor is not None:  # not the agent's own
                self._job.outputs[name] = CappedOutput(descriptor, cap)
        capping = OutputCap(self._job.uid, list(self._job.outputs.values()), cap, self._host.threads.removals)
        self._capping = self._host.tasks.start(capping.run(), name=f"capping the output of job {self._job.uid}")

    def _watch_output(self, output: Output) -> None:
        sandbox = self._job.sandbox
        for name, descriptor in zip((STDOUT, STDERR), output, strict=True):
            if descriptor is not None:
                capped = self._job.outputs.get(name)
                size = partial(sandbox.log_size, name) if capped is None else capped.size
                self._job.output_times[name] = self._host.clock.watch(size, partial(sandbox.open_log, name))

    async def _prepare(self, stdio: Sequence[int | None]) -> None:
        """Prepare the confinement of the job, if it is confined."""
        if (user := self._host.confinement.user_id) is not None:
            for descriptor in stdio:
                if descriptor is not None and not stat.S_ISCHR(os.fstat(descriptor).st_mode):
                    os.fchown(descriptor, *user)  # programs open /dev/stdout
            await self._host.threads.starts.run(self._job.sandbox.give_to, *user)
        self.group = self._host.confinement.make_group(self._job.uid)
        if self.group is not None:
            self._tree.grouped(self.group.kill)

    def record(self, main: Key) -> None:
        """Note the job's processes for the next agent."""
        assert self._tree.supervisor is not None, "it has reported"
        try:
            self._host.record(self._job.uid, self._tree.supervisor, main)
        except OSError as error:
            _log.warning(
                "job %s: its processes cannot be recorded: %s", self._job.uid, error, extra={"job": self._job.uid}
            )

    # --- other processes ----------------------------------------------------------------------------

    async def execute(
        self,
        args: list[str],
        env: Mapping[str, str],
        stdio: tuple[int, int, int],
        ended: Callable[[int], None],
        *,
        terminal: bool,
    ) -> Child:
        """Start another process in the sandbox, with the job's environment and ``env``.

        OSError as for :meth:`start`; ProcessStartTimeoutError if the system does not execute the program.
        """
        assert self._supervisor is not None, "the job runs"
        child = Child(ended)
        folder = self._job.sandbox.open_dir("")
        try:
            environment = self.environment | dict(env)
            self._supervisor.start(self._request(args, environment, (*stdio, folder), child, terminal=terminal))
        finally:
            os.close(folder)
        try:
            async with SilenceLimit(limits.READY_TIMEOUT_S):
                await _until_running(child, args[0])
        except TimeoutError:
            self._tree.send(child.key, KILL)
            text = f"the system has not executed {args[0]!r} within {limits.READY_TIMEOUT_S:g} s"
            raise ProcessStartTimeoutError(text) from None
        except asyncio.CancelledError:
            self._tree.send(child.key, KILL)
            raise
        return child

    def _request(
        self,
        args: list[str],
        environment: dict[str, str],
        descriptors: Sequence[int],
        child: Child,
        *,
        terminal: bool = False,
    ) -> StartRequest:
        plan = self._host.confinement.plan(args, environment, self.group, terminal=terminal)
        return StartRequest(plan, descriptors, child)

    def kill(self, child: Child) -> None:
        """Kill the process group of a child, if it is still there."""
        if self._tree.has(child.key):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, KILL)

    # --- the end ------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End a launch that has started nothing."""
        if self._supervisor is not None:
            self._supervisor.abandon()
        self._tree.ended()

    def close(self) -> None:
        """Close everything at the end of the job."""
        if self._supervisor is not None:
            self._supervisor.abandon()
        for times in self._job.output_times.values():
            self._host.clock.forget(times)
        if self._capping is not None:
            self._capping.cancel()
        for output in self._job.outputs.values():
            output.close()
        self._job.outputs.clear()

    async def remove_group(self) -> None:
        """Remove the cgroup after the end of the tree. OSError if a process is left in it."""
        if self.group is not None:
            await self._host.threads.removals.run(self.group.remove)


class _Opening:
    """A folder that is opened in a thread; closed at once if that comes too late."""

    def __init__(self, function: Callable[[str], int], path: str) -> None:
        self._function = function
        self._path = path
        self._lock = threading.Lock()
        self._closed = False
        self._descriptor = -1

    def run(self) -> int:
        """Return the descriptor."""
        descriptor = self._function(self._path)
        with self._lock:
            self._descriptor = descriptor
            if self._closed:
                os.close(descriptor)
        return descriptor

    def close(self) -> None:
        """Close the descriptor; one that is opened later is closed at once."""
        with self._lock:
            if not self._closed and self._descriptor >= 0:
                os.close(self._descriptor)
            self._closed = True


async def _until_running(child: Child, program: str) -> None:
    try:
        await child.running
    except StartError as error:
        raise _of_program(error, program) from None


def _of_program(error: StartError, program: str) -> OSError:
    """Return the error for the peer: the class follows from the number, and it contains no path of this machine."""
    if error.confining:
        return PermissionError(errno.EACCES, f"it cannot be confined: {error.strerror}", program)
    if error.entering:
        return OSError(error.errno, f"its working folder cannot be entered: {error.strerror}", program)
    return OSError(error.errno, error.strerror, program)
