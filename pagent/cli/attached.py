"""Run a job in the foreground: copy its output, forward its ports, and end it with this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final

from pagent.cli.browser import open_browser
from pagent.cli.embedded import embedded_agent
from pagent.cli.failure import CommandFailed, exit_code_of, message_of, start_failure
from pagent.cli.interrupt import run_until_signalled
from pagent.cli.local_ports import LocalPort, accept_on_all, close_all, reserve_port
from pagent.cli.outcome import describe_end, exit_code
from pagent.cli.output import OutputCopy
from pagent.cli.pool_wait import create_pool_job, until_placed
from pagent.cli.publish import stable_ports
from pagent.cli.readiness import ReadinessWatch, port_hint
from pagent.cli.remote import remote_agent, shares_ports
from pagent.cli.run_request import RunRequest
from pagent.cli.sandbox_files import SandboxFiles
from pagent.cli.terminal import say
from pagent.client import AgentClient, RemoteJob
from pagent.client.link import REDIAL_S
from pagent.errors import CallError, LinkError, MethodError
from pagent.jobs.given_ports import is_free
from pagent.jobs.placeholders import MAIN
from pagent.runtime.tasks import TaskOwner


async def run_attached(request: RunRequest) -> int:
    """Run the command on an agent, forward local ports to it, and return the exit code."""

    async def work(force: asyncio.Event) -> int:
        async with _agent(request, force) as agent, _new_job(agent, request, force) as job:
            return await _AttachedJob(request, agent, job, force).run()

    return await run_until_signalled(lambda force: exit_code_of(work(force)))


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
    tasks = TaskOwner("the end of the job")

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
        await _first(tasks.start(remove(), name="remove"), tasks.start(force.wait(), name="force"))
        await tasks.close()


async def _first(*tasks: asyncio.Task[Any]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


class _AttachedJob:
    """One job from its start to its end. When ``force`` is set, the job ends at once."""

    def __init__(self, request: RunRequest, agent: AgentClient, job: RemoteJob, force: asyncio.Event) -> None:
        # For life.
        self._request = request
        self._agent = agent
        self._job = job
        self._force = force
        self._tasks = TaskOwner("output")
        self._files = None
        if request.is_sandboxed:
            self._files = SandboxFiles(job, request.host, request.upload, request.keep)
        # From the start on.
        self._local_ports: list[LocalPort] = []
        self._job_ports: dict[str, int] = {}

    async def run(self) -> int:
        try:
            await self._reserve_ports()
            self._print_introduction()
            if self._files is not None:
                await self._files.upload()
            code = await self._start_and_wait()
        except asyncio.CancelledError:
            if failure := await self._finish():
                raise CommandFailed(failure) from None
            raise
        except (CommandFailed, CallError, LinkError, OSError):
            if failure := await self._finish():
                say(failure)
            raise
        if failure := await self._finish():
            raise CommandFailed(failure, code or 1)
        return code

    async def _finish(self) -> str:
        """Stop listening, and download the files of the job. Return why files are lost, empty if none are."""
        close_all(self._local_ports)
        files = self._files
        if files is None or not files.may_exist:
            return ""
        if not self._force.is_set():
            failure, done = await self._unless_forced(files.download())
            if done:
                return failure
        return files.abandon()

    def _print_introduction(self) -> None:
        request = self._request
        if self._files is None:
            say(f"job {self._job.uid} runs in {request.folder}")
        elif request.keep is None:
            say(f"job {self._job.uid} runs on {request.host} in a new folder, which is deleted at the end")
        else:
            say(f"job {self._job.uid} runs on {request.host} in a new folder, downloaded to {request.keep} at the end")
        if text := port_hint(request.command, request.plan, request.local_folder):
            say(text)

    # --- ports ------------------------------------------------------------------------------------

    async def _reserve_ports(self) -> None:
        plan, is_local = self._request.plan, self._request.target is None
        if is_local:
            for number in plan.fixed():
                if not is_free(number):
                    raise CommandFailed(
                        f"port {number} is in use: stop the program that uses it, or choose another port"
                    )
        for local, name in plan.published:
            target = "the job" if name == MAIN else f"the job's port {name}"
            if is_local and local and local == plan.number(name):
                self._local_ports.append(LocalPort(local, None, f"{target} itself"))
            else:
                candidates = (port for port in self._stable_ports(name) if not (is_local and port in plan.fixed()))
                self._local_ports.append(await reserve_port(self._job, local, candidates, self._job_port(name), target))
        self._local_ports.sort(key=lambda port: port.target not in ("the job", "the job itself"))

    def _stable_ports(self, name: str) -> Iterator[int]:
        return stable_ports(self._request.local_folder or os.getcwd(), self._request.command, name)

    def _job_port(self, name: str) -> Callable[[], int] | None:
        """Return None for the only port of a job: older agents cannot be asked for a port by number."""
        return (lambda: self._job_ports[name]) if self._request.plan.more else None

    def _preferred_port(self) -> int | None:
        """Return the local port if the job may have the same: then URLs that the program prints work here, too."""
        target = self._request.target
        if target is None or self._request.plan.main is not None or shares_ports(self._agent, target.address):
            return None
        return self._local_ports[0].number

    # --- from its start to its end ----------------------------------------------------------------

    async def _start_and_wait(self) -> int:
        output = OutputCopy(self._job, self._tasks)
        try:
            code = await self._serve(output)
            await output.wait()
        except asyncio.CancelledError:
            # The output of a program that shuts down is printed as well.
            await self._unless_forced(self._end(output))
            raise
        finally:
            await self._tasks.close()
        return code or int(output.failed)

    async def _serve(self, output: OutputCopy) -> int:
        request, plan = self._request, self._request.plan
        readiness = ReadinessWatch(self._job)
        watch = self._tasks.start(readiness.watch(), name="watch")
        try:
            info = await self._job.start(
                request.command,
                request.environment,
                request.folder,
                port=plan.main or "auto",
                ready="connect",
                ready_timeout=request.ready_timeout,
                prefer_port=self._preferred_port(),
                more_ports=plan.more or None,
            )
        except MethodError as error:
            if error.cause_type == "ProcessExitedError":
                return await self._exited_early(output)
            if error.cause_type == "ProcessStartTimeoutError":
                raise CommandFailed(f"{message_of(error)}; {readiness.problem or _LISTEN}") from None
            raise start_failure(error, request.command[0], request.local_folder) from None
        finally:
            watch.cancel()
        self._job_ports = dict(zip((MAIN, *plan.more), info["ports"], strict=False))
        await output.wait_until_quiet()
        await accept_on_all(self._local_ports)
        if request.has_browser:
            self._tasks.start(self._open_browser(), name="browser")
        return exit_code(await self._job.wait())

    async def _open_browser(self) -> None:
        url = f"http://127.0.0.1:{self._local_ports[0].number}/"
        if reason := await open_browser(url):
            say(f"{reason}: open {url} yourself")

    async def _exited_early(self, output: OutputCopy) -> int:
        """Return the exit code of a command that ended before it listened, which is a failure with any exit code."""
        await output.wait()  # it may have the reason
        info = await self._job.info()
        code = exit_code(info)
        how = "was ended" if info["signal"] is not None else "ended"
        port = info.get("port")
        say(f"the command {how} {describe_end(info)} before it listened on port {port}{'' if code else _BACKGROUND}")
        return code or 1

    async def _end(self, output: OutputCopy) -> str:
        """End the job with its grace period, and wait for the rest of its output."""
        with suppress(CallError, LinkError):  # not started yet, or the link is lost, which the removal reports
            await self._job.kill()
        await output.wait_while_read()
        return ""

    async def _unless_forced(self, work: Coroutine[Any, Any, str]) -> tuple[str, bool]:
        """Return the result of the work, and whether it was completed before ``force`` was set."""
        tasks = TaskOwner("the end")
        task = tasks.start(work, name="work")
        try:
            await _first(task, tasks.start(self._force.wait(), name="force"))
            return (task.result(), True) if task.done() else ("", False)
        finally:
            await tasks.close()


_LISTEN: Final = (
    "the command has to listen on 127.0.0.1, on the port that it gets as {port} or in PORT; --wait gives it more time"
)
_BACKGROUND: Final = "; a server has to stay in the foreground"
