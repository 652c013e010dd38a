"""Wait for a job, also while its link is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from pagent.cli.failure import EXIT_NO_LINK, EXIT_NO_SUCH, CommandFailed, exit_code_for
from pagent.client import AgentClient, RemoteJob
from pagent.client.link import REDIAL_S
from pagent.errors import CallError, LinkError, MethodError

#: Between two requests to a router that has no link to the agent.
_POLL_S: Final = 0.5


class JobGoneError(CommandFailed):
    """A job was lost while its link was: the text says what has happened to it."""

    def __init__(self, text: str) -> None:
        super().__init__(text, EXIT_NO_SUCH)


async def wait_across_links(job: RemoteJob, notify: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Return the info that ``RemoteJob.wait`` returns. After a lost link the job is waited for on the next one.

    If the job was removed meanwhile, that is the info that its agent remembers.

    :param notify: is called when the link is lost, and when it is back.
    :raises JobGoneError: the job is not there any more after a lost link, and its agent does not remember it.
    """
    while True:
        try:
            return await job.wait()
        except (CallError, LinkError) as error:
            if not is_lost_link(error):
                raise
            failure = error
        try:
            await reach_again(job, failure, notify)
        except JobGoneError:
            if (info := await _remembered(job)) is None:
                raise
            return info


async def _remembered(job: RemoteJob) -> dict[str, Any] | None:
    """Return the info of a job that was removed; None if no agent remembers it."""
    with suppress(CallError, LinkError):
        return next((info for info in await AgentClient(job.link).ended_jobs() if info["uid"] == job.uid), None)
    return None


def is_lost_link(error: Exception) -> bool:
    """Return whether a link is lost: that of this process, or that of a router to the agent."""
    return exit_code_for(error) == EXIT_NO_LINK


async def reach_again(job: RemoteJob, error: Exception, notify: Callable[[str], None]) -> None:
    """Wait until a job can be asked for its info again, for as long as a lost link is dialled again.

    :param error: the failure of a call, for which `is_lost_link` is true.
    :param notify: is called at the beginning, and when the link is back.
    :raises JobGoneError: the link is back, and the job is not there any more.
    """
    process = _process_of(job)
    of_router = isinstance(error, MethodError)
    notify(
        "the router has no link to the agent; it is waited for" if of_router else "the link is lost; it is made again"
    )
    clock = asyncio.get_running_loop().time
    until = clock() + REDIAL_S
    while True:
        try:
            await job.info()  # waits for the next link
        except MethodError as error:
            if error.cause_type == "JobNotFoundError":
                raise JobGoneError(_fate(job, process)) from None
            if not is_lost_link(error) or clock() >= until:
                raise
        else:
            break
        await asyncio.sleep(_POLL_S)
    notify("the link is back")


def _process_of(job: RemoteJob) -> str | None:
    """Return the random name of the process at the other end of the link; None for peers of earlier releases."""
    return None if job.link.peer is None else job.link.peer.instance


def _fate(job: RemoteJob, process: str | None) -> str:
    """Return what has happened to a job that is not found. ``process``: the one that had it."""
    peer = job.link.peer
    is_agent = peer is not None and isinstance(peer.data.get("properties"), dict)  # a router sends none
    if is_agent and process != _process_of(job):
        return f"job {job.uid} has ended with its agent, which was restarted; how it ended is not recorded"
    return f"job {job.uid} is not there any more: it was removed while the link was lost, or has ended with its agent"
