"""Run a job in the foreground: copy its output, forward its ports, and end it with this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pagent.cli.failure import CommandFailed, exit_code_of, message_of
from pagent.cli.forced import unless_forced
from pagent.cli.interrupt import run_until_signalled
from pagent.cli.remote import remote_agent
from pagent.cli.run.embedded import embedded_agent
from pagent.cli.run.foreground import ForegroundJob
from pagent.cli.run.forwarded_ports import ForwardedPorts
from pagent.cli.run.interactive import InteractiveProgram
from pagent.cli.run.introduction import Introduction
from pagent.cli.run.pool_wait import AgentEndedError, check_agent, create_pool_job, until_placed
from pagent.cli.run.readiness import port_hint
from pagent.cli.run.run_request import RunRequest
from pagent.cli.run.sandbox_files import SandboxFiles
from pagent.cli.run.served_program import ServedProgram
from pagent.cli.terminal.standard_streams import say
from pagent.client import AgentClient, RemoteJob
from pagent.client.link import REDIAL_S
from pagent.errors import CallError, LinkError, MethodError


async def run_attached(request: RunRequest) -> int:
    """Run the command on an agent, forward local ports to it, and return the exit code."""

    placed = asyncio.Event()
    if request.pool is None:
        placed.set()

    async def work(force: asyncio.Event) -> int:
        async with _agent(request, force) as agent, _new_job(agent, request, force) as job:
            placed.set()
            return await _AttachedJob(request, agent, job, force).run()

    return await run_until_signalled(lambda force: exit_code_of(work(force)), placed.is_set)


def _agent(request: RunRequest, force: asyncio.Event) -> AbstractAsyncContextManager[AgentClient]:
    if request.target is None:
        return embedded_agent(request.folder, force)
    redial_s = 0.0 if request.pool is None else REDIAL_S  # the router may restart while the job waits in a queue
    return remote_agent(request.target.address, request.target.token, redial_s=redial_s)


@asynccontextmanager
async def _new_job(agent: AgentClient, request: RunRequest, force: asyncio.Event) -> AsyncIterator[RemoteJob]:
    """Create a job, and remove it after the block. With ``force``, the end of the link removes it instead."""
    pool = request.pool
    if pool is None:
        job = await agent.create_job(request.name)
    else:
        job = await create_pool_job(agent, pool, request.name)

    async def remove() -> None:
        try:
            await job.remove()
        except LinkError:
            pass  # reported already, and the agent ends the jobs of a lost link
        except CallError as error:
            if not (isinstance(error, MethodError) and error.cause_type == "JobNotFoundError"):  # removed already
                say(f"cannot remove the job: {message_of(error)}")

    try:
        if pool is not None:
            await until_placed(job, pool)
        yield job
    finally:
        await unless_forced(remove(), force, None)


class _AttachedJob:
    """One job from its start to its end. When ``force`` is set, the job ends at once."""

    def __init__(self, request: RunRequest, agent: AgentClient, job: RemoteJob, force: asyncio.Event) -> None:
        self._request = request
        self._job = job
        self._force = force
        self._ports = ForwardedPorts(request, agent, job)
        self._introduction = _introduction(request, job)
        started = ForegroundJob(request, agent, job, self._ports, self._introduction)
        self._program: ServedProgram | InteractiveProgram
        if request.joint.is_used:
            self._program = InteractiveProgram(started)
        else:
            self._program = ServedProgram(started, force)
        self._files = None
        if request.is_sandboxed:
            self._files = SandboxFiles(job, request.host, request.upload, request.keep)

    async def run(self) -> int:
        try:
            self._request.joint.check()
            await self._ports.reserve()
            code = await self._run_program()
        except asyncio.CancelledError:
            if failure := await self._finish():
                raise CommandFailed(failure) from None
            raise
        except AgentEndedError:
            self._ports.close()  # the files of the job have ended with it
            raise
        except (CommandFailed, CallError, LinkError, OSError):
            if failure := await self._finish():
                say(failure)
            raise
        if failure := await self._finish():
            raise CommandFailed(failure, code or 1)
        return code

    async def _run_program(self) -> int:
        if self._files is not None:
            if self._request.upload is not None:
                self._introduction.print_line()  # the upload may take its time
            await self._files.upload()
        self._introduction.start()
        try:
            return await self._run_on_agent()
        finally:
            self._introduction.end()

    async def _run_on_agent(self) -> int:
        """Run the program, and return its exit code. AgentEndedError: the agent of a pool has ended with it."""
        pool, failure, code = self._request.pool, None, 1
        try:
            code = await self._program.run()
        except (CallError, LinkError) as error:
            failure = error
        if pool is not None and (code or failure is not None):
            await check_agent(self._job, pool, failure)
        if failure is not None:
            raise failure
        return code

    async def _finish(self) -> str:
        """Stop listening, and download the files of the job. Return why files are lost, empty if none are."""
        self._ports.close()
        files = self._files
        if files is None or not files.may_exist:
            return ""
        if not self._force.is_set():
            failure, done = await unless_forced(files.download(), self._force, "")
            if done:
                return failure
        return files.abandon()


def _introduction(request: RunRequest, job: RemoteJob) -> Introduction:
    if request.joint.has_terminal:
        return Introduction("")  # it would stand above the first screen of the program, which clears it
    where = f"in {request.folder}"
    if request.is_sandboxed:
        end = "is deleted at the end" if request.keep is None else f"is downloaded to {request.keep} at the end"
        where = f"on {request.host} in a new folder, which {end}"
    hint = port_hint(request.command, request.plan, request.local_folder) if request.has_ports else None
    return Introduction(f"job {job.uid} runs {where}", hint or "")
