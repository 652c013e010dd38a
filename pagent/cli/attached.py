"""A job that is attached to this terminal: its output shown, its port open here, ended with us."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Literal

import click

from pagent.agent import Agent
from pagent.client import RemoteJob, connect_agent
from pagent.config.model import Control, Server, Settings
from pagent.errors import CallError, LinkError, MethodError
from pagent.net.tasks import TaskOwner

#: What shells return for a program that a signal ended: 128 plus its number.
_SIGNALLED = 128

_OUTPUTS: tuple[tuple[Literal["stdout", "stderr"], int], ...] = (("stdout", 1), ("stderr", 2))


async def run_attached(agent: str | None, token: str, port: int, command: list[str]) -> int:
    """Run ``command`` on an agent, or an embedded one, with a local port open to it; returns the exit code."""
    try:
        async with _agent(agent, token) as (address, secret), connect_agent(address, token=secret) as remote:
            job = await remote.create_job("run")
            return await _run_job(job, port, command)
    except (CallError, LinkError, OSError) as error:
        click.echo(f"pagent: {_text(error)}", err=True)
        return 1


def _text(error: Exception) -> str:
    """What a person wants to know of an error: of a method's, what the method said."""
    return (isinstance(error, MethodError) and error.cause_message) or str(error)


@asynccontextmanager
async def _agent(address: str | None, token: str) -> AsyncIterator[tuple[str, str]]:
    """Address and token of the agent to use; starts one in this process if none is named."""
    if address is not None:
        yield address, token
        return
    secret = secrets.token_hex(16)
    settings = Settings(server=Server(accept_tokens=(secret,)), control=Control(enabled=False))
    embedded = Agent(settings)
    try:
        await embedded.start()
        yield f"127.0.0.1:{embedded.rpc_port}", secret
    finally:
        await embedded.stop()


async def forward_attached(agent: str, token: str, job_uid: str, port: int, job_port: int | None) -> int:
    """Open a local port to a job that an agent runs, until it ends or we are told to; returns the exit code."""

    async def follow(job: RemoteJob) -> int:
        server = await job.forward("127.0.0.1", port, job_port=job_port)
        try:
            _tell_port(server)
            await job.wait()
        finally:
            server.close()
        return 0

    try:
        async with connect_agent(agent, token=token) as remote:
            return await _until_told(follow(await remote.job(job_uid)))
    except (CallError, LinkError, OSError) as error:
        click.echo(f"pagent: {_text(error)}", err=True)
        return 1


async def _run_job(job: RemoteJob, port: int, command: list[str]) -> int:
    try:
        return await _until_told(_start_and_wait(job, port, command))
    finally:
        await job.remove()


async def _until_told(work: Coroutine[Any, Any, int]) -> int:
    """Do the work; SIGINT or SIGTERM ends it, and is a good end."""
    tasks = TaskOwner("command line")
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[int] = loop.create_future()

    async def settle() -> None:
        try:
            code = await work
        except (CallError, LinkError, OSError) as error:
            if not outcome.done():
                outcome.set_exception(error)
        else:
            if not outcome.done():
                outcome.set_result(code)

    def told() -> None:
        if not outcome.done():
            click.echo("pagent: ending", err=True)
            outcome.set_result(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told)
    try:
        tasks.start(settle(), name="work")
        return await outcome
    finally:
        await tasks.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _start_and_wait(job: RemoteJob, port: int, command: list[str]) -> int:
    tasks = TaskOwner("output")
    output = [tasks.start(_show(job, name, fd), name=name) for name, fd in _OUTPUTS]
    try:
        info = await _serve(job, port, command)
        await asyncio.wait(output)
    finally:
        await tasks.close()
    if info["signal"] is not None:
        return _SIGNALLED + int(signal.Signals[info["signal"]])
    return int(info["exit_code"] or 0)


async def _serve(job: RemoteJob, port: int, command: list[str]) -> dict[str, Any]:
    try:
        await job.start(command, port="auto", ready="connect")
    except MethodError as error:
        if error.cause_type != "ProcessExitedError":
            raise
        click.echo(f"pagent: {error.cause_message}", err=True)
        return await job.info()
    server = await job.forward("127.0.0.1", port)
    try:
        _tell_port(server)
        return await job.wait()
    finally:
        server.close()


def _tell_port(server: asyncio.Server) -> None:
    number = server.sockets[0].getsockname()[1]
    click.echo(f"pagent: http://127.0.0.1:{number}/ leads to the job; Ctrl-C ends it", err=True)


async def _show(job: RemoteJob, name: Literal["stdout", "stderr"], fd: int) -> None:
    """Copy an output of the job to ours, as it comes."""
    try:
        async for chunk in job.logs(name, follow=True):
            os.write(fd, chunk)
    except (CallError, LinkError):
        return  # the job's own end tells what happened to the link
