"""A job that is attached to this terminal: its output shown, its port open here, ended with us."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal

from pagent.agent import Agent
from pagent.cli import terminal
from pagent.cli.terminal import say
from pagent.cli.told import until_told
from pagent.client import AgentClient, RemoteJob, connect_agent
from pagent.config.model import Control, Jobs, Server, Settings
from pagent.errors import CallError, LinkError, MethodError
from pagent.jobs.signames import signal_number
from pagent.limits import RUN_OUTPUT_MAX
from pagent.net.tasks import TaskOwner

#: What shells return for a program that a signal ended: 128 plus its number.
_SIGNALLED: Final = 128
#: And for a command that is not there, or that cannot be run.
_NOT_FOUND: Final = 127
_NOT_RUNNABLE: Final = 126

#: Seconds without a byte written after which who reads our output is not waited for when we are to end.
_UNREAD_S: Final = 3.0

_OUTPUTS: Final[tuple[tuple[Literal["stdout", "stderr"], int], ...]] = (("stdout", 1), ("stderr", 2))


async def run_attached(agent: str | None, token: str, port: int, ready_timeout: float, command: list[str]) -> int:
    """Run ``command`` on an agent, or an embedded one, with a local port open to it; returns the exit code."""

    async def work(hurry: asyncio.Event) -> int:
        async with (
            _agent(agent, token, hurry) as (address, secret),
            connect_agent(address, token=secret) as remote,
            _new_job(remote, hurry) as job,
        ):
            server = await _open_port(job, port)
            try:
                return await _start_and_wait(job, server, ready_timeout, command, hurry)
            finally:
                server.close()

    return await until_told(lambda hurry: _explained(work(hurry)))


async def forward_attached(agent: str, token: str, job_uid: str, port: int, job_port: int | None) -> int:
    """Open a local port to a job that an agent runs, until it ends or we are told to; returns the exit code."""

    async def work() -> int:
        async with connect_agent(agent, token=token) as remote:
            job = await remote.job(job_uid)
            _check_port(await job.info(), job_port)
            server = await _open_port(job, port, job_port)
            try:
                await server.start_serving()
                say(f"{_url(server)} leads to the job; Ctrl-C ends the forwarding, not the job")
                await job.wait()
                say("the job has ended")
            finally:
                server.close()
        return 0

    return await until_told(lambda _: _explained(work()))


# --- what a person is told --------------------------------------------------------------------------


class _Ended(Exception):
    """There is nothing more to do, and this is why. ``code``: the exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def _text(error: Exception) -> str:
    """What a person wants to know of an error: of a method's, what the method said."""
    return (isinstance(error, MethodError) and error.cause_message) or str(error)


async def _explained(work: Coroutine[Any, Any, int]) -> int:
    """The exit code of the work, or that of the error that ended it, which is told."""
    try:
        return await work
    except _Ended as end:
        say(str(end))
        return end.code
    except (CallError, LinkError, OSError) as error:
        say(_text(error))
        return 1


