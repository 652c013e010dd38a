"""Ending a job's tree: a signal, a grace, then KILL, until nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Sequence
from typing import Final

from pagent import limits
from pagent.jobs.system import Process
from pagent.jobs.tree import Forest
from pagent.net.tasks import TaskOwner

_log = logging.getLogger(__name__)

_CONTINUE: Final[int | None] = getattr(signal, "SIGCONT", None)


class TreeEnd:
    """The end of one tree. Asked for again, it comes sooner if that is what the new grace says, never later."""

    def __init__(self, uid: str, forest: Forest, tasks: TaskOwner) -> None:
        self._uid = uid
        self._forest = forest
        self._tasks = tasks
        self._signal = 0
        self._deadline = 0.0
        self._told: set[tuple[int, float]] = set()
        self._task: asyncio.Task[bool] | None = None
        self._pause: asyncio.Future[None] | None = None

    @property
    def under_way(self) -> bool:
        """Asked for and not complete."""
        return self._task is not None and not self._task.done()

    def begin(self, number: int, grace_s: float) -> None:
        """Signal the tree, and KILL what is left of it after the grace; at once if the grace is 0."""
        deadline = asyncio.get_running_loop().time() + grace_s
        self._signal = number
        self._told.clear()
        if self.under_way:
            self._deadline = min(self._deadline, deadline)
            self._wake()
        else:
            self._deadline = deadline
            self._task = self._tasks.start(self._run(), name=f"end of the tree of job {self._uid}")
        if grace_s > 0:
            self._tell(self._look() or ())

    async def wait(self) -> bool:
        """Until the end that was begun is complete. False if some process could not be ended."""
        return self._task is None or await asyncio.shield(self._task)

    # --- the task ---------------------------------------------------------------------------------

    async def _run(self) -> bool:
        loop = asyncio.get_running_loop()
        while (remaining := self._deadline - loop.time()) > 0:
            members = self._look()
            if members is not None and not members:
                return True
            self._tell(members or ())
            await self._exits(members, remaining)
        return await self._kill()

    async def _kill(self) -> bool:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + limits.KILL_WAIT_S
        while (remaining := give_up - loop.time()) > 0:
            try:
                # In a thread: a bomb's tree has as many processes as the kernel allows.
                killed = await loop.run_in_executor(None, self._forest.kill, self._uid)
            except OSError:
                killed = None
            if killed is not None and not killed:
                return True
            await self._exits(killed, remaining)
        _log.error("job %s: processes are left that do not end on SIGKILL", self._uid)
        return False

    def _look(self) -> list[Process] | None:
        """The living members; None if they cannot be known now: later, then."""
        try:
            members, complete = self._forest.look(self._uid)
        except OSError as error:
            _log.debug("job %s: its processes cannot be listed now: %s", self._uid, error)
            return None
        return members if members or complete else None

    def _tell(self, members: Sequence[Process]) -> None:
        for process in members:
            if process.key not in self._told:
                self._told.add(process.key)
                with contextlib.suppress(OSError):  # no descriptor: KILL comes to it later
                    self._forest.send(process, self._signal)
                    if process.state == "T" and _CONTINUE is not None:
                        self._forest.send(process, _CONTINUE)  # a stopped process could not act on the signal

    # --- waiting ----------------------------------------------------------------------------------

    async def _exits(self, processes: Sequence[Process] | None, timeout_s: float) -> None:
        """Until all of these have ended, the time has passed, or a new begin() wakes us. May return too early.

        With None, or where no descriptor tells of an exit, for one poll interval.
        """
        loop = asyncio.get_running_loop()
        self._pause = loop.create_future()
        descriptors: set[int] = set()

        def ended(descriptor: int) -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            descriptors.discard(descriptor)
            if not descriptors:
                self._wake()

        complete = processes is not None
        for process in (processes or ())[: limits.EXITS_WATCHED]:
            try:
                descriptor = self._forest.exit_descriptor(process)
            except OSError:
                descriptor = None
            if descriptor is None:
                complete = False
            elif descriptor >= 0:
                descriptors.add(descriptor)
                loop.add_reader(descriptor, ended, descriptor)
        if complete and not descriptors:
            self._pause = None
            return
        timer = loop.call_later(timeout_s if complete else min(timeout_s, limits.EXIT_POLL_S), self._wake)
        try:
            await self._pause
        finally:
            self._pause = None
            timer.cancel()
            for descriptor in descriptors:
                loop.remove_reader(descriptor)
                os.close(descriptor)

    def _wake(self) -> None:
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)
