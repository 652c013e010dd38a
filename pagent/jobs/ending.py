"""End a job's tree: a signal, a grace period, then KILL, until no process is left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pagent import limits
from pagent.jobs.system import EXIT_POLL_S
from pagent.jobs.tree import JobTree, Key
from pagent.runtime.tasks import TaskOwner, event_within
from pagent.runtime.threads import ThreadPool

_log = logging.getLogger(__name__)


class TreeEnd:
    """The end of one tree. A second request with a shorter grace period brings KILL forward; none delays it."""

    def __init__(self, tree: JobTree, tasks: TaskOwner, threads: ThreadPool) -> None:
        # For life.
        self._tree = tree
        self._tasks = tasks
        self._threads = threads
        # While the tree is ended.
        self._signal = 0
        self._deadline = 0.0
        self._signalled: set[Key] = set()
        self._task: asyncio.Task[bool] | None = None

    @property
    def under_way(self) -> bool:
        """Return whether the end was begun and is not complete."""
        return self._task is not None and not self._task.done()

    def begin(self, number: int, grace_s: float) -> None:
        """Signal the tree, and KILL the rest of it after the grace period; at once if that is 0."""
        deadline = asyncio.get_running_loop().time() + grace_s
        self._signal = number
        self._signalled = set()
        if self.under_way:
            self._deadline = min(self._deadline, deadline)
            self._tree.news.set()
        else:
            self._deadline = deadline
            self._task = self._tasks.start(self._run(), name=f"end of the tree of job {self._tree.uid}")

    async def wait(self) -> bool:
        """Wait until the end that was begun is complete. False if some process could not be ended."""
        return self._task is None or await asyncio.shield(self._task)

    # --- the task ---------------------------------------------------------------------------------

    async def _run(self) -> bool:
        loop = asyncio.get_running_loop()
        while not self._tree.over and (remaining := self._deadline - loop.time()) > 0:
            self._tree.news.clear()
            left = await self._do(lambda: self._tree.signal(self._signal, self._signalled))
            supervised = left is not None and self._tree.supervised
            await self._pause(remaining if supervised else min(remaining, EXIT_POLL_S))
        return self._tree.over or await self._kill()

    async def _kill(self) -> bool:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + limits.KILL_WAIT_S
        pause_s = EXIT_POLL_S
        in_vain = 0
        while not self._tree.over and loop.time() < give_up:
            self._tree.news.clear()
            in_vain += await self._do(self._tree.kill) == 0
            if in_vain > 1:  # the supervisor had the time to report that nothing is left
                self._tree.kill_supervisor()
            await self._pause(pause_s)
            pause_s *= 2
        if not self._tree.over:
            _log.error(
                "job %s: processes are left that do not end on SIGKILL", self._tree.uid, extra={"job": self._tree.uid}
            )
            self._tree.given_up()
        return self._tree.over

    async def _do(self, work: Callable[[], int]) -> int | None:
        """Return the number of processes that ``work`` finds; None if they cannot be listed now.

        It runs in a thread: a fork bomb has as many processes as the kernel allows.
        """
        supervised = self._tree.supervised  # asked first: a supervisor may be killed while its processes are listed
        try:
            left = await self._threads.run(work)
        except OSError as error:  # no descriptor is left
            _log.debug("job %s: its processes cannot be listed now: %s", self._tree.uid, error)
            return None
        if left == 0 and not supervised:
            self._tree.ended()  # nothing else reports it
        return left

    async def _pause(self, most_s: float) -> None:
        """Wait until the tree has changed, or the time has passed."""
        if not self._tree.over:
            await event_within(self._tree.news, most_s)
