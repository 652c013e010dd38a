"""The work of ``pagent logs``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Literal

from pagent.cli import terminal
from pagent.cli.failure import CommandFailed
from pagent.cli.naming import find_job
from pagent.client import AgentClient, RemoteJob
from pagent.errors import LinkClosedError

_Output = Literal["stdout", "stderr"]
_OUTPUTS: Final[tuple[tuple[_Output, int], ...]] = (("stdout", 1), ("stderr", 2))


async def print_logs(client: AgentClient, name: str, only: str | None, *, follow: bool, tail: int | None) -> int:
    """Copy the outputs of a job to those of this process."""
    job = await find_job(client, name)
    chosen = [(output, fd) for output, fd in _OUTPUTS if only in (None, output) and terminal.is_open(output)]
    async with asyncio.TaskGroup() as group:
        copies = [group.create_task(_copy(job, output, fd, follow=follow, tail=tail)) for output, fd in chosen]
    failed = [text for copy in copies if (text := copy.result())]
    if failed:
        raise CommandFailed(failed[0])
    return 0


async def _copy(job: RemoteJob, output: _Output, fd: int, *, follow: bool, tail: int | None) -> str:
    """Copy one output. Return why it cannot be written, empty if it was."""
    try:
        start = 0
        if tail is not None:
            kept, start = await _last_lines(job, output, tail)
            await terminal.write(fd, kept)
            if not follow:
                return ""
        async for chunk in _from(job, output, start, follow=follow):
            await terminal.write(fd, chunk)
    except BrokenPipeError:
        return ""  # its reader wants no more
    except OSError as error:
        return f"{output} cannot be written: {error.strerror}"
    return ""


async def _last_lines(job: RemoteJob, output: _Output, count: int) -> tuple[bytes, int]:
    """Return the last lines of an output, and the offset after them."""
    logs = job.logs(output)
    kept = b""
    async for chunk in logs:
        kept = b"".join((kept + chunk).splitlines(keepends=True)[-count:]) if count else b""
    return kept, logs.offset


async def _from(job: RemoteJob, output: _Output, offset: int, *, follow: bool) -> AsyncIterator[bytes]:
    """Yield an output from an offset on. After a lost link it is continued on the next one."""
    while True:
        try:
            async for chunk in job.logs(output, offset=offset, follow=follow):
                yield chunk
                offset += len(chunk)
        except LinkClosedError:
            if not follow:
                raise
            await job.info()  # waits for the next link
        else:
            return
