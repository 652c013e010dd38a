"""The work of ``pagent logs``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Literal

from pagent.cli.failure import CommandFailed
from pagent.cli.job_wait import is_lost_link, reach_again
from pagent.cli.naming import find_job
from pagent.cli.terminal import standard_streams
from pagent.cli.terminal.standard_streams import say
from pagent.client import AgentClient, RemoteJob
from pagent.errors import CallError, LinkError, MethodError

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
            for index, (output, fd) in enumerate(chosen):
                notify = say if index == 0 else _ignore  # a lost link is reported once
                copies.create_task(_copy(job, output, fd, choice, notify))
    except* BrokenPipeError:
        pass  # the reader of one output is gone: end the other one as well, which may be long
    return 0


async def _copy(job: RemoteJob, output: _Output, fd: int, choice: LogChoice, notify: Callable[[str], None]) -> None:
    """Copy one output. BrokenPipeError if its reader is gone, CommandFailed if it cannot be written."""
    try:
        async for chunk in _chosen(job, output, choice, notify):
            await standard_streams.write(fd, chunk)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"{output} cannot be written: {error.strerror}") from None
    except MethodError as error:
        if error.cause_type != "TypeError" or choice.since is None:
            raise
        raise CommandFailed("--since: the agent is of an earlier release, and does not time output") from None


async def _chosen(
    job: RemoteJob, output: _Output, choice: LogChoice, notify: Callable[[str], None]
) -> AsyncIterator[bytes]:
    """Yield the chosen part of an output."""
    start, since = 0, choice.since
    if choice.tail is not None:
        kept, start = await _last_lines(job, output, choice.tail, since)
        since = None
        yield kept
        if not choice.follow:
            return
    async for chunk in _from(job, output, start, since, notify if choice.follow else None):
        yield chunk


async def _last_lines(job: RemoteJob, output: _Output, count: int, since: float | None) -> tuple[bytes, int]:
    """Return the last lines of an output, and the offset after them."""
    logs = job.logs(output, since=since)
    kept = b""
    async for chunk in logs:
        kept = b"".join((kept + chunk).splitlines(keepends=True)[-count:]) if count else b""
    return kept, logs.offset


async def _from(
    job: RemoteJob, output: _Output, offset: int, since: float | None, notify: Callable[[str], None] | None
) -> AsyncIterator[bytes]:
    """Yield an output from an offset or a time on.

    :param notify: the output is followed, also on the next link after a lost one, which is reported to this function.
    """
    follow = notify is not None
    while True:
        logs = job.logs(output, offset=offset, follow=follow, since=since)
        try:
            async for chunk in logs:
                if since is not None and logs.start is not None:
                    offset, since = logs.start, None
                yield chunk
                offset += len(chunk)
        except (CallError, LinkError) as error:
            if notify is None or not is_lost_link(error):
                raise
            await reach_again(job, error, notify)
        else:
            return


def _ignore(text: str) -> None:
    pass
