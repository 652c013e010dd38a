"""The work of ``pagent start``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pagent.cli.failure import EXIT_TIMEOUT, CommandFailed, message_of, start_failure
from pagent.cli.outcome import describe_end, exit_code
from pagent.cli.run.pool_options import PoolChoice
from pagent.cli.run.pool_wait import create_pool_job, until_placed
from pagent.client import AgentClient, RemoteJob
from pagent.errors import CallError, LinkError, MethodError, NotUnicodeError
from pagent.jobs.placeholders import MAIN, names
from pagent.log import escape


@dataclass(frozen=True, kw_only=True)
class StartArguments:
    """The arguments of ``pagent start``."""

    name: str | None
    pool: PoolChoice | None
    environment: dict[str, str]
    port: int | None
    #: Of the agent's host, or below the sandbox; None for the sandbox.
    folder: str | None = None
    upload: Path | None
    linger: float
    idle_after: float | None
    ready_timeout: float
    command: list[str]

    @property
    def ports(self) -> dict[str, Any]:
        """Return the options of ``RemoteJob.start`` for the ports of the command."""
        named = list(dict.fromkeys(name for text in self.command for name in names(text)))
        if self.port is None and not named:
            return {"port_expected_count": 0}
        more = {name: "auto" for name in named if name != MAIN}
        return {
            "port": self.port or "auto",
            "ready": "connect",
            "ready_timeout": self.ready_timeout,
            "more_ports": more or None,
        }


async def start_job(client: AgentClient, request: StartArguments) -> int:
    """Create a job, upload its files, start it, and print its uid. A job that does not start is removed."""
    terms: dict[str, Any] = {"linger": request.linger, "idle_after": request.idle_after}
    if request.pool is None:
        job = await client.create_job(request.name, **terms)
    else:
        job = await create_pool_job(client, request.pool, request.name, **terms)
    try:
        if request.pool is not None:
            await until_placed(job, request.pool)
        if request.upload is not None:
            await _upload(job, request.upload)
        await job.start(request.command, request.environment, request.folder, **request.ports)
    except MethodError as error:
        failure = await _explained(job, error, request)
        await _remove(job)
        raise failure from None
    except (CallError, LinkError, NotUnicodeError, OSError, CommandFailed, asyncio.CancelledError):
        await _remove(job)
        raise
    try:
        click.echo(job.uid)
    except OSError as error:
        uid, reason = job.uid, error.strerror or str(error)
        raise CommandFailed(
            f"job {uid} runs, but its uid cannot be written to standard output: {reason}; pagent rm {uid} ends it"
        ) from None
    return 0


async def _upload(job: RemoteJob, folder: Path) -> None:
    try:
        await job.upload_folder(folder)
    except MethodError as error:  # of the transfer, not of the command
        raise CommandFailed(f"--upload: {message_of(error)}") from None


async def _explained(job: RemoteJob, error: MethodError, request: StartArguments) -> Exception:
    """Return the failure of a start, with the last line that the program has printed."""
    if error.cause_type == "ProcessStartTimeoutError":
        return CommandFailed(f"{message_of(error)}; --wait sets the time", EXIT_TIMEOUT)
    if error.cause_type != "ProcessExitedError":
        return start_failure(error, request.command[0], None)
    info = await job.info()
    lines = (b"".join([chunk async for chunk in job.logs("stderr")])).decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    text = f"the command ended {describe_end(info)} before it listened on its port"
    return CommandFailed(f"{text}: {escape(last)}" if last else text, exit_code(info) or 1)


async def _remove(job: RemoteJob) -> None:
    with suppress(CallError, LinkError):  # the failure that is reported is the first one
        await job.remove()
