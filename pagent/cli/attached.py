"""A job that is attached to this terminal: its output shown, its ports open here, ended with us."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pagent.cli.embedded import embedded_agent, remote_agent, shares_ports
from pagent.cli.ended import Ended, explained, not_started, text_of
from pagent.cli.opening import Opened, close_all, open_port, serve_all
from pagent.cli.publish import Plan, usual_ports
from pagent.cli.sandboxed import SandboxFiles
from pagent.cli.shown import Shown
from pagent.cli.terminal import say
from pagent.cli.told import until_told
from pagent.cli.waiting import Waiting, hint
from pagent.client import AgentClient, RemoteJob
from pagent.errors import CallError, LinkError, MethodError
from pagent.jobs.given_ports import is_free
from pagent.jobs.placeholders import MAIN
from pagent.jobs.signames import signal_number
from pagent.runtime.tasks import TaskOwner

#: What shells return for a program that a signal ended: 128 plus its number.
_SIGNALLED: Final = 128

#: Python programs write at once what they print: into a pipe they would keep it, and lose it when they are ended.
_ENVIRONMENT: Final = {"PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What ``pagent run`` is asked for. ``agent`` None: one in this process."""

    agent: str | None
    token: str
    plan: Plan
    ready_timeout: float
    command: list[str]
    #: Where the command runs; None: in a new folder, the sandbox of the job.
    folder: str | None
    upload: Path | None
    keep: Path | None

    @property
    def here(self) -> str | None:
        """The folder, if it is one of this machine."""
        return self.folder if self.agent is None else None

    @property
    def is_sandboxed(self) -> bool:
        """Whether the folder is deleted with the job."""
        return self.folder is None or not os.path.isabs(self.folder)

    @property
    def where(self) -> str:
        return self.agent or "this machine"


async def run_attached(request: Request) -> int:
    """Run the command on an agent, or an embedded one, with local ports open to it; returns the exit code."""

    async def work(hurry: asyncio.Event) -> int:
        async with _agent(request, hurry) as agent, _new_job(agent, hurry) as job:
            return await _Attached(request, agent, job, hurry).run()

    return await until_told(lambda hurry: explained(work(hurry)))


def _agent(request: Request, hurry: asyncio.Event) -> AbstractAsyncContextManager[AgentClient]:
    if request.agent is None:
        return embedded_agent(request.folder, hurry)
    return remote_agent(request.agent, request.token)


@asynccontextmanager
async def _new_job(agent: AgentClient, hurry: asyncio.Event) -> AsyncIterator[RemoteJob]:
    """A job that is removed after the block. In a hurry that is left to the agent, which ends it with the link."""
    job = await agent.create_job("run")
    tasks = TaskOwner("the end of the job")

    async def remove() -> None:
        try:
            await job.remove()
        except LinkError:
            pass  # its loss is told already, and it ends the job
        except CallError as error:
            say(f"the job could not be removed: {text_of(error)}")

    try:
        yield job
    finally:
        await _first(tasks.start(remove(), name="remove"), tasks.start(hurry.wait(), name="hurry"))
        await tasks.close()


