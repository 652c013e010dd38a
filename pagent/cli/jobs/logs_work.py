"""The work of ``pagent logs``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Literal

from pagent.cli.failure import CommandFailed
from pagent.cli.naming import find_job
from pagent.cli.terminal import standard_streams
from pagent.client import AgentClient, RemoteJob
from pagent.errors import LinkClosedError, MethodError

_Output = Literal["stdout", "stderr"]
_OUTPUTS: Final[tuple[tuple[_Output, int], ...]] = (("stdout", 1), ("stderr", 2))


@dataclass(frozen=True)
class LogChoice:
    """Which part of the output is printed. ``only``: one of the outputs; ``since``: as for ``RemoteJob.logs``."""

    only: str | None = None
    follow: bool = False
    tail: int | None = None
    since: float | None = None


async def print_logs(client: AgentClient, name: str, choice: LogChoice) -> int:
    """Copy the outputs of a job to those of this process."""
    job = await find_job(client, name)
    chosen = [
        (output, fd) for output, fd in _OUTPUTS if choice.only in (None, output) and standard_streams.is_open(output)
    ]
    try:
        async with asyncio.TaskGroup() as copies:
            for output, fd in chosen:
                copies.create_task(_copy(job, output, fd, choice))
    except* BrokenPipeError:
        pass  # the reader of one output wants no more: the other one, which may go on for long, ends as well
    return 0


async def _copy(job: RemoteJob, output: _Output, fd: int, choice: LogChoice) -> None:
    """Copy one output. BrokenPipeError if its reader is gone, CommandFailed if it cannot be written."""
    try:
        async for chunk in _chosen(job, output, choice):
            await standard_streams.write(fd, chunk)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"{output} cannot be written: {error.strerror}") from None
    except MethodError as error:
        if error.cause_type != "TypeError" or choice.since is None:
            raise
        raise CommandFailed("--since: the agent is of an earlier release, and does not time output") from None


async def _chosen(job: RemoteJob, output: _Output, choice: LogChoice) -> AsyncIterator[bytes]:
    """Yield the chosen part of an output."""
    start, since = 0, choice.since
    if choice.tail is not None:
        kept, start = await _last_lines(job, output, choice.tail, since)
        since = None
        yield kept
        if not choice.follow:
            return
    async for chunk in _from(job, output, start, since, follow=choice.follow):
        yield chunk


async def _last_lines(job: RemoteJob, output: _Output, count: int, since: float | None) -> tuple[bytes, int]:
    """Return the last lines of an output, and the offset after them."""
    logs = job.logs(output, since=since)
    kept = b""
    async for chunk in logs:
        kept = b"".join((kept + chunk).splitlines(keepends=True)[-count:]) if count else b""
    return kept, logs.offset


async def _from(
    job: RemoteJob, output: _Output, offset: int, since: float | None, *, follow: bool
) -> AsyncIterator[bytes]:
    """Yield an output from an offset or a time on. After a lost link it is continued on the next one."""
    while True:
        logs = job.logs(output, offset=offset, follow=follow, since=since)
        try:
            async for chunk in logs:
                if since is not None and logs.start is not None:
                    offset, since = logs.start, None
                yield chunk
                offset += len(chunk)
        except LinkClosedError:
            if not follow:
                raise
            await job.info()  # waits for the next link
        else:
            return
