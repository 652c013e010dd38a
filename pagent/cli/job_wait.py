"""Wait for a job, also while its link is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from pagent.cli.failure import EXIT_NO_LINK, exit_code_for
from pagent.client import RemoteJob
from pagent.client.link import REDIAL_S
from pagent.errors import CallError, LinkError, MethodError

#: Between two requests to a router that has no link to the agent.
_POLL_S: Final = 0.5


async def wait_across_links(job: RemoteJob, notify: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Return the info that ``RemoteJob.wait`` returns. After a lost link the job is waited for on the next one.

    :param notify: is called when the link is lost, and when it is back.
    """
    while True:
        try:
            return await job.wait()
        except (CallError, LinkError) as error:
            if not is_lost_link(error):
                raise
            failure = error
        await reach_again(job, failure, notify)


def is_lost_link(error: Exception) -> bool:
    """Return whether a link is lost: that of this process, or that of a router to the agent."""
    return exit_code_for(error) == EXIT_NO_LINK


async def reach_again(job: RemoteJob, error: Exception, notify: Callable[[str], None]) -> None:
    """Wait until a job can be asked for its info again, for as long as a lost link is dialled again.

    :param error: the failure of a call, for which `is_lost_link` is true.
    :param notify: is called at the beginning, and when the link is back.
    """
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
            if not is_lost_link(error) or clock() >= until:
                raise
        else:
            break
        await asyncio.sleep(_POLL_S)
    notify("the link is back")
