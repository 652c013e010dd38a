"""Start jobs, and further processes in them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, NamedTuple

from pagent.errors import (
    JobInvalidStateError,
    ProcessExitedError,
    ProcessPortCountError,
    ProcessStartTimeoutError,
)
from pagent.jobs.command import Command, check_command
from pagent.jobs.exec import ExecProcess, ExecUser
from pagent.jobs.given_ports import GivenPorts
from pagent.jobs.launch import Host, JoinedStdio, Launch
from pagent.jobs.model import Input, Job, State
from pagent.jobs.run import Run
from pagent.jobs.supervisor import Child
from pagent.runtime.metrics import START_FAILURES, STARTS, STATISTICS
from pagent.runtime.timeslice import current_slice

_RUNNING: Final = (State.PENDING, State.RUNNING)
#: A process on a terminal does not get the variable of the terminal that the agent runs in.
_TERM: Final = {"TERM": "xterm-256color"}

#: The reasons of failed starts in the metrics. Others are "other": the names of classes are not for operators.
_REASONS: Final = (
    (FileNotFoundError, "not_found"),
    (PermissionError, "permission"),
    (ProcessStartTimeoutError, "timeout"),
    (ProcessExitedError, "exited"),
    (ProcessPortCountError, "ports"),
    (OSError, "system"),
    ((TypeError, ValueError), "arguments"),
)


class TerminalSize(NamedTuple):
    """The size of a pseudo-terminal, in characters."""

    rows: int
    cols: int


@contextmanager
def _counted() -> Iterator[None]:
    """Count a start in the metrics, or its failure by reason."""
    try:
        yield
    except Exception as error:
        STATISTICS.count(
            START_FAILURES, next((reason for kind, reason in _REASONS if isinstance(error, kind)), "other")
        )
        raise
    STATISTICS.count(STARTS)


class Starter:
    """Starts processes of the jobs of one agent.

    ``runs``: those of jobs that were started, by uid. ``agent_ports``: the agent's own, refused as a job's.
    """

    def __init__(self, runs: dict[str, Run], host: Host, agent_ports: Container[int]) -> None:
        self._runs: Final = runs
        self._host: Final = host
        self._agent_ports: Final = agent_ports
        self._given: Final = GivenPorts()
        self._slice: Final = current_slice()

    async def start(
        self, job: Job, args: Sequence[str], env: Mapping[str, str] | None, variables: Mapping[str, str],
        endpoint: str, **options: Any,
    ) -> None:  # fmt: skip
        """Start the main process of a job; return when it is ready. See ``JobManager.start``.

        ``variables``: of the configured properties. ``endpoint``: the URL of the port report.
        """
        with _counted():
            await self.start_joined(job, check_command(args, env, **options), variables, endpoint)

    async def join(
        self, job: Job, user: ExecUser, size: TerminalSize | None, args: Sequence[str], env: Mapping[str, str] | None,
        variables: Mapping[str, str], endpoint: str, *, split: bool, **options: Any,
    ) -> ExecProcess:  # fmt: skip
        """Start the main process of a job, joined to ``user``. See ``JobManager.join``."""
        command = check_command(args, env, **options)
        if size is not None:
            command = replace(command, env=_TERM | command.env)
        process = ExecProcess(_MainProgram(self, job, command, variables, endpoint), user)
        with _counted():
            await process.start(size is not None, *(size or ()), split=split)
        return process

    async def start_joined(
        self, job: Job, command: Command, variables: Mapping[str, str], endpoint: str, joined: JoinedStdio | None = None
    ) -> Run:
        job.require(Input.START)
        if job.uid in self._runs:
            raise JobInvalidStateError(f"job {job.uid!r} is being started")
        given, more = self._given.choose(
            command.port, command.more_ports, prefer=command.prefer_port, own=self._agent_ports
        )
        run = self._runs[job.uid] = Run(job, command, given, self._host, more, joined)
        try:
            await run.start(run.environment(variables, endpoint, self._host.confinement.environment()))
        finally:
            if job.state is State.NEW:
                run.launch.close()
                del self._runs[job.uid]
                self._given.release(run.ports)
            else:
                job.on_end(lambda: self._given.release(run.ports))
        return run

    async def take_turn(self) -> None:
        """Wait for a loop iteration with time left: a large environment takes milliseconds, and there may be many."""
        await self._slice.wait()

    async def execute(
        self, job: Job, user: ExecUser, args: Sequence[str], env: Mapping[str, str] | None,
        *, tty: bool, rows: int, cols: int, split: bool,
    ) -> ExecProcess:  # fmt: skip
        """Start a further process in the job's sandbox. See ``JobManager.execute``."""
        command = check_command(args, env)
        run = self._runs.get(job.uid)
        if job.state not in _RUNNING or run is None or not run.launch.begun:
            raise JobInvalidStateError(f"job {job.uid!r} is {job.state.value}: it runs nothing to join")
        variables = _TERM | command.env if tty else command.env
        process = ExecProcess(_FurtherProgram(run.launch, [*command.args], variables), user)
        await process.start(tty, rows, cols, split=split)
        return process


class _FurtherProgram:
    """A second process. It ends with its process group; groups that it has made itself end with the job."""

    def __init__(self, launch: Launch, args: list[str], env: Mapping[str, str]) -> None:
        self._launch = launch
        self._args = args
        self._env = env
        self._child: Child | None = None

    async def start(self, stdio: tuple[int, int, int], ended: Callable[[int], None], *, terminal: bool) -> None:
        self._child = await self._launch.execute(self._args, self._env, stdio, ended, terminal=terminal)

    def kill(self) -> None:
        if self._child is not None:
            self._launch.kill(self._child)


class _MainProgram:
    """The main process of a job. The whole tree ends with it."""

    def __init__(
        self, starter: Starter, job: Job, command: Command, variables: Mapping[str, str], endpoint: str
    ) -> None:
        self._starter = starter
        self._job = job
        self._command = command
        self._variables = variables
        self._endpoint = endpoint
        self._run: Run | None = None

    async def start(self, stdio: tuple[int, int, int], ended: Callable[[int], None], *, terminal: bool) -> None:
        joined = JoinedStdio(stdio, terminal, ended)
        self._run = await self._starter.start_joined(self._job, self._command, self._variables, self._endpoint, joined)

    def kill(self) -> None:
        if self._run is not None:
            self._run.begin_end()
