"""End the processes whose supervisor was killed, and reap children that the agent did not start (``jobs/trees.py``)."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from pagent import limits
from pagent.jobs.system import EXIT_POLL_S
from pagent.jobs.tree import KILL, Key
from pagent.jobs.trees import Trees
from pagent.runtime.tasks import TaskOwner, event_within
from pagent.runtime.threads import ThreadPool

#: Seconds between two searches for children that the agent did not start itself, whose zombies it reaps.
ADOPTED_CHECK_S: Final = 5.0

_log = logging.getLogger(__name__)


class AdoptedProcesses:
    """Ends and reaps such processes, from its creation until the tasks of ``tasks`` end."""

    def __init__(self, trees: Trees, threads: ThreadPool, tasks: TaskOwner) -> None:
        # For life.
        self._trees = trees
        self._threads = threads
        # Between two searches.
        self._unclaimed: set[Key] = set()
        tasks.start(self._run(), name="end and reap adopted processes")

    async def _run(self) -> None:
        while True:
            await event_within(self._trees.news, ADOPTED_CHECK_S)
            self._trees.news.clear()
            if self._trees.needs_care:
                await self._search()

    async def _search(self) -> int:
        try:
            return await self._threads.run(self._end_processes)
        except OSError as error:
            _log.debug("adopted processes cannot be listed now: %s", error)
            return 0

    def _end_processes(self) -> int:
        """End the processes that no supervisor ends. Return the number of processes that are left of removed jobs."""
        self._trees.note()
        for tree in self._trees.unkept():
            _log.warning(
                "job %s: ended, because its supervisor and the keeper were killed", tree.uid, extra={"job": tree.uid}
            )
            tree.kill()
        found = self._trees.unclaimed()
        # Only processes that two searches have found: the agent may not know yet of a supervisor's end.
        ended = [process.key for process in found if process.key in self._unclaimed]
        self._unclaimed = {process.key for process in found}
        if ended:
            _log.warning("ending processes of removed jobs: %s", [pid for pid, _ in ended])
        for key in ended:
            self._trees.system.send(key, KILL)
        return len(found)

    async def end(self) -> None:
        """End the processes of removed jobs. When they end, their children are adopted, and so on."""
        for _ in range(limits.FREEZE_ROUNDS):
            if not self._trees.needs_care or await self._search() == 0:
                return
            await asyncio.sleep(EXIT_POLL_S)
