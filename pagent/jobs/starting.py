"""Start jobs, and further processes in them."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pagent.errors import (
    JobInvalidStateError,
    ProcessExitedError,
    ProcessPortCountError,
    ProcessStartTimeoutError,
)
from pagent.jobs.command import Command, check_command
from pagent.jobs.exec import ExecProcess, ExecUser
from pagent.jobs.given_ports import GivenPorts
from pagent.jobs.launch import Host
from pagent.jobs.model import Input, Job, State
from pagent.jobs.run import Run
from pagent.runtime.metrics import START_FAILURES, STARTS, STATISTICS
from pagent.runtime.timeslice import current_slice

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
            await self._start(job, check_command(args, env, **options), variables, endpoint)

    async def _start(self, job: Job, command: Command, variables: Mapping[str, str], endpoint: str) -> None:
        job.require(Input.START)
        if job.uid in self._runs:
            raise JobInvalidStateError(f"job {job.uid!r} is being started")
        given, more = self._given.choose(
            command.port, command.more_ports, prefer=command.prefer_port, own=self._agent_ports
        )
        run = self._runs[job.uid] = Run(job, command, given, self._host, more)
        try:
            await run.start(run.environment(variables, endpoint, self._host.confinement.environment()))
        finally:
            if job.state is State.NEW:
                run.launch.close()
                del self._runs[job.uid]
                self._given.release(run.ports)
            else:
                job.on_end(lambda: self._given.release(run.ports))

    async def take_turn(self) -> None:
        """Wait for a loop iteration with time left: a large environment takes milliseconds, and there may be many."""
        await self._slice.wait()

    async def execute(
        self, job: Job, user: ExecUser, args: Sequence[str], env: Mapping[str, str] | None,
        *, tty: bool, rows: int, cols: int, split: bool,
    ) -> ExecProcess:  # fmt: skip
        """Start a further process in the job's sandbox. See ``JobManager.execute``."""
        command = check_command(args, env)
        variables = command.env
        if tty and "TERM" not in variables:
            variables = {"TERM": "xterm-256color"} | variables  # not that of the terminal that the agent runs in
        run = self._runs.get(job.uid)
        process = ExecProcess(job, None if run is None else run.launch, user)
        await process.start(command.args, variables, tty, rows, cols, split=split)
        return process