def _url(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


# --- agent, job, port -------------------------------------------------------------------------------


@asynccontextmanager
async def _agent(address: str | None, token: str, hurry: asyncio.Event) -> AsyncIterator[tuple[str, str]]:
    """Address and token of the agent to use; starts one in this process if none is named."""
    if address is not None:
        yield address, token
        return
    secret = secrets.token_hex(16)
    settings = Settings(
        server=Server(accept_tokens=(secret,)),
        control=Control(enabled=False),
        jobs=Jobs(max_output_bytes=RUN_OUTPUT_MAX),
    )
    embedded = Agent(settings)
    tasks = TaskOwner("embedded agent")

    async def hasten() -> None:
        await hurry.wait()
        embedded.end(0)

    try:
        await embedded.start()
        yield f"127.0.0.1:{embedded.rpc_port}", secret
    finally:
        embedded.end(0)
        tasks.start(hasten(), name="waiting for the second signal")
        await embedded.stop()
        await tasks.close()


@asynccontextmanager
async def _new_job(remote: AgentClient, hurry: asyncio.Event) -> AsyncIterator[RemoteJob]:
    """A job that is removed behind the block. In a hurry that is left to the agent, which ends it with the link."""
    job = await remote.create_job("run")
    tasks = TaskOwner("the end of the job")

    async def remove() -> None:
        try:
            await job.remove()
        except (CallError, LinkError) as error:
            say(f"the job could not be removed: {_text(error)}")

    try:
        yield job
    finally:
        await _first(tasks.start(remove(), name="remove"), tasks.start(hurry.wait(), name="hurry"))
        await tasks.close()


async def _open_port(job: RemoteJob, port: int, job_port: int | None = None) -> asyncio.Server:
    """Take the local port, before anything is started that could be in vain."""
    try:
        return await job.forward("127.0.0.1", port, job_port=job_port, start_serving=False)
    except OSError as error:
        raise _Ended(f"port {port} of 127.0.0.1 cannot be opened: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    # The loops put the address into the text, which stands before it here already.
    return (error.strerror or str(error)).rpartition(": ")[2]


def _check_port(info: dict[str, Any], port: int | None) -> None:
    """Nobody is to hear of a port that it leads to a job, and then find that it leads nowhere."""
    if info["state"] not in ("PENDING", "RUNNING"):
        raise _Ended(f"job {info['uid']} is {info['state']}: it has nothing to lead to")
    if port is not None and info["ports"] and port not in info["ports"]:
        has = ", ".join(map(str, info["ports"]))
        raise _Ended(f"job {info['uid']} has no port {port}: it has {has}")


# --- from its start to its end ----------------------------------------------------------------------


async def _start_and_wait(
    job: RemoteJob, server: asyncio.Server, ready_timeout: float, command: list[str], hurry: asyncio.Event
) -> int:
    tasks = TaskOwner("output")
    shown = _Shown(job, tasks)
    try:
        info = await _serve(job, server, ready_timeout, command, shown)
        await shown.all()
    except asyncio.CancelledError:
        # Told to end. What the job says about its own end is shown, too.
        await _first(tasks.start(_end(job, shown), name="end"), tasks.start(hurry.wait(), name="hurry"))
        raise
    finally:
        await tasks.close()
    if info["signal"] is not None:
        return _SIGNALLED + signal_number(info["signal"])
    return int(info["exit_code"] or shown.failed)


async def _end(job: RemoteJob, shown: _Shown) -> None:
    """End the job with its grace, and wait for what is left of its output."""
    with suppress(CallError, LinkError):  # it has not been started, or the link is gone: its removal will tell
        await job.kill()
    await shown.rest()


async def _first(*tasks: asyncio.Task[Any]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _serve(
    job: RemoteJob, server: asyncio.Server, ready_timeout: float, command: list[str], shown: _Shown
) -> dict[str, Any]:
    try:
        await job.start(command, port="auto", ready="connect", ready_timeout=ready_timeout)
    except MethodError as error:
        if error.cause_type != "ProcessExitedError":
            raise _not_started(error, command[0]) from None
        await shown.all()  # it may say why
        say(_text(error))
        return await job.info()
    await server.start_serving()
    say(f"{_url(server)} leads to the job; Ctrl-C ends it")
    return await job.wait()


def _not_started(error: MethodError, program: str) -> Exception:
    """The error of a start as one that says what to do about it."""
    match error.cause_type:
        case "FileNotFoundError" | "NotADirectoryError" if "/" in program and not program.startswith("/"):
            text = f"{program}: not found: a job runs in a new folder of its own, so name files by absolute paths"
            return _Ended(text, _NOT_FOUND)
        case "FileNotFoundError" | "NotADirectoryError":
            return _Ended(f"{program}: command not found", _NOT_FOUND)
        case "PermissionError" | "OSError":
            return _Ended(f"{program}: cannot be run: {_text(error)}", _NOT_RUNNABLE)
        case "ProcessStartTimeoutError":
            hint = "the command has to listen on 127.0.0.1, on the port that it gets as {port} or in PORT"
            hint += "; --wait gives it more time"
            return _Ended(f"{_text(error)}; {hint}")
    return error


class _Shown:
    """The outputs of the job, copied to ours as they come."""

    def __init__(self, job: RemoteJob, tasks: TaskOwner) -> None:
        self._job = job
        self._written = 0
        #: Whether what the job said could not be written, though somebody is there to read it.
        self.failed = False
        self._copies = [tasks.start(self._copy(name, fd), name=name) for name, fd in _OUTPUTS if terminal.has(name)]

    async def all(self) -> None:
        """Until the job has ended and all that it said is written."""
        if self._copies:
            await asyncio.wait(self._copies)

    async def rest(self) -> None:
        """The same, but for a reader that takes nothing."""
        pending = set(self._copies)
        before = -1
        while pending and self._written != before:
            before = self._written
            _, pending = await asyncio.wait(pending, timeout=_UNREAD_S)

    async def _copy(self, name: Literal["stdout", "stderr"], fd: int) -> None:
        try:
            async for chunk in self._job.logs(name, follow=True):
                await terminal.write(fd, chunk)
                self._written += len(chunk)
        except (CallError, LinkError, BrokenPipeError):
            return  # the job's own end tells what happened to the link; a reader that is gone needs nothing more
        except OSError as error:
            self.failed = True
            say(f"{name} cannot be written: {error.strerror}")
