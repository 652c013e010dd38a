"""Create a job on an agent of a pool, and report the state of the queue on one line until it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from pagent.cli.failure import EXIT_USAGE, CommandFailed
from pagent.cli.job_wait import JobGoneError, is_lost_link, reach_again, wait_across_links
from pagent.cli.naming import UID_DIGITS
from pagent.cli.run.pool_options import PoolChoice
from pagent.cli.terminal.standard_streams import say
from pagent.cli.terminal.status_line import StatusLine
from pagent.cli.terminal.times import age
from pagent.client import AgentClient, RemoteJob
from pagent.errors import CALL_ERRORS, CallError, LinkError, MethodError
from pagent.job_states import NEW, QUEUED
from pagent.log import escape
from pagent.names import AGENT_ENDED
from pagent.runtime.tasks import TaskOwner

#: How often the state of the queue is asked for.
_POLL_S: Final = 1.0
#: The error of an agent for a job that it has removed, because the agent ends or because a client has removed the job.
_REMOVED: Final = ("JobNotFoundError", "JobInvalidStateError")


async def create_pool_job(client: AgentClient, pool: PoolChoice, name: str | None, **terms: Any) -> RemoteJob:
    """Create a job that waits for an agent. CommandFailed: the peer has no pools, or a parameter is wrong."""
    try:
        return await client.create_job(name, pool=pool.given(), **terms)
    except MethodError as error:
        if error.cause_type == "TypeError":
            raise CommandFailed("--pool: the agent has no pools; use the address of a router", EXIT_USAGE) from None
        if error.cause_type == "ValueError":
            raise CommandFailed(
                f"the request for an agent of pool {pool.name} is refused: {error.cause_message}", EXIT_USAGE
            ) from None
        raise


async def until_placed(job: RemoteJob, pool: PoolChoice) -> None:
    """Wait until the agent of a job has come. CommandFailed: it gets none, or was removed."""
    tasks = TaskOwner("the state of the queue")
    try:
        with _QueueLine(pool.name) as line:
            tasks.start(_watch(job, line), name="report the state of the queue")
            info = await _placed(job)
    finally:
        await tasks.close()
    if info["state"] != NEW:
        raise CommandFailed(f"pool {pool.name} has no agent for the job: {info.get('error')}")


class AgentEndedError(CommandFailed):
    """The job of a command has ended with its agent; the text has the words of the engine."""


async def check_agent(job: RemoteJob, pool: PoolChoice, failure: CallError | LinkError | None) -> None:
    """Raise AgentEndedError if a job has ended with its agent. ``failure``: of a call for it; None if it has ended."""
    try:
        if failure is not None and is_lost_link(failure):
            await reach_again(job, failure, lambda text: None)
            info = await job.info()
        elif failure is None or (isinstance(failure, MethodError) and failure.cause_type in _REMOVED):
            info = await wait_across_links(job)
        else:
            return
    except (CallError, LinkError, JobGoneError):
        return  # it was removed, or the router is away: the failure itself is reported
    if info.get("pool") and info.get("error"):
        reason = str(info["error"]).removeprefix(AGENT_ENDED)
        raise AgentEndedError(f"pool {pool.name}: its agent has ended: {reason}")


async def _placed(job: RemoteJob) -> dict[str, Any]:
    """Return the info of a job when it is at its agent, or has ended. The router may restart meanwhile."""
    while (info := await wait_across_links(job))["state"] == QUEUED:
        pass
    return info


async def _watch(job: RemoteJob, line: _QueueLine) -> None:
    while True:
        with suppress(*CALL_ERRORS):  # the wait reports it
            info = await job.info()
            if info["state"] == QUEUED:
                line.report(info.get("message") or "waits for its turn", info)
        await asyncio.sleep(_POLL_S)


class _QueueLine:
    """The state of the queue: a line of a terminal that is rewritten, otherwise one message for each change."""

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._line = StatusLine()
        self._text = ""

    def __enter__(self) -> _QueueLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.clear()

    def report(self, message: str, info: Mapping[str, Any]) -> None:
        """Report the last line of the engine, the job of the pool's command, and on a terminal since when it waits."""
        more = f" (pagent logs {command[:UID_DIGITS]})" if (command := info.get("command_job")) else ""
        if self._line.is_drawn and info.get("state_changed_at"):
            more = f" for {age(info['state_changed_at'])}{more}"
        text = escape(f"pool {self._pool}: {message}{more}")
        if text == self._text:
            return
        self._text = text
        if self._line.is_drawn:
            self._line.draw(f"pagent: {text}")
        else:
            say(text)
