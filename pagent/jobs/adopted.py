"""Children that come to the agent without its having started them: a subreaper's duty, or that of a first process.

The dead ones are reaped. Living ones are left alone, unless they can only be of jobs that are gone (``jobs/tree.py``).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Final

from pagent import limits
from pagent.jobs.tree import KILL, Trees
from pagent.runtime.tasks import TaskOwner
from pagent.runtime.threads import ThreadPool

#: Seconds between two searches for children that the agent did not start itself, whose zombies it reaps.
ADOPTED_CHECK_S: Final = 5.0


_log = logging.getLogger(__name__)


class Adopted:
    """Looks after such children from now on, and until the tasks of ``tasks`` end."""

    def __init__(self, trees: Trees, threads: ThreadPool, tasks: TaskOwner) -> None:
        self._trees = trees
        self._threads = threads
        tasks.start(self._keep_house(), name="looking after adopted processes")

    async def _keep_house(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ADOPTED_CHECK_S):
                    await self._trees.news.wait()
            self._trees.news.clear()
            if self._trees.adopts:
                await self._look()

    async def _look(self) -> int:
        try:
            return await self._threads.run(self._end_unclaimed)
        except OSError as error:
            _log.debug("adopted processes cannot be listed now: %s", error)
            return 0

    def _end_unclaimed(self) -> int:
        self._trees.note()
        found = self._trees.unclaimed()
        if found:
            _log.warning("ending processes of jobs that are gone: %s", [process.pid for process in found])
        for process in found:
            self._trees.system.send(process.key, KILL)
        return len(found)

    async def end(self) -> None:
        """End what is left of jobs that are gone: their children come to the agent when they end, and so on."""
        for _ in range(limits.FREEZE_ROUNDS):
            if not self._trees.adopts or await self._look() == 0:
                return
            await asyncio.sleep(limits.EXIT_POLL_S)