async def _first(*tasks: asyncio.Task[Any]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


class _Attached:
    """One job from its start to its end. ``hurry``: set, nothing is waited for any more."""

    def __init__(self, request: Request, agent: AgentClient, job: RemoteJob, hurry: asyncio.Event) -> None:
        # For life.
        self._request = request
        self._agent = agent
        self._job = job
        self._hurry = hurry
        self._tasks = TaskOwner("output")
        self._files = None
        if request.is_sandboxed:
            self._files = SandboxFiles(job, request.where, request.upload, request.keep)
        # From the start on.
        self._opened: list[Opened] = []
        self._ports: dict[str, int] = {}

    async def run(self) -> int:
        try:
            await self._open_ports()
            self._introduce()
            if self._files is not None:
                await self._files.bring()
            code = await self._start_and_wait()
        except asyncio.CancelledError:
            if lost := await self._finish():
                raise Ended(lost) from None
            raise
        except (Ended, CallError, LinkError, OSError):
            if lost := await self._finish():
                say(lost)
            raise
        if lost := await self._finish():
            raise Ended(lost, code or 1)
        return code

    async def _finish(self) -> str:
        """Listen no more, and fetch the job's files; returns what went wrong with that, empty if nothing did."""
        close_all(self._opened)
        files = self._files
        if files is None or not files.has_begun:
            return ""
        if not self._hurry.is_set():
            lost, done = await self._unless_hurried(files.fetch())
            if done:
                return lost
        return files.given_up()

    def _introduce(self) -> None:
        request = self._request
        if self._files is None:
            say(f"job {self._job.uid} runs in {request.folder}")
        elif request.keep is None:
            say(f"job {self._job.uid} runs on {request.where} in a new folder, which is deleted at the end")
        else:
            say(f"job {self._job.uid} runs on {request.where} in a new folder, downloaded to {request.keep} at the end")
        if text := hint(request.command, request.plan, request.here):
            say(text)

    # --- ports ------------------------------------------------------------------------------------

    async def _open_ports(self) -> None:
        plan, here = self._request.plan, self._request.agent is None
        if here:
            for number in plan.fixed():
                if not is_free(number):
                    raise Ended(f"port {number} is in use by another program: end it, or have the command use another")
        for local, name in plan.opened:
            what = "the job" if name == MAIN else f"the job's port {name}"
            if here and local and local == plan.number(name):
                self._opened.append(Opened(local, None, f"{what} itself"))
            else:
                usual = (port for port in self._usual(name) if not (here and port in plan.fixed()))
                self._opened.append(await open_port(self._job, local, usual, self._job_port(name), what))
        self._opened.sort(key=lambda opened: opened.what != "the job" and opened.what != "the job itself")

    def _usual(self, name: str) -> Iterator[int]:
        return usual_ports(self._request.here or os.getcwd(), self._request.command, name)

    def _job_port(self, name: str) -> Callable[[], int] | None:
        """None for the only port of a job, which agents that are not ours cannot be asked for by number."""
        return (lambda: self._ports[name]) if self._request.plan.more else None

    def _preferred_port(self) -> int | None:
        """The same port there as here: then the addresses that the program tells its users are right here, too."""
        address = self._request.agent
        if address is None or self._request.plan.main is not None or shares_ports(self._agent, address):
            return None
        return self._opened[0].local

    # --- from its start to its end ----------------------------------------------------------------

    async def _start_and_wait(self) -> int:
        shown = Shown(self._job, self._tasks)
        try:
            code = await self._serve(shown)
            await shown.all()
        except asyncio.CancelledError:
            # Told to end. What the job says about its own end is shown, too.
            await self._unless_hurried(self._end(shown))
            raise
        finally:
            await self._tasks.close()
        return code or int(shown.failed)

    async def _serve(self, shown: Shown) -> int:
        request, plan = self._request, self._request.plan
        waiting = Waiting(self._job)
        watch = self._tasks.start(waiting.watch(), name="watch")
        try:
            info = await self._job.start(
                request.command,
                {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ},
                request.folder,
                port=plan.main or "auto",
                ready="connect",
                ready_timeout=request.ready_timeout,
                prefer_port=self._preferred_port(),
                more_ports=plan.more or None,
            )
        except MethodError as error:
            if error.cause_type == "ProcessExitedError":
                return await self._too_early(shown)
            if error.cause_type == "ProcessStartTimeoutError":
                raise Ended(f"{text_of(error)}; {waiting.found or _LISTEN}") from None
            raise not_started(error, request.command[0], request.here) from None
        finally:
            watch.cancel()
        self._ports = dict(zip((MAIN, *plan.more), info["ports"], strict=False))
        await shown.quiet()
        await serve_all(self._opened)
        return _exit_code(await self._job.wait())

    async def _too_early(self, shown: Shown) -> int:
        """The command has ended before it listened, which is never what was asked for."""
        await shown.all()  # it may say why
        info = await self._job.info()
        say(f"{_how(info)} before it listened on port {info.get('port')}{'' if _exit_code(info) else _BACKGROUND}")
        return _exit_code(info) or 1

    async def _end(self, shown: Shown) -> str:
        """End the job with its grace, and wait for what is left of its output."""
        with suppress(CallError, LinkError):  # it has not been started, or the link is gone: its removal will tell
            await self._job.kill()
        await shown.rest()
        return ""

    async def _unless_hurried(self, work: Coroutine[Any, Any, str]) -> tuple[str, bool]:
        """Return what the work returns, and whether it came to its end before it was given up for lack of time."""
        tasks = TaskOwner("the end")
        task = tasks.start(work, name="work")
        try:
            await _first(task, tasks.start(self._hurry.wait(), name="hurry"))
            return (task.result(), True) if task.done() else ("", False)
        finally:
            await tasks.close()


_LISTEN: Final = (
    "the command has to listen on 127.0.0.1, on the port that it gets as {port} or in PORT; --wait gives it more time"
)
_BACKGROUND: Final = "; a server has to stay in the foreground"


def _how(info: dict[str, Any]) -> str:
    if info["signal"] is not None:
        return f"the command was ended by {info['signal']}"
    return f"the command ended with exit code {info['exit_code']}"


def _exit_code(info: dict[str, Any]) -> int:
    if info["signal"] is not None:
        return _SIGNALLED + signal_number(info["signal"])
    return int(info["exit_code"] or 0)
