"""Repeat the steps of a copy after a lost link."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pagent.client.job import RemoteJob
from pagent.client.link import ClientLink
from pagent.client.local_files import Progress
from pagent.errors import LinkClosedError, MethodError, ServerError
from pagent.net.dial import Backoff
from pagent.rpc.connection import GOES_AWAY

T = TypeVar("T")

#: Attempts in a row that get nowhere: the link may break because of what it carries.
_ATTEMPTS: Final = 12
_PAUSE_MAX_S: Final = 5.0
#: How often a transfer that was continued with other content is started over.
_OVER: Final = 2
_CHANGED: Final = ("ValueError", "FileDigestError", "FileOffsetError")
#: Classes of errors by which a router says that it has no link to the agent now.
_AGENT_AWAY: Final = ("LinkClosedError", "RouteError")


class Resumption:
    """Runs steps that may be repeated. Call :meth:`progressed` when a step gets on.

    ``notify`` is called with the reason when a link is lost.
    """

    def __init__(self, link: ClientLink, job: RemoteJob, notify: Callable[[str], None]) -> None:
        # For life.
        self._link = link
        self._job = job
        self._notify = notify
        # While steps run, of which several may run at a time.
        self._recovering = asyncio.Lock()
        self._recoveries = 0
        # Since the last progress.
        self._failures = 0
        self._backoff = Backoff(_PAUSE_MAX_S)

    def progressed(self) -> None:
        """Note that the link works."""
        if self._failures:
            self._failures = 0
            self._backoff = Backoff(_PAUSE_MAX_S)

    async def run(self, step: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a step. After a lost link it is repeated on the next one.

        The errors of the step, and LinkClosedError if no next link is made.
        """
        while True:
            recoveries = self._recoveries
            try:
                result = await step()
            except (LinkClosedError, MethodError, ServerError) as error:
                if not _is_lost_link(error):
                    raise
                await self._recover(error, recoveries)
            else:
                self.progressed()
                return result

    async def copy(self, transfer: Callable[[Progress], Awaitable[T]], progress: Progress) -> T:
        """Return the result of a transfer of one file that continues an earlier one, and report its progress.

        It is started over if the existing part has other content.
        """
        reached = 0

        def step(done: int, total: int) -> None:
            nonlocal reached
            if done > reached:
                reached = done
                self.progressed()
            progress(done, total)

        for _ in range(_OVER):
            try:
                return await self.run(lambda: transfer(step))
            except MethodError as error:
                if error.cause_type not in _CHANGED:
                    raise
        return await self.run(lambda: transfer(step))

    async def _recover(self, lost: Exception, recoveries: int) -> None:
        """Wait for the next link. Steps that the same loss has ended wait together, and count as one attempt.

        ``recoveries``: their number when the step began.
        """
        async with self._recovering:
            if self._recoveries == recoveries:
                await self._next_link(lost)
                self._recoveries += 1

    async def _next_link(self, lost: Exception) -> None:
        """Wait for the next link. Raise ``lost`` after too many attempts, LinkClosedError if no link is made."""
        self._failures += 1
        if self._failures > _ATTEMPTS:
            raise lost
        if self._failures == 1:
            self._notify(f"{lost}; the copy resumes with the next link")
        else:
            await asyncio.sleep(self._backoff.delay(0.0))
        try:
            await self._job.info()  # waits for the next link
        except (LinkClosedError, MethodError, ServerError) as error:
            if not _is_lost_link(error) or self._link.is_over:
                raise


def _is_lost_link(error: Exception) -> bool:
    """Return whether a link was lost: that of the caller, or that of a router to the agent."""
    if isinstance(error, MethodError):
        return error.cause_type in _AGENT_AWAY
    return isinstance(error, LinkClosedError) or str(error) == GOES_AWAY
